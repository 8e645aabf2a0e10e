//! An answer's body on its way: never buffered, and over when its attendant says so.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::{attendant::Attended, upstream::Place};

/// The body of an upstream's answer.
pub(crate) struct Stream {
    inner: Incoming,
    attended: Option<Watched>,
    ended: bool,
    _place: Place,
}

/// A stream that may have to end before its time.
struct Watched {
    attended: Attended,
    until: Pin<Box<dyn Future<Output = String> + Send>>,
}

impl Stream {
    pub(crate) fn new(inner: Incoming, place: Place, attended: Option<Attended>) -> Self {
        Self {
            inner,
            attended: attended.map(|attended| Watched {
                until: attended.until(),
                attended,
            }),
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
        if let Some(watched) = &mut self.attended
            && let Poll::Ready(why) = watched.until.as_mut().poll(context)
        {
            watched.attended.because(why);
            self.ended = true;
            self.attended = None;
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Some(watched) = &mut self.attended {
            match &polled {
                Poll::Ready(Some(Ok(frame))) => {
                    watched.attended.sent(frame.data_ref().map_or(0, Bytes::len));
                }
                Poll::Ready(Some(Err(error))) => watched.attended.because(error.to_string()),
                Poll::Ready(None) => watched.attended.because("the cluster ended it"),
                Poll::Pending => {}
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
