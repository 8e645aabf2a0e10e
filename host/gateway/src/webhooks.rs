//! What kube-apiserver asks: whose a token is (`authentication.k8s.io` TokenReview, v1 and v1beta1).
//!
//! An apiserver with `--authentication-token-webhook-config-file` pointed here gets the same
//! verification, mapping and revocation as a proxied request, without being proxied.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{StatusCode, header};
use serde_json::{Value, json};
use witgate_apiserver::status_response;
use witgate_identity::{AuthError, Method, Principal};

use crate::{
    api,
    config::MembersConfig,
    gateway::{Answer, Gateway},
    metrics::Route,
    routes::{self, Shown},
    wiring::Wiring,
};

/// A token is 16 KiB at most; the rest of a review is small.
const BODY: usize = 64 << 10;

/// Answers `POST /webhooks/token-review`.
pub(crate) async fn token_review(State(gateway): State<Arc<Gateway>>, mut request: Request) -> Response {
    let visit = gateway.begin(Route::Webhook, &mut request);
    let wiring = gateway.live.load_full();
    let answer = match routes::authenticate(&wiring, Shown::of(&request)).await {
        Err(error) => routes::not_let_in(&error),
        Ok(principal) => match permitted(&wiring.config.webhooks, &principal) {
            Err(message) => {
                let response = status_response(StatusCode::FORBIDDEN, "Forbidden", &message);
                Answer::refused(Some(principal), message, response)
            }
            Ok(()) => match api::read(request, BODY).await {
                Ok(body) => review(&wiring, principal, &body).await,
                Err(refused) => Answer::refused(Some(principal), "the body can't be read", refused),
            },
        },
    };
    gateway.end(visit, answer).await
}

fn permitted(askers: &MembersConfig, principal: &Principal) -> Result<(), String> {
    if askers.has(principal) {
        return Ok(());
    }
    Err(format!(
        "{} may not ask about tokens: add the user or one of its groups under `webhooks`",
        principal.user
    ))
}

async fn review(wiring: &Wiring, asker: Arc<Principal>, body: &[u8]) -> Answer {
    let review: Value = serde_json::from_slice(body).unwrap_or_default();
    let version = review
        .get("apiVersion")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let token = review.pointer("/spec/token").and_then(Value::as_str);
    let (Some(token), "authentication.k8s.io/v1" | "authentication.k8s.io/v1beta1") = (token, version) else {
        let message = "expected a TokenReview of authentication.k8s.io/v1 or v1beta1";
        let response = status_response(StatusCode::BAD_REQUEST, "BadRequest", message);
        return Answer::refused(Some(asker), message, response);
    };
    let (status, reason) = match wiring.identity.authenticate_token(token).await {
        // Its name means somebody else in the cluster that asks, which knows its own by itself.
        Ok(principal) if matches!(principal.method, Method::ServiceAccount { .. }) => {
            let message = "service accounts' tokens are their own cluster's to review";
            (
                json!({"authenticated": false, "error": message}),
                Some(message.to_owned()),
            )
        }
        Ok(principal) => match has_gateways_name(wiring, &principal).await {
            false => (authenticated(&principal), None),
            true => {
                let message = "nobody else can have the gateway's own name";
                (
                    json!({"authenticated": false, "error": message}),
                    Some(message.to_owned()),
                )
            }
        },
        // Not an answer: the apiserver is to ask again, not to remember a no.
        Err(error @ AuthError::Unavailable { .. }) => {
            let message = error.to_string();
            let response = status_response(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", &message);
            return Answer::refused(Some(asker), message, response);
        }
        Err(error) => {
            let message = error.to_string();
            (json!({"authenticated": false, "error": message}), Some(message))
        }
    };
    let answer = json!({"apiVersion": version, "kind": "TokenReview", "status": status});
    let mut response = Response::new(Body::from(answer.to_string()));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    Answer {
        response,
        principal: Some(asker),
        reason,
    }
}

/// Whether a cluster knows the gateway by this name, and would give its rights to whoever has it. One
/// that does not answer gives rights to nobody.
async fn has_gateways_name(wiring: &Wiring, principal: &Principal) -> bool {
    for cluster in wiring.clusters.values() {
        if cluster.is_own_name(&principal.user).await.unwrap_or(false) {
            return true;
        }
    }
    false
}

fn authenticated(principal: &Principal) -> Value {
    let extra: serde_json::Map<_, _> = { &principal.extra }
        .iter()
        .map(|(key, values)| (key.clone(), json!(values)))
        .collect();
    let uid = principal.uid.as_deref().unwrap_or_default();
    json!({
        "authenticated": true,
        "user": {"username": principal.user, "uid": uid, "groups": principal.groups, "extra": extra},
    })
}
