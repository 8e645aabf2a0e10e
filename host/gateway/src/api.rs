//! `/gateway/v1`: what the command line and scripts ask of the gateway itself, and `/oauth`, where the
//! command line gets its tokens.

mod metrics;
pub(crate) mod recovery;

pub(crate) use self::metrics::{MetricsStatus, metrics};

use std::{
    str::FromStr,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use axum::{
    Json,
    body::Body,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use witgate_apiserver::status_response;
use witgate_identity::{OAuthError, Principal, Revocation, Revoked, SessionId, TokenRequest, Unavailable};

use crate::{
    audit::via,
    gateway::{Answer, Gateway},
    limits::TooMany,
    metrics::Route,
    routes::{self, Shown},
    wiring::Wiring,
};

/// Forms and small objects.
const BODY: usize = 64 << 10;

/// How long a client may take to send one.
const BODY_TIME: Duration = Duration::from_secs(10);

/// A revocation, as it is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RevocationRequest {
    pub(crate) revoked: Revoked,
    /// Also what is given out later, until this is lifted.
    #[serde(default)]
    pub(crate) block: bool,
    /// What was given out until then, in seconds since 1970; by default until now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

impl RevocationRequest {
    /// The revocation, by whoever asks for it.
    pub(crate) fn by(self, user: &str) -> Revocation {
        let mut revocation = Revocation::now(self.revoked, user.to_owned());
        revocation.reason = self.reason;
        if self.block {
            revocation.until = None;
        } else if let Some(until) = self.until {
            revocation.until = Some(until);
        }
        revocation
    }
}

/// Why a request of this API is refused.
pub(crate) struct Refused {
    pub(crate) code: StatusCode,
    reason: &'static str,
    pub(crate) message: String,
}

type Outcome = Result<Response, Refused>;

impl Refused {
    /// Somebody asks too often.
    pub(crate) fn too_many(error: &TooMany) -> Self {
        Self {
            code: StatusCode::TOO_MANY_REQUESTS,
            reason: "TooManyRequests",
            message: error.to_string(),
        }
    }
}

/// Who one is to the gateway.
pub(crate) async fn whoami(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    as_principal(&gateway, request, async |_, principal, _| {
        let expires = principal
            .expires
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let (via, issuer) = via(&principal.method);
        Ok(Json(json!({
            "user": principal.user,
            "uid": principal.uid,
            "groups": principal.groups,
            "extra": principal.extra.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "via": via,
            "issuer": issuer,
            "session": principal.proof.session,
            "expires": expires.map(|at| at.as_secs()),
        }))
        .into_response())
    })
    .await
}

/// One's own sessions; with `?all`, everybody's.
pub(crate) async fn sessions(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    as_principal(&gateway, request, async |wiring, principal, request| {
        let sessions = if request.uri().query() == Some("all") {
            administers(wiring, principal)?;
            wiring.identity.all_sessions().await?
        } else {
            wiring.identity.own_sessions(principal).await?
        };
        Ok(Json(sessions).into_response())
    })
    .await
}

/// Ends a session: one's own, or for who may, anybody's.
pub(crate) async fn end_session(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    as_principal(&gateway, request, async |wiring, principal, _| {
        let id = SessionId::from_str(&id).map_err(|error| bad_request(&error))?;
        end(wiring, principal, id).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// What is revoked.
pub(crate) async fn revocations(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    as_principal(&gateway, request, async |wiring, principal, _| {
        administers(wiring, principal)?;
        Ok(Json(wiring.identity.revocations().list().await?).into_response())
    })
    .await
}

/// Revokes something.
pub(crate) async fn revoke(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    as_principal(&gateway, request, async |wiring, principal, request| {
        administers(wiring, principal)?;
        let asked: RevocationRequest = object(request).await?;
        let revocation = asked.by(&principal.user);
        wiring.identity.revoke(&revocation).await?;
        Ok((StatusCode::CREATED, Json(revocation)).into_response())
    })
    .await
}

/// Lifts a revocation.
pub(crate) async fn lift(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    as_principal(&gateway, request, async |wiring, principal, request| {
        administers(wiring, principal)?;
        let revoked: Revoked = object(request).await?;
        wiring.identity.revocations().lift(&revoked).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// Ends a session that is one's own, or anybody's for who administers them.
pub(crate) async fn end_any(wiring: &Wiring, principal: &Principal, id: SessionId) -> Result<(), String> {
    end(wiring, principal, id)
        .await
        .map_err(|refused| refused.message)
}

async fn end(wiring: &Wiring, principal: &Principal, id: SessionId) -> Result<(), Refused> {
    if wiring.identity.end_own_session(principal, id).await? {
        return Ok(());
    }
    administers(wiring, principal)?;
    let revocation = Revocation::now(Revoked::Session { id }, principal.user.clone());
    Ok(wiring.identity.revoke(&revocation).await?)
}

/// RFC 8414.
pub(crate) async fn metadata(State(gateway): State<Arc<Gateway>>) -> Response {
    let wiring = gateway.live.load();
    let url = wiring.identity.public_url();
    Json(json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/oauth/authorize"),
        "token_endpoint": format!("{url}/oauth/token"),
        "device_authorization_endpoint": format!("{url}/oauth/device"),
        "revocation_endpoint": format!("{url}/oauth/revoke"),
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "authorization_response_iss_parameter_supported": true,
        // Not the RFC's: what a kubeconfig is made of.
        "witgate_clusters": wiring.clusters.keys().collect::<Vec<_>>(),
    }))
    .into_response()
}

/// `POST /oauth/token`.
pub(crate) async fn token(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    with_form(&gateway, request, async |wiring, form| {
        let tokens = wiring.identity.token(TokenRequest(form)).await?;
        Ok(json!({
            "access_token": tokens.access_token.expose_secret(),
            "refresh_token": tokens.refresh_token.expose_secret(),
            "token_type": "Bearer",
            "expires_in": tokens.lifetime.as_secs(),
        }))
    })
    .await
}

/// `POST /oauth/device`.
pub(crate) async fn device(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    with_form(&gateway, request, async |wiring, form| {
        let get = |wanted: &str| {
            url::form_urlencoded::parse(form.as_bytes())
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.into_owned())
        };
        let (client_id, name) = (get("client_id"), get("name"));
        let begun = wiring
            .identity
            .begin_device(client_id.as_deref(), name.as_deref())
            .await?;
        Ok(json!(begun))
    })
    .await
}

/// `POST /oauth/revoke`.
pub(crate) async fn revoke_token(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    with_form(&gateway, request, async |wiring, form| {
        wiring.identity.revoke_token(form).await?;
        Ok(Value::Null)
    })
    .await
}

/// `POST /backchannel-logout`.
pub(crate) async fn back_channel_logout(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    with_form(&gateway, request, async |wiring, form| {
        wiring.identity.back_channel_logout(form).await?;
        Ok(Value::Null)
    })
    .await
}

/// Answers a form, in OAuth's way.
async fn with_form(
    gateway: &Gateway,
    mut request: Request,
    act: impl AsyncFnOnce(&Wiring, &str) -> Result<Value, OAuthError>,
) -> Response {
    let visit = gateway.begin(Route::OAuth, &mut request);
    let wiring = gateway.live.load_full();
    if let Err(refused) = routes::admit_address(&wiring, Shown::of(&request)) {
        return gateway.end(visit, *refused).await;
    }
    let answer = match read(request, BODY).await {
        Err(refused) => Answer::refused(None, "the form can't be read", refused),
        Ok(body) => match act(&wiring, &String::from_utf8_lossy(&body)).await {
            Ok(Value::Null) => Answer::new(None, StatusCode::OK.into_response()),
            Ok(answer) => Answer::new(None, Json(answer).into_response()),
            Err(error) => {
                let code = match error.error {
                    "temporarily_unavailable" => StatusCode::SERVICE_UNAVAILABLE,
                    "invalid_client" => StatusCode::UNAUTHORIZED,
                    _ => StatusCode::BAD_REQUEST,
                };
                Answer::refused(None, error.to_string(), (code, Json(error)).into_response())
            }
        },
    };
    let mut response = gateway.end(visit, answer).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Answers somebody who is known. A browser's session counts if its request is of the gateway's own
/// pages.
async fn as_principal(
    gateway: &Gateway,
    mut request: Request,
    act: impl AsyncFnOnce(&Wiring, &Principal, Request) -> Outcome,
) -> Response {
    let visit = gateway.begin(Route::Api, &mut request);
    let wiring = gateway.live.load_full();
    if !wiring.identity.is_own_page(request.headers()) {
        request.headers_mut().remove(header::COOKIE);
    }
    let answer = match routes::admit(&wiring, Shown::of(&request)).await {
        Err(refused) => *refused,
        Ok(principal) => match act(&wiring, &principal, request).await {
            Ok(response) => Answer::new(Some(principal), response),
            Err(refused) => {
                let response = status_response(refused.code, refused.reason, &refused.message);
                Answer::refused(Some(principal), refused.message, response)
            }
        },
    };
    let mut response = gateway.end(visit, answer).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn administers(wiring: &Wiring, principal: &Principal) -> Result<(), Refused> {
    if wiring.config.admin.has(principal) {
        return Ok(());
    }
    Err(Refused {
        code: StatusCode::FORBIDDEN,
        reason: "Forbidden",
        message: format!(
            "{} may not administer sessions: the section `admin` of the configuration says who may",
            principal.user
        ),
    })
}

async fn object<T: for<'de> Deserialize<'de>>(request: Request) -> Result<T, Refused> {
    let body = read(request, BODY)
        .await
        .map_err(|_| bad_request(&"the body can't be read, or is over 64 KiB"))?;
    serde_json::from_slice(&body).map_err(|error| bad_request(&error))
}

/// A body of bounded size, in bounded time.
pub(crate) async fn read(request: Request, limit: usize) -> Result<bytes::Bytes, Response> {
    let body = Limited::new(request.into_body(), limit).collect();
    let (status, message) = match tokio::time::timeout(BODY_TIME, body).await {
        Ok(Ok(body)) => return Ok(body.to_bytes()),
        Ok(Err(_)) => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body can't be read, or is too large\n",
        ),
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the body took too long to come\n"),
    };
    let mut response = Response::new(Body::from(message));
    *response.status_mut() = status;
    Err(response)
}

fn bad_request(error: &dyn std::fmt::Display) -> Refused {
    Refused {
        code: StatusCode::BAD_REQUEST,
        reason: "BadRequest",
        message: error.to_string(),
    }
}

impl From<Unavailable> for Refused {
    fn from(error: Unavailable) -> Self {
        Self {
            code: StatusCode::SERVICE_UNAVAILABLE,
            reason: "ServiceUnavailable",
            message: error.to_string(),
        }
    }
}
