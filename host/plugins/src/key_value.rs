//! The key-value space of one plugin: `witgate:host/key-value` whichever version, with its limits
//! and the operator's quota, over the gateway's state.

use std::sync::Arc;

use witgate_state::{Change, KeyRange, Outcome, Pair, ScanLimit, Space, State, Transaction};

use crate::config::{KeyValueGrant, Size};

/// The limits that the contract names.
const MAX_KEY: usize = 4 << 10;
const MAX_VALUE: usize = 1 << 20;
const MAX_COMMIT: usize = 16 << 20;
const MAX_SCAN: ScanLimit = ScanLimit {
    pairs: 65_536,
    bytes: 4 << 20,
};

/// Each range costs a search, whether anything is in it or not.
const MAX_RANGES: usize = 4096;

/// How many keys of one `get-many` are looked up before the size of what was found is checked:
/// with the largest values that is 64 MiB.
const GET_STEP: usize = 64;

/// A plugin's space.
#[derive(Clone, Debug)]
pub(crate) struct KeyValue {
    plugin: String,
    space: Arc<dyn Space>,
    quota: Size,
}

/// Why an operation was not carried out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KeyValueError {
    /// The state doesn't answer; nothing was written.
    Unavailable(String),
    /// The quota would be exceeded; nothing was written.
    QuotaExceeded(String),
    /// One of the contract's limits; trying again won't help.
    TooLarge(String),
}

impl KeyValue {
    /// Opens the space of the plugin with this name.
    pub(crate) fn open(
        state: &dyn State,
        plugin: &str,
        grant: &KeyValueGrant,
    ) -> Result<Self, witgate_state::Error> {
        let space = state.space(&format!("plugin/{plugin}"))?;
        Ok(Self {
            plugin: plugin.to_owned(),
            space,
            quota: grant.max_bytes,
        })
    }

    pub(crate) async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KeyValueError> {
        check_key(key)?;
        self.space
            .get(key)
            .await
            .map_err(|error| self.unavailable(&error))
    }

    pub(crate) async fn get_many(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Vec<u8>>>, KeyValueError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let mut values = Vec::with_capacity(keys.len());
        let mut bytes = 0;
        let mut keys = keys.into_iter();
        while keys.len() > 0 {
            let step = keys.by_ref().take(GET_STEP).collect();
            let found = self
                .space
                .get_many(step)
                .await
                .map_err(|error| self.unavailable(&error))?;
            bytes += found.iter().flatten().map(Vec::len).sum::<usize>();
            if bytes > MAX_COMMIT {
                let limit = Size(MAX_COMMIT as u64);
                return Err(KeyValueError::TooLarge(format!(
                    "the values are over {limit}: ask for fewer keys"
                )));
            }
            values.extend(found);
        }
        Ok(values)
    }

    pub(crate) async fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        limit: u32,
    ) -> Result<Vec<Pair>, KeyValueError> {
        check_bounds(start, end)?;
        match scan_limit(limit) {
            None => Ok(Vec::new()),
            Some(limit) => {
                { self.space.scan(start, end, limit).await }.map_err(|error| self.unavailable(&error))
            }
        }
    }

    pub(crate) async fn scan_many(
        &self,
        ranges: Vec<KeyRange>,
        limit: u32,
    ) -> Result<Vec<Pair>, KeyValueError> {
        if ranges.len() > MAX_RANGES {
            return Err(KeyValueError::TooLarge(format!(
                "{} ranges in one call; at most {MAX_RANGES} are allowed",
                ranges.len()
            )));
        }
        { ranges.iter() }.try_for_each(|(start, end)| check_bounds(start, end))?;
        match scan_limit(limit) {
            None => Ok(Vec::new()),
            Some(limit) => {
                { self.space.scan_many(ranges, limit).await }.map_err(|error| self.unavailable(&error))
            }
        }
    }

    /// Carries out all changes or none.
    pub(crate) async fn commit(&self, changes: Vec<Change>) -> Result<(), KeyValueError> {
        // Nothing is expected, so nothing can be otherwise.
        self.commit_if(Vec::new(), changes).await.map(|_| ())
    }

    /// Carries out all changes or none, and none if not all keys are as expected: then the answer is
    /// `false`. A space over its quota still takes commits that only delete, or a plugin could never
    /// get below it again.
    pub(crate) async fn commit_if(
        &self,
        expect: Vec<(Vec<u8>, Option<Vec<u8>>)>,
        changes: Vec<Change>,
    ) -> Result<bool, KeyValueError> {
        let mut bytes = 0;
        let mut added = 0;
        for (key, value) in &expect {
            check_key(key)?;
            bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        }
        for change in &changes {
            let (key, value) = match change {
                Change::Put { key, value, .. } => (key, value.as_slice()),
                Change::Delete(key) => (key, [].as_slice()),
            };
            check_key(key)?;
            if value.len() > MAX_VALUE {
                let (is, limit) = (value.len(), Size(MAX_VALUE as u64));
                return Err(KeyValueError::TooLarge(format!(
                    "a value has {is} bytes; at most {limit} are allowed"
                )));
            }
            bytes += key.len() + value.len();
            if matches!(change, Change::Put { .. }) {
                added += (key.len() + value.len()) as u64;
            }
        }
        if bytes > MAX_COMMIT {
            let limit = Size(MAX_COMMIT as u64);
            return Err(KeyValueError::TooLarge(format!(
                "the commit has {bytes} bytes; at most {limit} are allowed"
            )));
        }
        if added > 0 {
            let used = self
                .space
                .size()
                .await
                .map_err(|error| self.unavailable(&error))?;
            if used.saturating_add(added) > self.quota.0 {
                return Err(KeyValueError::QuotaExceeded(format!(
                    "the space holds about {used} bytes, and {added} more are over the quota of {}: \
                     delete something, or raise plugins.{}.grants.keyValue.maxBytes",
                    self.quota, self.plugin
                )));
            }
        }
        let outcome = self.space.commit(Transaction { expect, changes }).await;
        match outcome.map_err(|error| self.unavailable(&error))? {
            Outcome::Committed => Ok(true),
            Outcome::Conflict => Ok(false),
        }
    }

    /// The place and the engine's words are for the operator, not for the plugin.
    fn unavailable(&self, error: &witgate_state::Error) -> KeyValueError {
        tracing::warn!(plugin = self.plugin, "the key-value space failed: {error}");
        KeyValueError::Unavailable(format!(
            "the gateway's store can't {} at the moment",
            error.action
        ))
    }
}

fn check_key(key: &[u8]) -> Result<(), KeyValueError> {
    match key.len() {
        0 => Err(KeyValueError::TooLarge("a key is empty".into())),
        length if length > MAX_KEY => Err(too_long_key(key)),
        _ => Ok(()),
    }
}

fn check_bounds(start: &[u8], end: &[u8]) -> Result<(), KeyValueError> {
    // A key followed by a zero byte is how a scan goes on.
    match [start, end].into_iter().find(|bound| bound.len() > MAX_KEY + 1) {
        Some(bound) => Err(too_long_key(bound)),
        None => Ok(()),
    }
}

/// None where nothing is wanted.
fn scan_limit(limit: u32) -> Option<ScanLimit> {
    let pairs = usize::try_from(limit).unwrap_or(usize::MAX).min(MAX_SCAN.pairs);
    (pairs > 0).then_some(ScanLimit { pairs, ..MAX_SCAN })
}

fn too_long_key(key: &[u8]) -> KeyValueError {
    let limit = Size(MAX_KEY as u64);
    KeyValueError::TooLarge(format!(
        "a key has {} bytes; at most {limit} are allowed",
        key.len()
    ))
}

#[cfg(test)]
mod tests;
