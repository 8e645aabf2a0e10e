//! Who is told of streams, and says when they are to end.

use std::{pin::Pin, sync::Arc};

use crate::{Impersonated, Target};

/// Watches over one stream: a watch, a log that is followed, an exec, a port-forward.
pub trait Attendant: Send + Sync {
    /// Completes when the stream has to end although both sides would go on, with why.
    fn until(&self) -> Pin<Box<dyn Future<Output = String> + Send>>;

    /// The stream has ended. Called once for each stream.
    fn ended(&self, end: &StreamEnd);
}

/// How a stream ended.
#[derive(Debug)]
pub struct StreamEnd {
    /// What it was about.
    pub target: Target,
    /// As whom it was opened, if not as the caller.
    pub impersonated: Option<Arc<Impersonated>>,
    /// Bytes towards the client.
    pub sent: u64,
    /// Bytes from the client, once the connection was spliced.
    pub received: u64,
    /// Why it ended.
    pub why: String,
}

/// A stream that is attended, until it is dropped.
pub(crate) struct Attended {
    attendant: Arc<dyn Attendant>,
    end: StreamEnd,
}

// === impl Attended ===

impl Attended {
    pub(crate) fn new(
        attendant: Arc<dyn Attendant>,
        target: Target,
        impersonated: Option<Arc<Impersonated>>,
    ) -> Self {
        Self {
            attendant,
            end: StreamEnd {
                target,
                impersonated,
                sent: 0,
                received: 0,
                why: "the client left".to_owned(),
            },
        }
    }

    pub(crate) fn until(&self) -> Pin<Box<dyn Future<Output = String> + Send>> {
        self.attendant.until()
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.end.sent += bytes as u64;
    }

    pub(crate) fn received(&mut self, bytes: usize) {
        self.end.received += bytes as u64;
    }

    pub(crate) fn because(&mut self, why: impl Into<String>) {
        self.end.why = why.into();
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.attendant.ended(&self.end);
    }
}

impl std::fmt::Debug for Attended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.end.fmt(f)
    }
}
