//! What a tenant may be called. A name becomes a label's value, part of keys in the state, and what
//! backends are told, so it has nothing in it that means something there.

/// Bytes of a name. Backends bound them too: Mimir to 150, a bucket's to 63 and more.
const LENGTH: usize = 64;

/// Why something can't be a tenant's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing.
    #[error("it is empty")]
    Empty,
    /// Too long.
    #[error("it is longer than {LENGTH} bytes")]
    Long,
    /// Not of what names are made of.
    #[error("a tenant's name is letters, digits, `-`, `_` and `.`, with a letter or digit in front")]
    Characters,
    /// More than one place for a name.
    #[error("it has `{{tenant}}` more than once")]
    Twice,
}

/// Whether a tenant may be called this.
pub(crate) fn check(name: &str) -> Result<(), NameError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match name.as_bytes() {
        [] => Err(NameError::Empty),
        bytes if bytes.len() > LENGTH => Err(NameError::Long),
        [first, ..] if !first.is_ascii_alphanumeric() => Err(NameError::Characters),
        bytes if !bytes.iter().copied().all(is_plain) => Err(NameError::Characters),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_short() {
        for good in ["a", "team-red_2.eu", "0", &"a".repeat(64)] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let long = "a".repeat(65);
        for bad in ["", ".", "..", "-a", "a/b", "a|b", "a b", "é", "a\n", "a\0", &long] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
