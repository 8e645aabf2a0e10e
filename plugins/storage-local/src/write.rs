//! Storing a batch.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use witgate_sdk::key_value::{Change, Entry, KeyValue, MAX_VALUE};
use witgate_sdk::storage::{Batch, Datum, Failure, Receipt, Rejection};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::key::{self, SeriesId, Tenant};
use crate::{failure, labels};

/// Bytes of keys and values in one commit. The contract allows twice as much.
const COMMIT: usize = 8 << 20;

/// Series that an instance remembers to be indexed. With some 80 bytes for each this stays well
/// below the default limit of memory.
const REMEMBERED: usize = 500_000;

/// For the second hash of a series' labels.
const SEED: u64 = 0x7769_7467_6174_6500;

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
struct AsItIs(u64);

/// A series of the batch on one day.
struct Part<'b> {
    series: u32,
    day: i64,
    id: SeriesId,
    check: u64,
    pairs: &'b [u32],
    /// Samples or histograms, as places in their columns.
    kind: Datum,
    data: Range<usize>,
}

/// Writes what is not older than `oldest`.
pub(crate) fn write(
    space: &impl KeyValue,
    known: &mut Known,
    tenant: Tenant,
    batch: &Batch,
    oldest: i64,
) -> Result<Receipt, Failure> {
    let mut rejected = Vec::new();
    let mut commits = Commits {
        space,
        changes: Vec::with_capacity(batch.timestamps.len()),
        bytes: 0,
    };
    let parts = parts(batch, oldest, &mut rejected);
    let mixed_up = index(&mut commits, known, tenant, batch, &parts)?;
    for part in &parts {
        if mixed_up.contains(&(part.day, part.id)) {
            rejected.push(Rejection {
                series: part.series,
                kind: part.kind,
                count: count(part.data.len()),
                reason: "another series has the same hash".to_owned(),
            });
            continue;
        }
        if part.kind == Datum::Histogram {
            let beginning = key::histograms(part.day, tenant, part.id);
            let histograms = &batch.histograms;
            for at in part.data.clone() {
                let (_, within) = key::day_of(histograms.timestamps[at]);
                let message = &histograms.messages[between(&histograms.message_ends, at)];
                commits.put(key::at(&beginning, within), message.to_vec())?;
            }
            continue;
        }
        let beginning = key::samples(part.day, tenant, part.id);
        let columns = batch.timestamps[part.data.clone()]
            .iter()
            .zip(&batch.values[part.data.clone()]);
        for (&timestamp, &bits) in columns {
            let (_, within) = key::day_of(timestamp);
            commits.put(key::at(&beginning, within), bits.to_be_bytes().to_vec())?;
        }
    }
    commits.finish()?;
    // Only now: what was not committed has to be indexed the next time.
    for part in &parts {
        if !mixed_up.contains(&(part.day, part.id)) {
            known.remember((part.day, tenant), part.id, part.check);
        }
    }
    Ok(Receipt { rejected })
}

/// The batch, cut by series and day.
fn parts<'b>(batch: &'b Batch, oldest: i64, rejected: &mut Vec<Rejection>) -> Vec<Part<'b>> {
    let mut parts = Vec::with_capacity(batch.label_ends.len());
    let mut encoded = Vec::new();
    let (mut label, mut sample) = (0, 0);
    for (index, (&label_end, &sample_end)) in batch.label_ends.iter().zip(&batch.sample_ends).enumerate() {
        let pairs = &batch.labels[label..label_end as usize];
        let samples = sample..sample_end as usize;
        (label, sample) = (label_end as usize, sample_end as usize);
        let series = count(index);
        encoded.clear();
        labels::encode(batch, pairs, &mut encoded);
        let histograms = between(&batch.histograms.ends, index);
        let data = [(Datum::Sample, samples), (Datum::Histogram, histograms)];
        let mut reject = |kind, count, reason: String| {
            if count > 0 {
                rejected.push(Rejection {
                    series,
                    kind,
                    count,
                    reason,
                });
            }
        };
        if encoded.len() > MAX_VALUE {
            for (kind, range) in data {
                let reason = format!(
                    "its labels have {} bytes, more than the {MAX_VALUE} that are stored",
                    encoded.len()
                );
                reject(kind, count(range.len()), reason);
            }
            continue;
        }
        let (id, check) = (SeriesId::of(&encoded), xxh3_64_with_seed(&encoded, SEED));
        for (kind, range) in data {
            let mut old = 0;
            for at in range {
                let timestamp = match kind {
                    Datum::Histogram => batch.histograms.timestamps[at],
                    Datum::Sample | Datum::Exemplar => batch.timestamps[at],
                };
                if timestamp < oldest {
                    old += 1;
                    continue;
                }
                let (day, _) = key::day_of(timestamp);
                match parts.last_mut() {
                    Some(Part {
                        series: same,
                        day: on,
                        kind: of,
                        data,
                        ..
                    }) if *same == series && *on == day && *of == kind && data.end == at => {
                        data.end = at + 1;
                    }
                    _ => parts.push(Part {
                        series,
                        day,
                        id,
                        check,
                        pairs,
                        kind,
                        data: at..at + 1,
                    }),
                }
            }
            if old > 0 {
                reject(kind, old, "older than `config.retention` allows".to_owned());
            }
        }
    }
    parts
}

/// Indexes the series that are new on their day. Returns those whose hash is another series' too.
fn index<K: KeyValue>(
    commits: &mut Commits<'_, K>,
    known: &Known,
    tenant: Tenant,
    batch: &Batch,
    parts: &[Part<'_>],
) -> Result<Vec<(i64, SeriesId)>, Failure> {
    let mut mixed_up = Vec::new();
    let mut new = Vec::new();
    for part in parts {
        match known.check((part.day, tenant), part.id) {
            None => new.push(part),
            Some(check) if check == part.check => {}
            Some(_) => mixed_up.push((part.day, part.id)),
        }
    }
    let keys: Vec<_> = new
        .iter()
        .map(|part| key::series(part.day, tenant, part.id))
        .collect();
    let mut found = Vec::with_capacity(keys.len());
    for keys in keys.chunks(1024) {
        found.extend(commits.space.get_many(keys).map_err(failure)?);
    }
    let mut indexed: HashMap<_, u64> = HashMap::new();
    for ((part, key), found) in new.into_iter().zip(keys).zip(found) {
        let mut encoded = Vec::new();
        labels::encode(batch, part.pairs, &mut encoded);
        let here = *indexed.entry((part.day, part.id)).or_insert(part.check);
        if here != part.check || found.as_ref().is_some_and(|found| *found != encoded) {
            mixed_up.push((part.day, part.id));
        } else if found.is_none() {
            for (name, value) in labels::decode(&encoded) {
                let posting = key::posting(key::postings(part.day, tenant, name, value), part.id);
                commits.put(posting, Vec::new())?;
            }
            commits.put(key, encoded)?;
        }
    }
    Ok(mixed_up)
}

/// Changes on their way into the space, as few commits as the contract's limits allow.
struct Commits<'a, K> {
    space: &'a K,
    changes: Vec<Change>,
    bytes: usize,
}

impl<K: KeyValue> Commits<'_, K> {
    /// What was put before is in the space before, or at the same time.
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Failure> {
        self.bytes += key.len() + value.len();
        self.changes.push(Change::Put(Entry { key, value }));
        if self.bytes >= COMMIT {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.space.commit(&self.changes).map_err(failure)?;
        self.changes.clear();
        self.bytes = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<(), Failure> {
        if self.changes.is_empty() {
            Ok(())
        } else {
            self.flush()
        }
    }
}

impl Known {
    fn check(&self, place: (i64, Tenant), id: SeriesId) -> Option<u64> {
        let (_, series) = self.days.iter().find(|(known, _)| *known == place)?;
        series.get(&id).copied()
    }

    fn remember(&mut self, place: (i64, Tenant), id: SeriesId, check: u64) {
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

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The part of a column that ends at `ends[index]`; nothing where there are no ends.
fn between(ends: &[u32], index: usize) -> Range<usize> {
    let end = |index: usize| ends.get(index).map_or(0, |&end| end as usize);
    index.checked_sub(1).map_or(0, end)..end(index)
}

/// A number as the contract writes it.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
