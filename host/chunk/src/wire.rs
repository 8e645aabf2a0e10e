//! Reads protobuf's wire format from a slice, without copying
//! (<https://protobuf.dev/programming-guides/encoding/>).

/// The body is not what it says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is damaged: {0}")]
pub struct Damaged(pub &'static str);

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// An integer.
    Varint(u64),
    /// 64 bits, of a double mostly.
    Fixed64(u64),
    /// A text, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// 32 bits, which none of the messages here has.
    Fixed32,
}

/// A message that is read field by field.
#[derive(Clone, Debug)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// The next field and its number, or none at the end.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "it fails, and callers end with `?`")]
    pub fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Damaged> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(*self.chunk()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Damaged("a length is too large"))?;
                let Some((bytes, rest)) = self.0.split_at_checked(length) else {
                    return Err(Damaged("it ends within a field"));
                };
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => {
                self.chunk::<4>()?;
                Value::Fixed32
            }
            _ => return Err(Damaged("it has an unknown wire type")),
        };
        match u32::try_from(key >> 3) {
            Ok(0) | Err(_) => Err(Damaged("it has a field of an impossible number")),
            Ok(number) => Ok(Some((number, value))),
        }
    }

    fn chunk<const N: usize>(&mut self) -> Result<&'a [u8; N], Damaged> {
        let (chunk, rest) = self
            .0
            .split_first_chunk()
            .ok_or(Damaged("it ends within a number"))?;
        self.0 = rest;
        Ok(chunk)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Damaged> {
        if let Some((&byte, rest)) = self.0.split_first()
            && byte < 0x80
        {
            self.0 = rest;
            return Ok(u64::from(byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, Damaged> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let Some((&byte, rest)) = self.0.split_first() else {
                return Err(Damaged("it ends within a number"));
            };
            self.0 = rest;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Damaged("a number is longer than 64 bits"))
    }
}

/// The integers of a repeated field: several packed into one, or one.
#[inline]
pub fn varints(value: Value<'_>, mut each: impl FnMut(u64)) -> Result<(), Damaged> {
    match value {
        Value::Varint(value) => each(value),
        Value::Bytes(packed) => {
            let mut packed = Fields(packed);
            while !packed.0.is_empty() {
                each(packed.varint()?);
            }
        }
        Value::Fixed64(_) | Value::Fixed32 => {}
    }
    Ok(())
}

/// The same of numbers of 64 bits.
pub fn fixed64s(value: Value<'_>, mut each: impl FnMut(u64)) -> Result<(), Damaged> {
    match value {
        Value::Fixed64(value) => each(value),
        Value::Bytes(packed) => {
            let (whole, rest) = packed.as_chunks();
            if !rest.is_empty() {
                return Err(Damaged("it ends within a number"));
            }
            for bits in whole {
                each(u64::from_le_bytes(*bits));
            }
        }
        Value::Varint(_) | Value::Fixed32 => {}
    }
    Ok(())
}
