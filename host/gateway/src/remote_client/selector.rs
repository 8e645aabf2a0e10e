//! Prometheus' text forms on the command line: `name{label="value"} 21.5` and `name{label=~"re"}`.

use witgate_prometheus::proto::{LabelMatcher, MatchType};

/// A selector, and what stood behind it.
#[derive(Debug, PartialEq)]
pub(crate) struct Parsed {
    pub(crate) matchers: Vec<LabelMatcher>,
    pub(crate) rest: String,
}

/// Reads a selector from the beginning of a text.
pub(crate) fn parse(text: &str) -> Result<Parsed, String> {
    let mut input = Input {
        text,
        rest: text.trim_start(),
    };
    let mut matchers = Vec::new();
    let name = input.name();
    if !name.is_empty() {
        matchers.push(matcher(MatchType::Eq, "__name__", name));
    }
    if input.take("{") {
        while !input.take("}") {
            let name = input.name();
            if name.is_empty() {
                return Err(input.expected("a label's name or `}`"));
            }
            let operation = input.operation()?;
            let value = input.quoted()?;
            matchers.push(matcher(operation, name, &value));
            if !input.take(",") && !input.rest.starts_with('}') {
                return Err(input.expected("`,` or `}`"));
            }
        }
    }
    if matchers.is_empty() {
        return Err(input.expected("a metric's name or `{`"));
    }
    Ok(Parsed {
        matchers,
        rest: input.rest.trim().to_owned(),
    })
}

fn matcher(operation: MatchType, name: &str, value: &str) -> LabelMatcher {
    LabelMatcher {
        r#type: operation.into(),
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

/// What is still to be read of a text.
struct Input<'a> {
    text: &'a str,
    rest: &'a str,
}

// === impl Input ===

impl<'a> Input<'a> {
    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn name(&mut self) -> &'a str {
        let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let end = self.rest.find(|c| !in_name(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        name
    }

    fn operation(&mut self) -> Result<MatchType, String> {
        let operations = [
            ("=~", MatchType::Re),
            ("!~", MatchType::Nre),
            ("!=", MatchType::Neq),
            ("=", MatchType::Eq),
        ];
        for (token, operation) in operations {
            if self.take(token) {
                return Ok(operation);
            }
        }
        Err(self.expected("one of = != =~ !~"))
    }

    fn quoted(&mut self) -> Result<String, String> {
        let Some(inside) = self.rest.strip_prefix('"') else {
            return Err(self.expected("a value in double quotes"));
        };
        let mut value = String::new();
        let mut characters = inside.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = inside.get(at + 1..).unwrap_or_default().trim_start();
                    return Ok(value);
                }
                '\\' => match characters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                    _ => return Err(self.expected("only \\n, \\\" and \\\\ as escapes in a value")),
                },
                other => value.push(other),
            }
        }
        Err(self.expected("a closing quote"))
    }

    fn expected(&self, what: &str) -> String {
        let at = self.text.len() - self.rest.len();
        format!("{:?}, character {}: expected {what}", self.text, at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_and_samples_are_read() {
        let parsed = parse(r#"up{job="a\"b\\c",mode!~"x|y" , } 21.5"#).unwrap();
        let expected = [
            matcher(MatchType::Eq, "__name__", "up"),
            matcher(MatchType::Eq, "job", "a\"b\\c"),
            matcher(MatchType::Nre, "mode", "x|y"),
        ];
        assert_eq!(parsed.matchers, expected);
        assert_eq!(parsed.rest, "21.5");
        assert_eq!(
            parse("up").unwrap().matchers,
            [matcher(MatchType::Eq, "__name__", "up")]
        );
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        let cases = [
            ("", "character 1: expected a metric's name"),
            ("up{", "character 4: expected a label's name"),
            ("up{job}", "character 7: expected one of ="),
            ("up{job=a}", "character 8: expected a value in double quotes"),
            ("up{job=\"a", "expected a closing quote"),
            ("up{job=\"a\" b=\"c\"}", "expected `,` or `}`"),
        ];
        for (text, expected) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{expected:?} is not in: {error}");
        }
    }
}
