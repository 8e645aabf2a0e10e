//! Blocks: samples as they were written, of the series of one shard.
//!
//! ```text
//! base        8 bytes    the time that the others are told from
//! then for each series:
//! series      8 bytes
//! count       varint     twice the number of its samples, and one more if they are histograms
//! for each:   varint     its time as the difference from the base, its sign in the last bit
//!             8 bytes    of a float its bits
//!             varint, bytes   of a histogram the length of its message, and the message
//! ```

use witgate_chunk::message;

use crate::key::SeriesId;
use crate::value::Value;

/// A block that is being made.
#[derive(Debug, Default)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    base: i64,
}

/// The samples of a block, one after the other.
#[derive(Debug)]
pub(crate) struct Entries<'a> {
    rest: &'a [u8],
    base: i64,
    series: SeriesId,
    left: u64,
    histograms: bool,
}

/// One sample of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) series: SeriesId,
    pub(crate) time: i64,
    data: Data<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Data<'a> {
    Float(u64),
    Message(&'a [u8]),
}

impl Block {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes, of which nothing is left.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    fn series(&mut self, series: SeriesId, first: i64, count: usize, histograms: bool) {
        if self.bytes.is_empty() {
            self.base = first;
            self.bytes.extend_from_slice(&first.to_le_bytes());
        }
        self.bytes.extend_from_slice(&series.0.to_le_bytes());
        self.varint((count as u64) << 1 | u64::from(histograms));
    }

    /// Adds some samples of a series, at least one.
    pub(crate) fn floats(&mut self, series: SeriesId, times: &[i64], bits: &[u64]) {
        let Some(first) = times.first() else { return };
        self.series(series, *first, times.len(), false);
        for (time, bits) in times.iter().zip(bits) {
            self.time(*time);
            self.bytes.extend_from_slice(&bits.to_le_bytes());
        }
    }

    /// Adds a histogram of a series.
    pub(crate) fn histogram(&mut self, series: SeriesId, time: i64, message: &[u8]) {
        self.series(series, time, 1, true);
        self.time(time);
        self.varint(message.len() as u64);
        self.bytes.extend_from_slice(message);
    }

    fn time(&mut self, time: i64) {
        let difference = time.wrapping_sub(self.base);
        self.varint((difference << 1 ^ difference >> 63).cast_unsigned());
    }

    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.bytes.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.bytes.push(value.to_le_bytes()[0]);
    }
}

impl<'a> Entries<'a> {
    pub(crate) fn of(block: &'a [u8]) -> Self {
        let (base, rest) = block.split_first_chunk().unwrap_or((&[0; 8], &[]));
        Entries {
            rest,
            base: i64::from_le_bytes(*base),
            series: SeriesId(0),
            left: 0,
            histograms: false,
        }
    }

    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*chunk)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    /// The next one. Blocks are written here only, so one that ends too early is at its end.
    fn next(&mut self) -> Option<Entry<'a>> {
        while self.left == 0 {
            self.series = SeriesId(u64::from_le_bytes(self.chunk()?));
            let count = self.varint()?;
            (self.left, self.histograms) = (count >> 1, count & 1 == 1);
        }
        self.left -= 1;
        let difference = self.varint()?;
        let difference = (difference >> 1).cast_signed() ^ -(difference & 1).cast_signed();
        let data = if self.histograms {
            let length = usize::try_from(self.varint()?).ok()?;
            let (message, rest) = self.rest.split_at_checked(length)?;
            self.rest = rest;
            Data::Message(message)
        } else {
            Data::Float(u64::from_le_bytes(self.chunk()?))
        };
        Some(Entry {
            series: self.series,
            time: self.base.wrapping_add(difference),
            data,
        })
    }
}

impl Entry<'_> {
    /// What the series has at that time. Messages were read before they were written.
    pub(crate) fn value(&self) -> Option<Value> {
        match self.data {
            Data::Float(bits) => Some(Value::Float(bits)),
            Data::Message(bytes) => {
                let mut histogram = message::parse(bytes).ok()?;
                histogram.time = self.time;
                Some(Value::Histogram(Box::new(histogram)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use witgate_chunk::histogram::Histogram;

    use super::*;

    #[test]
    fn what_goes_into_a_block_comes_out() {
        let histogram = Histogram {
            time: 1_700_000_000_001,
            ..Histogram::default()
        };
        let mut block = Block::default();
        assert!(block.is_empty());
        block.floats(
            SeriesId(9),
            &[1_700_000_000_000, 5, i64::MAX, i64::MIN],
            &[1, u64::MAX, 3, 4],
        );
        block.histogram(SeriesId(u64::MAX), histogram.time, &message::write(&histogram));
        block.floats(SeriesId(9), &[-1], &[7]);
        let bytes = block.take();
        let found: Vec<_> = Entries::of(&bytes)
            .map(|entry| (entry.series.0, entry.time, entry.value().unwrap()))
            .collect();
        assert_eq!(
            found,
            [
                (9, 1_700_000_000_000, Value::Float(1)),
                (9, 5, Value::Float(u64::MAX)),
                (9, i64::MAX, Value::Float(3)),
                (9, i64::MIN, Value::Float(4)),
                (u64::MAX, histogram.time, Value::Histogram(Box::new(histogram))),
                (9, -1, Value::Float(7)),
            ]
        );
        for length in 0..bytes.len() {
            assert!(Entries::of(&bytes[..length]).count() < found.len());
        }
    }
}
