//! Remote write, from the request to the storage plugin's acknowledgement.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use witgate_plugins::{Batch, Datum, Kinds, Receipt, StorageError};

use crate::{
    Account, LeftOut, Remote,
    answer::{at, failure, text},
    backends,
    compression::{Compression, CompressionError},
    decode::{DecodeError, Decoder, Form, Protocol, Refused, Rules},
    replicas,
    tenant::Tenant,
};

/// What a 2.0 sender is told of each kind of data, whatever became of its request.
const WRITTEN: [&str; 3] = [
    "x-prometheus-remote-write-samples-written",
    "x-prometheus-remote-write-histograms-written",
    "x-prometheus-remote-write-exemplars-written",
];

/// How often a request is looked through again, because in the meantime it was found out which of its
/// replicas is stored: 64 clusters each time.
const SETTLING: usize = 5;

impl Remote {
    pub(crate) async fn write_to(
        &self,
        tenant: &Tenant,
        request_id: &str,
        request: Request<axum::body::Body>,
    ) -> Response {
        let form = match form(request.method(), request.headers()) {
            Ok(form) => form,
            Err(refusal) => return *refusal,
        };
        let mut response = self.write_body(tenant, request_id, request, form).await;
        // A 1.0 sender is told nothing: it would take it for a 2.0 receiver's word.
        if form.protocol == Protocol::V2 {
            let account = response.extensions().get::<Account>();
            // What the configuration leaves out was received as it should be: a sender that is not told
            // so counts it as failed.
            let written = account.map_or([0; 3], |account| {
                let (dropped, other) = (account.dropped, account.deduplicated);
                [
                    account.samples + dropped.samples + other.samples,
                    account.histograms + dropped.histograms + other.histograms,
                    account.exemplars + dropped.exemplars + other.exemplars,
                ]
            });
            for (name, count) in WRITTEN.into_iter().zip(written) {
                response.headers_mut().insert(name, HeaderValue::from(count));
            }
        }
        response
    }

    async fn write_body(
        &self,
        tenant: &Tenant,
        request_id: &str,
        request: Request<axum::body::Body>,
        form: Form,
    ) -> Response {
        let body = match crate::answer::body(request.into_body(), tenant.limits.body.0).await {
            Ok(body) => body,
            Err(response) => return response,
        };
        let mut decoder = self.decoders.take();
        let response = decode(tenant, request_id, body, form, &mut decoder).await;
        self.decoders.give(decoder);
        response
    }
}

async fn decode(
    tenant: &Tenant,
    request_id: &str,
    body: bytes::Bytes,
    form: Form,
    decoder: &mut Decoder,
) -> Response {
    let holds = tenant.backends.holds();
    let rules = Rules {
        limits: &tenant.limits,
        holds,
        label: tenant.label(),
        treatment: tenant.treatment.as_ref(),
    };
    for _ in 0..SETTLING {
        let unsettled = match decoder.decode(&body, form, &rules) {
            Err(error) => return undecodable(&error),
            Ok((_, refused)) => refused.unsettled.clone(),
        };
        let Some(replicas) = tenant.replicas().filter(|_| !unsettled.is_empty()) else {
            drop(body);
            let response = store(tenant, request_id, decoder.decoded(), holds).await;
            if let Some(replicas) = tenant.replicas() {
                replicas.keep(replicas::now()).await;
            }
            return response;
        };
        for pair in &unsettled {
            if let Err(message) = replicas.settle(pair, replicas::now()).await {
                return failure(
                    &tenant.name,
                    &StorageError::Unavailable {
                        message,
                        retry_after: None,
                    },
                );
            }
        }
    }
    let message = "it can't be found out in time which replicas are stored".to_owned();
    failure(
        &tenant.name,
        &StorageError::Unavailable {
            message,
            retry_after: None,
        },
    )
}

async fn store(
    tenant: &Tenant,
    request_id: &str,
    (batch, refused): (&Batch, &Refused),
    holds: Kinds,
) -> Response {
    let refusals = { refused.counts.iter() }.map(|((datum, reason), count)| (*datum, *reason, *count));
    let before = Account {
        rejected: refused.counts.values().sum(),
        refused: refusals.collect(),
        dropped: refused.dropped.into(),
        deduplicated: refused.deduplicated.into(),
        active_series: tenant.series(),
        ..tenant.account()
    };
    let mut account = Account {
        series: batch.label_ends.len() as u64,
        samples: batch.timestamps.len() as u64,
        histograms: batch.histograms.timestamps.len() as u64,
        exemplars: batch.exemplars.timestamps.len() as u64,
        ..before.clone()
    };
    let written = account.samples + account.histograms + account.exemplars;
    let admitted = tenant.admit(written);
    let is_over_limit = admitted.is_err();
    let receipt = if let Err(wait) = admitted {
        let message = format!("tenant {} writes more than its samplesPerSecond", tenant.name);
        Err(StorageError::Overloaded {
            message,
            retry_after: Some(wait),
        })
    } else if batch.is_empty() {
        Ok(Receipt::default())
    } else {
        let delivered = tenant
            .backends
            .write(&tenant.name, request_id, batch, holds)
            .await;
        account.deliveries = delivered.deliveries;
        delivered.receipt
    };
    let mut response = match receipt {
        Err(error) => {
            // Of what is not stored nothing counts as left out: it comes again.
            account = Account {
                deliveries: account.deliveries,
                dropped: LeftOut::default(),
                deduplicated: LeftOut::default(),
                ..before
            };
            match is_over_limit {
                true => at("limits", failure(&tenant.name, &error)),
                false => failure(&tenant.name, &error),
            }
        }
        Ok(receipt) => {
            for rejection in &receipt.rejected {
                let count = u64::from(rejection.count);
                let stored = match rejection.kind {
                    Datum::Sample => &mut account.samples,
                    Datum::Histogram => &mut account.histograms,
                    Datum::Exemplar => &mut account.exemplars,
                };
                *stored = stored.saturating_sub(count);
                account.rejected += count;
                account.refused.push((rejection.kind, "storage", count));
            }
            match complaint(refused, &receipt, &account) {
                None => StatusCode::NO_CONTENT.into_response(),
                Some(complaint) => text(StatusCode::BAD_REQUEST, &complaint),
            }
        }
    };
    response.extensions_mut().insert(account);
    response
}

/// What was not stored and why, in one line; none if everything was.
fn complaint(refused: &Refused, receipt: &Receipt, account: &Account) -> Option<String> {
    let mut reasons: Vec<String> = refused
        .counts
        .iter()
        .map(|((datum, reason), count)| format!("{} with {reason}", counted(*count, *datum)))
        .collect();
    if let Some(first) = &refused.first {
        reasons.push(format!("the first of series {first}"));
    }
    if let Some(first) = receipt.rejected.first() {
        let mut counts = BTreeMap::<Datum, u64>::new();
        for rejection in &receipt.rejected {
            *counts.entry(rejection.kind).or_default() += u64::from(rejection.count);
        }
        let counts: Vec<_> = counts
            .into_iter()
            .map(|(datum, count)| counted(count, datum))
            .collect();
        reasons.push(format!(
            "{} that the storage can't hold, the first because {}",
            counts.join(" and "),
            first.reason
        ));
    }
    if reasons.is_empty() {
        return None;
    }
    if account.deliveries.len() > 1 {
        reasons.push(format!(
            "at the storages: {}",
            backends::summary(&account.deliveries)
        ));
    }
    let stored = [
        (Datum::Sample, account.samples),
        (Datum::Histogram, account.histograms),
        (Datum::Exemplar, account.exemplars),
    ];
    let stored: Vec<_> = { stored.into_iter() }
        .filter(|(datum, count)| *datum == Datum::Sample || *count > 0)
        .map(|(datum, count)| counted(count, datum))
        .collect();
    let (stored, reasons) = (stored.join(", "), reasons.join("; "));
    Some(format!("stored: {stored}; not stored: {reasons}"))
}

fn counted(count: u64, datum: Datum) -> String {
    let one = match datum {
        Datum::Sample => "sample",
        Datum::Histogram => "histogram",
        Datum::Exemplar => "exemplar",
    };
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

/// What a request says that its body is.
fn form(method: &Method, headers: &HeaderMap) -> Result<Form, Box<Response>> {
    if method != Method::POST {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "remote write is a POST");
        let headers = response.headers_mut();
        headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        return Err(Box::new(response));
    }
    let get = |name| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    };
    let unsupported = |line: String| Box::new(text(StatusCode::UNSUPPORTED_MEDIA_TYPE, &line));
    let protocol = protocol(get(header::CONTENT_TYPE)).map_err(unsupported)?;
    let compression = match get(header::CONTENT_ENCODING) {
        "" | "snappy" => Compression::Snappy,
        "zstd" => Compression::Zstd,
        other => {
            return Err(unsupported(format!(
                "the content encoding {other:?} is not supported: send snappy (block format) or zstd"
            )));
        }
    };
    Ok(Form {
        protocol,
        compression,
    })
}

/// Which message a content type announces; the error says what may be.
fn protocol(content_type: &str) -> Result<Protocol, String> {
    let mut parts = content_type.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    if !media.is_empty() && !media.eq_ignore_ascii_case("application/x-protobuf") {
        return Err(format!(
            "the content type {media:?} is not supported: send application/x-protobuf"
        ));
    }
    let proto = parts.find_map(|part| part.strip_prefix("proto="));
    match proto.map(|proto| proto.trim_matches('"')) {
        None | Some("prometheus.WriteRequest") => Ok(Protocol::V1),
        Some("io.prometheus.write.v2.Request") => Ok(Protocol::V2),
        Some(other) => Err(format!(
            "the message {other:?} is not supported: send prometheus.WriteRequest (remote write 1.0) or \
             io.prometheus.write.v2.Request (2.0)"
        )),
    }
}

fn undecodable(error: &DecodeError) -> Response {
    let status = match error {
        DecodeError::Version1 | DecodeError::Version2 => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        DecodeError::Compression(CompressionError::TooLarge { .. }) | DecodeError::Symbols(_) => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        DecodeError::Compression(_) | DecodeError::Damaged(_) => StatusCode::BAD_REQUEST,
    };
    text(status, &error.to_string())
}

/// Decoders that wait for their next request, so that their tables are not allocated anew.
#[derive(Debug, Default)]
pub(crate) struct Decoders(std::sync::Mutex<Vec<Decoder>>);

/// Decoders that are kept; one more than that at the same time is made and dropped.
const KEPT: usize = 8;

impl Decoders {
    fn take(&self) -> Decoder {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .pop()
            .unwrap_or_default()
    }

    fn give(&self, decoder: Decoder) {
        let mut kept = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(decoder);
        }
    }
}
