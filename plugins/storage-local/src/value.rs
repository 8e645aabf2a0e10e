//! What a series has at a time, and chunks of it.

use std::collections::BTreeMap;

use witgate_chunk::histogram::{Histogram, Histograms};
use witgate_chunk::{Appender, Chunk, Damaged, Encoding, SAMPLES, Samples};

/// What a series has at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// The bits of a float.
    Float(u64),
    /// A native histogram.
    Histogram(Box<Histogram>),
}

/// What a series has, by time.
pub(crate) type Values = BTreeMap<i64, Value>;

/// A chunk as the space has it, behind the key: its encoding, its last time, and its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored<'a> {
    pub(crate) encoding: Encoding,
    pub(crate) last: i64,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Stored<'a> {
    pub(crate) fn read(value: &'a [u8]) -> Result<Self, Damaged> {
        let (encoding, rest) = value.split_first().ok_or(Damaged)?;
        let (last, bytes) = rest.split_first_chunk().ok_or(Damaged)?;
        Ok(Stored {
            encoding: Encoding::of(*encoding).ok_or(Damaged)?,
            last: i64::from_be_bytes(*last),
            bytes,
        })
    }

    pub(crate) fn write(chunk: &Chunk) -> Vec<u8> {
        let mut value = Vec::with_capacity(9 + chunk.bytes.len());
        value.push(chunk.encoding as u8);
        value.extend_from_slice(&chunk.last.to_be_bytes());
        value.extend_from_slice(&chunk.bytes);
        value
    }

    /// Whether there is room for more behind it.
    pub(crate) fn is_open(&self) -> bool {
        self.encoding == Encoding::Xor && usize::from(witgate_chunk::count(self.bytes)) < SAMPLES
    }

    /// Adds what is in it to what is there, but not in the place of it.
    pub(crate) fn decode(&self, out: &mut Values) -> Result<(), Damaged> {
        if self.encoding == Encoding::Xor {
            for sample in Samples::of(self.bytes)? {
                let (time, bits) = sample?;
                out.entry(time).or_insert(Value::Float(bits));
            }
            return Ok(());
        }
        for histogram in Histograms::of(self.encoding, self.bytes)? {
            let histogram = histogram?;
            out.entry(histogram.time)
                .or_insert_with(|| Value::Histogram(Box::new(histogram)));
        }
        Ok(())
    }
}

/// Chunks of what there is, by time: at most as many floats in one as Prometheus has in its own.
pub(crate) fn encode<'v>(values: impl IntoIterator<Item = (i64, &'v Value)>) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut open = Appender::default();
    for (time, value) in values {
        let is_full = open.count() == SAMPLES || matches!(value, Value::Histogram(_));
        if is_full && open.count() > 0 {
            chunks.push(std::mem::take(&mut open).finish());
        }
        match value {
            Value::Float(bits) => open.push(time, *bits),
            Value::Histogram(histogram) => chunks.push(histogram.chunk()),
        }
    }
    if open.count() > 0 {
        chunks.push(open.finish());
    }
    chunks
}
