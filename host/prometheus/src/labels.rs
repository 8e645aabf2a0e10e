//! Looks at the series of a batch or of chunks.

use witgate_chunk::Encoding;
use witgate_plugins::{Batch, Chunks};

/// The series of a batch, one after the other.
#[derive(Debug)]
pub(crate) struct SeriesIter<'a> {
    batch: &'a Batch,
    next: usize,
}

/// One series of a batch.
#[derive(Clone, Debug)]
pub(crate) struct SeriesRef<'a> {
    batch: &'a Batch,
    labels: &'a [u32],
    timestamps: &'a [i64],
    values: &'a [u64],
    histograms: std::ops::Range<usize>,
}

/// One series of chunks.
#[derive(Clone, Debug)]
pub(crate) struct ChunksRef<'a> {
    of: &'a Chunks,
    labels: &'a [u32],
    chunks: std::ops::Range<usize>,
}

/// One chunk of a series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkRef<'a> {
    pub(crate) encoding: Encoding,
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) bytes: &'a [u8],
}

impl<'a> SeriesIter<'a> {
    pub(crate) fn new(batch: &'a Batch) -> Self {
        Self { batch, next: 0 }
    }
}

impl<'a> Iterator for SeriesIter<'a> {
    type Item = SeriesRef<'a>;

    fn next(&mut self) -> Option<SeriesRef<'a>> {
        let batch = self.batch;
        let between = |ends: &[u32]| between(ends, self.next);
        let (labels, samples) = (between(&batch.label_ends)?, between(&batch.sample_ends)?);
        let histograms = between(&batch.histograms.ends).unwrap_or_default();
        self.next += 1;
        Some(SeriesRef {
            batch,
            labels: batch.labels.get(labels)?,
            timestamps: batch.timestamps.get(samples.clone())?,
            values: batch.values.get(samples)?,
            histograms,
        })
    }
}

impl<'a> SeriesRef<'a> {
    /// Names and values, sorted by name.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        labels(&self.batch.symbol_bytes, &self.batch.symbol_ends, self.labels)
    }

    /// Milliseconds and bits.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (i64, u64)> + use<'a> {
        self.timestamps.iter().copied().zip(self.values.iter().copied())
    }

    /// Milliseconds and messages.
    pub(crate) fn histograms(&self) -> impl Iterator<Item = (i64, &'a [u8])> + use<'a> {
        let histograms = &self.batch.histograms;
        let end = |at: usize| histograms.message_ends.get(at).map_or(0, |&end| end as usize);
        self.histograms.clone().filter_map(move |at| {
            let message = histograms
                .messages
                .get(at.checked_sub(1).map_or(0, end)..end(at))?;
            Some((*histograms.timestamps.get(at)?, message))
        })
    }
}

impl<'a> ChunksRef<'a> {
    /// The series, one after the other.
    pub(crate) fn all(of: &'a Chunks) -> impl Iterator<Item = Self> {
        (0..of.label_ends.len()).filter_map(move |index| {
            Some(Self {
                of,
                labels: of.labels.get(between(&of.label_ends, index)?)?,
                chunks: between(&of.ends, index)?,
            })
        })
    }

    /// Names and values, sorted by name.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        labels(&self.of.symbol_bytes, &self.of.symbol_ends, self.labels)
    }

    /// The chunks, by time.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = ChunkRef<'a>> + use<'a> {
        let of = self.of;
        self.chunks.clone().filter_map(move |at| {
            Some(ChunkRef {
                encoding: Encoding::of(*of.encodings.get(at)?)?,
                first: *of.firsts.get(at)?,
                last: *of.lasts.get(at)?,
                bytes: of.bytes.get(between(&of.byte_ends, at)?)?,
            })
        })
    }
}

/// The part of a column that ends at `ends[index]`.
fn between(ends: &[u32], index: usize) -> Option<std::ops::Range<usize>> {
    let start = index.checked_sub(1).and_then(|before| ends.get(before));
    Some(start.copied().unwrap_or(0) as usize..*ends.get(index)? as usize)
}

fn labels<'a>(
    bytes: &'a [u8],
    ends: &'a [u32],
    labels: &'a [u32],
) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
    let text = move |symbol: u32| {
        let end = |symbol: usize| ends.get(symbol).map_or(0, |&end| end as usize);
        let symbol = symbol as usize;
        let bytes = bytes.get(end(symbol.saturating_sub(1))..end(symbol));
        std::str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
    };
    { labels.as_chunks().0.iter() }.map(move |&[name, value]| (text(name), text(value)))
}
