//! What is counted of each plugin, for the metrics and the health page.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of one plugin since it was loaded.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    calls: AtomicU64,
    failures: AtomicU64,
    traps: AtomicU64,
    started: AtomicU64,
}

/// The counters of one plugin at one moment. They begin at zero when a plugin is loaded anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that were begun.
    pub calls: u64,
    /// Calls that the plugin did not answer: traps, limits, no free instance. An error that the
    /// plugin returned is an answer.
    pub failures: u64,
    /// Of those, the ones that ended in a trap or at a limit inside the component.
    pub traps: u64,
    /// Instances that were started.
    pub started: u64,
    /// Requests that the plugin tried to send and may not.
    pub denied: u64,
}

impl Stats {
    pub(crate) fn called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn trapped(&self) {
        self.traps.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn started(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self, denied: u64) -> Counts {
        Counts {
            calls: self.calls.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            traps: self.traps.load(Ordering::Relaxed),
            started: self.started.load(Ordering::Relaxed),
            denied,
        }
    }
}
