//! Changes on their way into the space.

use witgate_sdk::key_value::{Change, Entry, KeyValue};
use witgate_sdk::storage::Failure;

use crate::failure;

/// Bytes of keys and values in one commit. The contract allows twice as much.
const COMMIT: usize = 8 << 20;

/// Changes that are carried out in as few commits as the contract's limits allow.
pub(crate) struct Commits<'a, K> {
    pub(crate) space: &'a K,
    changes: Vec<Change>,
    bytes: usize,
}

impl<'a, K: KeyValue> Commits<'a, K> {
    pub(crate) fn of(space: &'a K) -> Self {
        Commits {
            space,
            changes: Vec::new(),
            bytes: 0,
        }
    }

    /// What was put before is in the space before, or at the same time.
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Failure> {
        let bytes = key.len() + value.len();
        if self.bytes + bytes > COMMIT {
            self.flush()?;
        }
        self.bytes += bytes;
        self.changes.push(Change::Put(Entry { key, value }));
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Failure> {
        if !self.changes.is_empty() {
            self.space.commit(&self.changes).map_err(failure)?;
            self.changes.clear();
            self.bytes = 0;
        }
        Ok(())
    }
}
