//! Every plugin finds the series that Prometheus would, at the times that were asked for.

use witgate_lab::eventually;
use witgate_prometheus::proto::MatchType::{self, Eq, Neq, Nre, Re};

use crate::{
    backend::Kind,
    request::Request,
    world::{SOON, World, now},
};

/// Conditions on labels, as a query has them.
type Matchers = &'static [(&'static str, MatchType, &'static str)];

/// The series by what they are called here: each has the metric name `m` and these labels.
const SERIES: [(&str, &[(&str, &str)]); 8] = [
    ("bare", &[]),
    ("foo", &[("job", "foo")]),
    ("foobar", &[("job", "foobar")]),
    ("Foo", &[("job", "Foo")]),
    ("two", &[("job", "foo"), ("zone", "a")]),
    ("dotted", &[("job", "f.o")]),
    ("lines", &[("job", "foo\nbar")]),
    ("quoted", &[("job", "it's \"so\" \\ /and/ {x}")]),
];

/// Matchers beside that for the name, and whom they find.
const CASES: [(Matchers, &[&str]); 18] = [
    (&[("job", Eq, "foo")], &["foo", "two"]),
    (&[("job", Eq, "")], &["bare"]),
    (
        &[("none", Eq, "")],
        &["bare", "foo", "foobar", "Foo", "two", "dotted", "lines", "quoted"],
    ),
    (
        &[("job", Neq, "foo")],
        &["bare", "foobar", "Foo", "dotted", "lines", "quoted"],
    ),
    (
        &[("job", Neq, "")],
        &["foo", "foobar", "Foo", "two", "dotted", "lines", "quoted"],
    ),
    (&[("job", Re, "foo")], &["foo", "two"]),
    (&[("job", Re, "foo.*")], &["foo", "foobar", "two", "lines"]),
    (&[("job", Re, "foo.bar")], &["lines"]),
    (&[("job", Re, "f.o")], &["foo", "two", "dotted"]),
    (&[("job", Re, "f\\.o")], &["dotted"]),
    (&[("job", Re, "(?i:foo)")], &["foo", "Foo", "two"]),
    (&[("job", Re, "foobar|")], &["bare", "foobar"]),
    (
        &[("job", Re, ".*")],
        &["bare", "foo", "foobar", "Foo", "two", "dotted", "lines", "quoted"],
    ),
    (&[("job", Nre, "foo.*")], &["bare", "Foo", "dotted", "quoted"]),
    (&[("job", Nre, ".+")], &["bare"]),
    (
        &[("job", Nre, "foo|")],
        &["foobar", "Foo", "dotted", "lines", "quoted"],
    ),
    (&[("job", Eq, "it's \"so\" \\ /and/ {x}")], &["quoted"]),
    (&[("job", Re, "foo"), ("zone", Neq, "a")], &["foo"]),
];

/// Labels with their values.
type Labels = Vec<(String, String)>;

#[tokio::test]
async fn local() {
    finds(Kind::Local).await;
}

#[tokio::test]
async fn influxdb() {
    finds(Kind::Influx).await;
}

#[tokio::test]
async fn influxdb_by_its_own_endpoints() {
    finds(Kind::NativeInflux).await;
}

#[tokio::test]
async fn prometheus() {
    finds(Kind::Prometheus).await;
}

#[tokio::test]
async fn old_prometheus() {
    finds(Kind::OldPrometheus).await;
}

#[tokio::test]
async fn victoriametrics() {
    finds(Kind::Victoria).await;
}

async fn finds(kind: Kind) {
    if kind.require().is_err() {
        return;
    }
    let world = World::start(kind).await;
    let now = now();
    let times = [now - 2000, now - 1000, now];
    let request = SERIES.iter().fold(Request::default(), |request, (_, labels)| {
        let labels = [&[("__name__", "m")], *labels].concat();
        let samples = times.map(|time| (time, 1f64.to_bits()));
        request.samples(&labels, &samples)
    });
    let said = request
        .samples(&[("__name__", "other"), ("job", "foo")], &[(now, 0)])
        .send(&world)
        .await;
    let written = u64::try_from(SERIES.len() * times.len() + 1).unwrap();
    assert_eq!((said.status, said.written), (204, [written, 0, 0]), "{said:?}");
    eventually("all of it is there", SOON, async || {
        world.backend.settle().await;
        let found = world.read(&[("__name__", Re, ".+")], 0, i64::MAX).await;
        let samples: usize = found.iter().map(|series| series.samples.len()).sum();
        match samples as u64 == written {
            true => Ok(()),
            false => Err(format!("{samples} of {written}")),
        }
    })
    .await
    .unwrap();

    for (matchers, expected) in CASES {
        let matchers = [&[("__name__", Eq, "m")], matchers].concat();
        let found = find(&world, &matchers, (0, i64::MAX)).await;
        let mut expected: Vec<_> = expected.iter().map(|name| labels_of(name)).collect();
        expected.sort();
        assert_eq!(found, expected, "{kind:?}: {matchers:?}");
    }
    for (matcher, expected) in [
        (("__name__", Re, "o.*"), 1),
        (("__name__", Neq, "m"), 1),
        (("__name__", Nre, "m|other"), 0),
        (("job", Eq, "foo"), 3),
    ] {
        let found = find(&world, &[matcher], (0, i64::MAX)).await;
        assert_eq!(found.len(), expected, "{kind:?}: {matcher:?}");
    }
    // Both bounds count.
    for ((start, end), expected) in [
        ((now - 2000, now), 3),
        ((now - 1000, now - 1000), 1),
        ((now - 1999, now - 1), 1),
        ((now - 1999, now), 2),
        ((now - 999, now - 1), 0),
        ((i64::MIN, i64::MAX), 3),
        ((0, now - 2001), 0),
        ((now + 1, i64::MAX), 0),
    ] {
        let found = world
            .read(&[("__name__", Eq, "m"), ("zone", Eq, "a")], start, end)
            .await;
        let samples: usize = found.iter().map(|series| series.samples.len()).sum();
        assert_eq!(samples, expected, "{kind:?}: {} to {}", start - now, end - now);
    }
}

fn labels_of(name: &str) -> Labels {
    let (_, labels) = SERIES.iter().find(|(known, _)| *known == name).unwrap();
    let all = [&[("__name__", "m")], *labels].concat();
    let owned = all
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    owned.collect()
}

async fn find(world: &World, matchers: &[(&str, MatchType, &str)], (start, end): (i64, i64)) -> Vec<Labels> {
    let found = world.read(matchers, start, end).await;
    let mut labels: Vec<Labels> = found
        .into_iter()
        .map(|series| {
            let labels = series.labels.into_iter();
            labels.map(|label| (label.name, label.value)).collect()
        })
        .collect();
    labels.sort();
    labels
}
