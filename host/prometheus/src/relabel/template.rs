//! A text with `$1` and `${name}` in it, as Go's `Regexp.Expand` reads it.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What an expression's match is put into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

impl Template {
    /// Reads a template. A group that the expression has not is empty, and a `$` without a name is one.
    pub(super) fn new(text: &str, regex: &Regex) -> Self {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            plain.push_str(before);
            rest = after;
            if let Some(after) = after.strip_prefix('$') {
                plain.push('$');
                rest = after;
            } else if let Some((name, after)) = name(after) {
                rest = after;
                if let Some(group) = group(name, regex) {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                    parts.push(Part::Group(group));
                }
            } else {
                plain.push('$');
            }
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        Self(parts)
    }

    pub(super) fn expand(&self, found: &Captures<'_>) -> String {
        let mut out = String::new();
        for part in &self.0 {
            out.push_str(match part {
                Part::Text(text) => text,
                Part::Group(group) => found.get(*group).map_or("", |group| group.as_str()),
            });
        }
        out
    }
}

/// As many letters, digits and underscores as there are, by Go's `unicode.IsLetter` and `IsDigit`: `²` and
/// `Ⅻ` are neither.
static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^[\p{L}\p{Nd}_]+").ok());

/// The name behind a `$`, and what follows it.
fn name(text: &str) -> Option<(&str, &str)> {
    let (is_braced, inner) = match text.strip_prefix('{') {
        Some(inner) => (true, inner),
        None => (false, text),
    };
    let name = NAME.as_ref()?.find(inner)?;
    let (name, rest) = inner.split_at(name.end());
    let rest = if is_braced { rest.strip_prefix('}')? } else { rest };
    Some((name, rest))
}

/// The group of a name: a number, unless it begins with a needless 0.
fn group(name: &str, regex: &Regex) -> Option<usize> {
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    if is_number && name.len() < 9 {
        return name.parse().ok();
    }
    regex.capture_names().position(|own| own == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_read_as_go_reads_it() {
        let regex = Regex::new("^(a+)(?P<b>b*)(c)?$").unwrap();
        let found = regex.captures("aab").unwrap();
        let cases = [
            ("$1", "aa"),
            ("${1}x", "aax"),
            ("$1x", ""),
            ("$b-$1", "b-aa"),
            ("${b}$2", "bb"),
            ("$0", "aab"),
            ("$3|$4|$nobody", "||"),
            ("$$1", "$1"),
            ("$", "$"),
            ("a$", "a$"),
            ("$-", "$-"),
            ("${1", "${1"),
            ("${}", "${}"),
            ("${1-}", "${1-}"),
            ("$01", ""),
            ("$1²", "aa²"),
            ("$é|$Ⅻ", "|$Ⅻ"),
            ("", ""),
        ];
        for (template, expected) in cases {
            assert_eq!(
                Template::new(template, &regex).expand(&found),
                expected,
                "{template}"
            );
        }
    }
}
