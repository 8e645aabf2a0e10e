//! A query as a form of VictoriaMetrics' export API.

use form_urlencoded::Serializer;
use witgate_sdk::storage::{MatchOperation, Matcher, Query};

/// The last time that VictoriaMetrics has, in milliseconds: that of its nanoseconds.
const LAST: i64 = 9_223_372_036_854;

/// The form that asks for at least what the query does. None where that is nothing.
pub(crate) fn form(query: &Query) -> Option<String> {
    let (start, end) = (query.start.max(0), query.end.min(LAST));
    if start > end {
        return None;
    }
    let mut form = Serializer::new(String::new());
    form.append_pair("match[]", &selector(&query.matchers))
        .append_pair("start", &seconds(start))
        .append_pair("end", &seconds(end))
        // A cluster may answer with what its nodes that are up have; that is no answer.
        .append_pair("deny_partial_response", "1");
    Some(form.finish())
}

/// Whole seconds and milliseconds: of a number without a point VictoriaMetrics guesses the unit.
fn seconds(milliseconds: i64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

/// The matchers in MetricsQL. One that it has no way to write is left out: the gateway applies it. So is
/// each that asks for the metric's name once more, which MetricsQL takes for a mistake.
fn selector(matchers: &[Matcher]) -> String {
    let is_name =
        |matcher: &&Matcher| matcher.name == "__name__" && matcher.operation == MatchOperation::Equal;
    let names = matchers.iter().filter(is_name).take(1);
    let others = matchers.iter().filter(|matcher| !is_name(matcher));
    let filters: Vec<_> = names.chain(others).filter_map(filter).collect();
    match filters.is_empty() {
        true => "{__name__!=\"\"}".to_owned(),
        false => format!("{{{}}}", filters.join(",")),
    }
}

fn filter(matcher: &Matcher) -> Option<String> {
    let name = name(&matcher.name)?;
    let value = &matcher.value;
    Some(match matcher.operation {
        MatchOperation::Equal => format!("{name}={}", quoted(value)),
        MatchOperation::NotEqual => format!("{name}!={}", quoted(value)),
        MatchOperation::Matches => format!("{name}=~{}", quoted(&dotted(value))),
        MatchOperation::NotMatches => format!("{name}!~{}", quoted(&dotted(value))),
    })
}

/// A label's name. `__graphite__` is not one in MetricsQL, but another way to find series.
fn name(name: &str) -> Option<String> {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name == "__graphite__" || name.is_empty() || name.contains(char::is_control) {
        return None;
    }
    match name.bytes().all(is_letter) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        true => Some(name.to_owned()),
        false => Some(format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))),
    }
}

/// In Prometheus a dot is a line break too.
fn dotted(pattern: &str) -> String {
    match pattern {
        // These VictoriaMetrics knows without a regular expression.
        ".*" | ".+" => pattern.to_owned(),
        _ if pattern.contains('.') => format!("(?s:{pattern})"),
        _ => pattern.to_owned(),
    }
}

/// Text as Go writes it between quotes.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(name: &str, operation: MatchOperation, value: &str) -> Matcher {
        Matcher {
            name: name.into(),
            operation,
            value: value.into(),
        }
    }

    #[test]
    fn matchers_become_filters() {
        use MatchOperation::{Equal, Matches, NotEqual, NotMatches};
        let cases = [
            (matcher("__name__", Equal, "up"), r#"{__name__="up"}"#),
            (matcher("job", NotEqual, ""), r#"{job!=""}"#),
            (matcher("job", Matches, "a|b"), r#"{job=~"a|b"}"#),
            (matcher("job", Matches, "a.*"), r#"{job=~"(?s:a.*)"}"#),
            (matcher("job", NotMatches, ".+"), r#"{job!~".+"}"#),
            (
                matcher("a b", Equal, "c\"} or {x=\"\\\n\u{1}"),
                r#"{"a b"="c\"} or {x=\"\\\n\u0001"}"#,
            ),
            (matcher("a\"}\\", Equal, "c"), r#"{"a\"}\\"="c"}"#),
            (matcher("é", Equal, "ü"), "{\"é\"=\"ü\"}"),
            (matcher("a\nb", Equal, "c"), r#"{__name__!=""}"#),
            (matcher("__graphite__", Equal, "*"), r#"{__name__!=""}"#),
        ];
        for (matcher, expected) in cases {
            assert_eq!(selector(&[matcher]), expected);
        }
        let two = [matcher("a", Equal, "b"), matcher("c", NotMatches, "d")];
        assert_eq!(selector(&two), r#"{a="b",c!~"d"}"#);
        let names = [
            matcher("a", Equal, "b"),
            matcher("__name__", Equal, "up"),
            matcher("__name__", Matches, "u.*"),
            matcher("__name__", Equal, "down"),
        ];
        assert_eq!(selector(&names), r#"{__name__="up",a="b",__name__=~"(?s:u.*)"}"#);
    }

    #[test]
    fn times_are_those_that_victoriametrics_has() {
        let form = |start, end| {
            let query = Query {
                start,
                end,
                matchers: vec![matcher("a", MatchOperation::Equal, "b")],
                only_series: false,
                without: None,
            };
            form(&query)
        };
        let expected = "match%5B%5D=%7Ba%3D%22b%22%7D&start=1.002&end=1800000000.100&deny_partial_response=1";
        assert_eq!(form(1002, 1_800_000_000_100).as_deref(), Some(expected));
        assert!(
            form(i64::MIN, i64::MAX)
                .unwrap()
                .contains("start=0.000&end=9223372036.854&")
        );
        assert_eq!(form(i64::MIN, -1), None);
        assert_eq!(form(2, 1), None);
    }
}
