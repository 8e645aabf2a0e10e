//! Native histograms (`tsdb/chunkenc/{histogram,float_histogram,histogram_meta,varbit}.go`). They are
//! written one to a chunk: that needs none of the formats in which Prometheus writes how histograms
//! change, and every reader understands it. Chunks of several are read.

mod read;

pub use read::Histograms;

use crate::{Chunk, Encoding, bits::Writer};

/// The schema of histograms whose buckets have bounds of their own.
pub const CUSTOM_BUCKETS: i32 = -53;

/// A native histogram. Floats are bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Milliseconds since 1970.
    pub time: i64,
    /// What its counter did since the one before.
    pub reset: Reset,
    /// The resolution, or [`CUSTOM_BUCKETS`].
    pub schema: i32,
    /// The width of the zero bucket.
    pub zero_threshold: u64,
    /// The sum of all observations.
    pub sum: u64,
    /// Which buckets of positive observations there are.
    pub positive_spans: Vec<Span>,
    /// Which buckets of negative observations there are.
    pub negative_spans: Vec<Span>,
    /// The upper bounds of custom buckets.
    pub bounds: Vec<u64>,
    /// How much is in the buckets.
    pub counts: Counts,
}

/// What is in the buckets of a histogram, in the order of its spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Whole observations.
    Whole {
        /// All of them.
        count: u64,
        /// Those in the zero bucket.
        zero: u64,
        /// The first positive bucket, and of each other one its difference from the one before.
        positive: Vec<i64>,
        /// The same of negative ones.
        negative: Vec<i64>,
    },
    /// Parts of observations, as bits of floats.
    Float {
        /// All of them.
        count: u64,
        /// Those in the zero bucket.
        zero: u64,
        /// Each positive bucket.
        positive: Vec<u64>,
        /// Each negative one.
        negative: Vec<u64>,
    },
}

/// Some consecutive buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// How many buckets are left out before it.
    pub offset: i32,
    /// How many there are.
    pub length: u32,
}

/// What the counter behind a histogram did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reset {
    /// Nobody said.
    #[default]
    Unknown,
    /// It began anew.
    Yes,
    /// It went on.
    No,
    /// It is none.
    Gauge,
}

impl Default for Counts {
    fn default() -> Self {
        Self::Whole {
            count: 0,
            zero: 0,
            positive: Vec::new(),
            negative: Vec::new(),
        }
    }
}

impl Histogram {
    /// Encodes it as a chunk of one.
    #[must_use]
    pub fn chunk(&self) -> Chunk {
        let mut bits = Writer::default();
        bits.bits(1, 16);
        let reset: u64 = match self.reset {
            Reset::Unknown => 0b00,
            Reset::No => 0b01,
            Reset::Yes => 0b10,
            Reset::Gauge => 0b11,
        };
        bits.bits(reset << 6, 8);
        self.layout(&mut bits);
        signed(&mut bits, self.time);
        let encoding = match &self.counts {
            Counts::Whole {
                count,
                zero,
                positive,
                negative,
            } => {
                unsigned(&mut bits, *count);
                unsigned(&mut bits, *zero);
                bits.bits(self.sum, 64);
                for bucket in positive.iter().chain(negative) {
                    signed(&mut bits, *bucket);
                }
                Encoding::Histogram
            }
            Counts::Float {
                count,
                zero,
                positive,
                negative,
            } => {
                for number in [count, zero, &self.sum]
                    .into_iter()
                    .chain(positive)
                    .chain(negative)
                {
                    bits.bits(*number, 64);
                }
                Encoding::FloatHistogram
            }
        };
        Chunk {
            encoding,
            first: self.time,
            last: self.time,
            bytes: bits.bytes,
        }
    }

    fn layout(&self, bits: &mut Writer) {
        zero_threshold(bits, self.zero_threshold);
        signed(bits, self.schema.into());
        for spans in [&self.positive_spans, &self.negative_spans] {
            unsigned(bits, spans.len() as u64);
            for span in spans {
                unsigned(bits, span.length.into());
                signed(bits, span.offset.into());
            }
        }
        if self.schema == CUSTOM_BUCKETS {
            unsigned(bits, self.bounds.len() as u64);
            for bound in &self.bounds {
                // Bounds of at most three decimals have a shorter form; this one holds all.
                bits.bit(false);
                bits.bits(*bound, 64);
            }
        }
    }
}

/// One byte for 0 and for powers of 2 from 2^-243 to 2^10, else nine.
fn zero_threshold(bits: &mut Writer, threshold: u64) {
    const MANTISSA: u32 = 52;
    let exponent = threshold >> MANTISSA;
    let is_power = threshold.trailing_zeros() >= MANTISSA;
    // In a float 1023 stands for 2^0, and in this byte 244.
    let byte = exponent.checked_sub(1023 - 244);
    match byte {
        _ if threshold == 0 => bits.bits(0, 8),
        Some(byte @ 1..=254) if is_power => bits.bits(byte, 8),
        _ => {
            bits.bits(255, 8);
            bits.bits(threshold, 64);
        }
    }
}

/// Bits of the classes in which integers are written, of which each begins with as many ones as
/// there are smaller classes, and one.
const CLASSES: [u32; 7] = [3, 6, 9, 12, 18, 25, 56];

fn signed(bits: &mut Writer, value: i64) {
    let class = CLASSES.iter().position(|bits| {
        let limit = 1 << (bits - 1);
        (1 - limit..=limit).contains(&value)
    });
    classed(bits, value.cast_unsigned(), class);
}

fn unsigned(bits: &mut Writer, value: u64) {
    let class = CLASSES.iter().position(|bits| value < 1 << bits);
    classed(bits, value, class);
}

fn classed(bits: &mut Writer, value: u64, class: Option<usize>) {
    if value == 0 {
        bits.bit(false);
        return;
    }
    let smaller = class.unwrap_or(CLASSES.len());
    for _ in 0..=smaller {
        bits.bit(true);
    }
    match class.and_then(|class| CLASSES.get(class)) {
        Some(length) => {
            bits.bit(false);
            bits.bits(value, *length);
        }
        None => bits.bits(value, 64),
    }
}
