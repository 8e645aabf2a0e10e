//! Spans of time, as the configuration and VictoriaMetrics' flags write them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, de};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// So many milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub(crate) i64);

impl Span {
    pub(crate) fn days(days: i64) -> Self {
        Span(days * DAY)
    }

    /// Reads a number with its unit: `h`, `d`, `w` or `y` (365 days). Without one it is months of 31
    /// days, as VictoriaMetrics has it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (number, unit) = text.split_at(at);
        let unit = match unit {
            "s" => 1000,
            "m" => 60_000,
            "h" => HOUR,
            "d" => DAY,
            "w" => 7 * DAY,
            "y" => 365 * DAY,
            "" => 31 * DAY,
            _ => return None,
        };
        let number: f64 = number.parse().ok().filter(|number| (0.0..1e6).contains(number))?;
        // Less than 2^53: nothing is lost.
        Some(Span((number * unit as f64) as i64))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Span::parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "`{text}` is no time: write `12h`, `31d`, `52w` or `10y`, or a number of months"
            ))
        })
    }
}

/// Milliseconds since 1970-01-01 UTC.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_victoriametrics_reads_them() {
        let cases = [
            ("1", Some(31 * DAY)),
            ("31d", Some(31 * DAY)),
            ("1.5d", Some(36 * HOUR)),
            ("2w", Some(14 * DAY)),
            ("100y", Some(36_500 * DAY)),
            ("", None),
            ("d", None),
            ("1x", None),
            ("-1d", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Span::parse(text).map(|span| span.0), expected, "{text}");
        }
    }
}
