//! Remote write 1.0, from the request to the storage plugin's acknowledgement.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, Request, StatusCode, header};
use witgate_plugins::{Batch, Receipt};

use crate::{
    Account, Remote,
    answer::{failure, text},
    decode::{DecodeError, Decoder, Refused},
    tenant::Tenant,
};

impl Remote {
    pub(crate) async fn write_to(
        &self,
        tenant: &Tenant,
        request_id: &str,
        request: Request<axum::body::Body>,
    ) -> Response {
        if let Some(refusal) = refuse_form(request.method(), request.headers()) {
            return refusal;
        }
        let body = match crate::answer::body(request.into_body(), self.limits.body.0).await {
            Ok(body) => body,
            Err(response) => return response,
        };
        let mut decoder = self.decoders.take();
        let response = match decoder.decode(&body, &self.limits) {
            Err(error) => undecodable(&error),
            Ok((batch, refused)) => {
                drop(body);
                store(tenant, request_id, batch, refused).await
            }
        };
        self.decoders.give(decoder);
        response
    }
}

async fn store(tenant: &Tenant, request_id: &str, batch: &Batch, refused: &Refused) -> Response {
    let mut account = Account {
        tenant: tenant.name.clone(),
        series: batch.label_ends.len() as u64,
        samples: batch.timestamps.len() as u64,
        rejected: refused.samples.values().sum(),
    };
    let receipt = if batch.timestamps.is_empty() {
        Ok(Receipt::default())
    } else {
        tenant.storage.write(&tenant.context(request_id), batch).await
    };
    let mut response = match receipt {
        Err(error) => {
            (account.series, account.samples) = (0, 0);
            failure(&tenant.name, &error)
        }
        Ok(receipt) => {
            let rejected: u64 = receipt
                .rejected
                .iter()
                .map(|rejection| u64::from(rejection.samples))
                .sum();
            account.samples = account.samples.saturating_sub(rejected);
            account.rejected += rejected;
            match complaint(refused, &receipt, account.samples) {
                None => StatusCode::NO_CONTENT.into_response(),
                Some(complaint) => text(StatusCode::BAD_REQUEST, &complaint),
            }
        }
    };
    response.extensions_mut().insert(account);
    response
}

/// What was not stored and why, in one line; none if everything was.
fn complaint(refused: &Refused, receipt: &Receipt, stored: u64) -> Option<String> {
    let mut reasons: Vec<String> = refused
        .samples
        .iter()
        .map(|(reason, count)| format!("{count} with {reason}"))
        .collect();
    if let Some(first) = &refused.first {
        reasons.push(format!("the first of series {first}"));
    }
    if let Some(first) = receipt.rejected.first() {
        let count: u64 = receipt
            .rejected
            .iter()
            .map(|rejection| u64::from(rejection.samples))
            .sum();
        reasons.push(format!(
            "{count} that the storage can't hold, the first because {}",
            first.reason
        ));
    }
    (!reasons.is_empty()).then(|| format!("{stored} samples are stored, and not: {}", reasons.join("; ")))
}

fn refuse_form(method: &Method, headers: &HeaderMap) -> Option<Response> {
    if method != Method::POST {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "remote write is a POST");
        response
            .headers_mut()
            .insert(header::ALLOW, http::HeaderValue::from_static("POST"));
        return Some(response);
    }
    let get = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    if let Some(reason) = other_content(get(header::CONTENT_TYPE)) {
        return Some(text(StatusCode::UNSUPPORTED_MEDIA_TYPE, &reason));
    }
    match get(header::CONTENT_ENCODING) {
        "" | "snappy" => None,
        other => Some(text(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            &format!("the content encoding {other:?} is not supported: send snappy (block format)"),
        )),
    }
}

/// Why a content type is not that of remote write 1.0, if it is not.
fn other_content(content_type: &str) -> Option<String> {
    let mut parts = content_type.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    if !media.is_empty() && !media.eq_ignore_ascii_case("application/x-protobuf") {
        return Some(format!(
            "the content type {media:?} is not supported: send application/x-protobuf"
        ));
    }
    let proto = parts.find_map(|part| part.strip_prefix("proto="))?;
    (proto != "prometheus.WriteRequest").then(|| {
        format!("the message {proto:?} is not supported: send prometheus.WriteRequest (remote write 1.0)")
    })
}

fn undecodable(error: &DecodeError) -> Response {
    let status = match error {
        DecodeError::Version2 => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        DecodeError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        DecodeError::NotSnappy(_) | DecodeError::Damaged(_) => StatusCode::BAD_REQUEST,
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
