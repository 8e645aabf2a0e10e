//! Connections whose client has to say soon which protocol it speaks.
//!
//! Until the first bytes tell HTTP/1.1 from HTTP/2, neither's own timeouts run: whoever connects and
//! says nothing, or half of HTTP/2's preface, would keep the connection for ever.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How HTTP/2 begins (RFC 9113 section 3.4); nothing of HTTP/1.1's does.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection, and how long its client has.
#[derive(Debug)]
pub(super) struct Prompt<I> {
    inner: I,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    deadline: Pin<Box<Sleep>>,
    /// How much of the preface was read.
    read: usize,
}

// === impl Prompt ===

impl<I> Prompt<I> {
    pub(super) fn new(inner: I, within: Duration) -> Self {
        Self {
            inner,
            waiting: Some(Waiting {
                deadline: Box::pin(sleep(within)),
                read: 0,
            }),
        }
    }
}

// === impl Waiting ===

impl Waiting {
    /// Whether these bytes, after those before, say which protocol it is.
    fn is_told_by(&mut self, bytes: &[u8]) -> bool {
        let expected = PREFACE.get(self.read..).unwrap_or_default();
        self.read += bytes.len();
        !bytes.is_empty() && (bytes.len() >= expected.len() || !expected.starts_with(bytes))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Prompt<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(context, buffer);
        if let Some(waiting) = &mut this.waiting {
            let read = buffer.filled().get(before..).unwrap_or_default();
            if waiting.is_told_by(read) {
                this.waiting = None;
            } else if polled.is_pending() && waiting.deadline.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Prompt<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(chunks: &[&[u8]]) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let _inside = runtime.as_ref().unwrap().enter();
        let mut waiting = Waiting {
            deadline: Box::pin(sleep(Duration::from_secs(1))),
            read: 0,
        };
        chunks.iter().any(|chunk| waiting.is_told_by(chunk))
    }

    #[test]
    fn half_a_preface_says_nothing_and_anything_else_does() {
        assert!(!told(&[]));
        assert!(!told(&[b"PRI * HT"]));
        assert!(!told(&[b"PRI * HT", b"TP/2.0\r\n\r\nSM\r\n"]));
        assert!(told(&[b"PRI * HT", b"TP/2.0\r\n\r\nSM\r\n\r\n"]));
        assert!(told(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand more"]));
        assert!(told(&[b"G"]));
        assert!(told(&[b"P", b"OST"]));
    }
}
