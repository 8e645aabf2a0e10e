//! Remote read, answered with samples or with streamed chunks (`storage/remote/read_handler.go`).

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream;
use http::{Method, Request, StatusCode, header};
use prost::Message;
use witgate_plugins::{Piece, Query, StorageError};

use crate::{
    Remote,
    answer::{failure, text},
    compression::{Compression, CompressionError},
    labels::SeriesIter,
    matcher::Matchers,
    proto::{self, ChunkedReadResponse, ChunkedSeries, QueryResult, ReadRequest, ReadResponse, ResponseType},
    result::{Collected, Series},
    tenant::Tenant,
};

/// How many samples a plugin is asked for at a time.
const PIECE: u32 = 100_000;

/// Queries in one request. Prometheus sends one.
const QUERIES: usize = 64;

/// How many samples a plugin may give for each that an answer may have: what its matchers leave to
/// the gateway is thrown away here, and a plugin that never ends must not keep a place for ever.
const GIVEN_FOR_ONE: usize = 4;

/// Bytes of chunks in one frame, as Prometheus has it.
const FRAME: usize = 1 << 20;

/// The content type of a streamed answer.
const STREAMED: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// What the queries of a request before have come to: its bounds are for the whole answer.
#[derive(Default)]
struct Spent {
    samples: u64,
    bytes: usize,
}

enum ReadError {
    Wrong(String),
    TooLarge(String),
    Storage(StorageError),
}

impl From<StorageError> for ReadError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl Remote {
    pub(crate) async fn read_from(
        &self,
        tenant: &Tenant,
        request_id: &str,
        request: Request<Body>,
    ) -> Response {
        if request.method() != Method::POST {
            return text(StatusCode::METHOD_NOT_ALLOWED, "remote read is a POST");
        }
        let Ok(_reading) = self.reads.try_acquire() else {
            let line = format!("{} reads are under way already", self.limits.concurrent_reads);
            let overloaded = StorageError::Overloaded {
                message: line,
                retry_after: None,
            };
            return failure(&tenant.name, &overloaded);
        };
        let body = match crate::answer::body(request.into_body(), self.limits.body.0).await {
            Ok(body) => body,
            Err(response) => return response,
        };
        match self.answer(tenant, request_id, &body).await {
            Ok(response) => response,
            Err(ReadError::Wrong(reason)) => text(StatusCode::BAD_REQUEST, &reason),
            Err(ReadError::TooLarge(reason)) => text(StatusCode::PAYLOAD_TOO_LARGE, &reason),
            Err(ReadError::Storage(error)) => failure(&tenant.name, &error),
        }
    }

    async fn answer(&self, tenant: &Tenant, request_id: &str, body: &[u8]) -> Result<Response, ReadError> {
        let request = self.parse(body)?;
        let form = negotiate(&request.accepted_response_types)?;
        let mut account = tenant.account();
        let mut results = Vec::new();
        let mut spent = Spent::default();
        for query in &request.queries {
            let found = self.collect(tenant, request_id, query, &mut spent).await?;
            let series = found.finish();
            account.series += series.len() as u64;
            account.samples += series.iter().map(Series::count).sum::<u64>();
            results.push(series);
        }
        let mut response = match form {
            ResponseType::Samples => samples(results)?,
            ResponseType::StreamedXorChunks => streamed(results),
        };
        response.extensions_mut().insert(account);
        Ok(response)
    }

    async fn collect(
        &self,
        tenant: &Tenant,
        request_id: &str,
        query: &proto::Query,
        spent: &mut Spent,
    ) -> Result<Collected, ReadError> {
        let label = tenant.label();
        let matchers = Matchers::new(&query.matchers, label).map_err(ReadError::Wrong)?;
        let only_series = query.hints.as_ref().is_some_and(|hints| hints.func == "series");
        let (start, end) = (query.start_timestamp_ms, query.end_timestamp_ms);
        let mut found = Collected::default();
        if start > end || matchers.is_void {
            return Ok(found);
        }
        let asked = Query {
            start,
            end,
            matchers: matchers.plain.clone(),
            only_series,
            without: label.map(|(name, _)| name.to_owned()),
        };
        let mut cursor = tenant.storage.read(&tenant.context(request_id), &asked).await?;
        let limits = &tenant.limits;
        let mut given = 0;
        while let Some(piece) = cursor.next(PIECE).await? {
            let piece = match piece {
                Piece::Samples(batch) => batch,
                Piece::Chunks(_) => return Err(unread()),
            };
            given += piece.timestamps.len() + piece.histograms.timestamps.len();
            if given / GIVEN_FOR_ONE > limits.read_samples {
                return Err(ReadError::Wrong(format!(
                    "the storage looks through over {given} samples for it, {GIVEN_FOR_ONE} times \
                     prometheus.limits.readSamples: ask for less, or by a matcher with `=`"
                )));
            }
            for series in SeriesIter::new(&piece) {
                let mut labels: Vec<_> = series.labels().collect();
                if matchers.hold(&labels) {
                    if let Some((own, _)) = label {
                        labels.retain(|(name, _)| *name != own);
                    }
                    found.add(&labels, &series, (start, end), only_series);
                }
            }
            if spent.samples + found.samples > limits.read_samples as u64 {
                return Err(ReadError::Wrong(format!(
                    "the answer has over {} samples (prometheus.limits.readSamples): ask for less",
                    limits.read_samples
                )));
            }
            if (spent.bytes + found.bytes) as u64 > limits.read_memory.0 {
                return Err(ReadError::Wrong(format!(
                    "the answer takes over {} bytes (prometheus.limits.readMemory): ask for less",
                    limits.read_memory.0
                )));
            }
        }
        spent.samples += found.samples;
        spent.bytes += found.bytes;
        Ok(found)
    }

    fn parse(&self, body: &[u8]) -> Result<ReadRequest, ReadError> {
        let mut bytes = Vec::new();
        Compression::Snappy
            .decompress(body, self.limits.decoded.0, &mut bytes)
            .map_err(|error| match error {
                CompressionError::TooLarge { .. } => ReadError::TooLarge(error.to_string()),
                _ => ReadError::Wrong(error.to_string()),
            })?;
        let request = ReadRequest::decode(bytes.as_slice())
            .map_err(|error| ReadError::Wrong(format!("the body is no prometheus.ReadRequest: {error}")))?;
        if request.queries.len() > QUERIES {
            return Err(ReadError::Wrong(format!(
                "{} queries in one request: {QUERIES} are accepted",
                request.queries.len()
            )));
        }
        Ok(request)
    }
}

/// What is said to a plugin that answers with chunks.
fn unread() -> ReadError {
    ReadError::Storage(StorageError::Unavailable {
        message: "the storage answers with chunks, which this gateway does not read".to_owned(),
        retry_after: None,
    })
}

/// The first form that the client takes and that there is; samples, if it does not say.
fn negotiate(accepted: &[i32]) -> Result<ResponseType, ReadError> {
    if accepted.is_empty() {
        return Ok(ResponseType::Samples);
    }
    let mut known = accepted
        .iter()
        .filter_map(|&form| ResponseType::try_from(form).ok());
    known.next().ok_or_else(|| {
        ReadError::Wrong(
            "answers are SAMPLES (0) or STREAMED_XOR_CHUNKS (1), and the client takes neither".to_owned(),
        )
    })
}

fn samples(results: Vec<Vec<Series>>) -> Result<Response, ReadError> {
    let results = results.into_iter().map(|series| QueryResult {
        timeseries: series.into_iter().map(Series::expand).collect(),
    });
    let answer = ReadResponse {
        results: results.collect(),
    };
    let answer = snap::raw::Encoder::new().compress_vec(&answer.encode_to_vec());
    let answer = answer.map_err(|_| ReadError::Wrong("the answer is too large: ask for less".to_owned()))?;
    let headers = [
        (header::CONTENT_TYPE, "application/x-protobuf"),
        (header::CONTENT_ENCODING, "snappy"),
    ];
    Ok((headers, answer).into_response())
}

/// Frames that are made while the answer is being sent.
fn streamed(results: Vec<Vec<Series>>) -> Response {
    let series = (0_i64..)
        .zip(results)
        .flat_map(|(query_index, series)| series.into_iter().map(move |series| (query_index, series)));
    let frames = series.flat_map(|(query_index, series)| Frames {
        query_index,
        labels: series.labels(),
        chunks: series.chunks().into_iter(),
        is_first: true,
    });
    let frames = stream::iter(frames.map(Ok::<_, std::convert::Infallible>));
    ([(header::CONTENT_TYPE, STREAMED)], Body::from_stream(frames)).into_response()
}

/// The frames of one series.
struct Frames {
    query_index: i64,
    labels: Vec<proto::Label>,
    chunks: std::vec::IntoIter<witgate_chunk::Chunk>,
    /// A series without chunks has a frame too.
    is_first: bool,
}

impl Iterator for Frames {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.chunks.as_slice().is_empty() && !self.is_first {
            return None;
        }
        self.is_first = false;
        let mut size = 0;
        let mut chunks = Vec::new();
        while size < FRAME
            && let Some(chunk) = self.chunks.next()
        {
            size += chunk.bytes.len();
            chunks.push(proto::Chunk {
                min_time_ms: chunk.first,
                max_time_ms: chunk.last,
                r#type: chunk.encoding as i32,
                data: chunk.bytes,
            });
        }
        let message = ChunkedReadResponse {
            chunked_series: vec![ChunkedSeries {
                labels: self.labels.clone(),
                chunks,
            }],
            query_index: self.query_index,
        };
        Some(frame(&message))
    }
}

/// A message with its length and its checksum in front (`storage/remote/chunked.go`).
fn frame(message: &ChunkedReadResponse) -> Bytes {
    let message = message.encode_to_vec();
    let mut frame = BytesMut::with_capacity(message.len() + 14);
    prost::encoding::encode_varint(message.len() as u64, &mut frame);
    frame.put_u32(crc32c::crc32c(&message));
    frame.put_slice(&message);
    frame.freeze()
}
