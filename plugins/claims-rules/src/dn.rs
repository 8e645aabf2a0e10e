//! Distinguished names as RFC 4514 writes them.

/// The value of the first CN in a distinguished name, unescaped. None where the text is not a
/// distinguished name, or has no CN.
pub(crate) fn first_cn(text: &str) -> Option<String> {
    let mut found = None;
    for attribute in split(text)? {
        let (kind, value) = attribute.split_once('=')?;
        let kind = kind.trim();
        if kind.is_empty() {
            return None;
        }
        let value = unescape(value.trim_start_matches(' '))?;
        // 2.5.4.3 is the CN's object identifier (RFC 4519 section 2.3).
        if found.is_none() && (kind.eq_ignore_ascii_case("cn") || kind == "2.5.4.3") && !value.is_empty() {
            found = Some(value);
        }
    }
    found
}

/// The attributes, cut at every `,` and `+` that no backslash precedes.
fn split(text: &str) -> Option<Vec<&str>> {
    let mut attributes = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' | b'+' => {
                attributes.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    attributes.push(&text[start..]);
    (!escaped).then_some(attributes)
}

/// A value without its escapes (RFC 4514 section 2.4): a backslash before a special character, or
/// before two hexadecimal digits that are one byte of UTF-8. Unescaped spaces at the end are not
/// part of it. None for a value in BER (`#04…`), and for anything that is not UTF-8 in the end.
fn unescape(value: &str) -> Option<String> {
    if value.starts_with('#') {
        return None;
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut meant = 0;
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            if byte != b' ' {
                meant = bytes.len();
            }
            continue;
        }
        let next = rest.next()?;
        let unescaped = match next {
            b' ' | b'"' | b'#' | b'+' | b',' | b';' | b'<' | b'=' | b'>' | b'\\' => next,
            _ => hex(next)? << 4 | hex(rest.next()?)?,
        };
        bytes.push(unescaped);
        meant = bytes.len();
    }
    bytes.truncate(meant);
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::first_cn;

    #[test]
    fn finds_the_first_cn() {
        let cases = [
            ("cn=platform,ou=groups,dc=example,dc=org", Some("platform")),
            ("CN=Platform Team, OU=Groups, DC=example", Some("Platform Team")),
            ("ou=a,cn=b,cn=c", Some("b")),
            ("ou=a+cn=b,dc=c", Some("b")),
            ("2.5.4.3=b,dc=c", Some("b")),
            (r"cn=a\,b\+c,dc=d", Some("a,b+c")),
            (r"cn=a\2Cb,dc=d", Some("a,b")),
            (r"cn=Lu\C4\8Di\C4\87", Some("Lučić")),
            (r"cn=\20a\ ,dc=d", Some(" a ")),
            ("cn=a  ,dc=d", Some("a")),
            (r"cn=a\\,cn=b", Some(r"a\")),
            ("cn=a=b,dc=c", Some("a=b")),
        ];
        for (text, expected) in cases {
            assert_eq!(first_cn(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn anything_else_is_not_a_name_with_a_cn() {
        let cases = [
            "platform",
            "",
            "ou=a,dc=b",
            "cn=",
            "cn=a,b",
            r"cn=a\",
            r"cn=a\zz",
            r"cn=\FF",
            "cn=#0401",
            "=a,cn=b",
        ];
        for text in cases {
            assert_eq!(first_cn(text), None, "{text}");
        }
    }
}
