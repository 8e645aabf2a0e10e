//! Answers in chunks: the same as in samples, and of a Prometheus its own chunks, byte for byte.

use prost::Message as _;
use witgate_lab::{Component, FaultProxy, eventually, http, require};
use witgate_prometheus::proto::{self, BucketSpan, ChunkedSeries, MatchType::Eq, ResponseType, v2};
use witgate_tests::remote::{read_body_for, streamed::chunks};

use crate::{
    backend::{Backend, Kind},
    request::Request,
    world::{SOON, World, now},
};

/// Samples of each series: several chunks of them.
const SAMPLES: i64 = 400;

/// Values whose bits are easily lost.
const BITS: [u64; 6] = [
    0x7ff0_0000_0000_0002,
    0x8000_0000_0000_0000,
    0x7ff8_dead_beef_cafe,
    0xfff0_0000_0000_0000,
    1,
    0x3ff0_0000_0000_0001,
];

#[tokio::test]
async fn a_prometheus_gives_its_own_chunks() {
    for kind in [Kind::Prometheus, Kind::OldPrometheus] {
        if kind.require().is_err() {
            continue;
        }
        let world = World::start(kind).await;
        let (Backend::Prometheus(prometheus) | Backend::OldPrometheus(prometheus)) = &world.backend else {
            panic!("{kind:?}")
        };
        let now = now();
        let first = now - SAMPLES * 15_000;
        let sent = fill(&world, first).await;
        let matcher = [("job", Eq, "chunks")];
        let body = |form| read_body_for(form, &matcher, first, now);
        let url = format!("{}/api/v1/read", prometheus.url());
        let ask = async |form| {
            let request = http::client().post(&url).body(body(form));
            let request = request.header("content-encoding", "snappy");
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 200, "{kind:?}");
            answer.bytes().await.unwrap()
        };
        let theirs = chunks(&ask(ResponseType::StreamedXorChunks).await);
        let ours = streamed(&world, &matcher, (first, now)).await.unwrap();
        assert_eq!(
            count(&ours),
            sent.floats.len() + sent.histograms.len(),
            "{kind:?}"
        );
        assert!(ours.iter().any(|series| series.chunks.len() > 2), "{kind:?}");
        assert!(ours == theirs, "{kind:?}: other chunks than Prometheus' own");

        // The same in samples, where the gateway reads the chunks.
        let found = world.read(&matcher, first, now).await;
        let mut floats: Vec<_> = { found.iter().flat_map(|series| &series.samples) }
            .map(|sample| (sample.timestamp, sample.value))
            .collect();
        floats.sort_unstable();
        assert!(floats == sent.floats, "{kind:?}: other samples than were sent");
        let histograms = found.iter().flat_map(|series| &series.histograms);
        let mut histograms: Vec<_> = histograms
            .map(|message| proto::Histogram::decode(message.as_slice()).unwrap())
            .map(|found| proto::Histogram {
                reset_hint: 0,
                ..found
            })
            .collect();
        histograms.sort_by_key(|histogram| histogram.timestamp);
        assert_eq!(histograms, sent.histograms, "{kind:?}");
    }
}

/// What the backend cuts off is missing, and so is no answer.
#[tokio::test]
async fn an_answer_that_breaks_off_is_a_failure() {
    if require(Component::CurrentPrometheus).is_err() {
        return;
    }
    let kind = Kind::Prometheus;
    let backend = kind.start().await;
    let Backend::Prometheus(prometheus) = &backend else {
        panic!("{backend:?}")
    };
    let direct = prometheus.url();
    let address = direct.strip_prefix("http://").unwrap().parse().unwrap();
    let proxy = FaultProxy::start(address).await.unwrap();
    let through = format!("http://{}", proxy.address());
    let world = World::before(kind, backend, |plugin| {
        plugin.map(|part| part.replace(&direct, &through))
    })
    .await;
    let now = now();
    let first = now - SAMPLES * 15_000;
    let sent = fill(&world, first).await;
    let matcher = [("job", Eq, "chunks")];
    let whole = sent.floats.len() + sent.histograms.len();
    // Within the head of the answer, a frame's length, checksum and data, and where a frame ends.
    for bytes in [100, 500, 3_000, 10_000, 20_000] {
        proxy.cut_after(bytes);
        if let Ok(found) = streamed(&world, &matcher, (first, now)).await {
            panic!("cut after {bytes}: {} samples of {whole}", count(&found));
        }
        proxy.pass();
        eventually("all is there again", SOON, async || {
            match streamed(&world, &matcher, (first, now)).await {
                Ok(found) if count(&found) == whole => Ok(()),
                Ok(found) => Err(format!("{} of {whole}", count(&found))),
                Err(said) => Err(said),
            }
        })
        .await
        .unwrap();
    }
}

/// What was written.
struct Sent {
    /// By time.
    floats: Vec<(i64, u64)>,
    histograms: Vec<proto::Histogram>,
}

/// Writes series of the job `chunks`, no two with a sample at one time: floats, and what histograms
/// the backend holds.
async fn fill(world: &World, first: i64) -> Sent {
    let mut request = Request::default();
    let mut floats = Vec::new();
    for series in 0..8 {
        let samples: Vec<_> = (0..SAMPLES)
            .map(|n| {
                let odd = usize::try_from(n * 7 + series).unwrap() % 40;
                let value = (n * n % 1009) as f64 / 7.0;
                let bits = BITS.get(odd).copied().unwrap_or(value.to_bits());
                (first + n * 15_000 + series, bits)
            })
            .collect();
        let instance = series.to_string();
        let labels = [("__name__", "floats"), ("instance", &instance), ("job", "chunks")];
        request = request.samples(&labels, &samples);
        floats.extend(samples);
    }
    floats.sort_unstable();
    let mut histograms = Vec::new();
    if world.kind == Kind::Prometheus {
        for (at, name) in (0..).zip(["whole", "float", "custom"]) {
            let sent: Vec<_> = (0..50)
                .map(|n| histogram(name, n, first + i64::try_from(n).unwrap() * 15_000 + 100 + at))
                .collect();
            let data = v2::TimeSeries {
                histograms: sent.iter().map(proto::Histogram::encode_to_vec).collect(),
                ..v2::TimeSeries::default()
            };
            request = request.series(&[("__name__", name), ("job", "chunks")], data);
            histograms.extend(sent);
        }
    }
    histograms.sort_by_key(|histogram| histogram.timestamp);
    let said = request.send(world).await;
    let written = [floats.len() as u64, histograms.len() as u64, 0];
    assert_eq!((said.status, said.written), (204, written), "{said:?}");
    Sent { floats, histograms }
}

/// The `n`th histogram of a counter. Its buckets change from time to time.
fn histogram(name: &str, n: u64, timestamp: i64) -> proto::Histogram {
    let whole = proto::Histogram {
        count_int: Some(6 + 3 * n),
        sum: (12.5 * n as f64).to_bits(),
        schema: 3,
        zero_threshold: 0.001_f64.to_bits(),
        zero_count_int: Some(1 + n),
        positive_spans: vec![BucketSpan {
            offset: i32::try_from(n / 20).unwrap() - 1,
            length: 2,
        }],
        positive_deltas: vec![2 + i64::try_from(n).unwrap(), 1],
        timestamp,
        ..proto::Histogram::default()
    };
    match name {
        "float" => proto::Histogram {
            count_int: None,
            count_float: Some((5.5 + 3.0 * n as f64).to_bits()),
            zero_count_int: None,
            zero_count_float: Some((1.0 + n as f64).to_bits()),
            positive_deltas: Vec::new(),
            positive_counts: [2.5 + n as f64, 2.0 + n as f64].map(f64::to_bits).to_vec(),
            ..whole
        },
        "custom" => proto::Histogram {
            count_int: Some(5 + 2 * n),
            schema: -53,
            zero_threshold: 0,
            zero_count_int: Some(0),
            positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
            custom_values: [0.5, 1.0].map(f64::to_bits).to_vec(),
            ..whole
        },
        _ => whole,
    }
}

/// Reads in chunks. The error is what the client sees of a failure.
async fn streamed(
    world: &World,
    matchers: &[(&str, proto::MatchType, &str)],
    (start, end): (i64, i64),
) -> Result<Vec<ChunkedSeries>, String> {
    let body = read_body_for(ResponseType::StreamedXorChunks, matchers, start, end);
    let request = world.post("/api/v1/read", "application/x-protobuf", body);
    let answer = request.send().await.map_err(|error| error.to_string())?;
    if answer.status() != 200 {
        assert_eq!(answer.status(), 503);
        return Err(answer.text().await.unwrap());
    }
    let body = answer.bytes().await.map_err(|error| error.to_string())?;
    Ok(chunks(&body))
}

/// How many samples there are.
fn count(series: &[ChunkedSeries]) -> usize {
    let chunks = series.iter().flat_map(|series| &series.chunks);
    chunks
        .map(|chunk| usize::from(u16::from_be_bytes([chunk.data[0], chunk.data[1]])))
        .sum()
}
