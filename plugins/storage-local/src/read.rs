//! Finding series and giving out their samples.

use std::collections::VecDeque;

use witgate_sdk::key_value::{Entry, KeyValue};
use witgate_sdk::storage::{
    self, BatchBuilder, Cursor, Failure, Histogram, MatchOperation, Matcher, Query, Sample,
};

use crate::key::{self, DAY, SeriesId, Tenant};
use crate::{failure, labels};

/// Pairs that are asked of the space at once.
const PAGE: u32 = 4096;

/// Series whose labels are asked of the space at once.
const SERIES: usize = 256;

/// What a query found: series after series, each through all its days.
#[derive(Debug)]
pub struct Series<K> {
    space: K,
    tenant: Tenant,
    start: i64,
    end: i64,
    /// Series and days that are left, in order.
    left: VecDeque<(SeriesId, i64)>,
    /// The series that is being given out.
    labels: Option<(SeriesId, Vec<u8>)>,
    /// How far its current day is.
    reached: Option<Vec<u8>>,
}

/// A piece of the answer that is being put together.
struct Piece {
    batch: BatchBuilder,
    /// The series that was begun last.
    series: Option<SeriesId>,
    /// For how many samples more.
    room: u32,
}

impl<K: KeyValue> Series<K> {
    /// Finds the series that match on each day of the query.
    pub(crate) fn find(space: K, tenant: Tenant, query: &Query) -> Result<Self, Failure> {
        let mut left = Vec::new();
        if query.start <= query.end {
            let (mut day, last) = (key::day_of(query.start).0, key::day_of(query.end).0);
            while let Some(found) = next_day(&space, tenant, day, last)? {
                series_of_day(&space, tenant, found, &query.matchers, &mut left)?;
                day = found + 1;
            }
        }
        left.sort_unstable();
        Ok(Series {
            space,
            tenant,
            start: query.start,
            end: query.end,
            left: left.into(),
            labels: None,
            reached: None,
        })
    }

    /// Adds samples, and then histograms, of the day in front until there are enough. Says whether
    /// that day is through.
    fn day(&mut self, id: SeriesId, day: i64, piece: &mut Piece) -> Result<bool, Failure> {
        let reached = self.reached.take();
        let kinds = [
            key::samples(day, self.tenant, id),
            key::histograms(day, self.tenant, id),
        ];
        for beginning in kinds {
            let end = match key::day_of(self.end) {
                (last, within) if last == day => key::at(&beginning, within + 1),
                _ => key::end_of(&beginning),
            };
            let start = match key::day_of(self.start) {
                (first, within) if first == day => key::at(&beginning, within),
                _ => beginning,
            };
            let mut from = start.max(reached.clone().unwrap_or_default());
            while from < end {
                if piece.room == 0 {
                    self.reached = Some(from);
                    return Ok(false);
                }
                let found = self
                    .space
                    .scan(&from, &end, PAGE.min(piece.room))
                    .map_err(failure)?;
                let Some(last) = found.last() else { break };
                from = after(&last.key);
                if piece.series != Some(id) {
                    let encoded = self.labels_of(id, day)?;
                    piece.batch.series(labels::decode(&encoded));
                    piece.series = Some(id);
                    self.labels = Some((id, encoded));
                }
                for entry in &found {
                    piece.add(day, entry);
                }
            }
        }
        Ok(true)
    }

    fn labels_of(&mut self, id: SeriesId, day: i64) -> Result<Vec<u8>, Failure> {
        match self.labels.take() {
            Some((same, labels)) if same == id => Ok(labels),
            _ => {
                let key = key::series(day, self.tenant, id);
                let mut found = self.space.get_many(&[key]).map_err(failure)?;
                Ok(found.pop().flatten().unwrap_or_default())
            }
        }
    }
}

impl<K: KeyValue + 'static> Cursor for Series<K> {
    fn next(&mut self, samples: u32) -> Result<Option<storage::Piece>, Failure> {
        let mut piece = Piece {
            batch: BatchBuilder::default(),
            series: None,
            room: samples.max(1),
        };
        while let Some(&(id, day)) = self.left.front() {
            if !self.day(id, day, &mut piece)? {
                break;
            }
            self.left.pop_front();
        }
        Ok((piece.batch.sample_count() > 0).then(|| piece.batch.finish().into()))
    }
}

/// The first day from `day` to `last` on which this tenant has anything.
fn next_day(space: &impl KeyValue, tenant: Tenant, mut day: i64, last: i64) -> Result<Option<i64>, Failure> {
    while day <= last {
        let found = space.scan(&key::prefix(day, tenant), &[], 1).map_err(failure)?;
        let Some((on, of)) = found.first().and_then(|entry| key::day_and_tenant(&entry.key)) else {
            return Ok(None);
        };
        if of == tenant {
            return Ok((on <= last).then_some(on));
        }
        day = if of < tenant { on } else { on + 1 };
    }
    Ok(None)
}

/// The series of a day that match, as far as that can be said without regular expressions: those are
/// the gateway's to apply.
fn series_of_day(
    space: &impl KeyValue,
    tenant: Tenant,
    day: i64,
    matchers: &[Matcher],
    out: &mut Vec<(SeriesId, i64)>,
) -> Result<(), Failure> {
    let equal = |matcher: &&Matcher| matcher.operation == MatchOperation::Equal && !matcher.value.is_empty();
    // The name says most about a series.
    let narrow = matchers
        .iter()
        .filter(equal)
        .min_by_key(|matcher| matcher.name != "__name__");
    let fits = |labels: &[u8]| {
        matchers
            .iter()
            .all(|matcher| matcher.holds_for(labels::value_of(labels, &matcher.name)) != Some(false))
    };
    let Some(narrow) = narrow else {
        return pages(space, &key::all_series(day, tenant), |page| {
            let fitting = page.iter().filter(|entry| fits(&entry.value));
            out.extend(fitting.filter_map(|entry| Some((key::series_at_end(&entry.key)?, day))));
            Ok(())
        });
    };
    pages(
        space,
        &key::postings(day, tenant, &narrow.name, &narrow.value),
        |page| {
            let ids: Vec<_> = page
                .iter()
                .filter_map(|entry| key::series_at_end(&entry.key))
                .collect();
            for ids in ids.chunks(SERIES) {
                let keys: Vec<_> = ids.iter().map(|id| key::series(day, tenant, *id)).collect();
                let labels = space.get_many(&keys).map_err(failure)?;
                let fitting = ids
                    .iter()
                    .zip(labels)
                    .filter(|(_, labels)| labels.as_deref().is_some_and(fits));
                out.extend(fitting.map(|(id, _)| (*id, day)));
            }
            Ok(())
        },
    )
}

/// Calls `each` with all pairs whose keys begin like this, a page at a time.
fn pages(
    space: &impl KeyValue,
    beginning: &[u8],
    mut each: impl FnMut(&[Entry]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let end = key::end_of(beginning);
    let mut from = beginning.to_vec();
    loop {
        let page = space.scan(&from, &end, PAGE).map_err(failure)?;
        let Some(last) = page.last() else { return Ok(()) };
        from = after(&last.key);
        each(&page)?;
    }
}

impl Piece {
    fn add(&mut self, day: i64, entry: &Entry) {
        let Some(within) = key::time_at_end(&entry.key) else {
            return;
        };
        // The first day that there is begins before the first timestamp: the overflow is taken back.
        let timestamp = day.wrapping_mul(DAY).wrapping_add(within.into());
        if key::is_histogram(&entry.key) {
            self.batch.histogram(Histogram {
                timestamp,
                message: &entry.value,
            });
        } else if let Some(bits) = entry.value.first_chunk() {
            let bits = u64::from_be_bytes(*bits);
            self.batch.sample(Sample { timestamp, bits });
        }
        self.room = self.room.saturating_sub(1);
    }
}

/// The smallest key above this one.
fn after(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}
