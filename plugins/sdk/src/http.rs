//! Outgoing HTTP towards the origins that `grants.http` lists.
//!
//! ```
//! use witgate_sdk::http::{Client, Method, Request, Response, Scripted};
//!
//! fn ping(client: &impl Client) -> bool {
//!     let request = Request::new(Method::Get, "http://influxdb:8086/ping").secret("authorization", "influxdb");
//!     client.send(&request).is_ok_and(|response| response.status == 204)
//! }
//!
//! // In a component the client is `Granted`.
//! let client = Scripted::new(|request| {
//!     assert_eq!(request.headers, [("authorization".into(), "{{secret:influxdb}}".into())]);
//!     Ok(Response::new(204, ""))
//! });
//! assert!(ping(&client));
//! ```

#[cfg(target_arch = "wasm32")]
mod granted;

use std::fmt;

/// Sends requests. Implemented by [`Granted`] in a component and by [`Scripted`] in tests.
pub trait Client {
    /// Sends a request, and returns when the answer's head is there. An answer with any status is
    /// an answer; redirects are not followed.
    fn send(&self, request: &Request<'_>) -> Result<Response, Error>;
}

/// The gateway's client: reaches the granted origins, and nothing else.
#[derive(Clone, Copy, Debug, Default)]
pub struct Granted;

/// A request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// What to do.
    pub method: Method,
    /// The absolute URL, path and query escaped.
    pub url: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; empty for none.
    pub body: &'a [u8],
}

/// A request's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
}

/// An answer, its body still on the way.
#[derive(Debug)]
pub struct Response {
    /// The status, 200 for instance.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Body,
}

/// A body that is read piece by piece.
pub struct Body(Box<dyn Pieces>);

/// Where a body comes from.
pub trait Pieces {
    /// The next bytes, or none at the end. Waits for them.
    fn next(&mut self) -> Result<Option<Vec<u8>>, Error>;
}

/// Why there is no answer, or no more of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request itself can't be sent.
    #[error("the request can't be sent: {0}")]
    Invalid(String),
    /// The gateway did not let the plugin call this origin.
    #[error("{origin} is not granted to this plugin ({detail}): add it to `grants.http`")]
    NotGranted {
        /// Scheme, host and port.
        origin: String,
        /// The gateway's words.
        detail: String,
    },
    /// No connection: wrong name, nobody listening, no way there, no trust.
    #[error("no connection to {origin}: {detail}")]
    Unreachable {
        /// Scheme, host and port.
        origin: String,
        /// What happened.
        detail: String,
    },
    /// Nothing came in time.
    #[error("{origin} did not answer in time: {detail}")]
    Timeout {
        /// Scheme, host and port.
        origin: String,
        /// What was waited for.
        detail: String,
    },
    /// The connection broke, or what came was not HTTP.
    #[error("the answer of {origin} broke off: {detail}")]
    Broken {
        /// Scheme, host and port.
        origin: String,
        /// What happened.
        detail: String,
    },
}

/// A client for tests: answers by a function.
pub struct Scripted<F>(F);

#[cfg(not(target_arch = "wasm32"))]
impl Client for Granted {
    fn send(&self, request: &Request<'_>) -> Result<Response, Error> {
        Err(Error::NotGranted {
            origin: origin(&request.url).to_owned(),
            detail: "this is not running in a gateway".into(),
        })
    }
}

impl<'a> Request<'a> {
    /// A request without headers and body.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Request {
            method,
            url: url.into(),
            headers: Vec::new(),
            body: &[],
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a header whose value is a secret that the plugin never sees: the gateway puts it there
    /// when the operator has bound it to the origin (`grants.secrets`).
    #[must_use]
    pub fn secret(self, name: &str, secret: &str) -> Self {
        self.header(name, &format!("{{{{secret:{secret}}}}}"))
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: &'a [u8]) -> Self {
        self.body = body;
        self
    }
}

impl Response {
    /// An answer of a [`Scripted`] client.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Response {
            status,
            headers: Vec::new(),
            body: Body::from(body.into()),
        }
    }

    /// A header's value, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// What `Retry-After` says in seconds (RFC 9110 section 10.2.3), in milliseconds.
    pub fn retry_after(&self) -> Option<u32> {
        self.header("retry-after")?
            .trim()
            .parse::<u32>()
            .ok()?
            .checked_mul(1000)
    }
}

impl Body {
    /// A body from its source.
    pub fn new(pieces: impl Pieces + 'static) -> Self {
        Body(Box::new(pieces))
    }

    /// The next bytes, or none at the end.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.0.next()
    }

    /// The beginning of the body as text, for messages. An error ends it.
    pub fn text(&mut self, limit: usize) -> String {
        let mut bytes = Vec::new();
        while bytes.len() < limit
            && let Ok(Some(piece)) = self.next_piece()
        {
            bytes.extend_from_slice(&piece);
        }
        bytes.truncate(limit);
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        struct Once(Option<Vec<u8>>);
        impl Pieces for Once {
            fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
                Ok(self.0.take().filter(|bytes| !bytes.is_empty()))
            }
        }
        Body::new(Once(Some(bytes)))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")
    }
}

impl<F: Fn(&Request<'_>) -> Result<Response, Error>> Scripted<F> {
    /// A client that answers by this function.
    pub fn new(answer: F) -> Self {
        Scripted(answer)
    }
}

impl<F: Fn(&Request<'_>) -> Result<Response, Error>> Client for Scripted<F> {
    fn send(&self, request: &Request<'_>) -> Result<Response, Error> {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for Scripted<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

/// Scheme, host and port of a URL, for messages.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?']).map_or(url.len(), |at| host + at);
    &url[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_placeholder_and_nothing_else() {
        let request = Request::new(Method::Get, "http://a/").secret("authorization", "influx");
        assert_eq!(
            request.headers,
            [("authorization".to_owned(), "{{secret:influx}}".to_owned())]
        );
    }

    #[test]
    fn an_origin_ends_before_path_and_query() {
        let cases = [
            ("http://a:8086/write?db=x", "http://a:8086"),
            ("https://a?x=/", "https://a"),
            ("http://[::1]:80", "http://[::1]:80"),
        ];
        for (url, expected) in cases {
            assert_eq!(origin(url), expected);
        }
    }

    #[test]
    fn text_stops_at_its_limit() {
        let mut response = Response::new(500, "  too long an answer");
        assert_eq!(response.body.text(10), "too long");
    }
}
