//! Storing a batch: a block in each shard that its series are in.

use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

use witgate_chunk::message;
use witgate_sdk::key_value::{KeyValue, MAX_VALUE};
use witgate_sdk::storage::{Batch, Datum, Failure, Receipt, Rejection};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128};

use crate::block::Block;
use crate::commits::Commits;
use crate::index::{Known, Seen, index};
use crate::key::{self, SHARDS, SeriesId, Tenant};
use crate::labels;

/// Bytes of one block at about the most. A value may have twice as many.
const BLOCK: usize = 512 << 10;

/// For the second hash of a series' labels.
const SEED: u64 = 0x7769_7467_6174_6500;

/// Names of blocks that nobody else gives, in the order of time.
#[derive(Debug)]
pub(crate) struct Names {
    last: u64,
    nonce: u64,
}

/// A series of the batch.
struct Part<'b> {
    series: usize,
    id: SeriesId,
    check: u64,
    pairs: &'b [u32],
    /// Bytes of its labels as they are stored.
    length: usize,
    samples: Range<usize>,
    histograms: Range<usize>,
}

/// Bytes that were added to each shard.
pub(crate) type Added = [usize; SHARDS];

/// Writes what is not older than `oldest`.
pub(crate) fn write(
    space: &impl KeyValue,
    known: &mut Known,
    names: &mut Names,
    tenant: Tenant,
    batch: &Batch,
    oldest: i64,
) -> Result<(Receipt, Added), Failure> {
    let mut rejected = Vec::new();
    let mut commits = Commits::of(space);
    let parts = parts(batch);
    let mut seen: Vec<Seen<'_>> = Vec::with_capacity(parts.len());
    for part in parts.iter().filter(|part| part.length <= MAX_VALUE) {
        let mut last = None;
        for time in part.times(batch).filter(|time| *time >= oldest) {
            let day = key::day_of(time);
            if last != Some(day) {
                let Part { id, check, pairs, .. } = *part;
                seen.push(Seen {
                    day,
                    id,
                    check,
                    pairs,
                });
                last = Some(day);
            }
        }
    }
    let mixed_up = index(&mut commits, known, tenant, batch, &seen)?;
    let mut blocks = Blocks {
        tenant,
        names,
        open: Default::default(),
        added: [0; SHARDS],
    };
    for part in &parts {
        let length = part.length;
        let mut reject = |kind, count: usize, reason: String| {
            if count > 0 {
                rejected.push(Rejection {
                    series: number(part.series),
                    kind,
                    count: number(count),
                    reason,
                });
            }
        };
        let is_mixed_up =
            |time: i64| !mixed_up.is_empty() && mixed_up.contains(&(key::day_of(time), part.id, part.check));
        if length > MAX_VALUE {
            for (kind, range) in [
                (Datum::Sample, &part.samples),
                (Datum::Histogram, &part.histograms),
            ] {
                let reason =
                    format!("its labels have {length} bytes, more than the {MAX_VALUE} that are stored");
                reject(kind, range.len(), reason);
            }
            continue;
        }
        let (mut old, mut mixed) = (0, 0);
        let times = &batch.timestamps[part.samples.clone()];
        let values = &batch.values[part.samples.clone()];
        if times.iter().all(|time| *time >= oldest && !is_mixed_up(*time)) {
            for (times, values) in times.chunks(BLOCK / 32).zip(values.chunks(BLOCK / 32)) {
                blocks.floats(&mut commits, part.id, times, values)?;
            }
        } else {
            for (time, value) in times.iter().zip(values) {
                if *time < oldest {
                    old += 1;
                } else if is_mixed_up(*time) {
                    mixed += 1;
                } else {
                    blocks.floats(&mut commits, part.id, &[*time], &[*value])?;
                }
            }
        }
        reject(Datum::Sample, old, too_old());
        reject(Datum::Sample, mixed, same_hash());
        (old, mixed) = (0, 0);
        let mut wrong = 0;
        for at in part.histograms.clone() {
            let time = batch.histograms.timestamps[at];
            let message = &batch.histograms.messages[between(&batch.histograms.message_ends, at)];
            if time < oldest {
                old += 1;
            } else if is_mixed_up(time) {
                mixed += 1;
            } else if message.len() > BLOCK || message::parse(message).is_err() {
                wrong += 1;
            } else {
                blocks.histogram(&mut commits, part.id, time, message)?;
            }
        }
        reject(Datum::Histogram, old, too_old());
        reject(Datum::Histogram, mixed, same_hash());
        reject(
            Datum::Histogram,
            wrong,
            format!("damaged, or more than {BLOCK} bytes"),
        );
    }
    let added = blocks.finish(&mut commits)?;
    commits.finish()?;
    // Only now: what was not committed has to be indexed the next time.
    for seen in seen {
        if !mixed_up.contains(&(seen.day, seen.id, seen.check)) {
            known.remember((seen.day, tenant), seen.id, seen.check);
        }
    }
    Ok((Receipt { rejected }, added))
}

fn too_old() -> String {
    "older than `config.retention` allows".to_owned()
}

fn same_hash() -> String {
    "another series has the same hash".to_owned()
}

/// The series of the batch with their hashes. Each symbol is hashed once.
fn parts(batch: &Batch) -> Vec<Part<'_>> {
    let mut start = 0;
    let symbols: Vec<_> = { batch.symbol_ends.iter() }
        .map(|end| {
            let symbol = &batch.symbol_bytes[start..*end as usize];
            start = *end as usize;
            (xxh3_128(symbol).to_le_bytes(), symbol.len() + labels::OVERHEAD)
        })
        .collect();
    let mut parts = Vec::with_capacity(batch.label_ends.len());
    let mut hashes = Vec::new();
    let (mut label, mut sample) = (0, 0);
    for (series, (&label_end, &sample_end)) in batch.label_ends.iter().zip(&batch.sample_ends).enumerate() {
        let pairs = &batch.labels[label..label_end as usize];
        let samples = sample..sample_end as usize;
        (label, sample) = (label_end as usize, sample_end as usize);
        hashes.clear();
        let mut length = 0;
        for symbol in pairs {
            let (hash, bytes) = &symbols[*symbol as usize];
            hashes.extend_from_slice(hash);
            length += bytes;
        }
        parts.push(Part {
            series,
            id: SeriesId(xxh3_64(&hashes)),
            check: xxh3_64_with_seed(&hashes, SEED),
            pairs,
            length,
            samples,
            histograms: between(&batch.histograms.ends, series),
        });
    }
    parts
}

impl Part<'_> {
    fn times<'b>(&self, batch: &'b Batch) -> impl Iterator<Item = i64> + use<'b> {
        let samples = &batch.timestamps[self.samples.clone()];
        let histograms = &batch.histograms.timestamps[self.histograms.clone()];
        samples.iter().chain(histograms).copied()
    }
}

/// The blocks of a batch, one for each shard.
struct Blocks<'a> {
    tenant: Tenant,
    names: &'a mut Names,
    open: [Block; SHARDS],
    added: Added,
}

impl Blocks<'_> {
    fn floats<K: KeyValue>(
        &mut self,
        commits: &mut Commits<'_, K>,
        id: SeriesId,
        times: &[i64],
        values: &[u64],
    ) -> Result<(), Failure> {
        self.open[id.shard()].floats(id, times, values);
        self.close(commits, id.shard(), BLOCK)
    }

    fn histogram<K: KeyValue>(
        &mut self,
        commits: &mut Commits<'_, K>,
        id: SeriesId,
        time: i64,
        message: &[u8],
    ) -> Result<(), Failure> {
        let shard = id.shard();
        self.close(commits, shard, BLOCK.saturating_sub(message.len()))?;
        self.open[shard].histogram(id, time, message);
        Ok(())
    }

    /// Ends a block that has more bytes than that.
    fn close<K: KeyValue>(
        &mut self,
        commits: &mut Commits<'_, K>,
        shard: usize,
        most: usize,
    ) -> Result<(), Failure> {
        let block = &mut self.open[shard];
        if block.is_empty() || block.len() <= most {
            return Ok(());
        }
        self.added[shard] += block.len();
        commits.put(self.names.next(self.tenant, shard), block.take())
    }

    fn finish<K: KeyValue>(mut self, commits: &mut Commits<'_, K>) -> Result<Added, Failure> {
        for shard in 0..SHARDS {
            self.close(commits, shard, 0)?;
        }
        Ok(self.added)
    }
}

impl Default for Names {
    fn default() -> Self {
        // What the hash maps of the standard library are seeded with.
        let nonce = std::hash::RandomState::new().build_hasher().finish();
        Names { last: 0, nonce }
    }
}

impl Names {
    fn next(&mut self, tenant: Tenant, shard: usize) -> Vec<u8> {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
        self.last = now.max(self.last + 1);
        key::block(tenant, shard, self.last, self.nonce)
    }
}

/// The part of a column that ends at `ends[index]`; nothing where there are no ends.
fn between(ends: &[u32], index: usize) -> Range<usize> {
    let end = |index: usize| ends.get(index).map_or(0, |&end| end as usize);
    index.checked_sub(1).map_or(0, end)..end(index)
}

/// A number as the contract writes it.
fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
