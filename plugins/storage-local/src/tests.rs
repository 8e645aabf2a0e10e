//! What is written is what is read, whoever wrote it and however often.

use std::collections::BTreeMap;
use std::rc::Rc;

use witgate_sdk::key_value::{KeyValue, Memory};
use witgate_sdk::storage::{
    Batch, BatchBuilder, Context, Cursor, Failure, Histogram, MatchOperation, Matcher, Piece, Query, Receipt,
    Sample, Storage,
};

use super::*;
use crate::key::{DAY, SeriesId};

const NOW: i64 = 20_000 * DAY + 5;

/// Samples by series, as text, and time.
type Found = BTreeMap<String, BTreeMap<i64, u64>>;

/// A series' labels and samples.
type Written<'a> = (Vec<(&'a str, &'a str)>, Vec<(i64, u64)>);

fn local(space: &Rc<Memory>) -> Local<Rc<Memory>> {
    Local::over(Rc::clone(space), &Config::default(), || NOW)
}

fn tenant(name: &str) -> Context {
    Context {
        tenant: name.to_owned(),
        attributes: Vec::new(),
        request_id: String::new(),
    }
}

fn batch<'a>(series: impl IntoIterator<Item = Written<'a>>) -> Batch {
    let mut builder = BatchBuilder::default();
    for (labels, samples) in series {
        builder.series(labels);
        for (timestamp, bits) in samples {
            builder.sample(Sample { timestamp, bits });
        }
    }
    builder.finish()
}

fn up(job: &str, samples: Vec<(i64, u64)>) -> Written<'_> {
    (vec![("__name__", "up"), ("job", job)], samples)
}

fn matcher(name: &str, operation: MatchOperation, value: &str) -> Matcher {
    Matcher {
        name: name.to_owned(),
        operation,
        value: value.to_owned(),
    }
}

fn write(local: &mut Local<Rc<Memory>>, batch: &Batch) -> Receipt {
    local.write(&tenant("t"), batch).unwrap()
}

fn read_as(
    local: &mut Local<Rc<Memory>>,
    name: &str,
    matchers: Vec<Matcher>,
    range: (i64, i64),
    page: u32,
) -> Found {
    let query = Query {
        start: range.0,
        end: range.1,
        matchers,
        only_series: false,
        without: None,
    };
    let mut cursor = local.read(&tenant(name), query).unwrap();
    let mut found = Found::new();
    let mut last = None;
    while let Some(Piece::Samples(batch)) = cursor.next(page).unwrap() {
        assert!(batch.sample_count() <= page as usize);
        for series in batch.series() {
            let labels: Vec<_> = series
                .labels()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let name = labels.join(",");
            let seen = found.contains_key(&name);
            assert!(
                !seen || last.as_ref() == Some(&name),
                "{name} is in two places of the answer"
            );
            assert!(series.samples().len() > 0, "{name} has no samples");
            let samples = found.entry(name.clone()).or_default();
            for sample in series.samples() {
                let newest = samples.last_key_value().map(|(time, _)| *time);
                assert!(
                    newest < Some(sample.timestamp),
                    "{name} is not in the order of time"
                );
                samples.insert(sample.timestamp, sample.bits);
            }
            last = Some(name);
        }
    }
    found
}

fn read(local: &mut Local<Rc<Memory>>, matchers: Vec<Matcher>) -> Found {
    read_as(local, "t", matchers, (i64::MIN, i64::MAX), 1000)
}

fn named(name: &str) -> Vec<Matcher> {
    vec![matcher("__name__", MatchOperation::Equal, name)]
}

#[test]
fn every_bit_comes_back() {
    let values = [
        f64::NAN.to_bits(),
        0x7ff0_0000_0000_0002,
        0xfff8_0000_dead_beef,
        f64::INFINITY.to_bits(),
        f64::NEG_INFINITY.to_bits(),
        (-0.0_f64).to_bits(),
        1,
        f64::MAX.to_bits(),
    ];
    let samples: Vec<_> = (NOW..).zip(values).collect();
    let mut local = local(&Rc::default());
    assert!(
        write(&mut local, &batch([up("a", samples.clone())]))
            .rejected
            .is_empty()
    );
    let found = read(&mut local, named("up"));
    assert_eq!(found["__name__=up,job=a"], samples.into_iter().collect());
}

#[test]
fn the_same_batch_again_changes_nothing_and_another_value_replaces() {
    let space = Rc::default();
    let mut local = local(&space);
    let first = batch([up("a", vec![(NOW, 1), (NOW + 1, 2)])]);
    write(&mut local, &first);
    let pairs = space.len();
    write(&mut local, &first);
    assert_eq!(space.len(), pairs);
    write(&mut local, &batch([up("a", vec![(NOW, 3)])]));
    assert_eq!(
        read(&mut local, named("up"))["__name__=up,job=a"],
        BTreeMap::from([(NOW, 3), (NOW + 1, 2)])
    );
}

#[test]
fn instances_beside_each_other_lose_nothing() {
    let space = Rc::default();
    let mut instances = [local(&space), local(&space)];
    for turn in 0..20 {
        let at = NOW + turn;
        write(
            &mut instances[(turn % 2) as usize],
            &batch([up("a", vec![(at, 1)]), up("b", vec![(at, 2)])]),
        );
    }
    for instance in &mut instances {
        let found = read(instance, named("up"));
        assert_eq!(found.values().map(BTreeMap::len).collect::<Vec<_>>(), [20, 20]);
    }
}

#[test]
fn tenants_see_nothing_of_each_other() {
    let mut local = local(&Rc::default());
    for name in ["a", "b", ""] {
        local
            .write(
                &tenant(name),
                &batch([up("x", vec![(NOW, u64::from(name.len() as u32))])]),
            )
            .unwrap();
    }
    for name in ["a", "b", ""] {
        let found = read_as(&mut local, name, named("up"), (0, i64::MAX), 10);
        assert_eq!(
            found["__name__=up,job=x"],
            BTreeMap::from([(NOW, name.len() as u64)])
        );
    }
    assert!(read_as(&mut local, "c", named("up"), (0, i64::MAX), 10).is_empty());
}

#[test]
fn ranges_include_both_ends_and_go_over_days() {
    let mut local = local(&Rc::default());
    let midnight = 20_000 * DAY;
    let times = [
        midnight - DAY - 1,
        midnight - 1,
        midnight,
        midnight + 1,
        midnight + DAY,
        i64::MAX,
    ];
    write(
        &mut local,
        &batch([up("a", times.map(|time| (time, 1)).to_vec())]),
    );
    for (start, end, expected) in [
        (midnight - 1, midnight, 1..3),
        (midnight, midnight, 2..3),
        (midnight + 2, midnight + DAY - 1, 4..4),
        (midnight + 1, i64::MAX, 3..6),
        (i64::MIN, i64::MAX, 0..6),
        (i64::MAX, i64::MAX, 5..6),
        (midnight, midnight - 1, 2..2),
    ] {
        let found = read_as(&mut local, "t", named("up"), (start, end), 2);
        let times = times[expected].to_vec();
        let found: Vec<_> = found.values().flat_map(BTreeMap::keys).copied().collect();
        assert_eq!(found, times, "{start} to {end}");
    }
}

#[test]
fn matchers_narrow_and_regular_expressions_are_left_to_the_gateway() {
    use MatchOperation::{Equal, Matches, NotEqual};
    let mut local = local(&Rc::default());
    let other = (
        vec![("__name__", "other"), ("job", "a"), ("zone", "z")],
        vec![(NOW, 1)],
    );
    write(
        &mut local,
        &batch([up("a", vec![(NOW, 1)]), up("b", vec![(NOW, 1)]), other]),
    );
    for (matchers, expected) in [
        (named("up"), 2),
        (vec![matcher("job", Equal, "a")], 2),
        (
            vec![matcher("job", Equal, "a"), matcher("__name__", Equal, "up")],
            1,
        ),
        (
            vec![matcher("__name__", Equal, "up"), matcher("job", NotEqual, "a")],
            1,
        ),
        (vec![matcher("zone", Equal, "")], 2),
        (vec![matcher("zone", NotEqual, "")], 1),
        (vec![matcher("__name__", Matches, "u.*")], 3),
        (named("absent"), 0),
    ] {
        assert_eq!(read(&mut local, matchers.clone()).len(), expected, "{matchers:?}");
    }
}

#[test]
fn what_is_too_old_is_refused_and_what_became_so_is_removed() {
    let space = Rc::default();
    let mut before = Local::over(Rc::clone(&space), &Config::default(), || NOW - 30 * DAY);
    let many = (0..6000).map(|at| (NOW - 30 * DAY + at, 1)).collect();
    write(
        &mut before,
        &batch([up("a", many), up("b", vec![(NOW - 30 * DAY, 1)])]),
    );
    assert!(space.len() > 6000);

    let mut now = local(&space);
    let receipt = write(&mut now, &batch([up("a", vec![(NOW - 16 * DAY, 1), (NOW, 1)])]));
    let [rejection] = receipt.rejected.as_slice() else {
        panic!("{:?}", receipt.rejected)
    };
    assert_eq!((rejection.series, rejection.count), (0, 1));
    assert!(rejection.reason.contains("retention"), "{}", rejection.reason);
    for at in 1..4 {
        write(&mut now, &batch([up("a", vec![(NOW + at, 1)])]));
    }
    let found = read(&mut now, named("up"));
    assert_eq!(found["__name__=up,job=a"].len(), 4);
    // The series, its two labels and four samples.
    assert_eq!(space.len(), 7);
}

#[test]
fn series_of_one_hash_are_not_mixed_up() {
    let space: Rc<Memory> = Rc::default();
    let up_a = batch([up("a", vec![(NOW, 1)])]);
    let mut first = local(&space);
    write(&mut first, &up_a);
    // Another series' labels where those of this one are: as if their hashes were the same.
    let stored = key::all_series(20_000, Tenant::named("t"));
    let entry = space.scan(&stored, &key::end_of(&stored), 1).unwrap().remove(0);
    let other = witgate_sdk::key_value::Entry {
        value: b"another series".to_vec(),
        ..entry
    };
    space
        .commit(&[witgate_sdk::key_value::Change::Put(other)])
        .unwrap();

    let receipt = write(&mut local(&space), &up_a);
    assert_eq!(receipt.rejected[0].count, 1);
    assert!(
        receipt.rejected[0].reason.contains("same hash"),
        "{}",
        receipt.rejected[0].reason
    );
    assert_ne!(SeriesId::of(b"a"), SeriesId::of(b"b"));
}

#[test]
fn a_batch_beyond_one_commit_is_stored_whole() {
    let mut local = local(&Rc::default());
    let samples: Vec<_> = (0..400_000).map(|at| (NOW + at, at as u64)).collect();
    write(&mut local, &batch([up("a", samples)]));
    assert_eq!(read(&mut local, named("up"))["__name__=up,job=a"].len(), 400_000);
}

#[test]
fn a_space_that_fails_loses_nothing_that_was_acknowledged() {
    /// Takes no commits while it is full.
    #[derive(Default)]
    struct Full(Memory, std::cell::Cell<bool>);
    impl KeyValue for Full {
        fn get_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
            self.0.get_many(keys)
        }
        fn scan(
            &self,
            start: &[u8],
            end: &[u8],
            limit: u32,
        ) -> Result<Vec<witgate_sdk::key_value::Entry>, Error> {
            self.0.scan(start, end, limit)
        }
        fn commit(&self, changes: &[witgate_sdk::key_value::Change]) -> Result<(), Error> {
            if self.1.get() {
                Err(Error::QuotaExceeded("1GiB are used".into()))
            } else {
                self.0.commit(changes)
            }
        }
    }
    let space = Rc::new(Full::default());
    let mut local = Local::over(Rc::clone(&space), &Config::default(), || NOW);
    let up = batch([up("a", vec![(NOW, 1)])]);
    space.1.set(true);
    let failed = local.write(&tenant("t"), &up).unwrap_err();
    let Failure::Unavailable(trouble) = failed else {
        panic!("the sender would drop its samples: {failed:?}")
    };
    assert!(
        trouble.message.contains("grants.keyValue.maxBytes"),
        "{}",
        trouble.message
    );
    space.1.set(false);
    local.write(&tenant("t"), &up).unwrap();
    let query = Query {
        start: 0,
        end: i64::MAX,
        matchers: named("up"),
        only_series: false,
        without: None,
    };
    assert_eq!(
        match local.read(&tenant("t"), query).unwrap().next(9).unwrap() {
            Some(Piece::Samples(batch)) => batch.sample_count(),
            other => panic!("{other:?}"),
        },
        1
    );
}

#[test]
fn histograms_are_kept_beside_samples() {
    let space = Rc::new(Memory::default());
    let mut builder = BatchBuilder::default();
    let labels = [("__name__", "latency"), ("job", "a")];
    builder.series(labels);
    let messages: Vec<_> = (0..3_u8).map(|n| vec![n; 8]).collect();
    let times = [NOW - 2 * DAY, NOW - 1, NOW];
    for (timestamp, message) in times.into_iter().zip(&messages) {
        builder.histogram(Histogram { timestamp, message });
    }
    builder.series(labels);
    builder.sample(Sample {
        timestamp: NOW,
        bits: 7,
    });
    let written = builder.finish();
    let mut local = local(&space);
    for _ in 0..2 {
        assert!(write(&mut local, &written).rejected.is_empty());
    }
    for page in [1, 2, 100] {
        let query = Query {
            start: NOW - 1,
            end: NOW,
            matchers: vec![matcher("job", MatchOperation::Equal, "a")],
            only_series: false,
            without: None,
        };
        let mut cursor = local.read(&tenant("t"), query).unwrap();
        let (mut histograms, mut samples) = (Vec::new(), Vec::new());
        while let Some(Piece::Samples(batch)) = cursor.next(page).unwrap() {
            for series in batch.series() {
                assert_eq!(series.labels().collect::<Vec<_>>(), labels);
                let found = series.histograms();
                histograms.extend(found.map(|found| (found.timestamp, found.message.to_vec())));
                samples.extend(series.samples().map(|sample| (sample.timestamp, sample.bits)));
            }
        }
        assert_eq!(samples, [(NOW, 7)], "{page}");
        assert_eq!(
            histograms,
            [(NOW - 1, messages[1].clone()), (NOW, messages[2].clone())],
            "{page}"
        );
    }
}
