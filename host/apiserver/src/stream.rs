//! An answer's body on its way: never buffered, and over when its principal's proof is.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::SystemTime,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use crate::upstream::Place;

/// The body of an upstream's answer.
pub(crate) struct Stream {
    inner: Incoming,
    /// Fires when the proof ends; a watch must not outlive it.
    end: Option<Pin<Box<Sleep>>>,
    ended: bool,
    _place: Place,
}

impl Stream {
    pub(crate) fn new(inner: Incoming, place: Place, expires: Option<SystemTime>) -> Self {
        // An answer of known length is on its way already; only open-ended ones are watched.
        let open_ended = inner.size_hint().exact().is_none();
        let end = expires.filter(|_| open_ended).map(|expires| {
            let left = expires.duration_since(SystemTime::now()).unwrap_or_default();
            Box::pin(tokio::time::sleep(left))
        });
        Self {
            inner,
            end,
            ended: false,
            _place: place,
        }
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(end) = &mut self.end
            && end.as_mut().poll(context).is_ready()
        {
            self.ended = true;
            return Poll::Ready(None);
        }
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
