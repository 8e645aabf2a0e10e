//! A stream of bits, the most significant of each byte first (`tsdb/chunkenc/bstream.go`).

/// What a chunk ends with too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short;

/// Writes bits behind what is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
    /// How many bits of the last byte are free.
    free: u32,
}

/// Reads bits.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    /// How many bits are read.
    at: usize,
}

impl Writer {
    pub(crate) fn bit(&mut self, bit: bool) {
        self.bits(u64::from(bit), 1);
    }

    /// Writes the last `count` bits of `value`.
    pub(crate) fn bits(&mut self, value: u64, mut count: u32) {
        while count > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let take = count.min(self.free);
            let part = (value >> (count - take)) & ((1 << take) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= u8::try_from(part << (self.free - take)).unwrap_or_default();
            }
            self.free -= take;
            count -= take;
        }
    }

    /// Seven bits to a byte, the least significant first, as in Go's `binary.PutUvarint`.
    pub(crate) fn uvarint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.bits(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.bits(value, 8);
    }

    /// The sign in the last bit, as in Go's `binary.PutVarint`.
    pub(crate) fn varint(&mut self, value: i64) {
        self.uvarint((value << 1 ^ value >> 63).cast_unsigned());
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bits are left.
    pub(crate) fn left(&self) -> usize {
        (8 * self.bytes.len()).saturating_sub(self.at)
    }

    pub(crate) fn bit(&mut self) -> Result<bool, Short> {
        let byte = self.bytes.get(self.at / 8).ok_or(Short)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit == 1)
    }

    pub(crate) fn bits(&mut self, mut count: u32) -> Result<u64, Short> {
        let mut value = 0;
        while count > 0 {
            let byte = *self.bytes.get(self.at / 8).ok_or(Short)?;
            let left = 8 - u32::try_from(self.at % 8).unwrap_or_default();
            let take = count.min(left);
            let part = u64::from(byte) >> (left - take) & ((1 << take) - 1);
            value = value << take | part;
            self.at += take as usize;
            count -= take;
        }
        Ok(value)
    }

    pub(crate) fn uvarint(&mut self) -> Result<u64, Short> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.bits(8)?;
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Short)
    }

    pub(crate) fn varint(&mut self) -> Result<i64, Short> {
        let value = self.uvarint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }
}
