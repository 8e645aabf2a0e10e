//! JSON, read as it comes: only what a line of an export has.

use witgate_sdk::http::Body;
use witgate_sdk::storage::Failure;

/// The longest text or number of a line. Numbers have up to 325 digits, and a label's value is at most
/// 64 KiB, of which each byte may be written as six.
const MAX_TOKEN: usize = 512 << 10;

/// A body, byte by byte.
#[derive(Debug)]
pub(crate) struct Reader {
    /// None once it has ended.
    body: Option<Body>,
    buffer: Vec<u8>,
    at: usize,
}

impl Reader {
    pub(crate) fn new(body: Option<Body>) -> Self {
        Reader {
            body,
            buffer: Vec::new(),
            at: 0,
        }
    }

    /// The next byte, which stays there. None at the end.
    pub(crate) fn peek(&mut self) -> Result<Option<u8>, Failure> {
        while self.at == self.buffer.len() {
            let Some(body) = &mut self.body else {
                return Ok(None);
            };
            match body.next_piece() {
                Ok(Some(piece)) => (self.buffer, self.at) = (piece, 0),
                Ok(None) => self.body = None,
                Err(error) => return Err(Failure::unavailable(format!("VictoriaMetrics: {error}"))),
            }
        }
        Ok(self.buffer.get(self.at).copied())
    }

    /// The next byte.
    pub(crate) fn next(&mut self) -> Result<u8, Failure> {
        match self.peek()? {
            Some(byte) => {
                self.at += 1;
                Ok(byte)
            }
            None => Err(broken("it ends within a line")),
        }
    }

    /// Takes this byte if it comes next.
    pub(crate) fn take(&mut self, expected: u8) -> Result<bool, Failure> {
        let is_there = self.peek()? == Some(expected);
        self.at += usize::from(is_there);
        Ok(is_there)
    }

    /// Takes this text.
    pub(crate) fn expect(&mut self, text: &[u8]) -> Result<(), Failure> {
        for &expected in text {
            let byte = self.next()?;
            if byte != expected {
                return Err(broken(&format!(
                    "{:?} where {:?} was expected",
                    char::from(byte),
                    char::from(expected)
                )));
            }
        }
        Ok(())
    }

    /// A text between quotes.
    pub(crate) fn text(&mut self) -> Result<String, Failure> {
        self.expect(b"\"")?;
        let mut token = vec![b'"'];
        loop {
            let byte = self.next()?;
            token.push(byte);
            match byte {
                b'"' => break,
                b'\\' => token.push(self.next()?),
                _ => {}
            }
            if token.len() > MAX_TOKEN {
                return Err(broken("a text is too long"));
            }
        }
        serde_json::from_slice(&token).map_err(|error| broken(&error.to_string()))
    }

    /// Everything up to, and without, one of these bytes.
    pub(crate) fn until<'t>(&mut self, ends: [u8; 2], token: &'t mut Vec<u8>) -> Result<&'t [u8], Failure> {
        token.clear();
        loop {
            match self.peek()? {
                None => return Err(broken("it ends within a line")),
                Some(byte) if ends.contains(&byte) => return Ok(token),
                Some(byte) => token.push(byte),
            }
            self.at += 1;
            if token.len() > MAX_TOKEN {
                return Err(broken("a number is too long"));
            }
        }
    }

    /// The beginning of what is left, for messages.
    pub(crate) fn rest(&mut self, limit: usize) -> String {
        let mut text = Vec::new();
        while text.len() < limit
            && let Ok(byte) = self.next()
        {
            text.push(byte);
        }
        String::from_utf8_lossy(&text).trim().to_owned()
    }
}

/// An answer that is none.
pub(crate) fn broken(why: &str) -> Failure {
    Failure::unavailable(format!(
        "VictoriaMetrics' answer is not what an export looks like: {why}"
    ))
}
