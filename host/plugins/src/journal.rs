//! What a plugin says: `witgate:host/log`, its standard output and its standard error, as lines
//! in the gateway's log.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use crate::denials::Printable;

/// The limits that `witgate:host/log` names: bytes of a line, and lines of one call.
const MAX_LINE: usize = 4 << 10;
const MAX_LINES: u32 = 100;

/// How much of what went to standard error is kept for the report of a trap: a panic's message.
const MAX_LAST_WORDS: usize = 1 << 10;

/// What an instance said in the current call.
#[derive(Debug)]
pub(crate) struct Journal {
    plugin: Arc<str>,
    request: Option<String>,
    written: u32,
    left_out: u32,
    partial: [Vec<u8>; 2],
    last_words: String,
}

/// A journal that several parts of one instance write to.
#[derive(Clone, Debug)]
pub(crate) struct SharedJournal(Arc<Mutex<Journal>>);

/// How much a line matters.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// The streams that every program has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stream {
    Output = 0,
    Error = 1,
}

/// One of the streams, writing to the journal.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    journal: SharedJournal,
    stream: Stream,
}

impl SharedJournal {
    pub(crate) fn new(plugin: Arc<str>) -> Self {
        Self(Arc::new(Mutex::new(Journal {
            plugin,
            request: None,
            written: 0,
            left_out: 0,
            partial: [Vec::new(), Vec::new()],
            last_words: String::new(),
        })))
    }

    pub(crate) fn stream(&self, stream: Stream) -> Lines {
        Lines {
            journal: self.clone(),
            stream,
        }
    }

    /// Begins a call, which has its own allowance of lines.
    pub(crate) fn begin(&self, request: Option<&str>) {
        let mut journal = self.lock();
        journal.request = request.map(str::to_owned);
        journal.written = 0;
        journal.left_out = 0;
        journal.last_words.clear();
    }

    /// Ends a call: writes what has no line break yet, and how much was left out. Returns the end
    /// of what went to standard error.
    pub(crate) fn end(&self) -> String {
        let mut journal = self.lock();
        for stream in [Stream::Output, Stream::Error] {
            journal.end_line(stream);
        }
        if journal.left_out > 0 {
            let left_out = journal.left_out;
            tracing::warn!(
                target: "witgate::plugin", plugin = &*journal.plugin, request = journal.request,
                "{left_out} lines of this call were left out: a plugin may write {MAX_LINES} in one call"
            );
        }
        std::mem::take(&mut journal.last_words)
    }

    pub(crate) fn write(&self, level: Level, message: &str) {
        self.lock().write(level, message);
    }

    fn lock(&self) -> MutexGuard<'_, Journal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal {
    fn write(&mut self, level: Level, message: &str) {
        if self.written >= MAX_LINES {
            self.left_out += 1;
            return;
        }
        self.written += 1;
        let (plugin, request) = (&*self.plugin, self.request.as_deref());
        let message = Printable(message, MAX_LINE);
        match level {
            Level::Debug => tracing::debug!(target: "witgate::plugin", plugin, request, "{message}"),
            Level::Info => tracing::info!(target: "witgate::plugin", plugin, request, "{message}"),
            Level::Warn => tracing::warn!(target: "witgate::plugin", plugin, request, "{message}"),
            Level::Error => tracing::error!(target: "witgate::plugin", plugin, request, "{message}"),
        }
    }

    /// Takes bytes of a stream, and writes the lines that they complete.
    fn push(&mut self, stream: Stream, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let partial = self.partial(stream);
            let room = MAX_LINE.saturating_sub(partial.len()).min(text.len());
            partial.extend_from_slice(text.get(..room).unwrap_or_default());
            if ends {
                self.end_line(stream);
            }
        }
    }

    fn end_line(&mut self, stream: Stream) {
        let line = std::mem::take(self.partial(stream));
        if line.is_empty() {
            return;
        }
        let line = String::from_utf8_lossy(&line);
        match stream {
            Stream::Output => self.write(Level::Debug, &line),
            Stream::Error => {
                self.write(Level::Info, &line);
                let room = MAX_LAST_WORDS.saturating_sub(self.last_words.len());
                let cut = line.get(..line.floor_char_boundary(room)).unwrap_or_default();
                self.last_words.push_str(cut);
                self.last_words.push(' ');
            }
        }
    }

    fn partial(&mut self, stream: Stream) -> &mut Vec<u8> {
        let [output, error] = &mut self.partial;
        match stream {
            Stream::Output => output,
            Stream::Error => error,
        }
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

#[async_trait::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.journal.lock().push(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_LINE)
    }
}

impl AsyncWrite for Lines {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.journal.lock().push(self.stream, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_call_are_counted_beyond_the_limit() {
        let journal = SharedJournal::new("p".into());
        for call in 0..2 {
            journal.begin(None);
            for _ in 0..MAX_LINES + 7 {
                journal.write(Level::Info, "hello");
            }
            let lines = journal.lock();
            assert_eq!((lines.written, lines.left_out), (MAX_LINES, 7), "call {call}");
            drop(lines);
            journal.end();
        }
    }

    #[test]
    fn a_stream_is_cut_into_bounded_lines() {
        let journal = SharedJournal::new("p".into());
        journal.begin(Some("r1"));
        let mut error = journal.stream(Stream::Error);
        error.write(Bytes::from_static(b"thread panicked ")).unwrap();
        error
            .write(Bytes::from_static(
                b"at src/lib.rs\nindex out of bounds\n\nand more",
            ))
            .unwrap();
        assert_eq!(journal.lock().written, 2);
        assert_eq!(
            journal.end(),
            "thread panicked at src/lib.rs index out of bounds and more "
        );

        journal.begin(None);
        error.write(vec![b'x'; 10 * MAX_LINE].into()).unwrap();
        assert_eq!(journal.lock().partial[1].len(), MAX_LINE);
        assert!(journal.end().len() <= MAX_LAST_WORDS + 1);
    }
}
