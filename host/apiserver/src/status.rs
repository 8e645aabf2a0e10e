//! Answers of the gateway itself, in the form that Kubernetes' clients know.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

/// Why the gateway itself refused a request, in the words that the client got. In the extensions of
/// such answers, for the audit line; an apiserver's own refusals have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

/// A `Status` object (`k8s.io/apimachinery/pkg/apis/meta/v1`), which kubectl prints the message of.
/// `reason` is one of Kubernetes' own: `Unauthorized`, `Forbidden`, `NotFound`, `BadRequest`,
/// `ServiceUnavailable` …
pub fn status_response(code: StatusCode, reason: &str, message: &str) -> Response<Body> {
    let mut status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16(),
    });
    if code == StatusCode::SERVICE_UNAVAILABLE
        && let Some(status) = status.as_object_mut()
    {
        status.insert("details".to_owned(), json!({"retryAfterSeconds": 5}));
    }
    let mut response = Response::new(Body::from(status.to_string()));
    *response.status_mut() = code;
    response.extensions_mut().insert(Refusal(message.to_owned()));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
