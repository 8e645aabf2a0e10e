//! Which series there are on a day, and with which labels.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use witgate_sdk::key_value::KeyValue;
use witgate_sdk::storage::{Batch, Failure};

use crate::commits::Commits;
use crate::key::{self, SHARDS, SeriesId, Tenant};
use crate::{failure, labels};

/// Series that an instance remembers to be indexed. With some 40 bytes for each this stays well
/// below the default limit of memory.
const REMEMBERED: usize = 500_000;

/// Series that are looked up at once.
const LOOKUP: usize = 1024;

/// The series that are indexed already, for each tenant and day that was written to, with a second
/// hash of their labels. Days are only removed when their samples are not taken any more, so what is
/// remembered stays true; another instance may index a series too, which changes nothing.
#[derive(Debug, Default)]
pub(crate) struct Known {
    days: Vec<((i64, Tenant), Indexed)>,
    count: usize,
}

/// Series, with the second hash of their labels.
type Indexed = HashMap<SeriesId, u64, BuildHasherDefault<AsItIs>>;

/// Series ids are hashes already.
#[derive(Debug, Default)]
pub(crate) struct AsItIs(u64);

/// A series that has something on a day.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'b> {
    pub(crate) day: i64,
    pub(crate) id: SeriesId,
    pub(crate) check: u64,
    pub(crate) pairs: &'b [u32],
}

/// Indexes the series that are new on their day. Returns those whose hash is another series' too.
pub(crate) fn index<K: KeyValue>(
    commits: &mut Commits<'_, K>,
    known: &Known,
    tenant: Tenant,
    batch: &Batch,
    seen: &[Seen<'_>],
) -> Result<HashSet<(i64, SeriesId, u64)>, Failure> {
    let mut mixed_up = HashSet::new();
    let mut new = Vec::new();
    for seen in seen {
        match known.check((seen.day, tenant), seen.id) {
            None => new.push(seen),
            Some(check) if check == seen.check => {}
            Some(_) => drop(mixed_up.insert((seen.day, seen.id, seen.check))),
        }
    }
    let mut indexed: HashMap<_, u64> = HashMap::new();
    for new in new.chunks(LOOKUP) {
        let keys: Vec<_> = { new.iter() }
            .map(|seen| key::series(seen.day, tenant, seen.id))
            .collect();
        let found = commits.space.get_many(&keys).map_err(failure)?;
        for ((seen, key), found) in new.iter().zip(keys).zip(found) {
            let mut encoded = Vec::new();
            labels::encode(batch, seen.pairs, &mut encoded);
            let here = *indexed.entry((seen.day, seen.id)).or_insert(seen.check);
            if here != seen.check || found.as_ref().is_some_and(|found| *found != encoded) {
                mixed_up.insert((seen.day, seen.id, seen.check));
            } else if found.is_none() {
                for (name, value) in labels::decode(&encoded) {
                    let posting = key::posting(key::postings(seen.day, tenant, name, value), seen.id);
                    commits.put(posting, Vec::new())?;
                }
                commits.put(key, encoded)?;
            }
        }
    }
    Ok(mixed_up)
}

impl Known {
    pub(crate) fn check(&self, place: (i64, Tenant), id: SeriesId) -> Option<u64> {
        let (_, series) = self.days.iter().find(|(known, _)| *known == place)?;
        series.get(&id).copied()
    }

    /// About how many series of the tenant are in a shard.
    pub(crate) fn in_shard(&self, tenant: Tenant) -> usize {
        let days = self.days.iter().filter(|((_, of), _)| *of == tenant);
        days.map(|(_, series)| series.len()).max().unwrap_or(0) / SHARDS
    }

    pub(crate) fn remember(&mut self, place: (i64, Tenant), id: SeriesId, check: u64) {
        if self.count >= REMEMBERED {
            *self = Self::default();
        }
        let at = match self.days.iter().position(|(known, _)| *known == place) {
            Some(at) => at,
            None => {
                self.days.push((place, HashMap::default()));
                self.days.len() - 1
            }
        };
        if self.days[at].1.insert(id, check).is_none() {
            self.count += 1;
        }
    }
}

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(bytes) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*bytes);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
