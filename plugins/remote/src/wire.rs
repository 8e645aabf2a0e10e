//! Protobuf's wire format (<https://protobuf.dev/programming-guides/encoding/>), written into a
//! buffer and read from a slice.

/// What came is not the message that it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is damaged: {0}")]
pub struct Damaged(pub &'static str);

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// An integer.
    Varint(u64),
    /// The bits of a `double`, or another number of 64 bits.
    Fixed64(u64),
    /// Text, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// A number of 32 bits. Nothing here has one.
    Fixed32,
}

/// The fields of a message that are not read yet.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// The next field and its number, or none at the end.
    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator of results would go on after an error"
    )]
    pub fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Damaged> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(*self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Damaged("a length is too large"))?;
                let (bytes, rest) = self
                    .0
                    .split_at_checked(length)
                    .ok_or(Damaged("it ends within a field"))?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => {
                self.array::<4>()?;
                Value::Fixed32
            }
            _ => return Err(Damaged("it has an unknown wire type")),
        };
        Ok(Some((key >> 3, value)))
    }

    /// An integer.
    pub fn varint(&mut self) -> Result<u64, Damaged> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(Damaged("it ends within a number"))?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Damaged("a number is longer than 64 bits"))
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Damaged> {
        let (array, rest) = self
            .0
            .split_first_chunk()
            .ok_or(Damaged("it ends within a number"))?;
        self.0 = rest;
        Ok(array)
    }
}

/// Writes an integer.
pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value.to_le_bytes()[0] & 0x7f | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// How many bytes an integer takes.
#[must_use]
pub fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Writes a field that is an integer.
pub fn integer(out: &mut Vec<u8>, number: u8, value: u64) {
    varint(out, u64::from(number) << 3);
    varint(out, value);
}

/// Writes a field that is a `double`, from its bits. A zero is written too: it may be a negative one.
pub fn double(out: &mut Vec<u8>, number: u8, bits: u64) {
    varint(out, u64::from(number) << 3 | 1);
    out.extend(bits.to_le_bytes());
}

/// Writes a field that is text, bytes or a message.
pub fn bytes(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    head(out, number, bytes.len());
    out.extend_from_slice(bytes);
}

/// Writes what comes before so many bytes of a field.
pub fn head(out: &mut Vec<u8>, number: u8, length: usize) {
    varint(out, u64::from(number) << 3 | 2);
    varint(out, length as u64);
}

/// How many bytes a field of bytes takes, if its number is below 16.
#[must_use]
pub fn bytes_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        integer(&mut out, 1, u64::MAX);
        integer(&mut out, 20, 300);
        double(&mut out, 2, 0x7ff0_0000_0000_0002);
        bytes(&mut out, 3, b"text");
        let mut fields = Fields(&out);
        assert_eq!(fields.next(), Ok(Some((1, Value::Varint(u64::MAX)))));
        assert_eq!(fields.next(), Ok(Some((20, Value::Varint(300)))));
        assert_eq!(
            fields.next(),
            Ok(Some((2, Value::Fixed64(0x7ff0_0000_0000_0002))))
        );
        assert_eq!(fields.next(), Ok(Some((3, Value::Bytes(b"text")))));
        assert_eq!(fields.next(), Ok(None));
    }

    #[test]
    fn lengths_are_those_of_what_is_written() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value), "{value}");
        }
        let mut out = Vec::new();
        bytes(&mut out, 15, &[7; 200]);
        assert_eq!(out.len(), bytes_len(200));
    }

    #[test]
    fn what_is_cut_is_damaged() {
        for cut in [
            &b"\x0a"[..],
            b"\x0a\x05abc",
            b"\x09\0\0",
            b"\x08\xff",
            b"\x0b",
            b"\x0d\0",
        ] {
            assert!(Fields(cut).next().is_err(), "{cut:?}");
        }
    }
}
