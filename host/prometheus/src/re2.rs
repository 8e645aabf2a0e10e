//! Regular expressions as Prometheus reads them: RE2 in Go's reading (`regexp/syntax`, with the flags
//! `Perl | DotNL`), which have to match a whole text.
//!
//! The crate `regex` is RE2's heir and reads most of them the same way. Where it does not, the
//! expression is rewritten: to it `\d`, `\w`, `\s` and `\b` are of all of Unicode, `{` alone is an
//! error, `[` and `&&` in a class begin another one, and it has no `\Q…\E`. What Go refuses is refused,
//! so that no expression means one thing to a Prometheus and another to the gateway.

use regex::{Regex, RegexBuilder};

/// What a compiled expression may take. Prometheus' own expressions stay far below.
const BYTES: usize = 1 << 20;

/// How often a repetition may repeat, as in RE2.
const REPEATS: u32 = 1000;

/// How deep groups may be in each other, which is as deep as `regex` takes them.
const DEPTH: usize = 200;

/// Classes that are written `[:name:]`.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// An expression that a whole text has to match (`labels.NewFastRegexMatcher`, `relabel.NewRegexp`).
pub(crate) fn whole(expression: &str) -> Result<Regex, String> {
    let rewritten = Reader::new(expression).expression()?;
    RegexBuilder::new(&rewritten)
        .size_limit(BYTES)
        .build()
        .map_err(|error| error.to_string())
}

/// Reads an expression and writes it as `regex` has to read it.
struct Reader<'a> {
    rest: &'a str,
    out: String,
    depth: usize,
    /// Whether what was read last repeats what is before it: that can't be repeated again.
    is_repeated: bool,
}

impl<'a> Reader<'a> {
    fn new(expression: &'a str) -> Self {
        Self {
            rest: expression,
            out: String::with_capacity(expression.len() + 16),
            depth: 0,
            is_repeated: false,
        }
    }

    fn expression(mut self) -> Result<String, String> {
        self.out.push_str("^(?s:");
        while let Some(c) = self.next() {
            let was_repeated = std::mem::take(&mut self.is_repeated);
            match c {
                '(' => self.group()?,
                ')' => {
                    self.depth = self.depth.checked_sub(1).ok_or("a `)` without its `(`")?;
                    self.out.push(')');
                }
                '[' => self.class()?,
                '\\' => self.escape()?,
                '*' | '+' | '?' => self.repeat(c.encode_utf8(&mut [0; 4]), was_repeated)?,
                '{' => match self.bounds()? {
                    Some(bounds) => self.repeat(&bounds, was_repeated)?,
                    None => self.out.push_str("\\{"),
                },
                '|' | '^' | '$' | '.' => self.out.push(c),
                _ => self.literal(c),
            }
        }
        if self.depth > 0 {
            return Err("a `(` without its `)`".to_owned());
        }
        self.out.push_str(")$");
        Ok(self.out)
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = self.rest.get(c.len_utf8()..).unwrap_or_default();
        Some(c)
    }

    fn skip(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn literal(&mut self, c: char) {
        self.out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    }

    /// What follows a `(`.
    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        if self.skip("?P<") || self.skip("?<") {
            let (name, rest) = self.rest.split_once('>').ok_or("a name that does not end")?;
            if name.is_empty()
                || !name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            {
                return Err(format!("a group can't have the name {name:?}"));
            }
            self.out.push_str("?P<");
            self.out.push_str(name);
            self.out.push('>');
            self.rest = rest;
        } else if self.skip("?") {
            self.out.push('?');
            loop {
                match self.next() {
                    Some(c @ ('i' | 'm' | 's' | 'U' | '-')) => self.out.push(c),
                    Some(':') => break self.out.push(':'),
                    Some(')') => {
                        self.out.push(')');
                        return Ok(());
                    }
                    Some(c) => return Err(format!("`(?{c}` is no group of RE2")),
                    None => return Err("a group that does not end".to_owned()),
                }
            }
        }
        self.depth += 1;
        match self.depth > DEPTH {
            true => Err(format!("over {DEPTH} groups in each other")),
            false => Ok(()),
        }
    }

    fn repeat(&mut self, operator: &str, is_repeated: bool) -> Result<(), String> {
        if is_repeated {
            return Err(format!("`{operator}` repeats a repetition"));
        }
        self.out.push_str(operator);
        if self.skip("?") {
            self.out.push('?');
        }
        self.is_repeated = true;
        Ok(())
    }

    /// The bounds of a repetition, whose `{` is read; none if it stands for itself.
    fn bounds(&mut self) -> Result<Option<String>, String> {
        let Some((inside, rest)) = self.rest.split_once('}') else {
            return Ok(None);
        };
        let number = |text: &str| {
            let is_number = !text.is_empty()
                && text.bytes().all(|digit| digit.is_ascii_digit())
                && (text == "0" || !text.starts_with('0'));
            is_number.then(|| text.parse().unwrap_or(u32::MAX))
        };
        let (low, high) = match inside.split_once(',') {
            None => (number(inside), number(inside)),
            Some((low, "")) => (number(low), number(low)),
            Some((low, high)) => (number(low), number(high)),
        };
        let (Some(low), Some(high)) = (low, high) else {
            return Ok(None);
        };
        if low > high || high > REPEATS {
            return Err(format!(
                "`{{{inside}}}` repeats too often, or less than it repeats"
            ));
        }
        self.rest = rest;
        Ok(Some(format!("{{{inside}}}")))
    }

    /// What follows a `\`, outside of a class.
    fn escape(&mut self) -> Result<(), String> {
        if self.skip("Q") {
            let (literal, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
            self.out.push_str(&regex::escape(literal));
            self.rest = rest;
            return Ok(());
        }
        for (letter, written) in [
            ("A", r"\A"),
            ("z", r"\z"),
            ("b", r"(?-u:\b)"),
            ("B", r"(?-u:\B)"),
            ("E", ""),
        ] {
            if self.skip(letter) {
                self.out.push_str(written);
                return Ok(());
            }
        }
        if let Some(set) = self.set()? {
            self.out.push('[');
            self.out.push_str(&set);
            self.out.push(']');
            return Ok(());
        }
        let c = self.character()?;
        self.literal(c);
        Ok(())
    }

    /// A class of characters whose `\` is read, as it stands between brackets; none if it is a
    /// character.
    fn set(&mut self) -> Result<Option<String>, String> {
        for (letter, written) in [
            ("d", "0-9"),
            ("D", "[^0-9]"),
            ("w", "0-9A-Za-z_"),
            ("W", "[^0-9A-Za-z_]"),
            ("s", r"\t\n\f\r "),
            ("S", r"[^\t\n\f\r ]"),
        ] {
            if self.skip(letter) {
                return Ok(Some(written.to_owned()));
            }
        }
        let mut is_without = if self.skip("p") {
            false
        } else if self.skip("P") {
            true
        } else {
            return Ok(None);
        };
        let end = "a Unicode class that does not end";
        let name = if self.skip("{") {
            let (name, rest) = self.rest.split_once('}').ok_or(end)?;
            self.rest = rest;
            name.to_owned()
        } else {
            self.next().ok_or(end)?.to_string()
        };
        let name = name.strip_prefix('^').map_or(name.as_str(), |name| {
            is_without = !is_without;
            name
        });
        if name.is_empty()
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Err(format!("there is no Unicode class {name:?}"));
        }
        let letter = if is_without { 'P' } else { 'p' };
        Ok(Some(format!("\\{letter}{{{name}}}")))
    }

    /// The character that an escape stands for whose `\` is read.
    fn character(&mut self) -> Result<char, String> {
        let c = self.next().ok_or("a `\\` at the end")?;
        Ok(match c {
            'a' => '\x07',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            'x' => return self.hexadecimal(),
            '0'..='7' => return self.octal(c),
            _ if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
            _ => return Err(format!("`\\{c}` stands for nothing")),
        })
    }

    fn hexadecimal(&mut self) -> Result<char, String> {
        let wrong = "`\\x` is followed by two digits, or by some in braces";
        let digits = if self.skip("{") {
            let (digits, rest) = self.rest.split_once('}').ok_or(wrong)?;
            self.rest = rest;
            digits
        } else {
            let (digits, rest) = self.rest.split_at_checked(2).ok_or(wrong)?;
            self.rest = rest;
            digits
        };
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong.to_owned());
        }
        let code = u32::from_str_radix(digits, 16).ok();
        code.and_then(char::from_u32).ok_or_else(|| wrong.to_owned())
    }

    /// Up to three octal digits: one alone that is not 0 refers back, which RE2 does not have.
    fn octal(&mut self, first: char) -> Result<char, String> {
        let mut code = first.to_digit(8).unwrap_or_default();
        let mut digits = 1;
        while digits < 3
            && let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8))
        {
            self.next();
            code = code * 8 + digit;
            digits += 1;
        }
        match digits == 1 && first != '0' {
            true => Err("RE2 has no references to groups".to_owned()),
            false => char::from_u32(code).ok_or_else(String::new),
        }
    }

    /// What follows a `[`.
    fn class(&mut self) -> Result<(), String> {
        const END: &str = "a `[` without its `]`";
        self.out.push('[');
        if self.skip("^") {
            self.out.push('^');
        }
        let mut is_first = true;
        while is_first || !self.skip("]") {
            is_first = false;
            if self.rest.starts_with("[:")
                && let Some((name, rest)) = self.rest.split_once(":]")
            {
                // `regex` takes a name that it does not know for characters.
                let letters = name.strip_prefix("[:").unwrap_or_default();
                let letters = letters.strip_prefix('^').unwrap_or(letters);
                if !POSIX.contains(&letters) {
                    return Err(format!("there is no class {letters:?}"));
                }
                self.out.push_str(name);
                self.out.push_str(":]");
                self.rest = rest;
                continue;
            }
            let low = match self.next().ok_or(END)? {
                '\\' => match self.set()? {
                    Some(set) => {
                        self.out.push_str(&set);
                        continue;
                    }
                    None => self.character()?,
                },
                c => c,
            };
            self.code(low);
            // The last `-` stands for itself.
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1 {
                self.next();
                let high = match self.next().ok_or(END)? {
                    '\\' => self.character()?,
                    c => c,
                };
                self.out.push('-');
                self.code(high);
            }
        }
        self.out.push(']');
        Ok(())
    }

    /// A character as it means itself everywhere.
    fn code(&mut self, c: char) {
        self.out.push_str(&format!("\\x{{{:x}}}", u32::from(c)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_go_reads_them() {
        let cases = [
            (r"\d+", "12", "٣"),
            (r"\D", "٣", "3"),
            (r"\w+", "a_1", "é"),
            (r"\W", "é", "e"),
            (r"\s", "\t", "\u{a0}"),
            (r"\S", "\u{a0}", " "),
            (r"[\d\s]+", "1 2", "٣"),
            (r"[^\D]", "3", "٣"),
            (r"é\b.*", "éa", "é"),
            (r"a\Bb", "ab", "a b"),
            ("a.b", "a\nb", "acbc"),
            ("a{", "a{", "a"),
            ("a{,2}", "a{,2}", "aa"),
            ("a{2}", "aa", "a{2}"),
            ("a{01}", "a{01}", "a"),
            ("{}", "{}", ""),
            (r"[[]", "[", "]"),
            (r"[a[b]", "[", "]"),
            (r"[]a]", "]", "b"),
            (r"[^]a]", "b", "]"),
            (r"[a&&b]+", "&ab", "c"),
            (r"[+--]", ",", "a"),
            (r"[a-]+", "-a", "b"),
            (r"[\]-a]", "^", "b"),
            (r"[[:alpha:]-]", "-", "1"),
            (r"[^[:^digit:]]", "1", "a"),
            (r"\Qa.b(\E+", "a.b((", "axb("),
            (r"\Q[", "[", "Q["),
            (r"\x41\x{e9}\101\0", "AéA\0", "A"),
            (r"\_\<\-", "_<-", "_-"),
            (r"(?i)k\w", "\u{212a}k", "é"),
            ("(?i:A)b", "ab", "aB"),
            ("(?P<n>a)(?<m>b)", "ab", "a"),
            ("a|b", "b", "ab"),
            ("foo", "foo", "foobar"),
            ("", "", "a"),
            (r"\pL\p{Greek}\P{L}\p{^L}", "aα11", "aa11"),
            ("#a b", "#a b", "ab"),
            ("a]}", "a]}", "a"),
        ];
        for (expression, matches, other) in cases {
            let compiled = whole(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
            assert!(
                compiled.is_match(matches),
                "{expression} {matches:?} {}",
                compiled.as_str()
            );
            assert!(
                !compiled.is_match(other),
                "{expression} {other:?} {}",
                compiled.as_str()
            );
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        let cases = [
            "a)|(?s:.*",
            "a)",
            "(a",
            "a**",
            "a+{2}",
            "a{2}{2}",
            "*",
            "(*a)",
            "a|*",
            "a{1001}",
            "a{2,1}",
            "(?x)a",
            "(?u)a",
            "(?=a)",
            "(?",
            r"\1",
            r"\y",
            r"\Z",
            r"\é",
            r"\C",
            "\\",
            "[",
            "[]",
            "[a",
            "[b-a]",
            "[a--b]",
            r"[a-\d]",
            "[[:nothing:]]",
            "[[:^^alpha:]]",
            r"\p{Nothing}",
            r"\p{L=a}",
            r"\p",
            r"\x4",
            r"\x{110000}",
            "((a{1000}){1000}){1000}",
        ];
        for expression in cases {
            assert!(whole(expression).is_err(), "{expression}");
        }
        let deep = "(".repeat(100_000) + &")".repeat(100_000);
        assert!(whole(&deep).is_err());
    }
}
