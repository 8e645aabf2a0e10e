//! A remote write 1.0 from its body to checked columns.
//!
//! The protobuf is read where it lies, and each string goes into the batch's symbol table once.
//! Consecutive series of a request mostly have the same label at the same place, so a label is first
//! compared with the one at its place in the series before; only what differs is looked up by hash.

use std::{collections::BTreeMap, hash::BuildHasher, ops::Range};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use witgate_plugins::Batch;

use crate::{
    config::Limits,
    wire::{Damaged, Fields, Value},
};

/// Why a body is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is not snappy's block format.
    #[error("the body is not in snappy's block format (the framed format is another one): {0}")]
    NotSnappy(String),
    /// It would be too large.
    #[error("the body says that it is {size} bytes large decompressed, and {limit} are accepted")]
    TooLarge {
        /// What the body says.
        size: usize,
        /// What is accepted.
        limit: u64,
    },
    /// It is no protobuf.
    #[error("{0}")]
    Damaged(String),
    /// It is a remote write 2.0.
    #[error(
        "the body is a remote write 2.0, and this endpoint speaks 1.0 (content type application/x-protobuf)"
    )]
    Version2,
}

impl From<Damaged> for DecodeError {
    fn from(damaged: Damaged) -> Self {
        Self::Damaged(damaged.to_string())
    }
}

/// What of a request was not taken into the batch, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Samples, by reason.
    pub samples: BTreeMap<&'static str, u64>,
    /// The labels of the first series that was refused.
    pub first: Option<String>,
}

/// Decodes requests one after the other; its tables are kept, so that it allocates only to grow.
#[derive(Debug, Default)]
pub struct Decoder {
    decompressed: Vec<u8>,
    hasher: RandomState,
    table: HashTable<u32>,
    batch: Batch,
    refused: Refused,
}

/// The labels of two series. Most labels of a series are those of the one before, at the same
/// place, and are taken over without being looked at again.
#[derive(Debug, Default)]
struct Labels<'b> {
    before: Vec<Pair<'b>>,
    current: Vec<Pair<'b>>,
    /// Whether they came sorted, no name is there twice, and `__name__` is one of them.
    before_is_good: bool,
    current_is_good: bool,
}

/// A label as it came, with where its strings are in the symbol table.
#[derive(Clone, Copy, Debug)]
struct Pair<'b> {
    raw: &'b [u8],
    name: Symbol,
    value: Symbol,
}

/// A symbol, and where its bytes are.
#[derive(Clone, Copy, Debug)]
struct Symbol {
    id: u32,
    start: u32,
    end: u32,
}

// === impl Decoder ===

impl Decoder {
    /// Decodes and checks one body. The batch and what was refused are the decoder's until the next.
    pub fn decode(&mut self, body: &[u8], limits: &Limits) -> Result<(&Batch, &Refused), DecodeError> {
        self.clear();
        self.decompress(body, limits)?;
        let bytes = std::mem::take(&mut self.decompressed);
        let result = self.request(&bytes, limits);
        self.decompressed = bytes;
        result.map(|()| (&self.batch, &self.refused))
    }

    fn clear(&mut self) {
        self.table.clear();
        self.refused = Refused::default();
        let batch = &mut self.batch;
        batch.symbol_bytes.clear();
        batch.symbol_ends.clear();
        batch.symbol_ends.push(0);
        batch.labels.clear();
        batch.label_ends.clear();
        batch.timestamps.clear();
        batch.values.clear();
        batch.sample_ends.clear();
    }

    /// The length that the body claims is looked at before anything is allocated.
    fn decompress(&mut self, body: &[u8], limits: &Limits) -> Result<(), DecodeError> {
        let not_snappy = |error: snap::Error| DecodeError::NotSnappy(error.to_string());
        let size = snap::raw::decompress_len(body).map_err(not_snappy)?;
        if u64::try_from(size).is_ok_and(|size| size > limits.decoded.0) {
            return Err(DecodeError::TooLarge {
                size,
                limit: limits.decoded.0,
            });
        }
        self.decompressed.resize(size, 0);
        snap::raw::Decoder::new()
            .decompress(body, &mut self.decompressed)
            .map_err(not_snappy)?;
        Ok(())
    }

    fn request(&mut self, bytes: &[u8], limits: &Limits) -> Result<(), DecodeError> {
        let mut labels = Labels::default();
        let mut fields = Fields(bytes);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Bytes(series)) => self.series(series, &mut labels, limits)?,
                // `symbols` and `timeseries` of 2.0, which 1.0 reserves.
                (4 | 5, Value::Bytes(_)) => return Err(DecodeError::Version2),
                // Metadata (3) is not stored; anything else is of a later time.
                _ => {}
            }
        }
        Ok(())
    }

    fn series<'b>(
        &mut self,
        bytes: &'b [u8],
        labels: &mut Labels<'b>,
        limits: &Limits,
    ) -> Result<(), DecodeError> {
        let (mut exemplars, mut histograms, mut wrong) = (0, 0, None);
        labels.current.clear();
        labels.current_is_good = false;
        let first_sample = self.batch.timestamps.len();
        let mut fields = Fields(bytes);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Bytes(label)) => {
                    if labels.current.len() >= limits.labels {
                        wrong = Some("more labels than `prometheus.limits.labels`");
                    } else if let Some(same) = labels
                        .before
                        .get(labels.current.len())
                        .filter(|pair| pair.raw == label)
                    {
                        labels.current.push(*same);
                    } else if let Err(reason) = self.label(label, labels, limits)? {
                        wrong = Some(reason);
                    }
                }
                (2, Value::Bytes(sample)) => self.sample(sample)?,
                (3, Value::Bytes(_)) => exemplars += 1,
                (4, Value::Bytes(_)) => histograms += 1,
                _ => {}
            }
        }
        let samples = self.batch.timestamps.len() - first_sample;
        let wrong = wrong.or_else(|| self.commit_labels(labels));
        match wrong {
            Some(reason) => {
                self.batch.timestamps.truncate(first_sample);
                self.batch.values.truncate(first_sample);
                self.refuse(reason, samples.max(1), &labels.current);
            }
            None if samples > 0 => {
                let end = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
                self.batch.label_ends.push(end(self.batch.labels.len()));
                self.batch.sample_ends.push(end(self.batch.timestamps.len()));
            }
            None => {
                let start = self.batch.label_ends.last().copied().unwrap_or_default();
                self.batch.labels.truncate(start as usize);
            }
        }
        if exemplars > 0 {
            self.refuse(
                "exemplars, which no storage plugin takes yet",
                exemplars,
                &labels.current,
            );
        }
        if histograms > 0 {
            self.refuse(
                "native histograms, which no storage plugin takes yet",
                histograms,
                &labels.current,
            );
        }
        labels.before_is_good = labels.current_is_good;
        std::mem::swap(&mut labels.before, &mut labels.current);
        Ok(())
    }

    #[inline]
    fn label<'b>(
        &mut self,
        raw: &'b [u8],
        labels: &mut Labels<'b>,
        limits: &Limits,
    ) -> Result<Result<(), &'static str>, Damaged> {
        let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
        let mut fields = Fields(raw);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Value::Bytes(bytes)) => name = bytes,
                (2, Value::Bytes(bytes)) => value = bytes,
                _ => {}
            }
        }
        if name.is_empty() {
            return Ok(Err("a label without a name"));
        }
        let limit = usize::try_from(limits.label.0).unwrap_or(usize::MAX);
        if name.len() > limit || value.len() > limit {
            return Ok(Err("a label longer than `prometheus.limits.label`"));
        }
        // An empty value is the same as no label.
        if value.is_empty() {
            return Ok(Ok(()));
        }
        let name_before = labels.before.get(labels.current.len()).map(|pair| pair.name);
        let name = match name_before {
            Some(same) if self.batch.symbol_bytes.get(same.range()) == Some(name) => Some(same),
            _ => self.symbol(name),
        };
        match (name, self.symbol(value)) {
            (Some(name), Some(value)) => {
                labels.current.push(Pair { raw, name, value });
                Ok(Ok(()))
            }
            _ => Ok(Err("a label that is not UTF-8")),
        }
    }

    /// A string's place in the symbol table; none if it is not UTF-8, which is checked when it is
    /// put there.
    #[inline]
    fn symbol(&mut self, text: &[u8]) -> Option<Symbol> {
        let (table, ends) = (&self.batch.symbol_bytes, &self.batch.symbol_ends);
        let hash = self.hasher.hash_one(text);
        let found = self
            .table
            .find(hash, |&id| table.get(Symbol::at(ends, id).range()) == Some(text));
        if let Some(&id) = found {
            return Some(Symbol::at(ends, id));
        }
        std::str::from_utf8(text).ok()?;
        let symbol = Symbol {
            id: u32::try_from(ends.len()).ok()?,
            start: u32::try_from(table.len()).ok()?,
            end: u32::try_from(table.len() + text.len()).ok()?,
        };
        self.batch.symbol_bytes.extend_from_slice(text);
        self.batch.symbol_ends.push(symbol.end);
        let (table, ends, hasher) = (&self.batch.symbol_bytes, &self.batch.symbol_ends, &self.hasher);
        let rehash = |&id: &u32| hasher.hash_one(table.get(Symbol::at(ends, id).range()).unwrap_or_default());
        self.table.insert_unique(hash, symbol.id, rehash);
        Some(symbol)
    }

    #[inline]
    fn sample(&mut self, bytes: &[u8]) -> Result<(), Damaged> {
        let (mut value, mut timestamp) = (0, 0);
        let mut fields = Fields(bytes);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Value::Fixed64(bits)) => value = bits,
                (2, Value::Varint(millis)) => timestamp = millis.cast_signed(),
                _ => {}
            }
        }
        self.batch.timestamps.push(timestamp);
        self.batch.values.push(value);
        Ok(())
    }

    /// Puts the series' labels into the batch, sorted, unless something is wrong with them.
    fn commit_labels(&mut self, labels: &mut Labels<'_>) -> Option<&'static str> {
        let Labels { before, current, .. } = &*labels;
        let ids = |pairs: &[Pair<'_>], ids: &mut Vec<u32>| {
            ids.extend(pairs.iter().flat_map(|pair| [pair.name.id, pair.value.id]));
        };
        let same_name = |(a, b): (&Pair<'_>, &Pair<'_>)| a.name.id == b.name.id;
        if labels.before_is_good && before.len() == current.len() && before.iter().zip(current).all(same_name)
        {
            ids(current, &mut self.batch.labels);
            labels.current_is_good = true;
            return None;
        }
        let symbols = &self.batch.symbol_bytes;
        let name = |pair: &Pair<'_>| symbols.get(pair.name.range()).unwrap_or_default();
        if !current.iter().any(|pair| name(pair) == b"__name__") {
            return Some("no label `__name__`");
        }
        // `current` keeps its order: the next series is compared with it.
        let mut sorted = current.clone();
        sorted.sort_by_key(|pair| name(pair));
        if sorted.iter().zip(sorted.iter().skip(1)).any(same_name) {
            return Some("a label that is there twice");
        }
        ids(&sorted, &mut self.batch.labels);
        labels.current_is_good = current.is_sorted_by_key(name);
        None
    }

    fn refuse(&mut self, reason: &'static str, count: usize, labels: &[Pair<'_>]) {
        *self.refused.samples.entry(reason).or_default() += count as u64;
        if self.refused.first.is_none() {
            let text = |symbol: &Symbol| {
                let bytes = self.batch.symbol_bytes.get(symbol.range()).unwrap_or_default();
                String::from_utf8_lossy(bytes)
                    .chars()
                    .take(64)
                    .collect::<String>()
            };
            let pairs = labels
                .iter()
                .take(8)
                .map(|pair| format!("{}={:?}", text(&pair.name), text(&pair.value)));
            self.refused.first = Some(format!("{{{}}}", pairs.collect::<Vec<_>>().join(", ")));
        }
    }
}

// === impl Symbol ===

impl Symbol {
    /// The symbol of this id.
    #[inline]
    fn at(ends: &[u32], id: u32) -> Self {
        let end = |id: u32| ends.get(id as usize).copied().unwrap_or_default();
        Self {
            id,
            start: end(id.saturating_sub(1)),
            end: end(id),
        }
    }

    /// Where it is in the symbols' bytes.
    #[inline]
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

#[cfg(test)]
mod tests;
