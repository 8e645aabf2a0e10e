//! Lower and upper case, one letter for one letter as Go's `strings.ToLower` and `ToUpper` have it.

/// Lower case: of the letters for which Unicode has two, the one for one.
pub(super) fn lower(text: &str) -> String {
    let one = |c: char| match c {
        'İ' => 'i',
        _ => only(c, c.to_lowercase()),
    };
    text.chars().map(one).collect()
}

/// Upper case: letters for which Unicode has none alone stay, as `ß`.
pub(super) fn upper(text: &str) -> String {
    let one = |c: char| match c {
        // Greek with iota below, whose one letter for one is the title case.
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => {
            char::from_u32(u32::from(c) + 8).unwrap_or(c)
        }
        'ᾳ' => 'ᾼ',
        'ῃ' => 'ῌ',
        'ῳ' => 'ῼ',
        _ => only(c, c.to_uppercase()),
    };
    text.chars().map(one).collect()
}

fn only(c: char, mut cased: impl ExactSizeIterator<Item = char>) -> char {
    if cased.len() == 1 {
        cased.next().unwrap_or(c)
    } else {
        c
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_letter_becomes_one_letter() {
        assert_eq!(lower("ÄBC İ ΟΣ Kelvin"), "äbc i οσ kelvin");
        assert_eq!(upper("äbc ß ŉ ᾳ ᾀ ǆ οσς"), "ÄBC ß ŉ ᾼ ᾈ Ǆ ΟΣΣ");
    }
}
