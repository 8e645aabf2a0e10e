//! Streamed answers: what is passed on, in which order, and how they end.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use witgate_chunk::{Appender, Chunk, Samples, histogram::Histogram};
use witgate_identity::{Method, Principal, Proof};
use witgate_plugins::{Batch, Chunks, Histograms, Kinds, Query, Receipt};

use super::*;
use crate::{
    compression::Compression,
    memory,
    proto::{self, LabelMatcher, ReadHints},
};

type Labels = Vec<(&'static str, &'static str)>;

/// A storage that answers as it is told.
#[derive(Debug, Default)]
struct Script {
    is_sorted: bool,
    /// One answer for each query.
    answers: Mutex<VecDeque<Vec<Piece>>>,
    /// What each answer ends with.
    fails: bool,
    /// Pieces that were given.
    given: Arc<AtomicUsize>,
    asked: Mutex<Vec<Query>>,
    ended: Mutex<Option<oneshot::Sender<()>>>,
}

struct Scripted {
    is_sorted: bool,
    fails: bool,
    pieces: std::vec::IntoIter<Piece>,
    given: Arc<AtomicUsize>,
    /// Dropped along with the cursor.
    _ended: Option<oneshot::Sender<()>>,
}

#[async_trait::async_trait]
impl Storage for Script {
    async fn check(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn holds(&self) -> Kinds {
        Kinds::ALL
    }

    fn is_exact(&self) -> bool {
        true
    }

    async fn write(&self, _: &Context, _: &Batch) -> Result<Receipt, StorageError> {
        Ok(Receipt::default())
    }

    async fn read(&self, _: &Context, query: &Query) -> Result<Box<dyn Cursor>, StorageError> {
        self.asked.lock().unwrap().push(query.clone());
        let pieces = self.answers.lock().unwrap().pop_front().unwrap_or_default();
        Ok(Box::new(Scripted {
            is_sorted: self.is_sorted,
            fails: self.fails,
            pieces: pieces.into_iter(),
            given: Arc::clone(&self.given),
            _ended: self.ended.lock().unwrap().take(),
        }))
    }
}

#[async_trait::async_trait]
impl Cursor for Scripted {
    fn is_sorted(&self) -> bool {
        self.is_sorted
    }

    async fn next(&mut self, _: u32) -> Result<Option<Piece>, StorageError> {
        match self.pieces.next() {
            Some(piece) => {
                self.given.fetch_add(1, Ordering::SeqCst);
                Ok(Some(piece))
            }
            None if self.fails => Err(StorageError::Unavailable {
                message: "the backend is away".to_owned(),
                retry_after: None,
            }),
            None => Ok(None),
        }
    }
}

fn sorted(pieces: Vec<Piece>) -> Script {
    Script {
        is_sorted: true,
        answers: Mutex::new([pieces].into()),
        ..Script::default()
    }
}

/// Where a column ends.
fn end<T>(column: &[T]) -> u32 {
    u32::try_from(column.len()).unwrap()
}

/// Labels in the columns of the contract, with symbols that are not shared.
fn columns(series: impl Iterator<Item = Labels>) -> (Vec<u8>, Vec<u32>, Vec<u32>, Vec<u32>) {
    let (mut bytes, mut ends, mut labels, mut label_ends) = (Vec::new(), vec![0], Vec::new(), Vec::new());
    for of_series in series {
        for text in of_series.into_iter().flat_map(|(name, value)| [name, value]) {
            bytes.extend_from_slice(text.as_bytes());
            ends.push(end(&bytes));
            labels.push(end(&ends) - 1);
        }
        label_ends.push(end(&labels));
    }
    (bytes, ends, labels, label_ends)
}

fn chunks(series: Vec<(Labels, Vec<Chunk>)>) -> Piece {
    let (symbol_bytes, symbol_ends, labels, label_ends) =
        columns(series.iter().map(|(labels, _)| labels.clone()));
    let mut chunks = Chunks {
        symbol_bytes,
        symbol_ends,
        labels,
        label_ends,
        ..Chunks::default()
    };
    for (_, of_series) in series {
        for chunk in of_series {
            chunks.encodings.push(chunk.encoding as u8);
            chunks.firsts.push(chunk.first);
            chunks.lasts.push(chunk.last);
            chunks.bytes.extend(chunk.bytes);
            chunks.byte_ends.push(end(&chunks.bytes));
        }
        chunks.ends.push(end(&chunks.encodings));
    }
    chunks.check().unwrap();
    Piece::Chunks(chunks)
}

fn batch(series: Vec<(Labels, Vec<i64>, Vec<i64>)>) -> Piece {
    let (symbol_bytes, symbol_ends, labels, label_ends) =
        columns(series.iter().map(|(labels, ..)| labels.clone()));
    let (mut timestamps, mut sample_ends) = (Vec::new(), Vec::new());
    let mut histograms = Histograms::default();
    for (_, samples, of_histograms) in series {
        timestamps.extend(samples);
        sample_ends.push(end(&timestamps));
        for time in of_histograms {
            let histogram = Histogram {
                time,
                ..Histogram::default()
            };
            histograms.timestamps.push(time);
            histograms
                .messages
                .extend(witgate_chunk::message::write(&histogram));
            histograms.message_ends.push(end(&histograms.messages));
        }
        histograms.ends.push(end(&histograms.timestamps));
    }
    let batch = Batch {
        symbol_bytes,
        symbol_ends,
        labels,
        label_ends,
        values: timestamps.iter().map(|time| time.cast_unsigned()).collect(),
        timestamps,
        sample_ends,
        histograms,
        ..Batch::default()
    };
    batch.check().unwrap();
    Piece::Samples(batch)
}

fn xor(times: impl IntoIterator<Item = i64>) -> Chunk {
    let mut appender = Appender::default();
    for time in times {
        appender.push(time, time.cast_unsigned());
    }
    appender.finish()
}

fn of_times(time: i64) -> Chunk {
    let histogram = Histogram {
        time,
        ..Histogram::default()
    };
    histogram.chunk()
}

fn named(name: &'static str) -> Labels {
    vec![("__name__", name)]
}

fn remote(script: Script, config: &str) -> (Arc<Script>, Remote) {
    let script = Arc::new(script);
    let config = format!(
        r#"{{{config} "tenants": [{{"name": "t", "storage": "s", "read": {{"users": ["prom"]}}}}]}}"#
    );
    let storage: Arc<dyn Storage> = Arc::clone(&script) as _;
    let config = serde_json::from_str(&config).unwrap();
    let remote = memory::founded_on(&|_| Some(Arc::clone(&storage)), |foundations| {
        Remote::new(&config, foundations, None)
    });
    let remote = remote.unwrap();
    (script, remote)
}

fn query(start: i64, end: i64) -> proto::Query {
    proto::Query {
        start_timestamp_ms: start,
        end_timestamp_ms: end,
        matchers: vec![LabelMatcher {
            r#type: 1,
            name: "__name__".into(),
            value: "not this".into(),
        }],
        hints: None,
    }
}

async fn ask(remote: &Remote, queries: Vec<proto::Query>) -> Response {
    ask_for(remote, queries, vec![1]).await
}

async fn ask_for(remote: &Remote, queries: Vec<proto::Query>, accepted_response_types: Vec<i32>) -> Response {
    let request = ReadRequest {
        queries,
        accepted_response_types,
    };
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec());
    let principal = Principal {
        user: "prom".into(),
        uid: None,
        groups: Vec::new(),
        extra: Vec::new(),
        method: Method::Basic,
        expires: None,
        proof: Proof::default(),
    };
    let request = Request::post("/api/v1/read")
        .body(Body::from(body.unwrap()))
        .unwrap();
    remote.read(&principal, request).await
}

async fn whole(response: Response) -> Result<Bytes, axum::Error> {
    Ok(response.into_body().collect().await?.to_bytes())
}

/// Of each frame its query, its labels as text, and its chunks.
fn frames(mut body: &[u8]) -> Vec<(i64, String, Vec<proto::Chunk>)> {
    let mut frames = Vec::new();
    while !body.is_empty() {
        let length = usize::try_from(prost::encoding::decode_varint(&mut body).unwrap()).unwrap();
        let (checksum, rest) = body.split_first_chunk().unwrap();
        let (message, rest) = rest.split_at(length);
        assert_eq!(crc32c::crc32c(message), u32::from_be_bytes(*checksum));
        let message = proto::ChunkedReadResponse::decode(message).unwrap();
        let [series] = &message.chunked_series[..] else {
            panic!("one series to a frame")
        };
        let labels: Vec<_> = { series.labels.iter() }
            .map(|label| format!("{}={}", label.name, label.value))
            .collect();
        frames.push((message.query_index, labels.join(","), series.chunks.clone()));
        body = rest;
    }
    frames
}

async fn read(remote: &Remote, queries: Vec<proto::Query>) -> Vec<(i64, String, Vec<proto::Chunk>)> {
    let response = ask(remote, queries).await;
    assert_eq!(response.status(), StatusCode::OK);
    frames(&whole(response).await.unwrap())
}

fn bounds(chunks: &[proto::Chunk]) -> Vec<(i32, i64, i64)> {
    { chunks.iter() }
        .map(|chunk| (chunk.r#type, chunk.min_time_ms, chunk.max_time_ms))
        .collect()
}

#[tokio::test]
async fn chunks_are_passed_on_and_only_those_across_a_bound_are_cut() {
    let inner = xor(20..30);
    let pieces = vec![
        chunks(vec![
            (named("a"), vec![xor(0..9), xor(10..20), inner.clone()]),
            (named("b"), vec![of_times(14), of_times(15), of_times(16)]),
            (named("not this"), vec![xor(20..30)]),
        ]),
        chunks(vec![
            (named("not this"), vec![xor(30..31)]),
            (named("z"), vec![xor(0..5)]),
        ]),
    ];
    let (_, remote) = remote(sorted(pieces), "");
    let found = read(&remote, vec![query(15, 100)]).await;
    let names: Vec<_> = found.iter().map(|(_, labels, _)| labels.as_str()).collect();
    assert_eq!(names, ["__name__=a", "__name__=b"]);
    let (_, _, a) = &found[0];
    assert_eq!(bounds(a), [(1, 15, 19), (1, 20, 29)]);
    assert_eq!(a[1].data, inner.bytes);
    let cut: Vec<_> = Samples::of(&a[0].data).unwrap().map(Result::unwrap).collect();
    assert_eq!(
        cut,
        (15..20).map(|n| (n, i64::cast_unsigned(n))).collect::<Vec<_>>()
    );
    assert_eq!(bounds(&found[1].2), [(2, 15, 15), (2, 16, 16)]);
}

#[tokio::test]
async fn pieces_of_a_series_are_one_series_in_the_order_of_time() {
    let pieces = vec![
        chunks(vec![(named("a"), vec![xor(0..10)])]),
        batch(vec![(named("a"), vec![10, 11, 14], vec![12, 13])]),
        batch(vec![
            (named("a"), vec![15], vec![]),
            (named("b"), vec![1], vec![]),
        ]),
        chunks(vec![(named("b"), vec![xor(2..4)])]),
    ];
    let (_, remote) = remote(sorted(pieces), "");
    let found = read(&remote, vec![query(0, 100)]).await;
    let [(0, a, of_a), (0, b, of_b)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!((a.as_str(), b.as_str()), ("__name__=a", "__name__=b"));
    let expected = [(1, 0, 9), (1, 10, 11), (2, 12, 12), (2, 13, 13), (1, 14, 15)];
    assert_eq!(bounds(of_a), expected);
    assert_eq!(bounds(of_b), [(1, 1, 1), (1, 2, 3)]);
}

#[tokio::test]
async fn an_answer_without_order_is_put_in_order() {
    let pieces = vec![
        chunks(vec![
            (named("b"), vec![xor(10..20), of_times(20)]),
            (named("a"), vec![xor(0..9)]),
        ]),
        batch(vec![(named("b"), vec![5, 30], vec![])]),
        chunks(vec![(named("b"), vec![xor(31..33)])]),
    ];
    let script = Script {
        is_sorted: false,
        ..sorted(pieces)
    };
    let (_, remote) = remote(script, "");
    let found = read(&remote, vec![query(3, 32)]).await;
    let [(0, a, of_a), (0, b, of_b)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!((a.as_str(), b.as_str()), ("__name__=a", "__name__=b"));
    assert_eq!(bounds(of_a), [(1, 3, 8)]);
    let mut times = Vec::new();
    for chunk in of_b.iter().filter(|chunk| chunk.r#type == 1) {
        times.extend(Samples::of(&chunk.data).unwrap().map(|sample| sample.unwrap().0));
    }
    times.sort_unstable();
    assert_eq!(
        times,
        [5].into_iter().chain(10..20).chain(30..33).collect::<Vec<_>>()
    );
    assert_eq!(bounds(of_b).iter().filter(|(kind, ..)| *kind == 2).count(), 1);
}

#[tokio::test]
async fn each_query_has_its_own_frames_and_series_alone_have_no_chunks() {
    let script = Script {
        answers: Mutex::new(
            [
                vec![chunks(vec![(named("b"), vec![xor(0..9)])])],
                vec![chunks(vec![
                    (named("a"), vec![]),
                    (named("b"), vec![xor(500..501)]),
                ])],
                vec![chunks(vec![(named("a"), vec![xor(0..9)])])],
            ]
            .into(),
        ),
        is_sorted: true,
        ..Script::default()
    };
    let (script, remote) = remote(script, "");
    let only_series = proto::Query {
        hints: Some(ReadHints {
            func: "series".into(),
        }),
        ..query(0, 100)
    };
    let empty = query(2, 1);
    let found = read(&remote, vec![query(0, 100), only_series, empty, query(0, 100)]).await;
    let found: Vec<_> = { found.iter() }
        .map(|(query, labels, chunks)| (*query, labels.as_str(), chunks.len()))
        .collect();
    assert_eq!(
        found,
        [
            (0, "__name__=b", 1),
            (1, "__name__=a", 0),
            (1, "__name__=b", 0),
            (3, "__name__=a", 1)
        ]
    );
    let asked = script.asked.lock().unwrap();
    let only_series: Vec<_> = asked.iter().map(|query| query.only_series).collect();
    assert_eq!(only_series, [false, true, false]);
}

#[tokio::test]
async fn a_tenants_label_is_taken_out_and_the_order_is_the_one_without_it() {
    let own = |labels: &[(&'static str, &'static str)]| {
        let mut labels = labels.to_vec();
        labels.push(("tenant", "t"));
        labels.sort_unstable();
        labels
    };
    let pieces = vec![chunks(vec![
        (own(&[("__name__", "a")]), vec![xor(0..2)]),
        (
            vec![("__name__", "a"), ("job", "x"), ("tenant", "other")],
            vec![xor(0..2)],
        ),
        (own(&[("__name__", "a"), ("job", "x")]), vec![xor(0..2)]),
        (own(&[("__name__", "a"), ("zone", "x")]), vec![xor(0..2)]),
    ])];
    let (script, remote) = remote(sorted(pieces), r#""tenantLabel": "tenant","#);
    let found = read(&remote, vec![query(0, 100)]).await;
    let names: Vec<_> = found.iter().map(|(_, labels, _)| labels.as_str()).collect();
    assert_eq!(names, ["__name__=a", "__name__=a,job=x", "__name__=a,zone=x"]);
    assert_eq!(script.asked.lock().unwrap()[0].without.as_deref(), Some("tenant"));
}

#[tokio::test]
async fn an_answer_that_is_not_sorted_as_it_says_is_refused() {
    let backwards = [
        chunks(vec![(named("b"), vec![xor(0..2)]), (named("a"), vec![xor(0..2)])]),
        batch(vec![(named("a"), vec![1], vec![]), (named("a"), vec![1], vec![])]),
        batch(vec![(named("a"), vec![1], vec![1])]),
    ];
    for piece in backwards {
        let (_, remote) = remote(sorted(vec![piece]), "");
        let response = ask(&remote, vec![query(0, 100)]).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let said = whole(response).await.unwrap();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.contains("says that its answer is sorted"), "{said}");
    }
}

/// Pieces of a hundred chunks with values that don't compress: over half a megabyte in all.
fn large() -> Vec<Piece> {
    let piece = |start: i64| {
        let chunk = |start: i64| {
            let mut appender = Appender::default();
            for time in start..start + 100 {
                appender.push(time, time.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15));
            }
            appender.finish()
        };
        let of_piece = (0..100).map(|n| chunk(start + n * 100));
        chunks(vec![(named("large"), of_piece.collect())])
    };
    (0..20).map(|n| piece(n * 10_000)).collect()
}

#[tokio::test]
async fn an_error_after_the_first_part_cuts_the_answer_off() {
    let (_, failing) = remote(
        Script {
            fails: true,
            ..sorted(large())
        },
        "",
    );
    let (_, limited) = remote(sorted(large()), r#""limits": {"readSamples": 150000},"#);
    for remote in [failing, limited] {
        let response = ask(&remote, vec![query(0, i64::MAX)]).await;
        assert_eq!(response.status(), StatusCode::OK);
        whole(response).await.unwrap_err();
    }
    let (_, small) = remote(sorted(large()), r#""limits": {"readSamples": 1000},"#);
    let response = ask(&small, vec![query(0, i64::MAX)]).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_storage_is_read_as_fast_as_the_client_takes_and_no_longer_than_it_is_there() {
    let (ended, end) = oneshot::channel();
    let script = Script {
        ended: Mutex::new(Some(ended)),
        ..sorted(large())
    };
    let (script, remote) = remote(script, r#""limits": {"concurrentReads": 1},"#);
    let mut body = ask(&remote, vec![query(0, i64::MAX)]).await.into_body();
    body.frame().await.unwrap().unwrap();
    // Whatever can go on without the client has.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let given = script.given.load(Ordering::SeqCst);
    assert!(given < 20, "{given} pieces were read for one part");
    let refused = ask(&remote, vec![query(0, 1)]).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    drop(body);
    end.await.unwrap_err();
    let response = loop {
        let response = ask(&remote, vec![query(0, 1)]).await;
        if response.status() != StatusCode::TOO_MANY_REQUESTS {
            break response;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_large_answer_arrives_whole() {
    let (_, remote) = remote(sorted(large()), "");
    let response = ask(&remote, vec![query(0, i64::MAX)]).await;
    let account = response.extensions().get::<Account>().unwrap().clone();
    assert!(account.unfinished);
    let body = whole(response).await.unwrap();
    let found = frames(&body);
    assert!(found.len() > 1, "a frame has about a megabyte at the most");
    let times: Vec<_> = { found.iter().flat_map(|(_, _, chunks)| chunks) }
        .flat_map(|chunk| Samples::of(&chunk.data).unwrap().map(|sample| sample.unwrap().0))
        .collect();
    assert_eq!(times, (0..200_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn samples_are_made_of_chunks_for_who_takes_nothing_else() {
    let pieces = vec![chunks(vec![(
        named("a"),
        vec![xor(0..200), of_times(200), of_times(201)],
    )])];
    let (_, remote) = remote(sorted(pieces), "");
    let response = ask_for(&remote, vec![query(10, 200)], Vec::new()).await;
    let mut bytes = Vec::new();
    Compression::Snappy
        .decompress(&whole(response).await.unwrap(), 1 << 20, &mut bytes)
        .unwrap();
    let answer = ReadResponse::decode(bytes.as_slice()).unwrap();
    let [series] = &answer.results[0].timeseries[..] else {
        panic!("{answer:?}")
    };
    let times: Vec<_> = series.samples.iter().map(|sample| sample.timestamp).collect();
    assert_eq!(times, (10..200).collect::<Vec<_>>());
    let [histogram] = &series.histograms[..] else {
        panic!("{series:?}")
    };
    assert_eq!(
        proto::Histogram::decode(histogram.as_slice()).unwrap().timestamp,
        200
    );
}
