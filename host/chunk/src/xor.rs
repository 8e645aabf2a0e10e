//! Floats (`tsdb/chunkenc/xor.go`): the change of the interval between timestamps, and of each value
//! what differs from the one before.

use crate::{
    Chunk, Damaged,
    bits::{Reader, Short, Writer},
};

/// Bits of the classes in which a changed interval is written, each with how it begins.
const CLASSES: [(u64, u32, u32); 3] = [(0b10, 2, 14), (0b110, 3, 17), (0b1110, 4, 20)];

/// Builds a chunk, sample by sample.
#[derive(Clone, Debug, Default)]
pub struct Appender {
    bits: Writer,
    count: u16,
    first: i64,
    time: i64,
    delta: u64,
    value: u64,
    window: Option<Window>,
}

/// Which bits of the difference are written: all but so many at both ends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    leading: u32,
    trailing: u32,
}

/// The samples of a chunk.
#[derive(Clone, Debug)]
pub struct Samples<'a> {
    bits: Reader<'a>,
    left: u16,
    read: u16,
    time: i64,
    delta: u64,
    value: u64,
    window: Window,
}

impl Appender {
    /// Adds a sample, whose time must be after the one before.
    pub fn push(&mut self, time: i64, value: u64) {
        let delta = time.wrapping_sub(self.time).cast_unsigned();
        match self.count {
            0 => {
                self.first = time;
                self.bits.varint(time);
                self.bits.bits(value, 64);
            }
            1 => {
                self.bits.uvarint(delta);
                self.difference(value);
            }
            _ => {
                self.interval(delta.wrapping_sub(self.delta).cast_signed());
                self.difference(value);
            }
        }
        (self.time, self.delta, self.value) = (time, delta, value);
        self.count += 1;
    }

    /// How many samples there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.into()
    }

    /// Bytes that they take so far.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bits.bytes.len()
    }

    /// The last one's time.
    #[must_use]
    pub fn last(&self) -> i64 {
        self.time
    }

    /// The chunk.
    #[must_use]
    pub fn finish(self) -> Chunk {
        let mut bytes = Vec::with_capacity(2 + self.bits.bytes.len());
        bytes.extend(self.count.to_be_bytes());
        bytes.extend(self.bits.bytes);
        Chunk {
            encoding: crate::Encoding::Xor,
            first: self.first,
            last: self.time,
            bytes,
        }
    }

    fn interval(&mut self, change: i64) {
        if change == 0 {
            self.bits.bit(false);
            return;
        }
        for (prefix, length, bits) in CLASSES {
            let limit = 1 << (bits - 1);
            if (1 - limit..=limit).contains(&change) {
                self.bits.bits(prefix, length);
                self.bits.bits(change.cast_unsigned(), bits);
                return;
            }
        }
        self.bits.bits(0b1111, 4);
        self.bits.bits(change.cast_unsigned(), 64);
    }

    fn difference(&mut self, value: u64) {
        let difference = value ^ self.value;
        if difference == 0 {
            self.bits.bit(false);
            return;
        }
        self.bits.bit(true);
        // The number of zeros in front is written in 5 bits.
        let leading = difference.leading_zeros().min(31);
        let trailing = difference.trailing_zeros();
        if let Some(window) = self.window
            && leading >= window.leading
            && trailing >= window.trailing
        {
            self.bits.bit(false);
            self.bits.bits(
                difference >> window.trailing,
                64 - window.leading - window.trailing,
            );
            return;
        }
        self.window = Some(Window { leading, trailing });
        let significant = 64 - leading - trailing;
        self.bits.bit(true);
        self.bits.bits(leading.into(), 5);
        // 64 does not fit in 6 bits; nothing that differs has 0.
        self.bits.bits((significant % 64).into(), 6);
        self.bits.bits(difference >> trailing, significant);
    }
}

impl Window {
    /// Reads what differs from the value before.
    pub(crate) fn difference(&mut self, bits: &mut Reader<'_>) -> Result<u64, Short> {
        if !bits.bit()? {
            return Ok(0);
        }
        if bits.bit()? {
            let leading = u32::try_from(bits.bits(5)?).unwrap_or_default();
            let significant = match u32::try_from(bits.bits(6)?).unwrap_or_default() {
                0 => 64,
                significant => significant,
            };
            let trailing = 64_u32.checked_sub(leading + significant).ok_or(Short)?;
            *self = Self { leading, trailing };
        }
        Ok(bits.bits(64 - self.leading - self.trailing)? << self.trailing)
    }
}

impl<'a> Samples<'a> {
    /// Reads a chunk of floats.
    pub fn of(chunk: &'a [u8]) -> Result<Self, Damaged> {
        let (count, rest) = chunk.split_first_chunk().ok_or(Damaged)?;
        Ok(Self {
            bits: Reader::new(rest),
            left: u16::from_be_bytes(*count),
            read: 0,
            time: 0,
            delta: 0,
            value: 0,
            window: Window::default(),
        })
    }

    fn sample(&mut self) -> Result<(i64, u64), Short> {
        match self.read {
            0 => {
                self.time = self.bits.varint()?;
                self.value = self.bits.bits(64)?;
            }
            1 => {
                self.delta = self.bits.uvarint()?;
                self.step()?;
            }
            _ => {
                let change = self.change()?;
                self.delta = self.delta.wrapping_add(change.cast_unsigned());
                self.step()?;
            }
        }
        Ok((self.time, self.value))
    }

    fn step(&mut self) -> Result<(), Short> {
        self.time = self.time.wrapping_add(self.delta.cast_signed());
        self.value ^= self.window.difference(&mut self.bits)?;
        Ok(())
    }

    fn change(&mut self) -> Result<i64, Short> {
        let mut ones = 0;
        while ones < 4 && self.bits.bit()? {
            ones += 1;
        }
        let bits = match ones {
            0 => return Ok(0),
            4 => return Ok(self.bits.bits(64)?.cast_signed()),
            ones => CLASSES.get(ones - 1).map_or(14, |(_, _, bits)| *bits),
        };
        let read = self.bits.bits(bits)?.cast_signed();
        Ok(if read > 1 << (bits - 1) {
            read - (1 << bits)
        } else {
            read
        })
    }
}

impl Iterator for Samples<'_> {
    type Item = Result<(i64, u64), Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let sample = self.sample();
        self.read = self.read.saturating_add(1);
        if sample.is_err() {
            self.left = 0;
        }
        Some(sample.map_err(|Short| Damaged))
    }
}
