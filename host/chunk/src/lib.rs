//! Prometheus' chunks (`tsdb/chunkenc`), as remote read streams them: floats, and native histograms,
//! which are messages everywhere else.
//!
//! Nothing here allocates by what a chunk claims, and values are bits, so that no payload of a NaN is
//! touched.

mod bits;
pub mod histogram;
pub mod message;
mod trim;
pub mod wire;
mod xor;

pub use trim::trim;
pub use xor::{Appender, Samples};

/// Samples that Prometheus itself puts into one chunk.
pub const SAMPLES: usize = 120;

/// How a chunk is encoded, by the numbers of `prompb.Chunk.Encoding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encoding {
    /// Floats.
    Xor = 1,
    /// Native histograms whose counts are integers.
    Histogram = 2,
    /// Native histograms whose counts are floats.
    FloatHistogram = 3,
}

/// Some samples of one series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// How it is encoded.
    pub encoding: Encoding,
    /// The first sample's time, in milliseconds since 1970.
    pub first: i64,
    /// The last sample's time.
    pub last: i64,
    /// The samples.
    pub bytes: Vec<u8>,
}

impl Encoding {
    /// The encoding of this number.
    #[must_use]
    pub fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Xor),
            2 => Some(Self::Histogram),
            3 => Some(Self::FloatHistogram),
            _ => None,
        }
    }
}

impl Chunk {
    /// How many samples it has: every encoding begins with that.
    #[must_use]
    pub fn count(&self) -> u16 {
        count(&self.bytes)
    }
}

/// How many samples there are in the bytes of a chunk.
#[must_use]
pub fn count(chunk: &[u8]) -> u16 {
    chunk.first_chunk().map_or(0, |count| u16::from_be_bytes(*count))
}

/// A chunk that ends within a sample, or can't be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a chunk ends within a sample")
    }
}

impl std::error::Error for Damaged {}

#[cfg(test)]
mod tests;
