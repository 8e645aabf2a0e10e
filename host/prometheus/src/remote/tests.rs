use axum::body::Body;
use http::{Request, header};
use http_body_util::BodyExt;
use prost::Message;
use witgate_identity::Method;
use witgate_plugins::{CallError, Receipt, Rejection, StorageError};

use super::*;
use crate::{
    memory::Memory,
    proto::{Label, LabelMatcher, Query, ReadRequest, ReadResponse, Sample, TimeSeries, WriteRequest},
};

const CONFIG: &str = r#"{"tenants": [{"name": "t", "storage": "memory",
    "write": {"users": ["prom"]}, "read": {"users": ["prom"]}}]}"#;

fn remote(memory: Memory) -> (Arc<Memory>, Remote) {
    let memory = Arc::new(memory);
    let storage: Arc<dyn Storage> = Arc::clone(&memory) as _;
    let config = serde_json::from_str(CONFIG).unwrap();
    (
        memory,
        Remote::new(&config, &|name| (name == "memory").then(|| Arc::clone(&storage))).unwrap(),
    )
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
    let body = compress(&WriteRequest { timeseries }.encode_to_vec());
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
            Some("7"),
        ),
        (
            StorageError::Unavailable {
                message: message(),
                retry_after: None,
            },
            503,
            Some("5"),
        ),
        (
            StorageError::Overloaded {
                message: message(),
                retry_after,
            },
            429,
            Some("7"),
        ),
        (StorageError::Failed(failed), 503, Some("5")),
        (StorageError::Invalid(message()), 400, None),
    ];
    for (error, status, retry) in cases {
        let said = error.to_string();
        let (memory, remote) = remote(Memory::default());
        *memory.fail.lock().unwrap() = Some(error);
        let answer = write(&remote, vec![series("up", &[(1, 1)])]).await;
        assert_eq!((answer.0, answer.2.as_deref()), (status, retry), "{said}");
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
        samples: 2,
        reason: "of the label `time`".into(),
    }];
    let (_, remote) = remote(Memory {
        receipt: Receipt { rejected },
        ..Memory::default()
    });
    let (status, said, _) = write(&remote, vec![series("up", &[(1, 1), (2, 2), (3, 3)])]).await;
    assert_eq!(status, 400);
    assert!(
        said.starts_with("1 samples are stored, and not: 2 that the storage can't hold"),
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
    };
    let request = ReadRequest {
        queries: vec![query],
        accepted_response_types: vec![1, 0],
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
