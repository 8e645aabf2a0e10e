//! How many series a tenant writes to, over a time that moves along.

use std::{
    hash::{BuildHasher, Hasher},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Parts of the window in which a series was last written, so that a sweep is due that often at most.
const PARTS: u32 = 8;

/// The series that a tenant has written of late, of which there may be so many. Of each there are 16
/// bytes: two whose hashes are the same count as one.
#[derive(Debug)]
pub(crate) struct ActiveSeries {
    most: usize,
    window: Duration,
    began: Instant,
    hasher: RandomState,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Hash, and the part of time in which it was last written.
    table: HashTable<(u64, u32)>,
    swept: u32,
}

/// Which part of time it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Now(u32);

impl ActiveSeries {
    pub(crate) fn new(most: usize, window: Duration) -> Self {
        Self {
            most,
            window,
            began: Instant::now(),
            hasher: RandomState::default(),
            seen: Mutex::default(),
        }
    }

    /// Whether these are the bounds.
    pub(crate) fn is_bounded(&self, most: usize, window: Duration) -> bool {
        self.most == most && self.window == window
    }

    /// How many there may be.
    pub(crate) fn most(&self) -> u64 {
        self.most as u64
    }

    pub(crate) fn now(&self) -> Now {
        let part = (self.window / PARTS).max(Duration::from_millis(1));
        let parts = self.began.elapsed().as_nanos() / part.as_nanos();
        Now(u32::try_from(parts).unwrap_or(u32::MAX))
    }

    /// Counts a series, given its labels; false if it is a new one and there is no room.
    pub(crate) fn admit<'a>(&self, labels: impl Iterator<Item = &'a [u8]>, Now(now): Now) -> bool {
        let mut hasher = self.hasher.build_hasher();
        for text in labels {
            hasher.write(text);
            hasher.write_usize(text.len());
        }
        let hash = hasher.finish();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, last)) = seen.table.find_mut(hash, |(own, _)| *own == hash) {
            *last = (*last).max(now);
            return true;
        }
        if seen.table.len() >= self.most {
            seen.sweep(now);
        }
        if seen.table.len() >= self.most {
            return false;
        }
        seen.table.insert_unique(hash, (hash, now), |(hash, _)| *hash);
        true
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        let Now(now) = self.now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.sweep(now);
        seen.table.len() as u64
    }
}

impl Seen {
    /// Forgets those that were not written for a window.
    fn sweep(&mut self, now: u32) {
        if self.swept < now {
            self.table.retain(|(_, last)| now - *last <= PARTS);
            self.swept = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_series_find_room_once_others_were_not_written_for_a_window() {
        let active = ActiveSeries::new(2, Duration::from_secs(3600));
        let admit = |name: &str, now| active.admit([name.as_bytes()].into_iter(), Now(now));
        assert!(admit("a", 1) && admit("b", 1));
        assert!(!admit("c", 1));
        assert!(admit("a", 5), "one that is known is taken");
        assert!(!admit("c", 9));
        assert!(admit("c", 10), "b was not written for a window");
        assert!(!admit("b", 13));
        assert!(admit("b", 14), "nor was a");
        assert!(!admit("d", 14));
    }

    #[test]
    fn labels_are_not_taken_for_others_with_the_same_letters() {
        let active = ActiveSeries::new(2, Duration::from_secs(3600));
        let admit = |texts: &[&str]| active.admit(texts.iter().map(|text| text.as_bytes()), Now(0));
        assert!(admit(&["a", "bc"]) && admit(&["ab", "c"]) && !admit(&["abc", ""]));
    }
}
