//! Remote write 2.0 as a receiver has to take it, with exact counts, and everything read back: the cases
//! that the public compliance suite for receivers sends.

use prost::Message;
use reqwest::{StatusCode, header};
use witgate_lab::{Component, Prometheus, PrometheusOptions, eventually, require};
use witgate_prometheus::proto::{self, BucketSpan, MatchType, ReadResponse, v2};
use witgate_tests::remote::{compress, read_body};

use crate::{
    sender::endpoint,
    world::{SOON, Setup, World},
};

const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// A request that is being put together.
#[derive(Default)]
struct Sent {
    request: v2::Request,
}

impl Sent {
    fn symbol(&mut self, text: &str) -> u32 {
        let symbols = &mut self.request.symbols;
        if symbols.is_empty() {
            symbols.push(String::new());
        }
        let known = symbols.iter().position(|symbol| symbol == text);
        let at = known.unwrap_or_else(|| {
            symbols.push(text.to_owned());
            symbols.len() - 1
        });
        u32::try_from(at).unwrap()
    }

    fn series(mut self, labels: &[(&str, &str)], data: v2::TimeSeries) -> Self {
        let pairs = labels.iter().flat_map(|(name, value)| [*name, *value]);
        let labels_refs = pairs.map(|text| self.symbol(text)).collect();
        self.request
            .timeseries
            .push(v2::TimeSeries { labels_refs, ..data });
        self
    }

    fn sample(self, labels: &[(&str, &str)], value: f64) -> Self {
        let sample = v2::Sample {
            value: value.to_bits(),
            timestamp: 1_700_000_000_000,
            start_timestamp: 0,
        };
        let data = v2::TimeSeries {
            samples: vec![sample],
            ..v2::TimeSeries::default()
        };
        self.series(labels, data)
    }

    fn histogram(self, labels: &[(&str, &str)], histogram: &proto::Histogram) -> Self {
        let data = v2::TimeSeries {
            histograms: vec![histogram.encode_to_vec()],
            ..v2::TimeSeries::default()
        };
        self.series(labels, data)
    }

    /// Sends it: the status, and how many samples, histograms and exemplars were written.
    async fn send(&self, world: &World) -> (u16, [u64; 3], String) {
        let request = world
            .bare("/api/v1/write", compress(&self.request.encode_to_vec()))
            .basic_auth(crate::world::USER, Some(crate::world::PASSWORD))
            .header(header::CONTENT_TYPE, V2)
            .header(header::CONTENT_ENCODING, "snappy")
            .header("X-Prometheus-Remote-Write-Version", "2.0.0");
        let answer = request.send().await.unwrap();
        let written = ["Samples", "Histograms", "Exemplars"].map(|kind| {
            let name = format!("X-Prometheus-Remote-Write-{kind}-Written");
            answer.headers()[name].to_str().unwrap().parse().unwrap()
        });
        (answer.status().as_u16(), written, answer.text().await.unwrap())
    }
}

fn histogram() -> proto::Histogram {
    proto::Histogram {
        count_int: Some(6),
        sum: 12.5_f64.to_bits(),
        schema: 3,
        zero_threshold: 0.001_f64.to_bits(),
        zero_count_int: Some(1),
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        positive_deltas: vec![2, 1],
        timestamp: 1_700_000_000_000,
        ..proto::Histogram::default()
    }
}

fn float_histogram() -> proto::Histogram {
    proto::Histogram {
        count_int: None,
        count_float: Some(6.5_f64.to_bits()),
        zero_count_int: None,
        zero_count_float: Some(1f64.to_bits()),
        negative_spans: vec![BucketSpan {
            offset: -3,
            length: 1,
        }],
        negative_counts: vec![1f64.to_bits()],
        positive_deltas: Vec::new(),
        positive_counts: vec![2.5_f64.to_bits(), 2f64.to_bits()],
        reset_hint: 3,
        ..histogram()
    }
}

fn custom_histogram() -> proto::Histogram {
    proto::Histogram {
        count_int: Some(5),
        schema: -53,
        zero_threshold: 0,
        // What is kept in a chunk says that there are none.
        zero_count_int: Some(0),
        custom_values: [0.5, 1.0].map(f64::to_bits).to_vec(),
        ..histogram()
    }
}

/// The series of the first result, each with its histograms.
async fn read(world: &World, name: &str) -> Vec<proto::TimeSeries> {
    let body = read_body(&[("__name__", MatchType::Eq, name)], 0, i64::MAX);
    let answer = world.post("/api/v1/read", body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let body = answer.bytes().await.unwrap();
    let body = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let answer = ReadResponse::decode(body.as_slice()).unwrap();
    answer.results.into_iter().next().unwrap().timeseries
}

#[tokio::test]
async fn what_is_right_is_written_counted_and_read_back() {
    let world = World::start(&Setup::local()).await;
    let odd = [
        ("__name__", "a name with spaces.and.dots"),
        ("label with \"quotes\"", "line\nbreak and \\"),
        ("unicode", "日本語 🦀"),
    ];
    let cases: Vec<(&str, Sent, [u64; 3])> = vec![
        (
            "special values",
            [
                f64::NAN,
                f64::INFINITY,
                f64::NEG_INFINITY,
                -0.0,
                f64::MIN_POSITIVE,
            ]
            .into_iter()
            .zip(["nan", "inf", "-inf", "-0", "tiny"])
            .fold(Sent::default(), |sent, (value, name)| {
                sent.sample(&[("__name__", "special"), ("value", name)], value)
            }),
            [5, 0, 0],
        ),
        ("odd labels", Sent::default().sample(&odd, 1.0), [1, 0, 0]),
        (
            "labels out of order",
            Sent::default().sample(&[("z", "1"), ("__name__", "unsorted"), ("a", "2")], 1.0),
            [1, 0, 0],
        ),
        (
            "histograms",
            Sent::default()
                .histogram(&[("__name__", "whole")], &histogram())
                .histogram(&[("__name__", "float")], &float_histogram())
                .histogram(&[("__name__", "custom")], &custom_histogram()),
            [0, 3, 0],
        ),
        (
            "one series twice",
            Sent::default()
                .sample(&[("__name__", "twice")], 1.0)
                .sample(&[("__name__", "twice")], 1.0),
            [2, 0, 0],
        ),
        (
            "created timestamps of earlier drafts, and metadata",
            Sent::default().series(
                &[("__name__", "created")],
                v2::TimeSeries {
                    samples: vec![v2::Sample {
                        value: 1f64.to_bits(),
                        timestamp: 1_700_000_000_000,
                        start_timestamp: 1_600_000_000_000,
                    }],
                    created_timestamp: 1_600_000_000_000,
                    metadata: Some(v2::Metadata {
                        r#type: 1,
                        help_ref: 0,
                        unit_ref: 0,
                    }),
                    ..v2::TimeSeries::default()
                },
            ),
            [1, 0, 0],
        ),
        (
            "many",
            (0..1000).fold(Sent::default(), |sent, n| {
                sent.sample(&[("__name__", "many"), ("n", &n.to_string())], f64::from(n))
            }),
            [1000, 0, 0],
        ),
        ("nothing", Sent::default(), [0, 0, 0]),
    ];
    for (what, sent, written) in cases {
        let (status, counted, said) = sent.send(&world).await;
        assert_eq!((status, counted), (204, written), "{what}: {said}");
    }
    let counted =
        world.metric(r#"witgate_prometheus_written_total{tenant="lab",storage="local",kind="sample"}"#);
    assert!((counted.await - 1010.0).abs() < 0.5);
    assert_eq!(read(&world, "many").await.len(), 1000);
    let odd = read(&world, odd[0].1).await;
    assert_eq!(odd[0].labels[2].value, "日本語 🦀");
    let values: Vec<_> = { read(&world, "special").await }
        .iter()
        .map(|series| series.samples[0].value)
        .collect();
    // By their labels: -0, -inf, inf, nan, tiny.
    let expected = [
        -0.0,
        f64::NEG_INFINITY,
        f64::INFINITY,
        f64::NAN,
        f64::MIN_POSITIVE,
    ];
    assert_eq!(values, expected.map(f64::to_bits));
    for (name, expected) in [
        ("whole", histogram()),
        ("float", float_histogram()),
        ("custom", custom_histogram()),
    ] {
        let found = read(&world, name).await;
        let found = proto::Histogram::decode(found[0].histograms[0].as_slice()).unwrap();
        assert_eq!(found, expected, "{name}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_not_written_and_what_is_beside_it_is() {
    let world = World::start(&Setup::local()).await;
    let good = || Sent::default().sample(&[("__name__", "good")], 1.0);
    let mut dangling = good().sample(&[("__name__", "dangling")], 1.0);
    dangling.request.timeseries[1].labels_refs[1] = 99;
    let mut uneven = good().sample(&[("__name__", "uneven")], 1.0);
    uneven.request.timeseries[1].labels_refs.pop();
    let exemplar = v2::Exemplar {
        labels_refs: vec![0, 0],
        value: 1f64.to_bits(),
        timestamp: 1_700_000_000_000,
    };
    let mut both = good().histogram(&[("__name__", "both")], &histogram());
    let sample = both.request.timeseries[0].samples[0];
    both.request.timeseries[1].samples.push(sample);
    let wrong_count = proto::Histogram {
        count_int: Some(99),
        ..histogram()
    };
    let cases: Vec<(&str, Sent, &str)> = vec![
        (
            "no name",
            good().sample(&[("job", "a")], 1.0),
            "no label `__name__`",
        ),
        (
            "a label twice",
            good().sample(&[("__name__", "x"), ("a", "1"), ("a", "2")], 1.0),
            "a label that is there twice",
        ),
        (
            "a symbol that is not there",
            dangling,
            "a symbol that is not there",
        ),
        ("an uneven number of references", uneven, "not pairs"),
        (
            "a wrong count",
            good().histogram(&[("__name__", "wrong")], &wrong_count),
            "count is not that of its buckets",
        ),
        (
            "labels only",
            good().series(&[("__name__", "empty")], v2::TimeSeries::default()),
            "neither a sample nor a histogram",
        ),
        (
            "samples and histograms",
            both,
            "samples and histograms in one series",
        ),
        (
            "exemplars, which this storage does not hold",
            good().series(
                &[("__name__", "exemplars")],
                v2::TimeSeries {
                    exemplars: vec![exemplar],
                    ..v2::TimeSeries::default()
                },
            ),
            "1 exemplar with exemplars, which the storage does not hold",
        ),
    ];
    for (what, sent, words) in cases {
        let (status, counted, said) = sent.send(&world).await;
        assert_eq!((status, counted), (400, [1, 0, 0]), "{what}: {said}");
        assert!(said.contains(words), "{what}: {said}");
    }
    let refused = world.metric(
        r#"witgate_prometheus_refused_total{tenant="lab",storage="local",kind="sample",reason="no label `__name__`"}"#,
    );
    assert!((refused.await - 1.0).abs() < 0.5);
}

#[tokio::test]
async fn a_prometheus_reads_native_histograms_out_of_the_chunks() {
    if require(Component::CurrentPrometheus).is_err() {
        return;
    }
    let world = World::start(&Setup::local()).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap().as_millis()).unwrap();
    let at_now = |histogram: proto::Histogram| proto::Histogram {
        timestamp: now,
        ..histogram
    };
    let (status, ..) = Sent::default()
        .histogram(&[("__name__", "whole")], &at_now(histogram()))
        .histogram(&[("__name__", "float")], &at_now(float_histogram()))
        .send(&world)
        .await;
    assert_eq!(status, 204);
    let options = PrometheusOptions {
        current: true,
        ..PrometheusOptions::default()
    };
    let read = endpoint(&world, "read");
    let reader = Prometheus::start_with(options, |_| format!("remote_read:\n- {read}"))
        .await
        .unwrap();
    for (query, expected) in [
        ("histogram_count(whole)", "6"),
        ("histogram_sum(whole)", "12.5"),
        ("histogram_count(float)", "6.5"),
        ("histogram_quantile(1, whole) > bool 0", "1"),
    ] {
        eventually(query, SOON, async || {
            let data = reader
                .query(query, None)
                .await
                .map_err(|error| error.to_string())?;
            match data["result"][0]["value"][1].as_str() {
                Some(found) if found == expected => Ok(()),
                _ => Err(data.to_string()),
            }
        })
        .await
        .unwrap();
    }
}
