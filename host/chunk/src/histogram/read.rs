//! Reading a chunk of histograms: the first one whole, of each other one how its numbers change.

use super::{CLASSES, CUSTOM_BUCKETS, Counts, Histogram, Reset, Span};
use crate::{
    Damaged, Encoding,
    bits::{Reader, Short},
    xor::Window,
};

/// What marks the end of a series in the place of a sum; there are no buckets then.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// The histograms of a chunk.
#[derive(Clone, Debug)]
pub struct Histograms<'a> {
    bits: Reader<'a>,
    left: u16,
    is_first: bool,
    is_float: bool,
    reset: Reset,
    /// The one before, with what all of them have in common.
    last: Histogram,
    interval: i64,
    /// How the counts have changed before, or the windows of their differences.
    count: Change,
    zero: Change,
    sum: Window,
    buckets: Vec<Change>,
}

/// How a number changes.
#[derive(Clone, Copy, Debug, Default)]
struct Change {
    delta: i64,
    window: Window,
}

impl<'a> Histograms<'a> {
    /// Reads a chunk of this encoding.
    pub fn of(encoding: Encoding, chunk: &'a [u8]) -> Result<Self, Damaged> {
        let (count, rest) = chunk.split_first_chunk().ok_or(Damaged)?;
        let (flags, rest) = rest.split_first().ok_or(Damaged)?;
        let is_float = match encoding {
            Encoding::Xor => return Err(Damaged),
            Encoding::Histogram => false,
            Encoding::FloatHistogram => true,
        };
        Ok(Self {
            bits: Reader::new(rest),
            left: u16::from_be_bytes(*count),
            is_first: true,
            is_float,
            reset: match flags >> 6 {
                0b01 => Reset::No,
                0b10 => Reset::Yes,
                0b11 => Reset::Gauge,
                _ => Reset::Unknown,
            },
            last: Histogram::default(),
            interval: 0,
            count: Change::default(),
            zero: Change::default(),
            sum: Window::default(),
            buckets: Vec::new(),
        })
    }

    /// How many bits were not read yet.
    #[cfg(test)]
    pub(crate) fn left_bits(&self) -> usize {
        self.bits.left()
    }

    fn first(&mut self) -> Result<(), Short> {
        let bits = &mut self.bits;
        self.last.zero_threshold = match bits.bits(8)? {
            0 => 0,
            255 => bits.bits(64)?,
            // Powers of 2, see where they are written.
            byte => (byte + 1023 - 244) << 52,
        };
        self.last.schema = i32::try_from(signed(bits)?).map_err(|_| Short)?;
        let (positive_spans, positive) = spans(bits)?;
        let (negative_spans, negative) = spans(bits)?;
        (self.last.positive_spans, self.last.negative_spans) = (positive_spans, negative_spans);
        if self.last.schema == CUSTOM_BUCKETS {
            self.last.bounds = bounds(bits)?;
        }
        let (positive, negative) = (fitting(bits, positive)?, fitting(bits, negative)?);
        self.buckets = vec![Change::default(); positive + negative];
        self.last.time = signed(bits)?;
        if self.is_float {
            let (count, zero) = (bits.bits(64)?, bits.bits(64)?);
            self.last.sum = bits.bits(64)?;
            self.last.counts = Counts::Float {
                count,
                zero,
                positive: (0..positive).map(|_| bits.bits(64)).collect::<Result<_, _>>()?,
                negative: (0..negative).map(|_| bits.bits(64)).collect::<Result<_, _>>()?,
            };
        } else {
            let (count, zero) = (unsigned(bits)?, unsigned(bits)?);
            self.last.sum = bits.bits(64)?;
            self.last.counts = Counts::Whole {
                count,
                zero,
                positive: (0..positive).map(|_| signed(bits)).collect::<Result<_, _>>()?,
                negative: (0..negative).map(|_| signed(bits)).collect::<Result<_, _>>()?,
            };
        }
        Ok(())
    }

    fn next_one(&mut self) -> Result<(), Short> {
        let bits = &mut self.bits;
        let last = &mut self.last;
        self.interval = self.interval.wrapping_add(signed(bits)?);
        last.time = last.time.wrapping_add(self.interval);
        match &mut last.counts {
            Counts::Whole {
                count,
                zero,
                positive,
                negative,
            } => {
                for (number, change) in [(count, &mut self.count), (zero, &mut self.zero)] {
                    *number = number.wrapping_add(change.step(bits)?.cast_unsigned());
                }
                last.sum ^= self.sum.difference(bits)?;
                if last.sum == STALE {
                    return Ok(());
                }
                let buckets = positive.iter_mut().chain(negative);
                for (bucket, change) in buckets.zip(&mut self.buckets) {
                    *bucket = bucket.wrapping_add(change.step(bits)?);
                }
            }
            Counts::Float {
                count,
                zero,
                positive,
                negative,
            } => {
                for (number, change) in [(count, &mut self.count), (zero, &mut self.zero)] {
                    *number ^= change.window.difference(bits)?;
                }
                last.sum ^= self.sum.difference(bits)?;
                if last.sum == STALE {
                    return Ok(());
                }
                let buckets = positive.iter_mut().chain(negative);
                for (bucket, change) in buckets.zip(&mut self.buckets) {
                    *bucket ^= change.window.difference(bits)?;
                }
            }
        }
        Ok(())
    }

    /// The one that was read last, as Prometheus gives it out.
    fn current(&self, is_first: bool) -> Histogram {
        if self.last.sum == STALE {
            let counts = match self.is_float {
                true => Counts::Float {
                    count: 0,
                    zero: 0,
                    positive: Vec::new(),
                    negative: Vec::new(),
                },
                false => Counts::default(),
            };
            return Histogram {
                time: self.last.time,
                sum: STALE,
                counts,
                ..Histogram::default()
            };
        }
        // A chunk says of its first one only whether the counter began anew, and there is a new chunk
        // whenever it does.
        let reset = match self.reset {
            Reset::Gauge => Reset::Gauge,
            _ if !is_first => Reset::No,
            Reset::Yes => Reset::Yes,
            Reset::No | Reset::Unknown => Reset::Unknown,
        };
        Histogram {
            reset,
            ..self.last.clone()
        }
    }
}

impl Iterator for Histograms<'_> {
    type Item = Result<Histogram, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let is_first = std::mem::take(&mut self.is_first);
        let read = if is_first { self.first() } else { self.next_one() };
        match read {
            Ok(()) => Some(Ok(self.current(is_first))),
            Err(Short) => {
                self.left = 0;
                Some(Err(Damaged))
            }
        }
    }
}

impl Change {
    /// Reads how the change changes, and says how the number does.
    fn step(&mut self, bits: &mut Reader<'_>) -> Result<i64, Short> {
        self.delta = self.delta.wrapping_add(signed(bits)?);
        Ok(self.delta)
    }
}

/// Spans, and how many buckets they have.
fn spans(bits: &mut Reader<'_>) -> Result<(Vec<Span>, u64), Short> {
    let count = unsigned(bits)?;
    let count = fitting(bits, count)?;
    let mut buckets = 0;
    let mut spans = Vec::new();
    for _ in 0..count {
        let length = u32::try_from(unsigned(bits)?).map_err(|_| Short)?;
        let offset = i32::try_from(signed(bits)?).map_err(|_| Short)?;
        buckets += u64::from(length);
        spans.push(Span { offset, length });
    }
    Ok((spans, buckets))
}

/// The upper bounds of custom buckets. Those of up to three decimals are written in thousandths.
fn bounds(bits: &mut Reader<'_>) -> Result<Vec<u64>, Short> {
    let count = unsigned(bits)?;
    let mut bounds = Vec::new();
    for _ in 0..fitting(bits, count)? {
        bounds.push(match unsigned(bits)? {
            0 => bits.bits(64)?,
            thousandths => {
                let thousandths = u32::try_from(thousandths - 1).map_err(|_| Short)?;
                (f64::from(thousandths) / 1000.0).to_bits()
            }
        });
    }
    Ok(bounds)
}

/// A number of things, if there can be so many: each takes a bit at the least.
fn fitting(bits: &Reader<'_>, count: u64) -> Result<usize, Short> {
    match usize::try_from(count) {
        Ok(count) if count <= bits.left() => Ok(count),
        _ => Err(Short),
    }
}

fn signed(bits: &mut Reader<'_>) -> Result<i64, Short> {
    let (value, length) = classed(bits)?;
    let value = value.cast_signed();
    // The upper half of a class are negative numbers, but for the middle itself.
    match length {
        1..64 if value > 1 << (length - 1) => Ok(value - (1 << length)),
        _ => Ok(value),
    }
}

fn unsigned(bits: &mut Reader<'_>) -> Result<u64, Short> {
    Ok(classed(bits)?.0)
}

/// A number and how many bits it has.
fn classed(bits: &mut Reader<'_>) -> Result<(u64, u32), Short> {
    if !bits.bit()? {
        return Ok((0, 0));
    }
    let mut class = 0;
    while class < CLASSES.len() && bits.bit()? {
        class += 1;
    }
    let length = CLASSES.get(class).copied().unwrap_or(64);
    Ok((bits.bits(length)?, length))
}
