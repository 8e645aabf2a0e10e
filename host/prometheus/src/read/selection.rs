//! One query, checked: what the storage is asked, and what of its answer is wanted.

use witgate_plugins::Query;

use super::ReadError;
use crate::{
    matcher::Matchers,
    proto::{self, LabelMatcher, MatchType},
};

/// What a query wants.
#[derive(Debug)]
pub(super) struct Selection {
    matchers: Matchers,
    /// The first and the last millisecond.
    pub(super) range: (i64, i64),
    pub(super) only_series: bool,
    /// The label that is taken out.
    without: Option<String>,
}

impl Selection {
    pub(super) fn new(query: &proto::Query, label: Option<(&str, &str)>) -> Result<Self, ReadError> {
        // Whoever asks for the label by its value gets it, as from a Prometheus whose own it is. One that
        // asks because it is its own too takes it out itself.
        let is_asked_for = |(name, value): &(&str, &str)| {
            let is = |matcher: &LabelMatcher| {
                matcher.r#type() == MatchType::Eq && matcher.name == *name && matcher.value == *value
            };
            query.matchers.iter().any(is)
        };
        Ok(Self {
            matchers: Matchers::new(&query.matchers, label).map_err(ReadError::Wrong)?,
            range: (query.start_timestamp_ms, query.end_timestamp_ms),
            only_series: query.hints.as_ref().is_some_and(|hints| hints.func == "series"),
            without: { label.filter(|label| !is_asked_for(label)) }.map(|(name, _)| name.to_owned()),
        })
    }

    /// Whether nothing can be found.
    pub(super) fn is_void(&self) -> bool {
        let (start, end) = self.range;
        start > end || self.matchers.is_void
    }

    pub(super) fn query(&self) -> Query {
        Query {
            start: self.range.0,
            end: self.range.1,
            matchers: self.matchers.plain.clone(),
            only_series: self.only_series,
            without: self.without.clone(),
        }
    }

    /// The labels of a series that is wanted.
    pub(super) fn labels<'a>(
        &self,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Option<Vec<(&'a str, &'a str)>> {
        let mut labels: Vec<_> = labels.collect();
        if !self.matchers.hold(&labels) {
            return None;
        }
        if let Some(own) = &self.without {
            labels.retain(|(name, _)| name != own);
        }
        Some(labels)
    }

    /// How much of what is from `first` to `last` is wanted.
    pub(super) fn covers(&self, first: i64, last: i64) -> Cover {
        let (start, end) = self.range;
        if start <= first && last <= end {
            Cover::All
        } else if last < start || end < first {
            Cover::Nothing
        } else {
            Cover::Part
        }
    }
}

/// How much of something is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    Nothing,
    Part,
    All,
}
