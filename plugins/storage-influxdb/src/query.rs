//! A query as InfluxQL.

use std::fmt::Write as _;

use witgate_sdk::storage::{MatchOperation, Matcher, Query};

use crate::lines::MAX_TIMESTAMP;
use crate::server::{Place, identifier, literal};

/// Names that mean something else than a tag in a condition. No series has a label `time`, and for
/// the others the gateway applies the matcher.
const RESERVED: [&str; 6] = ["time", "_name", "_fieldKey", "_tagKey", "_seriesKey", "_field"];

/// The statement that finds at least what the query asks for. None where that is nothing.
pub(crate) fn statement(place: &Place, query: &Query) -> Option<String> {
    let start = query.start.max(-MAX_TIMESTAMP);
    let end = query.end.min(MAX_TIMESTAMP);
    if start > end {
        return None;
    }
    let by_name = by_name(&query.matchers);
    let measurement = match by_name.map(|matcher| (matcher.operation, matcher.value.as_str())) {
        // Every series has a name.
        Some((MatchOperation::Equal, "")) => return None,
        // A name that begins with `_` may be one of InfluxDB's own sources, such as `_series`.
        Some((MatchOperation::Equal, name)) if unspeakable(name) || name.starts_with('_') => {
            regex(&quoted(name))
        }
        Some((MatchOperation::Equal, name)) => identifier(name),
        Some((_, pattern)) => regex(pattern),
        None => "/.*/".to_owned(),
    };
    let policy = place
        .retention_policy
        .as_ref()
        .map(|policy| format!("{}.", identifier(policy)));
    // The casts tell the fields from tags of the same name.
    let mut statement = format!(
        "SELECT \"value\"::float,\"vb\"::integer FROM {}{measurement} WHERE time >= {start}ms AND time <= {end}ms",
        policy.unwrap_or_default()
    );
    let others = query
        .matchers
        .iter()
        .filter(|matcher| !by_name.is_some_and(|by_name| std::ptr::eq(*matcher, by_name)));
    let speakable =
        |matcher: &&Matcher| !RESERVED.contains(&matcher.name.as_str()) && !unspeakable(&matcher.name);
    for matcher in others.filter(speakable) {
        let (operator, value) = match matcher.operation {
            MatchOperation::Equal if unspeakable(&matcher.value) => ("=~", regex(&quoted(&matcher.value))),
            MatchOperation::NotEqual if unspeakable(&matcher.value) => ("!~", regex(&quoted(&matcher.value))),
            MatchOperation::Equal => ("=", literal(&matcher.value)),
            MatchOperation::NotEqual => ("!=", literal(&matcher.value)),
            MatchOperation::Matches => ("=~", regex(&matcher.value)),
            MatchOperation::NotMatches => ("!~", regex(&matcher.value)),
        };
        // Writing to a String can't fail.
        let _ = write!(
            statement,
            " AND {}::tag {operator} {value}",
            identifier(&matcher.name)
        );
    }
    statement.push_str(" GROUP BY *");
    Some(statement)
}

/// The matcher that says which measurements to look at.
fn by_name(matchers: &[Matcher]) -> Option<&Matcher> {
    let find = |operation| {
        matchers
            .iter()
            .find(|matcher| matcher.name == "__name__" && matcher.operation == operation)
    };
    find(MatchOperation::Equal).or_else(|| find(MatchOperation::Matches))
}

/// Whether InfluxQL has no way to write a text between quotes: it reads a carriage return as a line
/// break, and NUL as the end of the statement.
fn unspeakable(text: &str) -> bool {
    text.contains(['\r', '\0'])
}

/// A pattern that matches just this text.
fn quoted(text: &str) -> String {
    let special = |c: char| c.is_ascii_punctuation() && c != '_';
    text.chars().fold(String::new(), |mut out, c| {
        out.extend(special(c).then_some('\\'));
        out.push(c);
        out
    })
}

/// A pattern as InfluxQL writes it, anchored: InfluxDB before 1.8 does not anchor, and for later
/// ones it makes no difference. In Prometheus a dot is a line break too.
fn regex(pattern: &str) -> String {
    let mut out = String::from("/^(?s:");
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                out.push('\\');
                out.extend(chars.next());
            }
            '/' => out.push_str("\\/"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\x00"),
            c => out.push(c),
        }
    }
    out.push_str(")$/");
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

    fn of(matchers: Vec<Matcher>) -> Option<String> {
        let place = Place {
            database: "db".into(),
            retention_policy: None,
        };
        let statement = statement(
            &place,
            &Query {
                start: 1,
                end: 2,
                only_series: false,
                without: None,
                matchers,
            },
        )?;
        let statement = statement.strip_prefix(r#"SELECT "value"::float,"vb"::integer FROM "#)?;
        Some(
            statement
                .replace("time >= 1ms AND time <= 2ms", "T")
                .strip_suffix(" GROUP BY *")?
                .to_owned(),
        )
    }

    #[test]
    fn matchers_become_conditions_on_tags() {
        use MatchOperation::{Equal, Matches, NotEqual, NotMatches};
        let up = || matcher("__name__", Equal, "up");
        let cases = [
            (vec![up()], r#""up" WHERE T"#),
            (
                vec![matcher("job", Equal, "it's"), up()],
                r#""up" WHERE T AND "job"::tag = 'it\'s'"#,
            ),
            (
                vec![up(), matcher("job", NotEqual, "")],
                r#""up" WHERE T AND "job"::tag != ''"#,
            ),
            (
                vec![up(), matcher("path", Matches, r"/a\/b|c\.d")],
                r#""up" WHERE T AND "path"::tag =~ /^(?s:\/a\/b|c\.d)$/"#,
            ),
            (vec![matcher("__name__", Matches, "a|b")], "/^(?s:a|b)$/ WHERE T"),
            (
                vec![matcher("__name__", Matches, "u.*"), up()],
                r#""up" WHERE T AND "__name__"::tag =~ /^(?s:u.*)$/"#,
            ),
            (
                vec![matcher("__name__", NotMatches, "a")],
                r#"/.*/ WHERE T AND "__name__"::tag !~ /^(?s:a)$/"#,
            ),
            (
                vec![matcher("job", Equal, "a")],
                r#"/.*/ WHERE T AND "job"::tag = 'a'"#,
            ),
            (
                vec![up(), matcher("time", NotEqual, "x"), matcher("_name", Equal, "y")],
                r#""up" WHERE T"#,
            ),
        ];
        for (matchers, expected) in cases {
            assert_eq!(of(matchers).as_deref(), Some(expected));
        }
    }

    #[test]
    fn text_cannot_leave_its_quotes() {
        use MatchOperation::{Equal, Matches};
        let evil = [
            matcher("__name__", Equal, "a\" WHERE 1=1 --"),
            matcher("x\"::tag", Equal, "a' OR 'b'='b\\"),
            matcher("y", Matches, "a/ OR /b\\"),
        ];
        let expected = r#""a\" WHERE 1=1 --" WHERE T AND "x\"::tag"::tag = 'a\' OR \'b\'=\'b\\' AND "y"::tag =~ /^(?s:a\/ OR \/b\)$/"#;
        assert_eq!(of(evil.to_vec()).as_deref(), Some(expected));
    }

    #[test]
    fn what_cannot_exist_is_not_asked_for() {
        let empty_name = matcher("__name__", MatchOperation::Equal, "");
        assert_eq!(of(vec![empty_name]), None);
        let place = Place {
            database: "db".into(),
            retention_policy: Some("rp".into()),
        };
        let backwards = Query {
            start: 2,
            end: 1,
            only_series: false,
            without: None,
            matchers: vec![],
        };
        assert_eq!(statement(&place, &backwards), None);
        let everything = Query {
            start: i64::MIN,
            end: i64::MAX,
            only_series: false,
            without: None,
            matchers: vec![],
        };
        let statement = statement(&place, &everything).unwrap();
        assert!(
            statement
                .contains(r#"FROM "rp"./.*/ WHERE time >= -9223372036854ms AND time <= 9223372036854ms"#)
        );
    }
}
