//! A receiver of remote write 1.0 and 2.0 as the public compliance suite asks for one
//! (`prometheus/compliance`, `remotewrite/receiver`), and stricter: where that suite lets a receiver
//! choose between a refusal and a success, here the answer is known; what is counted is counted
//! exactly; and everything is read back.

#[path = "receiver/cases.rs"]
mod cases;

#[path = "receiver/request.rs"]
pub(crate) mod request;

#[path = "receiver/refused.rs"]
mod refused;

#[path = "receiver/chunks.rs"]
mod chunks;

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use prost::Message;
use witgate_lab::{Component, InfluxDb, require};
use witgate_prometheus::proto::{self, MatchType, ReadRequest, ReadResponse, ResponseType};
use witgate_tests::remote::{compress, streamed};

use self::{
    cases::{Case, cases},
    request::{Series, Version},
};
use crate::{
    samples::STALE,
    world::{Setup, World},
};

/// What a backend can't hold.
#[derive(Clone, Copy, Debug)]
struct Backend {
    name: &'static str,
    histograms: bool,
    exemplars: bool,
    /// Of a series with a line break in a label, values that are not finite.
    odd_values_of_odd_series: bool,
}

const LOCAL: Backend = Backend {
    name: "local",
    histograms: true,
    exemplars: false,
    odd_values_of_odd_series: true,
};

const INFLUX: Backend = Backend {
    name: "influx",
    histograms: false,
    exemplars: false,
    odd_values_of_odd_series: false,
};

/// What was stored: samples and native histograms by series and time.
#[derive(Debug, Default, PartialEq)]
struct Stored {
    samples: BTreeMap<(Vec<(String, String)>, i64), u64>,
    histograms: BTreeMap<(Vec<(String, String)>, i64), proto::Histogram>,
}

#[tokio::test]
async fn the_storage_in_the_gateway_takes_every_case() {
    let world = World::start(&Setup::local()).await;
    takes_every_case(&world, LOCAL).await;
}

#[tokio::test]
async fn influxdb_takes_every_case() {
    if require(Component::InfluxDb).is_err() {
        return;
    }
    let influx = InfluxDb::start().await.unwrap();
    influx.create_database("prometheus").await.unwrap();
    let world = World::start(&Setup::influx(influx.address())).await;
    takes_every_case(&world, INFLUX).await;
}

async fn takes_every_case(world: &World, backend: Backend) {
    let mut stored = Stored::default();
    let mut time = now();
    for version in [Version::V1, Version::V2] {
        for case in cases() {
            // A time of its own for each, so that what is read back says whose it is.
            time += 1;
            let series: Vec<_> = { case.series.iter() }.map(|series| series.at(time)).collect();
            let (status, expected) = outcome(&case, &series, version, backend);
            let answer = request::send(world, version, &series).await;
            let what = format!("{} {version:?} {}: {}", backend.name, case.name, answer.said);
            assert_eq!(answer.status, status, "{what}");
            match version {
                // Senders of 1.0 would take them for the word of a receiver of 2.0.
                Version::V1 => assert_eq!(answer.written, None, "{what}"),
                Version::V2 => assert_eq!(answer.written, Some(expected), "{what}"),
            }
            assert_eq!(answer.said.is_empty(), status == 204, "{what}");
            if status == 400 {
                let taken = format!("stored: {} sample", expected[0]);
                assert!(
                    answer.said.contains(&taken) && answer.said.contains("not stored:"),
                    "{what}"
                );
            }
            series
                .iter()
                .filter(|series| series.is_right)
                .for_each(|series| stored.add(series, backend));
        }
    }
    let read = read(world, ResponseType::Samples).await;
    stored.is(&read, backend.name);
    let read = read_streamed(world).await;
    stored.is(&read, &format!("{} in chunks", backend.name));
}

/// The status of a case, and how many samples, histograms and exemplars are written.
fn outcome(case: &Case, series: &[Series], version: Version, backend: Backend) -> (u16, [u64; 3]) {
    let mut written = [0; 3];
    let mut is_whole = true;
    for series in series {
        let kinds = [
            (series.samples.len(), backend.holds_samples(series)),
            (series.histograms.len(), backend.histograms),
            (series.exemplars.len(), backend.exemplars),
        ];
        for ((count, is_held), written) in kinds.into_iter().zip(&mut written) {
            let is_taken = is_held && series.is_right;
            *written += if is_taken { count as u64 } else { 0 };
            is_whole &= is_taken || count == 0;
        }
        // In 1.0 a series of nothing is nothing, in 2.0 it is against the specification.
        let is_empty = kinds.iter().all(|(count, _)| *count == 0);
        is_whole &= !is_empty || version == Version::V1 && series.is_right;
    }
    assert_eq!(
        series.iter().all(|series| series.is_right),
        case.is_right,
        "{} says of itself what it is",
        case.name
    );
    (if is_whole { 204 } else { 400 }, written)
}

impl Backend {
    fn holds_samples(&self, series: &Series) -> bool {
        let is_odd = series.labels.iter().any(|(_, value)| value.contains('\n'));
        let is_finite = |sample: &request::Sample| f64::from_bits(sample.bits).is_finite();
        self.odd_values_of_odd_series || !is_odd || series.samples.iter().all(is_finite)
    }
}

impl Stored {
    fn add(&mut self, series: &Series, backend: Backend) {
        let labels = series.sorted();
        if backend.holds_samples(series) {
            for sample in &series.samples {
                self.samples.insert((labels.clone(), sample.time), sample.bits);
            }
        }
        if backend.histograms {
            for histogram in &series.histograms {
                let key = (labels.clone(), histogram.timestamp);
                let mut histogram = histogram.clone();
                if histogram.zero_count_float.is_none() {
                    // A chunk says of each zero bucket how much is in it.
                    histogram.zero_count_int.get_or_insert(0);
                }
                self.histograms.insert(key, histogram);
            }
        }
    }

    /// Fails with the first that differs.
    #[track_caller]
    fn is(&self, read: &Self, whose: &str) {
        for (key, bits) in &self.samples {
            assert_eq!(read.samples.get(key), Some(bits), "{whose}: {key:?}");
        }
        for (key, histogram) in &self.histograms {
            let found = { read.histograms.get(key) }.map(|found| match histogram.sum {
                // Nothing else of a marker is looked at by anybody.
                STALE if found.sum == STALE => histogram,
                _ => found,
            });
            assert_eq!(found, Some(histogram), "{whose}: {key:?}");
        }
        let strange = { read.samples.keys() }.find(|key| !self.samples.contains_key(key));
        assert_eq!(strange, None, "{whose}: a sample that nobody sent");
        let strange = { read.histograms.keys() }.find(|key| !self.histograms.contains_key(key));
        assert_eq!(strange, None, "{whose}: a histogram that nobody sent");
    }
}

/// The body of a read of everything.
fn everything(form: ResponseType) -> Vec<u8> {
    let matcher = proto::LabelMatcher {
        r#type: MatchType::Re.into(),
        name: "__name__".to_owned(),
        value: ".+".to_owned(),
    };
    let query = proto::Query {
        start_timestamp_ms: 0,
        end_timestamp_ms: i64::MAX,
        matchers: vec![matcher],
        hints: None,
    };
    let request = ReadRequest {
        queries: vec![query],
        accepted_response_types: vec![form.into()],
    };
    compress(&request.encode_to_vec())
}

async fn answered(world: &World, form: ResponseType) -> Vec<u8> {
    let answer = world.post("/api/v1/read", everything(form)).send().await.unwrap();
    let status = answer.status();
    let body = answer.bytes().await.unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    body.to_vec()
}

async fn read(world: &World, form: ResponseType) -> Stored {
    let body = answered(world, form).await;
    let body = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let answer = ReadResponse::decode(body.as_slice()).unwrap();
    let mut stored = Stored::default();
    for series in answer.results.into_iter().next().unwrap().timeseries {
        let labels = series.labels.into_iter().map(|label| (label.name, label.value));
        let labels: Vec<_> = labels.collect();
        for sample in series.samples {
            let before = { &mut stored.samples }.insert((labels.clone(), sample.timestamp), sample.value);
            assert_eq!(before, None, "{labels:?} has two samples at one time");
        }
        for message in series.histograms {
            let histogram = proto::Histogram::decode(message.as_slice()).unwrap();
            let key = (labels.clone(), histogram.timestamp);
            assert_eq!(stored.histograms.insert(key, histogram), None, "{labels:?}");
        }
    }
    stored
}

async fn read_streamed(world: &World) -> Stored {
    let body = answered(world, ResponseType::StreamedXorChunks).await;
    let mut stored = Stored::default();
    for series in streamed::read(&body, 1).remove(0) {
        for (time, bits) in series.samples {
            let before = { &mut stored.samples }.insert((series.labels.clone(), time), bits);
            assert_eq!(before, None, "{:?} has two samples at one time", series.labels);
        }
        for histogram in series.histograms {
            let key = (series.labels.clone(), histogram.time);
            let message = request::message(&histogram);
            assert_eq!(
                stored.histograms.insert(key, message),
                None,
                "{:?}",
                series.labels
            );
        }
    }
    stored
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}
