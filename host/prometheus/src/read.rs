//! Remote read, answered with samples or with streamed chunks (`storage/remote/read_handler.go`).

mod frames;
mod selection;
mod stream;

use std::sync::Arc;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use futures::stream as streams;
use http::{Method, Request, StatusCode, header};
use prost::Message;
use witgate_plugins::{Context, Cursor, Piece, Storage, StorageError};

use crate::{
    Account, Remote,
    answer::{at, failure, text},
    compression::{Compression, CompressionError},
    config::Limits,
    labels::{ChunksRef, SeriesIter},
    proto::{QueryResult, ReadRequest, ReadResponse, ResponseType},
    result::{Collected, Series},
    tenant::Tenant,
};
use selection::Selection;
use stream::{Part, Parts};

/// How many samples a plugin is asked for at a time.
const PIECE: u32 = 100_000;

/// Queries in one request. Prometheus sends one.
const QUERIES: usize = 64;

/// How many samples a plugin may give for each that an answer may have: what its matchers leave to
/// the gateway is thrown away here, and a plugin that never ends must not keep a place for ever.
const GIVEN_FOR_ONE: usize = 4;

/// The content type of a streamed answer.
const STREAMED: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// A request on its way to the storage.
struct Reading {
    storage: Arc<dyn Storage>,
    context: Context,
    limits: Limits,
    spent: Spent,
}

/// What was collected for a request: its bounds are for the whole answer.
#[derive(Default)]
struct Spent {
    samples: u64,
    bytes: usize,
}

#[derive(Debug)]
enum ReadError {
    Wrong(String),
    TooLarge(String),
    Storage(StorageError),
    /// The client takes nothing any more.
    Stalled,
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
        let Ok(place) = Arc::clone(&self.reads).try_acquire_owned() else {
            let line = format!("{} reads are under way already", self.limits.concurrent_reads);
            let overloaded = StorageError::Overloaded {
                message: line,
                retry_after: None,
            };
            return at("limits", failure(&tenant.name, &overloaded));
        };
        let own = match tenant.reading() {
            Ok(own) => own,
            Err(busy) => {
                let (message, retry_after) = (busy.to_string(), None);
                let overloaded = StorageError::Overloaded { message, retry_after };
                return at("limits", failure(&tenant.name, &overloaded));
            }
        };
        let body = match crate::answer::body(request.into_body(), self.limits.body.0).await {
            Ok(body) => body,
            Err(response) => return response,
        };
        match self.answer(tenant, request_id, &body, (place, own)).await {
            Ok(response) => response,
            Err(error) => refusal(&tenant.name, &error),
        }
    }

    async fn answer<P: Send + 'static>(
        &self,
        tenant: &Tenant,
        request_id: &str,
        body: &[u8],
        place: P,
    ) -> Result<Response, ReadError> {
        let request = self.parse(body)?;
        let form = negotiate(&request.accepted_response_types)?;
        let selections = request
            .queries
            .iter()
            .map(|query| Selection::new(query, tenant.label()));
        let selections: Vec<_> = selections.collect::<Result<_, _>>()?;
        let mut reading = Reading {
            storage: Arc::clone(&tenant.storage),
            context: tenant.context(request_id),
            limits: tenant.limits.clone(),
            spent: Spent::default(),
        };
        let mut account = tenant.account();
        if form == ResponseType::StreamedXorChunks {
            let parts = stream::begin(reading, selections, place);
            return streamed(&tenant.name, account, parts).await;
        }
        let mut results = Vec::new();
        for selection in &selections {
            let mut series = Vec::new();
            if !selection.is_void() {
                let cursor = reading.open(selection).await?;
                series = reading.collect(selection, cursor).await?.finish();
            }
            account.series += series.len() as u64;
            account.samples += series.iter().map(Series::count).sum::<u64>();
            results.push(series);
        }
        let mut response = samples(results)?;
        response.extensions_mut().insert(account);
        Ok(response)
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

impl Reading {
    async fn open(&self, selection: &Selection) -> Result<Box<dyn Cursor>, ReadError> {
        Ok(self.storage.read(&self.context, &selection.query()).await?)
    }

    /// Counts what a plugin gives for a query.
    fn given(&self, given: &mut usize, piece: &Piece) -> Result<(), ReadError> {
        *given += match piece {
            Piece::Samples(batch) => batch.timestamps.len() + batch.histograms.timestamps.len(),
            Piece::Chunks(chunks) => { ChunksRef::all(chunks) }
                .flat_map(|series| series.chunks())
                .map(|chunk| usize::from(witgate_chunk::count(chunk.bytes)))
                .sum(),
        };
        if *given / GIVEN_FOR_ONE > self.limits.read_samples {
            return Err(ReadError::Wrong(format!(
                "the storage looks through over {given} samples for it, {GIVEN_FOR_ONE} times \
                 prometheus.limits.readSamples: ask for less, or by a matcher with `=`"
            )));
        }
        Ok(())
    }

    /// Whether the answer may have so many samples.
    fn within_samples(&self, samples: u64) -> Result<(), ReadError> {
        match samples > self.limits.read_samples as u64 {
            false => Ok(()),
            true => Err(ReadError::Wrong(format!(
                "the answer has over {} samples (prometheus.limits.readSamples): ask for less",
                self.limits.read_samples
            ))),
        }
    }

    async fn collect(
        &mut self,
        selection: &Selection,
        mut cursor: Box<dyn Cursor>,
    ) -> Result<Collected, ReadError> {
        let mut found = Collected::default();
        let mut given = 0;
        while let Some(piece) = cursor.next(PIECE).await? {
            self.given(&mut given, &piece)?;
            let Selection {
                range, only_series, ..
            } = *selection;
            match piece {
                Piece::Samples(batch) => {
                    for series in SeriesIter::new(&batch) {
                        if let Some(labels) = selection.labels(series.labels()) {
                            found.add(&labels, &series, range, only_series);
                        }
                    }
                }
                Piece::Chunks(chunks) => {
                    for series in ChunksRef::all(&chunks) {
                        if let Some(labels) = selection.labels(series.labels()) {
                            let added = found.add_chunks(&labels, series.chunks(), range, only_series);
                            added.map_err(|_| damaged(&labels))?;
                        }
                    }
                }
            }
            self.within_samples(self.spent.samples + found.samples)?;
            if (self.spent.bytes + found.bytes) as u64 > self.limits.read_memory.0 {
                return Err(ReadError::Wrong(format!(
                    "the answer takes over {} bytes (prometheus.limits.readMemory): ask for less",
                    self.limits.read_memory.0
                )));
            }
        }
        self.spent.samples += found.samples;
        self.spent.bytes += found.bytes;
        Ok(found)
    }
}

/// Data that the storage has damaged. What is left out silently would be taken for not being there.
fn damaged(labels: &[(&str, &str)]) -> ReadError {
    ReadError::Storage(StorageError::Unavailable {
        message: format!("the storage has a damaged chunk of {labels:?}"),
        retry_after: None,
    })
}

/// What a client is told that gets no answer.
fn refusal(tenant: &str, error: &ReadError) -> Response {
    match error {
        ReadError::Wrong(reason) => text(StatusCode::BAD_REQUEST, reason),
        ReadError::TooLarge(reason) => text(StatusCode::PAYLOAD_TOO_LARGE, reason),
        ReadError::Storage(error) => failure(tenant, error),
        // Nobody is told.
        ReadError::Stalled => text(StatusCode::REQUEST_TIMEOUT, "the client has gone"),
    }
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

/// An answer in frames. Its status is decided by how it begins: an error after that cuts the
/// connection, so that nobody takes what there was for the whole.
async fn streamed(tenant: &str, mut account: Account, mut parts: Parts) -> Result<Response, ReadError> {
    let body = match parts.recv().await {
        Some(Err(error)) => return Err(error),
        None => return Err(ReadError::Stalled),
        Some(Ok(Part::Last(frames, count))) => {
            (account.series, account.samples) = (count.series, count.samples);
            Body::from(frames)
        }
        Some(Ok(Part::Some(first))) => {
            account.unfinished = true;
            let first = streams::iter([Ok(first)]);
            let tenant = tenant.to_owned();
            let rest = streams::unfold(Some(parts), move |parts| {
                let tenant = tenant.clone();
                async move { next(&tenant, parts?).await }
            });
            Body::from_stream(streams::StreamExt::chain(first, rest))
        }
    };
    let mut response = ([(header::CONTENT_TYPE, STREAMED)], body).into_response();
    response.extensions_mut().insert(account);
    Ok(response)
}

/// The next frames of an answer, and where those after them come from.
async fn next(
    tenant: &str,
    mut parts: Parts,
) -> Option<(Result<bytes::Bytes, std::io::Error>, Option<Parts>)> {
    let cut = |reason: &str| Some((Err(std::io::Error::other(reason.to_owned())), None));
    match parts.recv().await {
        Some(Ok(Part::Some(frames))) => Some((Ok(frames), Some(parts))),
        Some(Ok(Part::Last(frames, _))) => Some((Ok(frames), None)),
        Some(Err(ReadError::Storage(error))) => {
            tracing::warn!(tenant, "storage: an answer is cut off: {error}");
            cut(&error.to_string())
        }
        Some(Err(ReadError::Wrong(reason) | ReadError::TooLarge(reason))) => {
            tracing::warn!(tenant, "an answer is cut off: {reason}");
            cut(&reason)
        }
        Some(Err(ReadError::Stalled)) | None => cut("the answer was not taken in time"),
    }
}

#[cfg(test)]
mod tests;
