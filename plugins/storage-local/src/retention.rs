//! For how long samples are kept, and removing them afterwards.

use serde::{Deserialize, Deserializer, de};
use witgate_sdk::key_value::{Change, KeyValue};
use witgate_sdk::storage::Failure;

use crate::failure;
use crate::key::{self, DAY};

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// How much longer than samples are taken a day is kept, so that nobody writes into a day that
/// somebody else is removing.
const MARGIN: i64 = HOUR;

/// Keys that one write removes at the most. More than a usual write adds, so that removing keeps up.
const STEP: u32 = 4096;

/// For how long samples are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Always.
    Forever,
    /// For so many milliseconds.
    Milliseconds(i64),
}

/// A text that is no [`Retention`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time to keep samples for: write `15d`, `12h`, `1y` or `forever`")]
pub struct RetentionError(String);

impl Retention {
    /// Reads a number with its unit: `s`, `m`, `h`, `d`, `w` or `y` (365 days).
    pub fn parse(text: &str) -> Result<Self, RetentionError> {
        let wrong = || RetentionError(text.to_owned());
        if text == "forever" {
            return Ok(Self::Forever);
        }
        let (number, unit) = text
            .split_at_checked(text.len().saturating_sub(1))
            .ok_or_else(wrong)?;
        let unit = match unit {
            "s" => SECOND,
            "m" => MINUTE,
            "h" => HOUR,
            "d" => DAY,
            "w" => 7 * DAY,
            "y" => 365 * DAY,
            _ => return Err(wrong()),
        };
        let number: u32 = number.parse().map_err(|_| wrong())?;
        match i64::from(number).checked_mul(unit) {
            Some(time) if time > 0 => Ok(Self::Milliseconds(time)),
            _ => Err(wrong()),
        }
    }

    /// The first moment of which samples are still taken.
    pub(crate) fn oldest(self, now: i64) -> i64 {
        match self {
            Self::Forever => i64::MIN,
            Self::Milliseconds(time) => now.saturating_sub(time),
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self::Milliseconds(15 * DAY)
    }
}

impl<'de> Deserialize<'de> for Retention {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// The first day that is kept when samples before `oldest` are not taken any more.
pub(crate) fn first_kept(oldest: i64) -> i64 {
    key::day_of(oldest.saturating_sub(MARGIN))
}

/// Removes days, a piece with each write.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// The last day that is gone, and how far the one after it is.
    gone: Option<i64>,
    reached: Vec<u8>,
}

impl Sweep {
    /// Removes up to [`STEP`] keys of days that ended before `oldest`.
    pub(crate) fn step(&mut self, space: &impl KeyValue, oldest: i64) -> Result<(), Failure> {
        if oldest == i64::MIN {
            return Ok(());
        }
        let first_kept = first_kept(oldest);
        if self.gone.is_some_and(|gone| gone >= first_kept - 1) {
            return Ok(());
        }
        let end = key::day(first_kept);
        let from = self.reached.clone().max(key::first_day());
        let found = space.scan(&from, &end, STEP).map_err(failure)?;
        let Some(last) = found.last() else {
            self.gone = Some(first_kept - 1);
            return Ok(());
        };
        self.reached.clone_from(&last.key);
        let changes: Vec<_> = found.into_iter().map(|entry| Change::Delete(entry.key)).collect();
        space.commit(&changes).map_err(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_number_and_a_unit() {
        assert_eq!(Retention::parse("15d"), Ok(Retention::Milliseconds(15 * DAY)));
        assert_eq!(Retention::parse("2h"), Ok(Retention::Milliseconds(2 * HOUR)));
        assert_eq!(Retention::parse("forever"), Ok(Retention::Forever));
        for wrong in ["", "d", "0d", "-1d", "15", "15 d", "1.5d", "15é"] {
            assert_eq!(Retention::parse(wrong), Err(RetentionError(wrong.to_owned())));
        }
    }
}
