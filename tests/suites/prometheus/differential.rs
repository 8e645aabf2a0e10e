//! The same series and the same queries, through the gateway and at a plain Prometheus: every answer is
//! the same, bit for bit.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use prost::Message;
use reqwest::{RequestBuilder, StatusCode, header};
use witgate_lab::{Component, Prometheus, PrometheusOptions, http, require};
use witgate_prometheus::proto::{LabelMatcher, MatchType, Query, ReadRequest, ReadResponse, ResponseType};
use witgate_tests::{
    random::Random,
    remote::{Series, compress, streamed, write_body},
};

use crate::{backend::Backend, samples::STALE, world::World};

/// Sets of series.
const SETS: usize = 200;

/// Queries for each set, in one request.
const QUERIES: usize = 4;

/// From when on there are samples: Prometheus takes what is at most an hour older than its newest.
const SPAN: i64 = 40 * 60_000;

/// What makes a label's value.
const PIECES: [&str; 22] = [
    "a", "b", "foo", "bar", "1", "23", "٣", "é", "É", "ß", "🦀", " ", ".", "-", "_", "/", "\"", "\\", "\n",
    "[", "{", "(",
];

const NAMES: [&str; 6] = ["job", "instance", "le", "a", "B", "_x"];

/// Names that Prometheus takes since it takes any.
const ODD_NAMES: [&str; 3] = ["with.dot", "with space", "naïve"];

const METRICS: [&str; 4] = ["up", "http_requests_total", "a:b:c", "foo"];

/// Expressions in which `regex` and RE2 differ, beside ordinary ones.
const EXPRESSIONS: [&str; 40] = [
    "",
    ".*",
    ".+",
    "foo|bar",
    "(foo|bar)+",
    "f.*|b.*",
    "[a-f]+.*",
    "(?i)FOO",
    "(?i)É",
    "(?i)ß",
    "(?i:a)b?",
    "\\d+",
    "\\D+",
    "\\w+",
    "\\W+",
    "\\s.*",
    "\\S+",
    "[\\d]+",
    "[^\\d]+",
    "[[]",
    "[[:alpha:]]+",
    "[a&&b]",
    ".*\\n.*",
    "(?-s).*",
    "(?s).*",
    "\\Q[\\E",
    "\\Q.\\E",
    "{",
    ".*{.*",
    "a{1,2}",
    "a{,2}",
    "\\x61",
    "\\141",
    "\\p{L}+",
    "\\pN+",
    "\\P{L}+",
    "foo\\b.*",
    "\\Bfoo",
    "|foo",
    "(?:)|b",
];

/// What a Prometheus must refuse, and so the gateway.
const REFUSED: [&str; 12] = [
    "a)|(?s:.*",
    "(",
    "a**",
    "[",
    "(?x)a",
    "\\y",
    "*",
    "a{2,1}",
    "\\1",
    "[[:x:]]",
    "(?=a)",
    "a{1001}",
];

/// A plain Prometheus that is written to.
struct Plain {
    server: Prometheus,
    /// Whether it takes names of any characters.
    takes_any_name: bool,
}

#[tokio::test]
async fn the_gateways_own_storage_answers_as_a_prometheus_does() {
    answers_are_the_same(Backend::Local, Random::seeded(21)).await;
}

#[tokio::test]
async fn influxdb_answers_as_a_prometheus_does() {
    answers_are_the_same(Backend::InfluxDb, Random::seeded(22)).await;
}

#[tokio::test]
async fn another_prometheus_answers_as_a_prometheus_does() {
    answers_are_the_same(Backend::Prometheus, Random::seeded(23)).await;
}

#[tokio::test]
async fn victoriametrics_answers_as_a_prometheus_does() {
    answers_are_the_same(Backend::VictoriaMetrics, Random::seeded(24)).await;
}

async fn answers_are_the_same(backend: Backend, mut random: Random) {
    let mut plain = Vec::new();
    for (component, current) in [
        (Component::Prometheus, false),
        (Component::CurrentPrometheus, true),
    ] {
        if require(component).is_ok() {
            plain.push(Plain::start(current).await);
        }
    }
    let Some(running) = backend.start().await else {
        return;
    };
    if plain.is_empty() {
        return;
    }
    let world = World::start(&running.setup()).await;
    let start = now() - SPAN - 60_000;
    let mut sets = Vec::new();
    for set in 0..SETS {
        let series = series(set, set % 4 == 3, start, backend, &mut random);
        if series.is_empty() {
            continue;
        }
        let body = write_body(&series);
        let answer = world.post("/api/v1/write", body.clone()).send().await.unwrap();
        let status = answer.status();
        assert!(
            status == StatusCode::NO_CONTENT,
            "{random:?} {series:?} {}",
            answer.text().await.unwrap()
        );
        for plain in plain.iter().filter(|plain| plain.takes(set)) {
            let answer = plain.post("write", body.clone()).send().await.unwrap();
            let status = answer.status();
            assert!(
                status.is_success(),
                "{random:?} {status} {}",
                answer.text().await.unwrap()
            );
        }
        sets.push((set, series));
    }
    running.settle().await;
    let mut found = 0;
    for (set, series) in &sets {
        let queries: Vec<_> = (0..QUERIES)
            .map(|_| query(*set, series, start, &mut random))
            .collect();
        let form = random.of(&[ResponseType::Samples, ResponseType::StreamedXorChunks]);
        let body = request(&queries, form);
        let own = read(world.post("/api/v1/read", body.clone()), &queries, form).await;
        for plain in plain.iter().filter(|plain| plain.takes(*set)) {
            let theirs = read(plain.post("read", body.clone()), &queries, form).await;
            for ((query, own), theirs) in queries.iter().zip(&own).zip(theirs) {
                found += own.len();
                assert!(
                    *own == theirs,
                    "{random:?} set {set} of {backend:?} as {form:?}: {query:?} of {series:?} gives {own:?} \
                     and at a Prometheus {theirs:?}"
                );
            }
        }
    }
    assert!(found > SETS, "queries find something: {found}");
    for value in REFUSED {
        let matcher = matcher("job", MatchType::Re, value);
        let query = Query {
            start_timestamp_ms: 0,
            end_timestamp_ms: 1,
            matchers: vec![matcher],
            hints: None,
        };
        let body = request(&[query], ResponseType::Samples);
        let own = world.post("/api/v1/read", body.clone()).send().await.unwrap();
        assert_eq!(own.status(), StatusCode::BAD_REQUEST, "{value}");
        for plain in &plain {
            let theirs = plain.post("read", body.clone()).send().await.unwrap();
            assert!(!theirs.status().is_success(), "{value}: {theirs:?}");
        }
    }
}

impl Plain {
    async fn start(current: bool) -> Self {
        let options = PrometheusOptions {
            current,
            args: vec!["--web.enable-remote-write-receiver".to_owned()],
        };
        let server = Prometheus::start_with(options, |_| "{}".to_owned())
            .await
            .unwrap();
        Self {
            server,
            takes_any_name: current,
        }
    }

    /// Whether it can be asked about this set: each fourth has names of any characters.
    fn takes(&self, set: usize) -> bool {
        self.takes_any_name || set % 4 != 3
    }

    fn post(&self, endpoint: &str, body: Vec<u8>) -> RequestBuilder {
        http::client()
            .post(format!("{}/api/v1/{endpoint}", self.server.url()))
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::CONTENT_ENCODING, "snappy")
            .body(body)
    }
}

/// One to six series that know their set, with samples at times of their own.
fn series(set: usize, is_odd: bool, start: i64, backend: Backend, random: &mut Random) -> Vec<Series> {
    let mut all = BTreeMap::new();
    for _ in 0..1 + random.below(6) {
        let mut labels = BTreeMap::from([
            ("__name__".to_owned(), random.of(&METRICS).to_owned()),
            ("set".to_owned(), set.to_string()),
        ]);
        for _ in 0..random.below(5) {
            let name = match is_odd && random.once_in(2) {
                true => random.of(&ODD_NAMES),
                false => random.of(&NAMES),
            };
            let mut value: String = (0..random.below(4)).map(|_| random.of(&PIECES)).collect();
            // In Prometheus 2 a dot is no line break, in Prometheus 3 it is.
            value.retain(|c| is_odd || c != '\n');
            if !value.is_empty() && backend.holds_label(&value) {
                labels.insert(name.to_owned(), value);
            }
        }
        let mut time = start + i64::try_from(random.below(60_000)).unwrap();
        let mut samples = Vec::new();
        for _ in 0..1 + random.below(140) {
            let value = value(random);
            if backend.holds_value(value) {
                samples.push((time, value));
            }
            let steps = [1, 15_000, 15_000, 15_000, 15_001, 60_000];
            time += random.of(&steps);
            if time > start + SPAN {
                break;
            }
        }
        if !samples.is_empty() {
            all.insert(labels.into_iter().collect::<Vec<_>>(), samples);
        }
    }
    all.into_iter().collect()
}

/// The bits of a value. No negative zero: Prometheus leaves out fields that equal zero when it answers,
/// and its sign is gone.
fn value(random: &mut Random) -> u64 {
    let bits = match random.below(8) {
        0 => random.number(),
        1 => STALE,
        2 => 0x7ff8_0000_0000_0001,
        3 => random
            .of(&[f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, f64::MAX])
            .to_bits(),
        4 => 1,
        _ => (random.below(1000) as f64 / 8.0).to_bits(),
    };
    if bits == (-0f64).to_bits() { 0 } else { bits }
}

fn query(set: usize, series: &[Series], start: i64, random: &mut Random) -> Query {
    let one = match random.once_in(2) {
        true => matcher("set", MatchType::Eq, &set.to_string()),
        false => matcher("set", MatchType::Re, &format!("{set}|x{set}")),
    };
    let mut matchers = vec![one];
    for _ in 0..random.below(4) {
        let (labels, _) = random.of(series);
        let (name, held) = random.of(&labels);
        let name = match random.once_in(3) {
            true => random.of(&NAMES).to_owned(),
            false => name,
        };
        let operation = random.of(&[MatchType::Eq, MatchType::Neq, MatchType::Re, MatchType::Nre]);
        let value = match (operation, random.below(3)) {
            (MatchType::Eq | MatchType::Neq, 0) => String::new(),
            (MatchType::Eq | MatchType::Neq, _) => held,
            (_, 0) => format!("\\Q{held}\\E|x"),
            _ => random.of(&EXPRESSIONS).to_owned(),
        };
        matchers.push(matcher(&name, operation, &value));
    }
    let (mut from, mut to) = (start, start + SPAN + 60_000);
    if random.once_in(2) {
        from += i64::try_from(random.below(SPAN as usize)).unwrap();
    }
    if random.once_in(2) {
        to = from + i64::try_from(random.below(SPAN as usize)).unwrap();
    }
    // At a sample's own time, where a bound that is not included would show.
    let (_, samples) = random.of(series);
    if random.once_in(4) {
        from = random.of(&samples).0;
    }
    if random.once_in(4) {
        to = random.of(&samples).0.max(from);
    }
    Query {
        start_timestamp_ms: from,
        end_timestamp_ms: to,
        matchers,
        hints: None,
    }
}

fn matcher(name: &str, operation: MatchType, value: &str) -> LabelMatcher {
    LabelMatcher {
        r#type: operation.into(),
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

fn request(queries: &[Query], form: ResponseType) -> Vec<u8> {
    let request = ReadRequest {
        queries: queries.to_vec(),
        accepted_response_types: vec![form.into()],
    };
    compress(&request.encode_to_vec())
}

/// The answers, each in its order, with the samples between the query's bounds: whole chunks may have
/// more, and a Prometheus also names series of which they have nothing there.
async fn read(request: RequestBuilder, queries: &[Query], form: ResponseType) -> Vec<Vec<Series>> {
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let body = answer.bytes().await.unwrap();
    assert!(
        status.is_success(),
        "{status} {} {queries:?}",
        String::from_utf8_lossy(&body)
    );
    let results: Vec<Vec<Series>> = if form == ResponseType::StreamedXorChunks {
        let results = streamed::read(&body, queries.len()).into_iter();
        results
            .map(|result| {
                { result.into_iter() }
                    .map(|series| (series.labels, series.samples))
                    .collect()
            })
            .collect()
    } else {
        let body = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let answer = ReadResponse::decode(body.as_slice()).unwrap();
        let results = answer.results.into_iter();
        results
            .map(|result| {
                let series = result.timeseries.into_iter().map(|series| {
                    let labels = { series.labels.into_iter() }.map(|label| (label.name, label.value));
                    let samples =
                        { series.samples.into_iter() }.map(|sample| (sample.timestamp, sample.value));
                    (labels.collect(), samples.collect())
                });
                series.collect()
            })
            .collect()
    };
    assert_eq!(results.len(), queries.len());
    let within = |(mut result, query): (Vec<Series>, &Query)| {
        let times = query.start_timestamp_ms..=query.end_timestamp_ms;
        for (_, samples) in &mut result {
            samples.retain(|(time, _)| times.contains(time));
        }
        result.retain(|(_, samples)| !samples.is_empty());
        result
    };
    results.into_iter().zip(queries).map(within).collect()
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}
