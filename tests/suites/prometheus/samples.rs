//! Everything that somebody holds, read in the way that is theirs, in a form that can be compared.

use std::collections::BTreeMap;

use reqwest::header;
use serde_json::Value;
use witgate_lab::{InfluxDb, http};
use witgate_prometheus::proto::MatchType;
use witgate_tests::remote::{Series, read_answer, read_body};

use crate::world::World;

/// What Prometheus writes for a series that has ended.
pub(crate) const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Each sample's bits, by the labels of its series and its milliseconds.
pub(crate) type Samples = BTreeMap<(Vec<(String, String)>, i64), u64>;

/// Whatever has a name.
const EVERYTHING: [(&str, MatchType, &str); 1] = [("__name__", MatchType::Re, ".+")];

/// From long ago to far ahead, for what was scraped during a test.
const ALWAYS: (i64, i64) = (0, 4_000_000_000_000);

/// What a program holds that has Prometheus' endpoint for remote reads: Prometheus, or InfluxDB.
pub(crate) async fn held(read_url: &str) -> Samples {
    let request = http::client()
        .post(read_url)
        .header(header::CONTENT_TYPE, "application/x-protobuf")
        .header(header::CONTENT_ENCODING, "snappy")
        .body(read_body(&EVERYTHING, ALWAYS.0, ALWAYS.1));
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{read_url}: {answer:?}");
    once(read_answer(&answer.bytes().await.unwrap()))
}

/// What the gateway answers when it is asked for everything.
pub(crate) async fn read_through(world: &World) -> Samples {
    once(world.read(&EVERYTHING, ALWAYS.0, ALWAYS.1).await)
}

/// What InfluxDB itself has in a database: finite values by its own remote read, which is exact, and
/// the bits of the others from the field they are kept in.
pub(crate) async fn in_influxdb(influx: &InfluxDb, database: &str) -> Samples {
    let mut samples = held(&format!("{}/api/v1/prom/read?db={database}", influx.url())).await;
    let statement = "SELECT vb FROM /.*/ GROUP BY *";
    let results = influx.query(database, statement).await.unwrap();
    for series in results[0]["series"].as_array().into_iter().flatten() {
        let tags = series["tags"].as_object().unwrap().iter();
        let mut labels: Vec<_> = tags
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        labels.sort();
        for row in series["values"].as_array().unwrap() {
            let [Value::Number(nanoseconds), Value::Number(bits)] = row.as_array().unwrap().as_slice() else {
                continue;
            };
            let milliseconds = nanoseconds.as_i64().unwrap() / 1_000_000;
            let bits = bits.as_i64().unwrap().cast_unsigned();
            let before = samples.insert((labels.clone(), milliseconds), bits);
            assert_eq!(before, None, "{labels:?} has two values at {milliseconds}");
        }
    }
    samples
}

/// Fails with the first few that differ, not with all.
#[track_caller]
pub(crate) fn assert_same(expected: &Samples, actual: &Samples, whose: &str) {
    let missing: Vec<_> = expected
        .iter()
        .filter(|(key, bits)| actual.get(key) != Some(bits))
        .collect();
    let added: Vec<_> = actual
        .iter()
        .filter(|(key, _)| !expected.contains_key(key))
        .collect();
    assert!(
        missing.is_empty() && added.is_empty(),
        "{whose}: of {} samples {} are missing or different and {} were never sent: {:?} {:?}",
        expected.len(),
        missing.len(),
        added.len(),
        missing
            .iter()
            .take(3)
            .map(|(key, bits)| (key, bits, actual.get(key)))
            .collect::<Vec<_>>(),
        added.iter().take(3).collect::<Vec<_>>(),
    );
}

/// How many of the samples have these bits.
pub(crate) fn count(samples: &Samples, bits: u64) -> usize {
    samples.values().filter(|value| **value == bits).count()
}

/// Sorts, and sees that no sample is there twice.
fn once(series: Vec<Series>) -> Samples {
    let mut samples = Samples::new();
    for (mut labels, values) in series {
        labels.sort();
        for (milliseconds, bits) in values {
            let before = samples.insert((labels.clone(), milliseconds), bits);
            assert_eq!(before, None, "{labels:?} at {milliseconds} is there twice");
        }
    }
    samples
}
