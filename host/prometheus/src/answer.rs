//! How a sender or reader is told no. Prometheus logs the first line, so it says everything.

use std::time::Duration;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use witgate_plugins::StorageError;

/// How soon a sender should try again if the backend does not say.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Where a request ended that was refused for no fault of its own: `tenant`, `limits`, `plugin` or
/// `backend`. `witgate doctor` goes by it.
pub static HOP: HeaderName = HeaderName::from_static("x-witgate-hop");

/// How long a body may take to come.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Why a request was refused, in the words that the client got. In the extensions of answers, for
/// the audit line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

/// A plain line that says no.
pub(crate) fn text(status: StatusCode, line: &str) -> Response {
    let line = line.trim_end();
    let mut response = (status, format!("{line}\n")).into_response();
    response.extensions_mut().insert(Refusal(line.to_owned()));
    response
}

/// Says at which hop a request ended.
pub(crate) fn at(hop: &'static str, mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(HOP.clone(), HeaderValue::from_static(hop));
    response
}

/// What a failed call to storage means for the client. An outage is never a 4xx: on one of those a
/// sender drops its samples.
pub(crate) fn failure(tenant: &str, error: &StorageError) -> Response {
    let (status, hop, retry_after) = match error {
        StorageError::Unavailable { retry_after, .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "backend", *retry_after)
        }
        StorageError::Failed(_) => (StatusCode::SERVICE_UNAVAILABLE, "plugin", None),
        StorageError::Overloaded { retry_after, .. } => {
            (StatusCode::TOO_MANY_REQUESTS, "backend", *retry_after)
        }
        StorageError::Invalid(_) => return text(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    tracing::warn!(tenant, %status, "storage: {error}");
    let seconds = in_whole_seconds(retry_after.unwrap_or(RETRY_AFTER));
    let mut response = at(hop, text(status, &error.to_string()));
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// A wait in whole seconds (RFC 9110 section 10.2.3), at least as long and up to a quarter longer, so
/// that those who were refused together don't come again together.
fn in_whole_seconds(wait: Duration) -> u64 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let seconds = seconds.max(1);
    seconds + rand::random_range(0..=seconds.div_ceil(4))
}

/// Reads a body of bounded size in bounded time.
pub(crate) async fn body(body: Body, limit: u64) -> Result<bytes::Bytes, Response> {
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    match tokio::time::timeout(BODY_TIME, Limited::new(body, size).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(text(
            StatusCode::PAYLOAD_TOO_LARGE,
            &format!("the body is over {limit} bytes (prometheus.limits.body)"),
        )),
        Ok(Err(error)) => Err(text(
            StatusCode::BAD_REQUEST,
            &format!("the body ends early: {error}"),
        )),
        // A slow network is no fault of the samples: on 408 a sender would drop them.
        Err(_) => {
            let message = format!("the body did not come within {} s", BODY_TIME.as_secs());
            let retry_after = None;
            Err(failure("", &StorageError::Unavailable { message, retry_after }))
        }
    }
}
