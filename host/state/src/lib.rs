//! An ordered key-value store with transactions and expiry, behind one trait.
//!
//! Everything that outlives a request is kept here: login attempts, sessions, journals, and the
//! spaces that plugins are granted. [`Embedded`] keeps it in a directory of this process, [`Etcd`] where
//! several processes share it.

mod embedded;
mod etcd;
mod stored;

use std::{sync::Arc, time::Duration};

pub use embedded::Embedded;
pub use etcd::{Etcd, EtcdConfig};

/// The store as a whole: it hands out spaces.
pub trait State: Send + Sync + std::fmt::Debug {
    /// The space of this name, which is empty if nothing was ever put there. Spaces don't see
    /// each other's keys.
    fn space(&self, name: &str) -> Result<Arc<dyn Space>, Error>;
}

/// Keys and values of one concern, ordered bytewise by key.
#[async_trait::async_trait]
pub trait Space: Send + Sync + std::fmt::Debug {
    /// The value of a key, unless it has expired.
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// The values of many keys, in the order of the keys.
    async fn get_many(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Vec<u8>>>, Error>;

    /// The pairs with `start <= key < end` in order, without expired ones; an empty `end` means
    /// to the end of the space. Stops at `limit.pairs`, or before the pair that would take it
    /// over `limit.bytes`, but returns at least one pair if there is one.
    async fn scan(&self, start: &[u8], end: &[u8], limit: ScanLimit) -> Result<Vec<Pair>, Error>;

    /// The pairs of many ranges, range after range, as [`Space::scan`] returns them for each. The limit
    /// is for all of them together: what is returned ends somewhere in one of them, and what comes
    /// before that is all there. The ranges are not all read at one moment.
    async fn scan_many(&self, ranges: Vec<KeyRange>, limit: ScanLimit) -> Result<Vec<Pair>, Error> {
        let mut found = Vec::new();
        let mut left = limit;
        for (mut start, end) in ranges {
            while left.pairs > 0 {
                let page = self.scan(&start, &end, left).await?;
                let Some((last, _)) = page.last() else { break };
                start.clone_from(last);
                start.push(0);
                let bytes = page.iter().map(|(key, value)| key.len() + value.len()).sum();
                if bytes > left.bytes && !found.is_empty() {
                    return Ok(found);
                }
                left.pairs = left.pairs.saturating_sub(page.len());
                left.bytes = left.bytes.saturating_sub(bytes);
                found.extend(page);
            }
        }
        Ok(found)
    }

    /// Carries out a transaction: all of it, durably, or nothing.
    async fn commit(&self, transaction: Transaction) -> Result<Outcome, Error>;

    /// About how many bytes the space takes on its medium.
    async fn size(&self) -> Result<u64, Error>;

    /// Tells that something in the space may have changed, by whomever, since it was last asked. A key
    /// that expires is no change. Where changes may have been missed, that is told as one.
    ///
    /// An engine that is written to from one place only, and of which nobody keeps a copy, need not tell.
    fn watch(&self) -> Changes {
        tokio::sync::watch::channel(0).1
    }
}

/// A number that grows with each change.
pub type Changes = tokio::sync::watch::Receiver<u64>;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// The keys from the first to before the second; an empty second one means to the end of the space.
pub type KeyRange = (Vec<u8>, Vec<u8>);

/// How much one [`Space::scan`] may return.
#[derive(Clone, Copy, Debug)]
pub struct ScanLimit {
    /// Pairs at most.
    pub pairs: usize,
    /// Bytes of keys and values together at most.
    pub bytes: usize,
}

/// Changes that happen together, if what they rely on still holds.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// Keys and the values they must have for the changes to happen (`None`: the key is absent).
    pub expect: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// The changes, in order.
    pub changes: Vec<Change>,
}

/// A change to one key.
#[derive(Clone, Debug)]
pub enum Change {
    /// Sets a key; with a lifetime, the key is gone after it.
    Put {
        /// The key to set.
        key: Vec<u8>,
        /// Its new value.
        value: Vec<u8>,
        /// How long it is there.
        lifetime: Option<Duration>,
    },
    /// Removes a key. Not an error when it is not there.
    Delete(Vec<u8>),
}

/// Whether a transaction happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It did, and is durable.
    Committed,
    /// An expectation did not hold, and nothing was changed.
    Conflict,
}

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
#[error("the state in {place} can't {action}: {reason}")]
pub struct Error {
    /// Which store: a directory, or endpoints.
    pub place: String,
    /// What was tried.
    pub action: &'static str,
    /// What the engine said.
    pub reason: String,
}
