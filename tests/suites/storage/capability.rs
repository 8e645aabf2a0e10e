//! What a plugin and its backend do with each kind of data, found out by sending it and reading it back.

use prost::Message as _;
use witgate_lab::eventually;
use witgate_prometheus::proto::{self, BucketSpan, MatchType, v2};

use crate::{
    backend::Backend,
    request::{Request, Said},
    world::{SOON, World, now},
};

const STALE: u64 = 0x7ff0_0000_0000_0002;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// How far a value may be from what was sent, relative to it, and still be about the same: eleven
/// digits.
const ABOUT: f64 = 1e-11;

/// What became of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// It came back as it was sent.
    Kept,
    /// A number came back that is about the same.
    About,
    /// It was refused, and counted as that.
    Refused,
    /// It was taken and is not for remote read to give back; the backend itself has it.
    Taken,
    /// Of two values at one time the one that was sent last came back.
    Last,
    /// Of two values at one time the greater one came back.
    Greatest,
}

/// What the rows of the table are.
pub(crate) const ROWS: [&str; 19] = [
    "finite values, to the last bit",
    "negative zero",
    "values closer to zero than 1e-290",
    "infinities",
    "stale markers",
    "NaN, with any payload",
    "names of any letters",
    "line breaks, quotes and backslashes in a label",
    "a backslash at a label's end",
    "a label `time`",
    "a label of 5,000 bytes",
    "41 labels beside the name",
    "a sample older than the series' newest",
    "a sample of last year",
    "a second value at the same time",
    "native histograms",
    "exemplars",
    "type and help of metrics",
    "a sample of tomorrow",
];

/// The outcome of each row.
pub(crate) async fn measure(world: &World) -> Vec<Outcome> {
    let now = now();
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let finite = bits(&[
        0.1,
        1.0 / 3.0,
        123_456_789.123_456_79,
        -std::f64::consts::PI,
        1e300,
        f64::MAX,
        f64::MIN,
        9_007_199_254_740_994.0,
    ]);
    let mut exact = values(world, "finite", &finite).await;
    // Some of these have few digits.
    exact.sort_unstable();
    let mut outcomes = vec![*exact.last().unwrap()];
    for (name, bits) in [
        ("zero", bits(&[-0.0])),
        (
            "tiny",
            vec![
                1,
                0x800f_ffff_ffff_ffff,
                0x0010_0000_0000_0000,
                1e-300_f64.to_bits(),
            ],
        ),
        ("infinite", bits(&[f64::INFINITY, f64::NEG_INFINITY])),
        ("stale", vec![STALE]),
        (
            "nan",
            vec![
                0x7ff8_0000_0000_0001,
                0x7ff8_dead_beef_cafe,
                0xfff0_0000_0000_0001,
                u64::MAX,
            ],
        ),
    ] {
        outcomes.push(the_same(name, &values(world, name, &bits).await));
    }
    let long = "x".repeat(5_000);
    let many: Vec<String> = (0..41).map(|n| format!("l{n}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "x")).collect();
    let cases: [(&str, Vec<(&str, &str)>); 6] = [
        ("a name with é.and-more", vec![("a label, too", "日本語 🦀")]),
        ("hard_to_write", vec![("text", "a\nb\"c\\d'e,f=g {h}")]),
        ("backslash", vec![("path", "C:\\dir\\")]),
        ("timed", vec![("time", "x")]),
        ("long", vec![("text", &long)]),
        ("wide", many),
    ];
    for (name, mut labels) in cases {
        labels.push(("__name__", name));
        outcomes.push(sample(world, &labels, (now, 7f64.to_bits())).await);
    }
    let newest = [("__name__", "late")];
    assert_eq!(sample(world, &newest, (now, 1f64.to_bits())).await, Outcome::Kept);
    for (name, time) in [("late", now - HOUR), ("past", now - 365 * DAY)] {
        outcomes.push(sample(world, &[("__name__", name)], (time, 1f64.to_bits())).await);
    }
    outcomes.push(second_value(world, now).await);
    outcomes.push(histograms(world, now).await);
    outcomes.push(exemplar(world, now).await);
    outcomes.push(metadata(world, now).await);
    // The last one, because some take it and then find everything else too old.
    outcomes.push(sample(world, &[("__name__", "future")], (now + DAY, 1f64.to_bits())).await);
    assert_eq!(outcomes.len(), ROWS.len());
    outcomes
}

fn the_same(what: &str, outcomes: &[Outcome]) -> Outcome {
    let first = outcomes[0];
    assert!(
        outcomes.iter().all(|outcome| *outcome == first),
        "{what}: {outcomes:?}"
    );
    first
}

/// What becomes of each value in a series of its own.
async fn values(world: &World, name: &str, bits: &[u64]) -> Vec<Outcome> {
    let now = now();
    let mut outcomes = Vec::new();
    for (n, bits) in bits.iter().enumerate() {
        let n = n.to_string();
        outcomes.push(sample(world, &[("__name__", name), ("n", &n)], (now, *bits)).await);
    }
    outcomes
}

/// What becomes of a sample. Whatever it is, the answer must say it.
async fn sample(world: &World, labels: &[(&str, &str)], (time, bits): (i64, u64)) -> Outcome {
    let what = format!("{:?}: {labels:?} {time} {bits:#x}", world.kind);
    let said = Request::default()
        .samples(labels, &[(time, bits)])
        .send(world)
        .await;
    let stored = stored(&said, 0, &what);
    let found = find(world, labels, time, stored).await;
    let Some(found) = found else {
        assert!(!stored, "{what}: lost without a word");
        return Outcome::Refused;
    };
    assert!(stored, "{what}: stored, and counted as refused: {}", said.words);
    if found == bits {
        return Outcome::Kept;
    }
    let (found, sent) = (f64::from_bits(found), f64::from_bits(bits));
    assert!(
        (found - sent).abs() <= sent.abs() * ABOUT,
        "{what}: it came back as {found}, and nobody said so"
    );
    Outcome::About
}

/// Whether the answer to one datum says that it was stored. An answer of another kind is none.
#[track_caller]
fn stored(said: &Said, kind: usize, what: &str) -> bool {
    match (said.status, said.written[kind]) {
        (200 | 204, 1) => true,
        (400, 0) => {
            assert!(said.words.contains("not stored: 1 "), "{what}: {}", said.words);
            false
        }
        _ => panic!("{what}: {said:?}"),
    }
}

/// The bits of a series' value at a time. What was stored may take a moment to be there.
async fn find(world: &World, labels: &[(&str, &str)], time: i64, stored: bool) -> Option<u64> {
    let look = async || {
        world.backend.settle().await;
        let matchers: Vec<_> = { labels.iter() }
            .map(|(name, value)| (*name, MatchType::Eq, *value))
            .collect();
        let found = world.read(&matchers, time, time).await;
        let samples = found.first().map_or(&[][..], |series| &series.samples);
        assert!(
            samples.len() <= 1 && found.len() <= 1,
            "{:?}: {found:?}",
            world.kind
        );
        samples.first().map(|sample| sample.value)
    };
    if !stored {
        return look().await;
    }
    // A timeout is what is lost.
    let found = eventually("the sample is there", SOON / 9, async || {
        look().await.ok_or("nothing")
    });
    found.await.ok()
}

async fn second_value(world: &World, now: i64) -> Outcome {
    let labels = [("__name__", "second")];
    let write = async |value: f64| {
        let request = Request::default().samples(&labels, &[(now, value.to_bits())]);
        let said = request.send(world).await;
        let stored = stored(&said, 0, "a second value");
        world.backend.settle().await;
        let found = find(world, &labels, now, true).await.map(f64::from_bits);
        let found = found.unwrap_or_else(|| panic!("{:?}: no value at all: {said:?}", world.kind));
        (stored, found)
    };
    assert_eq!(write(2.0).await, (true, 2.0));
    let lower = write(1.0).await;
    let higher = write(3.0).await;
    match (lower, higher) {
        ((true, 1.0), (true, 3.0)) => Outcome::Last,
        ((true, 2.0), (true, 3.0)) => Outcome::Greatest,
        ((false, 2.0), (false, 2.0)) => Outcome::Refused,
        other => panic!("{:?}: {other:?}", world.kind),
    }
}

async fn histograms(world: &World, now: i64) -> Outcome {
    let whole = proto::Histogram {
        count_int: Some(6),
        sum: 12.5_f64.to_bits(),
        schema: 3,
        zero_threshold: 0.001_f64.to_bits(),
        zero_count_int: Some(1),
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        positive_deltas: vec![2, 1],
        timestamp: now,
        ..proto::Histogram::default()
    };
    let float = proto::Histogram {
        count_int: None,
        count_float: Some(5.5_f64.to_bits()),
        zero_count_int: None,
        zero_count_float: Some(1f64.to_bits()),
        positive_deltas: Vec::new(),
        positive_counts: vec![2.5_f64.to_bits(), 2f64.to_bits()],
        ..whole.clone()
    };
    let custom = proto::Histogram {
        count_int: Some(5),
        schema: -53,
        zero_threshold: 0,
        zero_count_int: None,
        custom_values: [0.5, 1.0].map(f64::to_bits).to_vec(),
        ..whole.clone()
    };
    let mut outcomes = Vec::new();
    for (name, sent) in [("whole", whole), ("float", float), ("custom", custom)] {
        let data = v2::TimeSeries {
            histograms: vec![sent.encode_to_vec()],
            ..v2::TimeSeries::default()
        };
        let said = Request::default()
            .series(&[("__name__", name)], data)
            .send(world)
            .await;
        let stored = stored(&said, 1, name);
        world.backend.settle().await;
        let found = world.read(&[("__name__", MatchType::Eq, name)], now, now).await;
        let found = found.first().and_then(|series| series.histograms.first());
        assert_eq!(found.is_some(), stored, "{:?}: {name}: {said:?}", world.kind);
        let Some(found) = found else {
            outcomes.push(Outcome::Refused);
            continue;
        };
        let found = proto::Histogram::decode(found.as_slice()).unwrap();
        // A backend may find out by itself whether the counter went on.
        let found = proto::Histogram {
            reset_hint: sent.reset_hint,
            zero_count_int: found
                .zero_count_int
                .filter(|count| *count > 0 || sent.zero_count_int.is_some()),
            ..found
        };
        assert_eq!(found, sent, "{:?}: {name}", world.kind);
        outcomes.push(Outcome::Kept);
    }
    the_same("histograms", &outcomes)
}

async fn exemplar(world: &World, now: i64) -> Outcome {
    let request = Request::default()
        .samples(&[("__name__", "traced_total")], &[(now, 7f64.to_bits())])
        .exemplar(&[("trace_id", "abc")], (now, 5f64.to_bits()));
    let said = request.send(world).await;
    assert_eq!(said.written[0], 1, "{:?}: {said:?}", world.kind);
    if !stored(&said, 2, "an exemplar") {
        return Outcome::Refused;
    }
    match &world.backend {
        Backend::Prometheus(prometheus) | Backend::OldPrometheus(prometheus) => {
            let parameters = [
                ("query", "traced_total".to_owned()),
                ("start", ((now - HOUR) / 1000).to_string()),
                ("end", ((now + HOUR) / 1000).to_string()),
            ];
            let found = prometheus.api("query_exemplars", &parameters).await.unwrap();
            let exemplar = &found[0]["exemplars"][0];
            assert_eq!(exemplar["labels"]["trace_id"], "abc", "{found}");
            assert_eq!(exemplar["value"], "5", "{found}");
        }
        other => panic!("{other:?}: an exemplar was counted as stored, and nobody looks whether it is"),
    }
    Outcome::Taken
}

/// Nobody counts what is said about a metric. It is taken where the backend has it.
async fn metadata(world: &World, now: i64) -> Outcome {
    let request = Request::default()
        .samples(&[("__name__", "described_total")], &[(now, 7f64.to_bits())])
        .counter("what is counted");
    let said = request.send(world).await;
    assert_eq!(said.written, [1, 0, 0], "{:?}: {said:?}", world.kind);
    let Backend::Victoria(victoria) = &world.backend else {
        return Outcome::Refused;
    };
    let found = victoria.api("metadata", &[]).await.unwrap();
    let described = &found["data"]["described_total"][0];
    assert_eq!(described["type"], "counter", "{found}");
    assert_eq!(described["help"], "what is counted", "{found}");
    Outcome::Taken
}
