//! Finding the series of a query by the index.

use std::collections::HashMap;

use regex_lite::Regex;
use witgate_sdk::key_value::KeyValue;
use witgate_sdk::storage::{Failure, MatchOperation, Matcher, Query};

use crate::key::{self, SeriesId, Tenant};
use crate::pages::{PAGE, is_last, pages};
use crate::{failure, labels};

/// Postings that are asked of the space at once to see values that may not match.
const VALUES: u32 = 256;

/// Series whose labels are asked of the space at once.
const SERIES: usize = 256;

/// With so few series left no more postings are looked at.
const FEW: usize = 64;

/// A series that was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) id: SeriesId,
    pub(crate) labels: Vec<u8>,
    /// The days on which it has something, the first one first.
    pub(crate) days: Vec<i64>,
}

/// A matcher, as far as it can be applied here.
struct Test<'q> {
    matcher: &'q Matcher,
    /// None where the gateway has to say.
    regex: Option<Regex>,
}

/// What was found so far.
struct Finding<'q> {
    tests: Vec<Test<'q>>,
    found: Vec<Found>,
    /// Where in `found` a series is, or that it does not match.
    places: HashMap<SeriesId, Option<usize>>,
}

/// The series that match, sorted by their labels.
pub(crate) fn find(space: &impl KeyValue, tenant: Tenant, query: &Query) -> Result<Vec<Found>, Failure> {
    let mut finding = Finding {
        tests: query.matchers.iter().map(Test::of).collect(),
        found: Vec::new(),
        places: HashMap::new(),
    };
    let (mut day, last) = (key::day_of(query.start), key::day_of(query.end));
    while let Some(this) = next_day(space, tenant, day, last)? {
        on_day(space, tenant, this, &mut finding)?;
        let Some(next) = this.checked_add(1) else { break };
        day = next;
    }
    let mut found = finding.found;
    sort(&mut found, query.without.as_deref());
    Ok(found)
}

impl Finding<'_> {
    /// Adds a series that has something on a day, if it matches. Its labels are needed the first time.
    fn add(&mut self, id: SeriesId, day: i64, labels: Option<Vec<u8>>) {
        let place = *self.places.entry(id).or_insert_with(|| {
            let labels = labels?;
            let fits = self.tests.iter().all(|test| test.fits(&labels));
            fits.then(|| {
                let days = Vec::new();
                self.found.push(Found { id, labels, days });
                self.found.len() - 1
            })
        });
        if let Some(found) = place.and_then(|place| self.found.get_mut(place)) {
            found.days.push(day);
        }
    }
}

/// Sorts by labels, of which one does not count.
fn sort(found: &mut [Found], without: Option<&str>) {
    found.sort_unstable_by(|a, b| counting(&a.labels, without).cmp(counting(&b.labels, without)));
}

/// Labels without the one that does not count.
fn counting<'a>(labels: &'a [u8], without: Option<&str>) -> impl Iterator<Item = (&'a str, &'a str)> {
    labels::decode(labels).filter(move |(name, _)| Some(*name) != without)
}

/// The first day from `day` to `last` on which this tenant has anything.
fn next_day(space: &impl KeyValue, tenant: Tenant, mut day: i64, last: i64) -> Result<Option<i64>, Failure> {
    let end = key::end_of(&key::first_day());
    while day <= last {
        let found = space.scan(&key::prefix(day, tenant), &end, 1).map_err(failure)?;
        let Some((on, of)) = found.first().and_then(|entry| key::day_and_tenant(&entry.key)) else {
            return Ok(None);
        };
        if of == tenant {
            return Ok((on <= last).then_some(on));
        }
        day = if of < tenant { on } else { on.saturating_add(1) };
    }
    Ok(None)
}

/// Adds the series of a day that match.
fn on_day(space: &impl KeyValue, tenant: Tenant, day: i64, finding: &mut Finding<'_>) -> Result<(), Failure> {
    let Some(ids) = by_postings(space, tenant, day, &finding.tests)? else {
        return pages(space, &key::all_series(day, tenant), |page| {
            for entry in page {
                if let Some(id) = key::series_at_end(&entry.key) {
                    finding.add(id, day, Some(entry.value));
                }
            }
        });
    };
    let (known, new): (Vec<_>, Vec<_>) = { ids.into_iter() }.partition(|id| finding.places.contains_key(id));
    known.into_iter().for_each(|id| finding.add(id, day, None));
    for ids in new.chunks(SERIES) {
        let keys: Vec<_> = ids.iter().map(|id| key::series(day, tenant, *id)).collect();
        let labels = space.get_many(&keys).map_err(failure)?;
        for (id, labels) in ids.iter().zip(labels) {
            finding.add(*id, day, labels);
        }
    }
    Ok(())
}

/// The series of a day that have the labels that are asked for, in the order of their ids. None where
/// no matcher asks for any.
fn by_postings(
    space: &impl KeyValue,
    tenant: Tenant,
    day: i64,
    tests: &[Test<'_>],
) -> Result<Option<Vec<SeriesId>>, Failure> {
    let mut equal: Vec<_> = tests.iter().filter(|test| test.asks_for_value()).collect();
    // The name says most about a series.
    equal.sort_by_key(|test| test.matcher.name != "__name__");
    let mut ids: Option<Vec<SeriesId>> = None;
    for test in equal {
        if ids.as_ref().is_some_and(|ids| ids.len() <= FEW) {
            break;
        }
        let mut with = Vec::new();
        let postings = key::postings(day, tenant, &test.matcher.name, &test.matcher.value);
        pages(space, &postings, |page| {
            with.extend(page.iter().filter_map(|entry| key::series_at_end(&entry.key)));
        })?;
        ids = Some(match ids {
            None => with,
            Some(ids) => intersection(ids, &with),
        });
    }
    if ids.is_some() {
        return Ok(ids);
    }
    match tests.iter().find(|test| test.asks_for_values()) {
        Some(test) => by_regex(space, tenant, day, test).map(Some),
        None => Ok(None),
    }
}

/// The series of a day whose value of a label matches an expression: each value is looked at once.
fn by_regex(
    space: &impl KeyValue,
    tenant: Tenant,
    day: i64,
    test: &Test<'_>,
) -> Result<Vec<SeriesId>, Failure> {
    let name = test.matcher.name.as_str();
    let beginning = key::postings_of_name(day, tenant, name);
    let (mut from, end) = (beginning.clone(), key::end_of(&beginning));
    let mut limit = VALUES;
    let mut ids = Vec::new();
    loop {
        let page = space.scan(&from, &end, limit).map_err(failure)?;
        let Some(last) = page.last() else { break };
        let mut before = (None, true);
        for entry in &page {
            let value = key::value_in(&entry.key, &beginning);
            if before.0 != value {
                before = (value, value.is_none_or(|value| test.is_match(value)));
            }
            // Of a value that is too long for the key the labels will tell.
            if before.1 || value.is_none() {
                ids.extend(key::series_at_end(&entry.key));
            }
        }
        if is_last(&page, limit) {
            break;
        }
        (from, limit) = match before {
            // However many have it.
            (Some(value), false) => (key::end_of(&key::postings(day, tenant, name, value)), VALUES),
            _ => (key::after(&last.key), PAGE),
        };
    }
    // A series has one value of a label, so none is there twice.
    ids.sort_unstable();
    Ok(ids)
}

/// What two sorted lists have in common.
fn intersection(mut ids: Vec<SeriesId>, others: &[SeriesId]) -> Vec<SeriesId> {
    let mut others = others.iter().peekable();
    ids.retain(|id| {
        while others.next_if(|other| *other < id).is_some() {}
        others.peek() == Some(&id)
    });
    ids
}

impl<'q> Test<'q> {
    fn of(matcher: &'q Matcher) -> Self {
        let is_regex = matches!(
            matcher.operation,
            MatchOperation::Matches | MatchOperation::NotMatches
        );
        let regex = (is_regex && means_the_same_everywhere(&matcher.value))
            .then(|| Regex::new(&format!("^(?s:{})$", matcher.value)).ok())
            .flatten();
        Test { matcher, regex }
    }

    /// Whether only series with one value of a label match.
    fn asks_for_value(&self) -> bool {
        self.matcher.operation == MatchOperation::Equal && !self.matcher.value.is_empty()
    }

    /// Whether only series that have the label match, with values that an expression says.
    fn asks_for_values(&self) -> bool {
        let is_positive = self.matcher.operation == MatchOperation::Matches;
        is_positive && self.regex.as_ref().is_some_and(|regex| !regex.is_match(""))
    }

    fn is_match(&self, value: &str) -> bool {
        self.regex.as_ref().is_none_or(|regex| regex.is_match(value))
    }

    fn fits(&self, encoded: &[u8]) -> bool {
        let value = labels::value_of(encoded, &self.matcher.name);
        match (self.matcher.operation, &self.regex) {
            (MatchOperation::Equal, _) => value == self.matcher.value,
            (MatchOperation::NotEqual, _) => value != self.matcher.value,
            (MatchOperation::Matches, Some(regex)) => regex.is_match(value),
            (MatchOperation::NotMatches, Some(regex)) => !regex.is_match(value),
            (MatchOperation::Matches | MatchOperation::NotMatches, None) => true,
        }
    }
}

/// Whether an expression matches the same here as in the gateway, whose expressions know Unicode: one
/// without classes and flags does. Others are left to the gateway.
fn means_the_same_everywhere(pattern: &str) -> bool {
    let mut rest = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(c) = rest.next() {
        match c {
            '\\' if rest
                .next()
                .is_none_or(|next| next.is_alphanumeric() || !next.is_ascii()) =>
            {
                return false;
            }
            '[' if in_class => return false,
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class && rest.next_if_eq(&'?').is_some() && rest.next() != Some(':') => return false,
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_expressions_are_applied_here() {
        for plain in [
            "",
            "a|b",
            "(?:a|b).*",
            r"10\.0\..+",
            "[a-z_]{1,3}",
            "[^(?i)]+",
            "é+",
        ] {
            assert!(means_the_same_everywhere(plain), "{plain}");
        }
        for other in [
            r"\d+",
            r"\w",
            r"\pL",
            "(?i)a",
            "[[:alpha:]]",
            r"a\",
            r"[\s]",
            "(?i:a)",
            r"\Qa",
        ] {
            assert!(!means_the_same_everywhere(other), "{other}");
        }
    }

    #[test]
    fn what_lists_have_in_common_is_kept() {
        let ids = |ids: &[u64]| ids.iter().map(|id| SeriesId(*id)).collect::<Vec<_>>();
        let common = intersection(ids(&[1, 3, 5, 7]), &ids(&[0, 3, 4, 7, 9]));
        assert_eq!(common, ids(&[3, 7]));
        assert_eq!(intersection(ids(&[1]), &[]), []);
    }

    #[test]
    fn a_label_that_is_taken_out_does_not_count() {
        let encoded = |labels: &[(&str, &str)]| {
            let mut builder = witgate_sdk::storage::BatchBuilder::default();
            builder.series(labels.iter().copied());
            let batch = builder.finish();
            let mut out = Vec::new();
            labels::encode(&batch, &batch.labels, &mut out);
            out
        };
        let [short, long] = [
            encoded(&[("a", "1"), ("tenant", "t")]),
            encoded(&[("a", "1"), ("b", "2"), ("tenant", "t")]),
        ];
        let found = |labels: &Vec<u8>| Found {
            id: SeriesId(0),
            labels: labels.clone(),
            days: Vec::new(),
        };
        for (without, expected) in [(None, [&long, &short]), (Some("tenant"), [&short, &long])] {
            let mut all = [found(&short), found(&long)];
            sort(&mut all, without);
            assert_eq!(all.each_ref().map(|found| &found.labels), expected);
        }
    }
}
