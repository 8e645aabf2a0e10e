//! What is written is what is read, whoever wrote it and however often.

mod ahead;
mod crash;
mod model;

use std::collections::BTreeMap;
use std::rc::Rc;

use witgate_sdk::key_value::{KeyValue, Memory};
use witgate_sdk::storage::{
    Batch, BatchBuilder, Context, Cursor, Failure, Histogram, MatchOperation, Matcher, Piece, Query, Receipt,
    Sample, Storage,
};

use super::*;
use crate::key::DAY;
use crate::value::{Stored, Value, Values};

const NOW: i64 = 20_000 * DAY + 5;

/// Samples by series, as text, and time.
type Found = BTreeMap<String, BTreeMap<i64, u64>>;

/// A series' labels and samples.
type Written<'a> = (Vec<(&'a str, &'a str)>, Vec<(i64, u64)>);

fn local(space: &Rc<Memory>) -> Local<Rc<Memory>> {
    Local::over(Rc::clone(space), &Config::default(), || NOW)
}

/// One that folds after every write, with a commit for each series.
fn eager<K: KeyValue>(space: K) -> Local<K> {
    let mut local = Local::over(space, &Config::default(), || NOW);
    (local.upkeep.least, local.upkeep.bounds.commit) = (1, 1);
    local
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

fn write(local: &mut Local<impl KeyValue + Clone + Default + 'static>, batch: &Batch) -> Receipt {
    local.write(&tenant("t"), batch).unwrap()
}

/// What a query finds: floats by series. The answer is checked to be one.
fn read_as(
    local: &mut Local<impl KeyValue + Clone + Default + 'static>,
    name: &str,
    matchers: Vec<Matcher>,
    range: (i64, i64),
    page: u32,
) -> Found {
    let mut found = Found::new();
    for (series, values) in answer(local, name, matchers, range, page) {
        let of_series = found.entry(series).or_default();
        for (time, value) in values {
            match value {
                Value::Float(bits) => assert_eq!(of_series.insert(time, bits), None),
                Value::Histogram(_) => panic!("nobody wrote one"),
            }
        }
    }
    found
}

/// All that a query finds, sorted as it came.
fn answer(
    local: &mut Local<impl KeyValue + Clone + Default + 'static>,
    name: &str,
    matchers: Vec<Matcher>,
    range: (i64, i64),
    page: u32,
) -> Vec<(String, Values)> {
    let query = Query {
        start: range.0,
        end: range.1,
        matchers,
        only_series: false,
        without: None,
    };
    let mut cursor = local.read(&tenant(name), query).unwrap();
    assert!(cursor.sorted());
    collect(range, || cursor.next(page).unwrap())
}

/// What is in the pieces of an answer, which is checked to be one.
fn collect(range: (i64, i64), mut next: impl FnMut() -> Option<Piece>) -> Vec<(String, Values)> {
    let mut found: Vec<(String, Values)> = Vec::new();
    let mut last: Option<Vec<(String, String)>> = None;
    while let Some(piece) = next() {
        let Piece::Chunks(chunks) = piece else {
            panic!("{piece:?}")
        };
        for series in chunks.series() {
            let labels: Vec<_> = { series.labels() }
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            let text: Vec<_> = { labels.iter() }
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            assert!(last.as_ref() <= Some(&labels), "{last:?} comes before {labels:?}");
            if last.as_ref() != Some(&labels) {
                found.push((text.join(","), Values::new()));
                last = Some(labels);
            }
            let (_, values) = found.last_mut().unwrap();
            for chunk in series.chunks() {
                let newest = values.last_key_value().map(|(time, _)| *time);
                assert!(newest < Some(chunk.first), "{text:?} is not in the order of time");
                let stored = Stored {
                    encoding: witgate_chunk::Encoding::of(chunk.encoding as u8).unwrap(),
                    last: chunk.last,
                    bytes: chunk.bytes,
                };
                let mut read = Values::new();
                stored.decode(&mut read).unwrap();
                let bounds = (read.first_key_value(), read.last_key_value());
                let bounds = (bounds.0.map(|(time, _)| *time), bounds.1.map(|(time, _)| *time));
                assert_eq!(bounds, (Some(chunk.first), Some(chunk.last)));
                assert_eq!(read.len(), usize::from(chunk.count()));
                // The gateway cuts what is outside off.
                read.retain(|time, _| (range.0..=range.1).contains(time));
                values.extend(read);
            }
        }
    }
    found.retain(|(_, values)| !values.is_empty());
    found
}

fn read(local: &mut Local<impl KeyValue + Clone + Default + 'static>, matchers: Vec<Matcher>) -> Found {
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
    for make in [|space| local(&space), eager] {
        let space: Rc<Memory> = Rc::default();
        let mut local = make(Rc::clone(&space));
        let first = batch([up("a", vec![(NOW, 1), (NOW + 1, 2)])]);
        write(&mut local, &first);
        write(&mut local, &first);
        write(&mut local, &batch([up("a", vec![(NOW, 3)])]));
        assert_eq!(
            read(&mut local, named("up"))["__name__=up,job=a"],
            BTreeMap::from([(NOW, 3), (NOW + 1, 2)])
        );
    }
}

#[test]
fn what_is_folded_is_one_chunk_and_no_block_is_left() {
    let space: Rc<Memory> = Rc::default();
    let mut local = eager(Rc::clone(&space));
    for turn in 0..130 {
        write(&mut local, &batch([up("a", vec![(NOW + turn, 1)])]));
    }
    let count = |beginning: &[u8]| {
        let found = space.scan(beginning, &key::end_of(beginning), u32::MAX).unwrap();
        found.len()
    };
    assert_eq!(count(&key::heads()), 0);
    // The series, its two labels, and its chunks.
    assert_eq!(count(&key::prefix(20_000, Tenant::named("t"))), 1 + 2 + 2);
    let found = read(&mut local, named("up"));
    assert_eq!(found["__name__=up,job=a"].len(), 130);
}

#[test]
fn a_space_in_another_layout_is_not_touched() {
    for (key, value) in [(&b"\x80\0\0"[..], &b"x"[..]), (key::VERSION, b"3")] {
        let space: Rc<Memory> = Rc::default();
        let entry = Entry {
            key: key.to_vec(),
            value: value.to_vec(),
        };
        space
            .commit(&[witgate_sdk::key_value::Change::Put(entry)])
            .unwrap();
        let mut local = local(&space);
        let failures = [
            local.check().unwrap_err(),
            local
                .write(&tenant("t"), &batch([up("a", vec![(NOW, 1)])]))
                .unwrap_err(),
        ];
        for failure in failures {
            let Failure::Unavailable(trouble) = failure else {
                panic!("the sender would drop its samples: {failure:?}")
            };
            assert!(trouble.message.contains("another layout"), "{}", trouble.message);
        }
        assert_eq!(space.len(), 1);
    }
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
fn matchers_are_applied_where_the_gateway_would_say_the_same() {
    use MatchOperation::{Equal, Matches, NotEqual, NotMatches};
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
        (vec![matcher("__name__", Matches, "u.*")], 2),
        (vec![matcher("__name__", Matches, "u.*|oth")], 2),
        (vec![matcher("zone", Matches, "z?")], 3),
        (vec![matcher("zone", Matches, ".+")], 1),
        (vec![matcher("job", NotMatches, "a|c")], 1),
        // What a class is, is the gateway's to say.
        (vec![matcher("job", Matches, r"\d")], 3),
        (named("absent"), 0),
    ] {
        assert_eq!(read(&mut local, matchers.clone()).len(), expected, "{matchers:?}");
    }
}

#[test]
fn what_is_too_old_is_refused_and_what_became_so_is_removed() {
    let space: Rc<Memory> = Rc::default();
    let mut before = Local::over(Rc::clone(&space), &Config::default(), || NOW - 30 * DAY);
    before.upkeep.least = 1;
    let many: Vec<_> = (0..6000).map(|n| format!("job-{n}")).collect();
    let many = many.iter().map(|job| up(job, vec![(NOW - 30 * DAY, 1)]));
    write(&mut before, &batch(many));
    assert!(space.len() > 12_000);

    let mut now = local(&space);
    let receipt = write(&mut now, &batch([up("a", vec![(NOW - 16 * DAY, 1), (NOW, 1)])]));
    let [rejection] = receipt.rejected.as_slice() else {
        panic!("{:?}", receipt.rejected)
    };
    assert_eq!((rejection.series, rejection.count), (0, 1));
    assert!(rejection.reason.contains("retention"), "{}", rejection.reason);
    for at in 1..10 {
        write(&mut now, &batch([up("a", vec![(NOW + at, 1)])]));
    }
    let found = read(&mut now, named("up"));
    assert_eq!(found["__name__=up,job=a"].len(), 10);
    let gone = key::prefix(20_000 - 30, Tenant::named("t"));
    assert!(space.scan(&gone, &key::end_of(&gone), 1).unwrap().is_empty());
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
}

#[test]
fn a_batch_beyond_one_commit_is_stored_whole() {
    let mut local = local(&Rc::default());
    let samples: Vec<_> = (0..400_000).map(|at| (NOW + at, at as u64)).collect();
    write(&mut local, &batch([up("a", samples)]));
    assert_eq!(read(&mut local, named("up"))["__name__=up,job=a"].len(), 400_000);
}
