use axum::body::Body;
use http::{Request, header};
use http_body_util::BodyExt;
use prost::Message;
use witgate_identity::Method;
use witgate_plugins::{CallError, Kinds, Receipt, Rejection, StorageError};

use super::*;
use crate::{
    memory::{self, Memory},
    proto::{self, Label, LabelMatcher, Query, ReadRequest, ReadResponse, Sample, TimeSeries, WriteRequest},
};

const CONFIG: &str = r#"{"tenants": [{"name": "t", "storage": "memory",
    "write": {"users": ["prom"]}, "read": {"users": ["prom"]}}]}"#;

fn remote(memory: Memory) -> (Arc<Memory>, Remote) {
    let memory = Arc::new(memory);
    let remote = configured(CONFIG, &[("memory", &memory)]);
    (memory, remote)
}

fn configured(config: &str, storages: &[(&str, &Arc<Memory>)]) -> Remote {
    let config = serde_json::from_str(config).unwrap();
    memory::founded(storages, |foundations| Remote::new(&config, foundations, None)).unwrap()
}

fn prom() -> Principal {
    let (user, method) = ("prom".to_owned(), Method::Basic);
    Principal {
        user,
        uid: None,
        groups: Vec::new(),
        extra: Vec::new(),
        method,
        expires: None,
        proof: witgate_identity::Proof::default(),
    }
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

fn series(name: &str, samples: &[(i64, u64)]) -> TimeSeries {
    TimeSeries {
        labels: vec![Label {
            name: "__name__".into(),
            value: name.into(),
        }],
        samples: samples
            .iter()
            .map(|&(timestamp, value)| Sample { value, timestamp })
            .collect(),
        ..TimeSeries::default()
    }
}

async fn post(remote: &Remote, path: &str, body: Vec<u8>) -> (u16, Vec<u8>, Option<String>) {
    let request = Request::post(path)
        .header(header::CONTENT_ENCODING, "snappy")
        .body(Body::from(body))
        .unwrap();
    let response = match Endpoint::of(path).unwrap() {
        Endpoint::Write => remote.write(&prom(), request).await,
        Endpoint::Read => remote.read(&prom(), request).await,
    };
    let retry = response
        .headers()
        .get(header::RETRY_AFTER)
        .map(|value| value.to_str().unwrap().to_owned());
    let status = response.status().as_u16();
    (
        status,
        response.into_body().collect().await.unwrap().to_bytes().into(),
        retry,
    )
}

async fn write(remote: &Remote, timeseries: Vec<TimeSeries>) -> (u16, String, Option<String>) {
    let body = compress(
        &WriteRequest {
            timeseries,
            ..WriteRequest::default()
        }
        .encode_to_vec(),
    );
    let (status, body, retry) = post(remote, "/api/v1/write", body).await;
    (status, String::from_utf8(body).unwrap(), retry)
}

#[tokio::test]
async fn what_a_backend_says_becomes_the_right_status() {
    let message = || "the backend is away".to_owned();
    let retry_after = Some(std::time::Duration::from_secs(7));
    let failed = CallError {
        plugin: "p".into(),
        reason: "trapped".into(),
    };
    let cases = [
        (
            StorageError::Unavailable {
                message: message(),
                retry_after,
            },
            503,
            Some(7..=9),
        ),
        (
            StorageError::Unavailable {
                message: message(),
                retry_after: None,
            },
            503,
            Some(5..=7),
        ),
        (
            StorageError::Overloaded {
                message: message(),
                retry_after,
            },
            429,
            Some(7..=9),
        ),
        (StorageError::Failed(failed), 503, Some(5..=7)),
        (StorageError::Invalid(message()), 400, None),
    ];
    for (error, status, retry) in cases {
        let said = error.to_string();
        let (memory, remote) = remote(Memory::default());
        *memory.fail.lock().unwrap() = Some(error);
        let answer = write(&remote, vec![series("up", &[(1, 1)])]).await;
        assert_eq!(answer.0, status, "{said}");
        let wait = answer.2.map(|seconds| seconds.parse::<u32>().unwrap());
        let is_right = match (&retry, wait) {
            (Some(expected), Some(wait)) => expected.contains(&wait),
            (expected, wait) => expected.is_none() && wait.is_none(),
        };
        assert!(is_right, "{said}: {wait:?} and not {retry:?}");
        assert!(answer.1.contains(&said), "{}", answer.1);
        assert_eq!(
            write(&remote, vec![series("up", &[(1, 1)])]).await.0,
            204,
            "the next one succeeds"
        );
    }
}

#[tokio::test]
async fn what_a_backend_can_not_hold_is_counted_and_said() {
    let rejected = vec![Rejection {
        series: 0,
        kind: witgate_plugins::Datum::Sample,
        count: 2,
        reason: "of the label `time`".into(),
    }];
    let (_, remote) = remote(Memory {
        receipt: Receipt { rejected },
        ..Memory::default()
    });
    let (status, said, _) = write(&remote, vec![series("up", &[(1, 1), (2, 2), (3, 3)])]).await;
    assert_eq!(status, 400);
    assert!(
        said.starts_with("stored: 1 sample; not stored: 2 samples that the storage can't hold"),
        "{said}"
    );
}

#[tokio::test]
async fn bodies_of_another_form_are_refused_and_metadata_alone_is_fine() {
    let (memory, remote) = remote(Memory::default());
    let cases = [
        (compress(b"\x22\x00\x22\x02up"), 415),
        (b"not snappy".to_vec(), 400),
        (vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0], 413),
        (compress(b"\x0a\x7f"), 400),
        (compress(b"\x1a\x02\x08\x01"), 204),
    ];
    for (body, status) in cases {
        assert_eq!(
            post(&remote, "/api/v1/write", body.clone()).await.0,
            status,
            "{body:?}"
        );
    }
    assert!(memory.batches.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_read_is_filtered_merged_and_sorted() {
    let (_, remote) = remote(Memory::default());
    let stale = 0x7ff0_0000_0000_0002;
    write(
        &remote,
        vec![series("b", &[(5, 5)]), series("a", &[(3, stale), (9, 9)])],
    )
    .await;
    write(
        &remote,
        vec![series("a", &[(1, 1), (3, stale)]), series("c", &[(1, 1)])],
    )
    .await;
    let matcher = LabelMatcher {
        r#type: 2,
        name: "__name__".into(),
        value: "a|b".into(),
    };
    let query = Query {
        start_timestamp_ms: 1,
        end_timestamp_ms: 5,
        matchers: vec![matcher],
        hints: None,
    };
    let request = ReadRequest {
        queries: vec![query],
        accepted_response_types: vec![0, 1],
    };
    let (status, body, _) = post(&remote, "/api/v1/read", compress(&request.encode_to_vec())).await;
    assert_eq!(status, 200);
    let bytes = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let answer = ReadResponse::decode(bytes.as_slice()).unwrap();
    assert_eq!(
        answer.results[0].timeseries,
        [series("a", &[(1, 1), (3, stale)]), series("b", &[(5, 5)])]
    );
}

/// What a client makes of a streamed answer: of each frame its query, its labels and its chunks.
fn frames(mut body: &[u8]) -> Vec<(i64, Vec<Label>, Vec<proto::Chunk>)> {
    let mut frames = Vec::new();
    while !body.is_empty() {
        let length = usize::try_from(prost::encoding::decode_varint(&mut body).unwrap()).unwrap();
        let (checksum, rest) = body.split_first_chunk().unwrap();
        let (message, rest) = rest.split_at(length);
        assert_eq!(crc32c::crc32c(message), u32::from_be_bytes(*checksum));
        let message = proto::ChunkedReadResponse::decode(message).unwrap();
        let [series] = &message.chunked_series[..] else {
            panic!("one series to a frame");
        };
        frames.push((message.query_index, series.labels.clone(), series.chunks.clone()));
        body = rest;
    }
    frames
}

#[tokio::test]
async fn a_read_is_streamed_in_chunks_to_who_takes_them() {
    let (_, remote) = remote(Memory {
        holds: Kinds::ALL,
        ..Memory::default()
    });
    let many: Vec<_> = (0..500_i64).map(|n| (n * 15_000, n.cast_unsigned())).collect();
    let message = proto::Histogram {
        timestamp: 7,
        count_int: Some(0),
        ..proto::Histogram::default()
    };
    let mut latency = series("latency", &[]);
    latency.histograms.push(message.encode_to_vec());
    let (late, early) = many.split_at(300);
    for written in [
        vec![series("many", early), latency],
        vec![series("many", late), series("few", &[(7, 7)])],
    ] {
        assert_eq!(write(&remote, written).await.0, 204);
    }
    let query = |name: &str| Query {
        start_timestamp_ms: 0,
        end_timestamp_ms: i64::MAX,
        matchers: vec![LabelMatcher {
            r#type: 2,
            name: "__name__".into(),
            value: name.into(),
        }],
        hints: None,
    };
    let request = ReadRequest {
        queries: vec![query("few|many"), query("latency")],
        accepted_response_types: vec![9, 1, 0],
    };
    let (status, body, _) = post(&remote, "/api/v1/read", compress(&request.encode_to_vec())).await;
    assert_eq!(status, 200);
    let frames = frames(&body);
    let names: Vec<_> = frames
        .iter()
        .map(|(query, labels, _)| (*query, labels[0].value.as_str()))
        .collect();
    assert_eq!(names, [(0, "few"), (0, "many"), (1, "latency")]);
    let (_, _, chunks) = &frames[1];
    assert_eq!(chunks.len(), 5, "of 120 samples each");
    let read: Vec<_> = chunks
        .iter()
        .flat_map(|chunk| {
            witgate_chunk::Samples::of(&chunk.data)
                .unwrap()
                .map(Result::unwrap)
        })
        .collect();
    assert_eq!(read, many);
    let (_, _, chunks) = &frames[2];
    assert_eq!((chunks[0].r#type, chunks[0].min_time_ms), (2, 7));
}

#[tokio::test]
async fn a_second_version_is_answered_with_what_was_written() {
    const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    let (memory, remote) = remote(Memory {
        holds: Kinds {
            exemplars: true,
            ..Kinds::default()
        },
        ..Memory::default()
    });
    let histogram = proto::Histogram::default().encode_to_vec();
    let series = |labels_refs: &[u32]| proto::v2::TimeSeries {
        labels_refs: labels_refs.to_vec(),
        samples: vec![proto::v2::Sample {
            value: 1,
            timestamp: 2,
            start_timestamp: 1,
        }],
        ..proto::v2::TimeSeries::default()
    };
    let request = proto::v2::Request {
        symbols: ["", "__name__", "up", "job", "a"].map(str::to_owned).to_vec(),
        timeseries: vec![
            proto::v2::TimeSeries {
                exemplars: vec![proto::v2::Exemplar {
                    labels_refs: vec![3, 4],
                    value: 5,
                    timestamp: 6,
                }],
                ..series(&[3, 4, 1, 2])
            },
            series(&[3, 4]),
            series(&[1, 2, 3]),
            series(&[1, 9]),
            proto::v2::TimeSeries {
                samples: Vec::new(),
                histograms: vec![histogram],
                ..series(&[1, 2])
            },
            proto::v2::TimeSeries {
                samples: Vec::new(),
                ..series(&[1, 2])
            },
        ],
    };
    let send = async |body: Vec<u8>, encoding: &str| {
        let request = Request::post("/api/v1/write")
            .header(header::CONTENT_TYPE, V2)
            .header(header::CONTENT_ENCODING, encoding)
            .body(Body::from(body))
            .unwrap();
        let response = remote.write(&prom(), request).await;
        let written = ["samples", "histograms", "exemplars"].map(|kind| {
            let name = format!("x-prometheus-remote-write-{kind}-written");
            let written = response.headers().get(name);
            written.map_or("", |written| written.to_str().unwrap()).to_owned()
        });
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, written, String::from_utf8(body.to_vec()).unwrap())
    };
    let encoded = request.encode_to_vec();
    let (status, written, said) = send(zstd::encode_all(encoded.as_slice(), 3).unwrap(), "zstd").await;
    assert_eq!(
        (status, written),
        (400, ["1", "0", "1"].map(str::to_owned)),
        "{said}"
    );
    for expected in [
        "1 sample with no label `__name__`",
        "1 sample with a label without a value",
        "1 sample with a reference to a symbol that is not there",
        "1 histogram with native histograms, which the storage does not hold",
        "1 sample with neither a sample nor a histogram",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let batches = memory.batches.lock().unwrap().clone();
    let [batch] = &batches[..] else {
        panic!("{batches:?}")
    };
    batch.check().unwrap();
    assert_eq!(batch.label_ends, [4]);
    assert_eq!(batch.exemplars.values, [5]);
    assert!(
        batch.start_timestamps.is_empty(),
        "the storage does not hold them"
    );

    let (status, written, _) = send(compress(b"\x0a\x7f"), "snappy").await;
    assert_eq!((status, written), (400, ["0", "0", "0"].map(str::to_owned)));
    let (status, written, _) = send(encoded, "gzip").await;
    assert_eq!((status, written), (415, ["", "", ""].map(str::to_owned)));
}

#[tokio::test]
async fn the_bounds_of_a_read_are_for_all_of_its_queries_together() {
    let memory = Arc::new(Memory::default());
    let config = CONFIG.replace(r#"{"tenants""#, r#"{"limits": {"readSamples": 10}, "tenants""#);
    let remote = configured(&config, &[("memory", &memory)]);
    let samples: Vec<_> = (0..6).map(|time| (time, 1)).collect();
    assert_eq!(write(&remote, vec![series("up", &samples)]).await.0, 204);
    let query = Query {
        start_timestamp_ms: 0,
        end_timestamp_ms: 9,
        matchers: vec![LabelMatcher {
            r#type: 0,
            name: "__name__".into(),
            value: "up".into(),
        }],
        hints: None,
    };
    for (queries, expected) in [(1, 200), (2, 400)] {
        let request = ReadRequest {
            queries: vec![query.clone(); queries],
            accepted_response_types: Vec::new(),
        };
        let body = compress(&request.encode_to_vec());
        let (status, said, _) = post(&remote, "/api/v1/read", body).await;
        assert_eq!(status, expected, "{}", String::from_utf8_lossy(&said));
    }
}
