//! Remote read, answered with samples.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use http::{Method, Request, StatusCode, header};
use prost::Message;
use witgate_plugins::{Query, StorageError};

use crate::{
    Account, Remote,
    answer::{failure, text},
    labels::SeriesIter,
    matcher::Matchers,
    proto::{self, Label, QueryResult, ReadRequest, ReadResponse, ResponseType, Sample, TimeSeries},
    tenant::Tenant,
};

/// How many samples a plugin is asked for at a time.
const PIECE: u32 = 100_000;

/// Queries in one request. Prometheus sends one.
const QUERIES: usize = 64;

/// How many samples a plugin may give for each that an answer may have: what its matchers leave to
/// the gateway is thrown away here, and a plugin that never ends must not keep a place for ever.
const GIVEN_FOR_ONE: usize = 4;

/// Series of a result, sorted by labels, each with its samples by time.
type Series = BTreeMap<Vec<(String, String)>, BTreeMap<i64, u64>>;

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
        request: Request<axum::body::Body>,
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
        match self.results(tenant, request_id, &body).await {
            Ok((answer, account)) => {
                let headers = [
                    (header::CONTENT_TYPE, "application/x-protobuf"),
                    (header::CONTENT_ENCODING, "snappy"),
                ];
                let mut response = (headers, answer).into_response();
                response.extensions_mut().insert(account);
                response
            }
            Err(ReadError::Wrong(reason)) => text(StatusCode::BAD_REQUEST, &reason),
            Err(ReadError::TooLarge(reason)) => text(StatusCode::PAYLOAD_TOO_LARGE, &reason),
            Err(ReadError::Storage(error)) => failure(&tenant.name, &error),
        }
    }

    async fn results(
        &self,
        tenant: &Tenant,
        request_id: &str,
        body: &[u8],
    ) -> Result<(Vec<u8>, Account), ReadError> {
        let request = self.parse(body)?;
        let context = tenant.context(request_id);
        let mut account = Account {
            tenant: tenant.name.clone(),
            ..Account::default()
        };
        let mut results = Vec::new();
        for query in &request.queries {
            let matchers = Matchers::new(&query.matchers).map_err(ReadError::Wrong)?;
            let mut found = Series::new();
            if query.start_timestamp_ms <= query.end_timestamp_ms {
                let plain = matchers.plain.clone();
                let (start, end) = (query.start_timestamp_ms, query.end_timestamp_ms);
                let mut cursor = tenant
                    .storage
                    .read(
                        &context,
                        &Query {
                            start,
                            end,
                            matchers: plain,
                        },
                    )
                    .await?;
                let mut given = 0;
                while let Some(piece) = cursor.next(PIECE).await? {
                    given += piece.timestamps.len();
                    if given / GIVEN_FOR_ONE > self.limits.read_samples {
                        return Err(ReadError::Wrong(format!(
                            "the storage looks through over {given} samples for it, {GIVEN_FOR_ONE} times \
                             prometheus.limits.readSamples: ask for less, or by a matcher with `=`"
                        )));
                    }
                    for series in SeriesIter::new(&piece) {
                        let labels: Vec<_> = series.labels().collect();
                        if !matchers.hold(&labels) {
                            continue;
                        }
                        let mut samples = series
                            .samples()
                            .filter(|(time, _)| (start..=end).contains(time))
                            .peekable();
                        if samples.peek().is_none() {
                            continue;
                        }
                        let labels = labels
                            .iter()
                            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
                        let kept = found.entry(labels.collect()).or_default();
                        for (time, bits) in samples {
                            // Of two samples at one time the later one counts, once.
                            account.samples += u64::from(kept.insert(time, bits).is_none());
                        }
                        if account.samples > self.limits.read_samples as u64 {
                            return Err(ReadError::Wrong(format!(
                                "the answer has over {} samples (prometheus.limits.readSamples): ask for less",
                                self.limits.read_samples
                            )));
                        }
                    }
                }
            }
            account.series += found.len() as u64;
            results.push(result(found));
        }
        let answer = ReadResponse { results }.encode_to_vec();
        let answer = snap::raw::Encoder::new().compress_vec(&answer);
        let answer =
            answer.map_err(|_| ReadError::Wrong("the answer is too large: ask for less".to_owned()))?;
        Ok((answer, account))
    }

    fn parse(&self, body: &[u8]) -> Result<ReadRequest, ReadError> {
        let not_snappy = |error| {
            ReadError::Wrong(format!(
                "the body is not in snappy's block format (the framed format is another one): {error}"
            ))
        };
        let size = snap::raw::decompress_len(body).map_err(not_snappy)?;
        let limit = self.limits.decoded.0;
        if size as u64 > limit {
            return Err(ReadError::TooLarge(format!(
                "the body says that it is {size} bytes large decompressed, and {limit} are accepted"
            )));
        }
        let bytes = snap::raw::Decoder::new()
            .decompress_vec(body)
            .map_err(not_snappy)?;
        let request = ReadRequest::decode(bytes.as_slice())
            .map_err(|error| ReadError::Wrong(format!("the body is no prometheus.ReadRequest: {error}")))?;
        let accepted = &request.accepted_response_types;
        if !accepted.is_empty() && !accepted.contains(&ResponseType::Samples.into()) {
            return Err(ReadError::Wrong(
                "only answers of the type SAMPLES are supported, and the client takes none".to_owned(),
            ));
        }
        if request.queries.len() > QUERIES {
            return Err(ReadError::Wrong(format!(
                "{} queries in one request: {QUERIES} are accepted",
                request.queries.len()
            )));
        }
        Ok(request)
    }
}

fn result(found: Series) -> QueryResult {
    let series = found.into_iter().map(|(labels, samples)| TimeSeries {
        labels: labels
            .into_iter()
            .map(|(name, value)| Label { name, value })
            .collect(),
        samples: samples
            .into_iter()
            .map(|(timestamp, value)| Sample { value, timestamp })
            .collect::<Vec<proto::Sample>>(),
    });
    QueryResult {
        timeseries: series.collect(),
    }
}
