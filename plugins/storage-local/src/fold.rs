//! Folding: moving what is in a shard's blocks into chunks.
//!
//! It may stop between any two commits, and others may fold the same shard at the same time. Blocks are
//! removed last, with what they hold in chunks already, and reading them beside those chunks changes
//! nothing. Each commit relies on the shard's generation and counts it up, so that of two who fold the
//! same shard one gives up: else it would put chunks back that it had read before the other wrote them.

use std::collections::BTreeMap;

use witgate_sdk::key_value::{Change, Entry, Error, Expectation, KeyValue};
use witgate_sdk::log;
use witgate_sdk::storage::Failure;

use crate::block::Entries;
use crate::key::{self, SeriesId, Tenant};
use crate::value::{Stored, Values, encode};
use crate::{failure, failure_of};

/// Pairs that are asked for at once; they come in fewer when they are large.
const PAGE: u32 = 4096;

/// How much is done at once, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Of blocks.
    pub(crate) blocks: usize,
    /// Of keys and values in one commit, before the last series in it. The contract allows four times
    /// the default.
    pub(crate) commit: usize,
}

/// What is in some blocks, by day and series.
type Days = BTreeMap<(i64, SeriesId), Values>;

/// A fold under way.
struct Fold<'a, K> {
    space: &'a K,
    generation: Vec<u8>,
    /// What the generation has to be for the next commit.
    expected: Option<Vec<u8>>,
    changes: Vec<Change>,
    bytes: usize,
}

/// Folds the oldest blocks of a shard. What is of days before `first_kept` goes.
pub(crate) fn fold(
    space: &impl KeyValue,
    tenant: Tenant,
    shard: usize,
    first_kept: i64,
    bounds: Bounds,
) -> Result<(), Failure> {
    let generation = key::generation(tenant, shard);
    let mut found = { space.get_many(std::slice::from_ref(&generation)) }.map_err(failure)?;
    let mut fold = Fold {
        space,
        generation,
        expected: found.pop().flatten(),
        changes: Vec::new(),
        bytes: 0,
    };
    let (blocks, days) = gather(space, tenant, shard, bounds.blocks)?;
    for ((day, id), new) in days {
        if day >= first_kept {
            fold.series(&key::chunks(day, tenant, id), new)?;
            if fold.bytes >= bounds.commit && !fold.commit()? {
                return Ok(());
            }
        }
    }
    for block in blocks {
        fold.bytes += block.len();
        fold.changes.push(Change::Delete(block));
    }
    fold.commit()?;
    Ok(())
}

/// The keys of the oldest blocks, and what is in them by day and series. Of two values at one time the
/// later block's counts.
fn gather(
    space: &impl KeyValue,
    tenant: Tenant,
    shard: usize,
    most: usize,
) -> Result<(Vec<Vec<u8>>, Days), Failure> {
    let mut blocks = Vec::new();
    let mut days = Days::new();
    let mut bytes = 0;
    let beginning = key::head(tenant, shard);
    let (mut from, end) = (beginning.clone(), key::end_of(&beginning));
    while bytes < most {
        let page = space.scan(&from, &end, PAGE).map_err(failure)?;
        let Some(last) = page.last() else { break };
        from = key::after(&last.key);
        for block in page {
            bytes += block.value.len();
            for entry in Entries::of(&block.value) {
                if let Some(value) = entry.value() {
                    let place = (key::day_of(entry.time), entry.series);
                    days.entry(place).or_default().insert(entry.time, value);
                }
            }
            blocks.push(block.key);
            if bytes >= most {
                break;
            }
        }
    }
    Ok((blocks, days))
}

impl<K: KeyValue> Fold<'_, K> {
    /// Puts what is new of a series and day among its chunks. They begin with the last one.
    fn series(&mut self, beginning: &[u8], mut new: Values) -> Result<(), Failure> {
        let Some((&first, _)) = new.first_key_value() else {
            return Ok(());
        };
        let (mut from, end) = (beginning.to_vec(), key::end_of(beginning));
        let mut replaced = Vec::new();
        // Mostly the last chunk ends before, and is all that is looked at.
        let mut limit = 1;
        'chunks: loop {
            let page = self.space.scan(&from, &end, limit).map_err(failure)?;
            let Some(last) = page.last() else { break };
            from = key::after(&last.key);
            limit = PAGE;
            for chunk in page {
                let Ok(stored) = Stored::read(&chunk.value) else {
                    return Err(failure_of(&chunk));
                };
                let is_before = stored.last < first;
                if is_before && !stored.is_open() {
                    break 'chunks;
                }
                if stored.decode(&mut new).is_err() {
                    return Err(failure_of(&chunk));
                }
                replaced.push(chunk.key);
                if is_before {
                    break 'chunks;
                }
            }
        }
        for chunk in encode(new.iter().map(|(time, value)| (*time, value))) {
            let key = key::chunk(beginning, chunk.first);
            let value = Stored::write(&chunk);
            self.bytes += key.len() + value.len();
            replaced.retain(|replaced| *replaced != key);
            self.changes.push(Change::Put(Entry { key, value }));
        }
        self.bytes += replaced.iter().map(Vec::len).sum::<usize>();
        self.changes.extend(replaced.into_iter().map(Change::Delete));
        Ok(())
    }

    /// Says whether nobody else has folded in between. If somebody has, there is nothing to do.
    fn commit(&mut self) -> Result<bool, Failure> {
        if self.changes.is_empty() {
            return Ok(true);
        }
        let next = next(self.expected.as_deref());
        let expected = [Expectation {
            key: self.generation.clone(),
            value: self.expected.take(),
        }];
        self.changes.push(Change::Put(Entry {
            key: self.generation.clone(),
            value: next.clone(),
        }));
        let is_done = match self.space.commit_if(&expected, &self.changes) {
            Ok(is_done) => is_done,
            // The blocks stay where they are, and nothing is lost; what is written next says it again.
            Err(Error::QuotaExceeded(reason)) => {
                log::warn(&format!("samples wait to be folded: {reason}"));
                false
            }
            Err(error) => return Err(failure(error)),
        };
        self.expected = Some(next);
        self.changes.clear();
        self.bytes = 0;
        Ok(is_done)
    }
}

/// The generation after this one.
fn next(generation: Option<&[u8]>) -> Vec<u8> {
    let now = generation.and_then(<[u8]>::first_chunk);
    let now = now.map_or(0, |bytes| u64::from_be_bytes(*bytes));
    now.wrapping_add(1).to_be_bytes().to_vec()
}
