//! Regular expressions as Prometheus reads them: RE2's syntax, as Go's `regexp/syntax` has it.
//!
//! Rust's `regex` has the same engine and nearly the same syntax. What is different is written
//! differently here before it is compiled: `\d`, `\s`, `\w` and `\b` are of ASCII only, a class has no
//! operators, and braces and punctuation are literal where they mean nothing.

use std::{iter::Peekable, str::Chars};

use regex::{Regex, RegexBuilder};

/// What a compiled expression may take. Prometheus' own expressions stay far below.
const BYTES: usize = 1 << 20;

/// The most that Go lets something be repeated.
const REPEATS: u32 = 1000;

const DIGITS: &str = "0-9";
const SPACES: &str = r"\t\n\x0c\r ";
const WORDS: &str = "0-9A-Za-z_";

const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// An expression that a whole text has to match (`labels.NewFastRegexMatcher`, `relabel.NewRegexp`).
pub(crate) fn whole(expression: &str) -> Result<Regex, String> {
    let translated = translate(expression)?;
    RegexBuilder::new(&format!("^(?s:{translated})$"))
        .size_limit(BYTES)
        .build()
        .map_err(|error| error.to_string())
}

fn translate(expression: &str) -> Result<String, String> {
    let mut rest = expression.chars().peekable();
    let mut out = String::with_capacity(expression.len() + 16);
    while let Some(c) = rest.next() {
        match c {
            '\\' => escape(&mut rest, &mut out)?,
            '[' => class(&mut rest, &mut out)?,
            '{' => braces(&mut rest, &mut out)?,
            '(' => group(&mut rest, &mut out)?,
            '}' => literal(c, &mut out),
            _ => out.push(c),
        }
    }
    Ok(out)
}

/// What follows a backslash outside a class.
fn escape(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    match rest.peek() {
        Some('b') => out.push_str(r"(?-u:\b)"),
        Some('B') => out.push_str(r"(?-u:\B)"),
        Some(c @ ('A' | 'z')) => out.extend(['\\', *c]),
        Some('Q') => {
            rest.next();
            while let Some(c) = rest.next() {
                if c == '\\' && rest.peek() == Some(&'E') {
                    rest.next();
                    break;
                }
                literal(c, out);
            }
            return Ok(());
        }
        Some('d' | 's' | 'w' | 'D' | 'S' | 'W' | 'p' | 'P') => {
            return perl(rest, out);
        }
        _ => {
            let c = character(rest)?;
            literal(c, out);
            return Ok(());
        }
    }
    rest.next();
    Ok(())
}

/// A class with a name of one letter, or one of Unicode's, after the backslash.
fn perl(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    let letter = rest.next().unwrap_or_default();
    let members = match letter.to_ascii_lowercase() {
        'd' => DIGITS,
        's' => SPACES,
        'w' => WORDS,
        _ => return unicode(letter, rest, out),
    };
    let not = if letter.is_ascii_uppercase() { "^" } else { "" };
    out.extend(["[", not, members, "]"]);
    Ok(())
}

/// `\pN`, `\p{Greek}`, `\p{^Greek}`.
fn unicode(letter: char, rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    let mut is_negated = letter == 'P';
    let mut name = String::new();
    match rest.next() {
        Some('{') => {
            is_negated ^= rest.next_if_eq(&'^').is_some();
            loop {
                match rest.next() {
                    Some('}') => break,
                    Some(c) if c.is_ascii_alphanumeric() || c == '_' => name.push(c),
                    _ => return Err(format!("\\{letter}{{{name} is no class of characters")),
                }
            }
        }
        Some(c) if c.is_ascii_alphabetic() => name.push(c),
        _ => return Err(format!("\\{letter} needs a class of characters")),
    }
    out.push_str(if is_negated { r"\P{" } else { r"\p{" });
    out.extend([&name, "}"]);
    Ok(())
}

/// The character that an escape means (`parseEscape`).
fn character(rest: &mut Peekable<Chars<'_>>) -> Result<char, String> {
    let c = rest.next().ok_or("a backslash at the end")?;
    let wrong = || format!("the escape \\{c} is not one of RE2's");
    let number = match c {
        'a' => 0x07,
        'f' => 0x0c,
        'n' => 0x0a,
        'r' => 0x0d,
        't' => 0x09,
        'v' => 0x0b,
        'x' => {
            let is_braced = rest.next_if_eq(&'{').is_some();
            let digits = if is_braced { 6 } else { 2 };
            let (mut number, mut count) = (0, 0);
            while count < digits
                && let Some(digit) = rest.peek().and_then(|c| c.to_digit(16))
            {
                rest.next();
                (number, count) = (number * 16 + digit, count + 1);
            }
            let is_ended = if is_braced {
                count > 0 && rest.next() == Some('}')
            } else {
                count == 2
            };
            if !is_ended {
                return Err(wrong());
            }
            number
        }
        // One digit alone would be a reference back, which RE2 has not.
        '0'..='7' if c == '0' || rest.peek().is_some_and(|next| next.is_digit(8)) => {
            let mut number = c.to_digit(8).unwrap_or_default();
            for _ in 0..2 {
                let Some(digit) = rest.peek().and_then(|c| c.to_digit(8)) else {
                    break;
                };
                rest.next();
                number = number * 8 + digit;
            }
            number
        }
        _ if c.is_ascii() && !c.is_ascii_alphanumeric() => return Ok(c),
        _ => return Err(wrong()),
    };
    char::from_u32(number).ok_or_else(wrong)
}

/// What follows a bracket.
fn class(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    out.push('[');
    if rest.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    let mut is_first = true;
    loop {
        let c = *rest.peek().ok_or("a class of characters without its end")?;
        if c == ']' && !is_first {
            rest.next();
            out.push(']');
            return Ok(());
        }
        is_first = false;
        let mut ahead = rest.clone();
        ahead.next();
        match (c, ahead.peek().copied()) {
            ('[', Some(':')) if let Some(name) = posix(&ahead) => {
                if !POSIX.contains(&name.trim_matches([':', '^'])) {
                    return Err(format!("[{name}] is no class of characters"));
                }
                out.extend(["[", &name, "]"]);
                for _ in 0..name.len() + 2 {
                    rest.next();
                }
                continue;
            }
            ('\\', Some('d' | 's' | 'w' | 'D' | 'S' | 'W' | 'p' | 'P')) => {
                rest.next();
                perl(rest, out)?;
                continue;
            }
            _ => {}
        }
        literal(member(rest)?, out);
        let mut ahead = rest.clone();
        if ahead.next() == Some('-') && ahead.peek().is_some_and(|next| *next != ']') {
            rest.next();
            out.push('-');
            literal(member(rest)?, out);
        }
    }
}

/// One character of a class.
fn member(rest: &mut Peekable<Chars<'_>>) -> Result<char, String> {
    match rest.next() {
        Some('\\') => character(rest),
        c => c.ok_or_else(|| "a class of characters without its end".to_owned()),
    }
}

/// `:alpha:`, if that is what follows a bracket.
fn posix(ahead: &Peekable<Chars<'_>>) -> Option<String> {
    let mut name = String::new();
    for c in ahead.clone() {
        match c {
            ']' if name.len() > 2 && name.ends_with(':') => return Some(name),
            ':' | '^' => name.push(c),
            _ if c.is_ascii_alphabetic() => name.push(c),
            _ => return None,
        }
    }
    None
}

/// What follows a brace: how often something is repeated, or else just the brace.
fn braces(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    let ahead: String = rest.clone().take_while(|c| *c != '}').take(16).collect();
    let numbers = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (least, most) = ahead.split_once(',').unwrap_or((&ahead, ""));
    let is_closed = rest.clone().nth(ahead.chars().count()) == Some('}');
    if !is_closed || !numbers(least) || !(most.is_empty() || numbers(most)) {
        literal('{', out);
        return Ok(());
    }
    for number in [least, most].into_iter().filter(|number| !number.is_empty()) {
        if number.parse::<u32>().is_ok_and(|number| number > REPEATS) {
            return Err(format!("{{{ahead}}} repeats more than {REPEATS} times"));
        }
    }
    out.extend(["{", &ahead, "}"]);
    for _ in 0..=ahead.len() {
        rest.next();
    }
    Ok(())
}

/// What follows a parenthesis: flags, of which RE2 has four, or a name.
fn group(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    out.push('(');
    if rest.next_if_eq(&'?').is_none() {
        return Ok(());
    }
    out.push('?');
    if matches!(rest.peek(), Some('P' | '<')) {
        return Ok(());
    }
    for flag in rest.by_ref() {
        match flag {
            'i' | 'm' | 's' | 'U' | '-' => out.push(flag),
            ':' | ')' => {
                out.push(flag);
                return Ok(());
            }
            _ => return Err(format!("the flag {flag:?} is not one of RE2's")),
        }
    }
    Ok(())
}

/// A character that means itself, inside a class and outside.
fn literal(c: char, out: &mut String) {
    // These two mean something with a backslash only.
    if c.is_ascii_punctuation() && !matches!(c, '<' | '>') {
        out.push('\\');
    }
    out.push(c);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_mean_what_they_mean_to_go() {
        let cases = [
            (r"a.c", "a\nc", true),
            (r"foo", "foobar", false),
            (r"foo|foobar", "foobar", true),
            (r"\d+", "12", true),
            (r"\d+", "\u{0661}", false),
            (r"\D", "\u{0661}", true),
            (r"\w+", "é", false),
            (r"[\W]", "é", true),
            (r"\s", "\u{a0}", false),
            (r"\s", "\u{b}", false),
            (r"a\b.*", "aé", true),
            (r"(?i)k", "\u{212a}", true),
            (r"[a[b]+", "[ab", true),
            (r"[a&&b]+", "&ab", true),
            (r"[--a]+", "-A", true),
            (r"[a~~b]+", "~", true),
            (r"[]a]+", "]a", true),
            (r"[^]a]", "b", true),
            (r"[[:alpha:]1]+", "a1", true),
            (r"[[:^alpha:]]", "1", true),
            (r"[\d.-]+", "1.2-3", true),
            (r"a{b}", "a{b}", true),
            (r"a{,2}", "a{,2}", true),
            (r"a{2}", "aa", true),
            (r"a{1,}b{0,1}", "aab", true),
            (r"\<a\>", "<a>", true),
            (r"\_\-\ \/", "_- /", true),
            (r"\Qa.b\E+", "a.bb", true),
            (r"\Qa.b", "a.b", true),
            (r"\x41\x{1F600}\101", "A\u{1F600}A", true),
            (r"\p{Greek}\pL\p{^Greek}\PN", "αaba", true),
            (r"(?P<x>a)(?<y>b)(?:c)", "abc", true),
            (r"(?-s:.)", "\n", false),
            (r"a)|(b", "b", true),
            (r"", "", true),
        ];
        for (expression, text, expected) in cases {
            let regex = whole(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
            assert_eq!(regex.is_match(text), expected, "{expression} {text:?}: {regex}");
        }
    }

    #[test]
    fn what_go_does_not_take_is_refused() {
        for expression in [
            "a(",
            "[a",
            r"\1",
            r"\u0041",
            r"\",
            "(?x)a",
            "(?u:a)",
            "(?=a)",
            "a{1001}",
            r"\pé",
            r"\p{Nowhere}",
            r"[z-a]",
            "*a",
            r"\xg",
            "[[:nothing:]]",
            r"\Z",
        ] {
            assert!(whole(expression).is_err(), "{expression}");
        }
    }

    #[test]
    fn an_expression_is_of_bounded_size() {
        assert!(whole("(a{1000}){1000}").is_err());
    }
}
