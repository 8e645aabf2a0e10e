//! Which request goes where, and how each kind of client is told no.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, delete, get, post},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Extensions, HeaderMap, HeaderValue, StatusCode, Uri, header, uri::PathAndQuery};
use witgate_apiserver::{Attendant, status_response};
use witgate_identity::{AuthError, ClientCertificate, Invalid, Principal, TokenDigest};
use witgate_prometheus::Endpoint;

use crate::{
    api,
    config::Serves,
    console,
    gateway::{Answer, Gateway},
    limits::TooMany,
    listener::Peer,
    metrics::Route,
    origins, url_credentials, webhooks,
    wiring::Wiring,
};

/// How soon somebody whom the gateway could not decide about should ask again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

const UNAUDITED: &str = "the audit log can't be written, so nothing is let through; whoever runs this gateway finds the reason in its log";

/// What a request shows of who sent it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

impl<'a> Shown<'a> {
    pub(crate) fn of(request: &'a Request) -> Self {
        Self {
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

/// What a listener serves.
pub(crate) fn router(gateway: &Arc<Gateway>, serves: &Serves) -> Router {
    let router = match serves {
        Serves::Gateway => Router::new()
            .route("/", get(console::home))
            .route("/login", get(console::login))
            .route("/callback", get(console::callback))
            .route("/logout", post(console::logout))
            .route("/kubeconfig", get(console::kubeconfig))
            .route("/sessions/end", post(console::end_session))
            .route("/revocations", post(console::revoke))
            .route("/revocations/lift", post(console::lift))
            .route("/prometheus", get(console::metrics))
            .route("/prometheus/doctor", post(console::examine))
            .merge(console::recovery::routes())
            .route("/device", get(console::device).post(console::decide_device))
            .route(
                "/oauth/authorize",
                get(console::authorize).post(console::decide_authorize),
            )
            .route("/oauth/token", post(api::token))
            .route("/oauth/device", post(api::device))
            .route("/oauth/revoke", post(api::revoke_token))
            .route("/.well-known/oauth-authorization-server", get(api::metadata))
            .route("/backchannel-logout", post(api::back_channel_logout))
            .route("/gateway/v1/whoami", get(api::whoami))
            .route("/gateway/v1/sessions", get(api::sessions))
            .route("/gateway/v1/sessions/{id}", delete(api::end_session))
            .route(
                "/gateway/v1/revocations",
                get(api::revocations).post(api::revoke).delete(api::lift),
            )
            .route("/gateway/v1/prometheus", get(api::metrics))
            .route("/gateway/v1/recovery", get(api::recovery::status))
            .route("/gateway/v1/recovery/diagnose", post(api::recovery::diagnose))
            .route("/gateway/v1/recovery/plans", post(api::recovery::plan))
            .route("/gateway/v1/recovery/plans/{id}", get(api::recovery::dossier))
            .route(
                "/gateway/v1/recovery/plans/{id}/approve",
                post(api::recovery::approve),
            )
            .route(
                "/gateway/v1/recovery/plans/{id}/apply",
                post(api::recovery::apply),
            )
            .route(
                "/gateway/v1/recovery/plans/{id}/confirm",
                post(api::recovery::confirm),
            )
            .route(
                "/gateway/v1/recovery/plans/{id}/abandon",
                post(api::recovery::abandon),
            )
            .route(
                "/gateway/v1/recovery/escrow",
                get(api::recovery::escrow).put(api::recovery::keep_escrow),
            )
            .route("/gateway/v1/recovery/journal", get(api::recovery::journal))
            .route("/gateway/v1/recovery/bundle", get(api::recovery::bundle))
            .route("/webhooks/token-review", post(webhooks::token_review))
            .route("/style.css", get(console::style))
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/clusters/{name}", any(cluster))
            .route("/clusters/{name}/", any(cluster))
            .route("/clusters/{name}/{*path}", any(cluster))
            .route("/api/v1/write", any(prometheus))
            .route("/api/v1/read", any(prometheus))
            .route("/api/v1/prom/write", any(prometheus))
            .route("/api/v1/prom/read", any(prometheus))
            .fallback(not_found),
        Serves::Cluster(name) => {
            let name: Arc<str> = name.as_str().into();
            Router::new().fallback(
                move |State(gateway): State<Arc<Gateway>>, request: Request| async move {
                    at_cluster(&gateway, &name, request).await
                },
            )
        }
        Serves::Admin => Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics)),
    };
    let router = match serves {
        Serves::Admin => router,
        Serves::Gateway | Serves::Cluster(_) => {
            router.layer(middleware::from_fn_with_state(Arc::clone(gateway), audited))
        }
    };
    router.with_state(Arc::clone(gateway))
}

/// Nothing is decided that could not be written down.
async fn audited(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    if gateway.audit.is_writable() || matches!(request.uri().path(), "/livez" | "/readyz") {
        return next.run(request).await;
    }
    let mut response = status_response(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", UNAUDITED);
    response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    response
}

/// Requests below `/clusters/<name>`. The rest of the path is handed on byte for byte, so it is
/// cut by hand: a router's parameters are decoded.
async fn cluster(State(gateway): State<Arc<Gateway>>, mut request: Request) -> Response {
    let path_and_query = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let below = path_and_query.strip_prefix("/clusters/").unwrap_or_default();
    let end = below.find(['/', '?']).unwrap_or(below.len());
    let (name, rest) = below.split_at(end);
    let name = name.to_owned();
    let rest = if rest.starts_with('/') {
        rest.to_owned()
    } else {
        format!("/{rest}")
    };
    match rest.parse::<PathAndQuery>() {
        Ok(rest) => *request.uri_mut() = Uri::from(rest),
        Err(_) => {
            return status_response(StatusCode::BAD_REQUEST, "BadRequest", "the path is not valid");
        }
    }
    at_cluster(&gateway, &name, request).await
}

async fn at_cluster(gateway: &Gateway, name: &str, mut request: Request) -> Response {
    let visit = gateway.begin(Route::Cluster, &mut request);
    let wiring = gateway.live.load_full();
    let origin = origins::allowed(&wiring, request.headers());
    let is_discovery = is_discovery(&request);
    if let Some(response) = origins::preflight(&wiring, &request) {
        return gateway.end(visit, Answer::new(None, response)).await;
    }
    origins::distrust_cookies(&wiring, request.headers_mut());
    let mut answer = match admit(&wiring, Shown::of(&request)).await {
        Err(refused) => *refused,
        Ok(principal) => match wiring.clusters.get(name) {
            None => {
                let message = no_cluster(&wiring, name);
                let response = status_response(StatusCode::NOT_FOUND, "NotFound", &message);
                Answer::refused(Some(principal), message, response)
            }
            Some(cluster) => {
                let attend = || Arc::new(gateway.attend(&visit, &principal)) as Arc<dyn Attendant>;
                let response = cluster.proxy(&principal, request, attend).await;
                let refusal = response.extensions().get().cloned();
                let reason = refusal.map(|witgate_apiserver::Refusal(reason)| reason);
                Answer {
                    response,
                    principal: Some(principal),
                    reason,
                }
            }
        },
    };
    if is_discovery {
        tell_in_text(&mut answer);
    }
    origins::share(origin.as_ref(), &mut answer.response);
    gateway.end(visit, answer).await
}

/// Whether kubectl asks what there is, before it asks what its user wants to know.
fn is_discovery(request: &Request) -> bool {
    let accepted = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    matches!(request.uri().path(), "/api" | "/apis")
        && accepted.is_some_and(|accepted| accepted.contains("g=apidiscovery.k8s.io"))
}

/// Where client-go asks what there is, it does not read the `Status` of a refusal: the user would see
/// "unknown". It shows text as it is (`newUnstructuredResponseError` in `k8s.io/client-go/rest`).
fn tell_in_text(answer: &mut Answer) {
    let refusal = answer.response.extensions().get::<witgate_apiserver::Refusal>();
    let Some(witgate_apiserver::Refusal(message)) = refusal else {
        return;
    };
    *answer.response.body_mut() = axum::body::Body::from(message.clone());
    let headers = answer.response.headers_mut();
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, text);
}

/// Whoever may ask for something of Kubernetes' kind: known, and not too often.
pub(crate) async fn admit(wiring: &Wiring, shown: Shown<'_>) -> Result<Arc<Principal>, Box<Answer>> {
    admit_address(wiring, shown)?;
    let principal = authenticate(wiring, shown)
        .await
        .map_err(|error| Box::new(not_let_in(&error)))?;
    match wiring.limits.user(&principal.user) {
        Ok(()) => Ok(principal),
        Err(error) => Err(Box::new(too_many(Some(principal), error))),
    }
}

/// An address from which requests don't come too often.
pub(crate) fn admit_address(wiring: &Wiring, shown: Shown<'_>) -> Result<(), Box<Answer>> {
    let Some(Peer(peer)) = shown.extensions.get::<Peer>() else {
        return Ok(());
    };
    let limited = wiring.limits.address(peer.ip());
    limited.map_err(|error| Box::new(too_many(None, error)))
}

fn too_many(principal: Option<Arc<Principal>>, error: TooMany) -> Answer {
    let message = error.to_string();
    let mut response = status_response(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", &message);
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, error.retry_after.as_secs().into());
    Answer::refused(principal, message, response)
}

/// For Prometheus, which drops its samples on 429 unless it was told otherwise.
fn as_outage(mut refused: Answer) -> Answer {
    *refused.response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    refused
}

/// How a client of Kubernetes' kind is told that it is not let in.
pub(crate) fn not_let_in(error: &AuthError) -> Answer {
    let (code, reason) = match error {
        AuthError::Denied { .. } => (StatusCode::FORBIDDEN, "Forbidden"),
        AuthError::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
        AuthError::NoCredential | AuthError::Invalid { .. } => (StatusCode::UNAUTHORIZED, "Unauthorized"),
    };
    let message = error.to_string();
    let response = status_response(code, reason, &message);
    Answer::refused(
        None,
        message,
        with_challenge(response, r#"Bearer realm="witgate""#),
    )
}

fn no_cluster(wiring: &Wiring, name: &str) -> String {
    if wiring.clusters.is_empty() {
        return format!("there is no cluster {name:?}: none is configured (add one under `clusters`)");
    }
    let names: Vec<_> = wiring.clusters.keys().map(String::as_str).collect();
    format!("there is no cluster {name:?}: there are {}", names.join(", "))
}

/// Remote write and read.
async fn prometheus(State(gateway): State<Arc<Gateway>>, mut request: Request) -> Response {
    let Some(endpoint) = Endpoint::of(request.uri().path()) else {
        return not_found(State(gateway), request).await;
    };
    let route = match endpoint {
        Endpoint::Write => Route::PrometheusWrite,
        Endpoint::Read => Route::PrometheusRead,
    };
    let visit = gateway.begin(route, &mut request);
    let wiring = gateway.live.load_full();
    if wiring.config.url_credentials {
        url_credentials::take(&mut request);
    }
    // A browser's cookie does not count here: another site could have sent it along.
    request.headers_mut().remove(header::COOKIE);
    if let Err(refused) = admit_address(&wiring, Shown::of(&request)) {
        return gateway.end(visit, as_outage(*refused)).await;
    }
    let admitted = match authenticate(&wiring, Shown::of(&request)).await {
        Ok(principal) => match wiring.limits.user(&principal.user) {
            Ok(()) => Ok(principal),
            Err(error) => {
                let refused = as_outage(too_many(Some(principal), error));
                return gateway.end(visit, refused).await;
            }
        },
        Err(error) => Err(error),
    };
    let answer = match admitted {
        Err(error) => {
            let code = remote_refusal(endpoint, &error);
            if matches!(error, AuthError::NoCredential | AuthError::Invalid { .. }) {
                gateway
                    .metrics
                    .unauthorized(&credential_name(request.headers()), code);
            }
            let message = error.to_string();
            let response = (code, format!("{message}\n")).into_response();
            let mut response = with_challenge(response, r#"Basic realm="witgate", Bearer"#);
            if let Some(wait) = wiring.identity.retry_after(&error) {
                let seconds = HeaderValue::from(wait.as_secs() + 1);
                response.headers_mut().insert(header::RETRY_AFTER, seconds);
            }
            Answer::refused(None, message, response)
        }
        Ok(principal) => remote(&wiring, endpoint, principal, request).await,
    };
    gateway.end(visit, answer).await
}

/// How a Prometheus is told that it is not let in. On 401 and 403 it drops what it wanted to write, so
/// a credential that has only expired, and will be replaced, is no reason for one.
fn remote_refusal(endpoint: Endpoint, error: &AuthError) -> StatusCode {
    match (endpoint, error) {
        (_, AuthError::Denied { .. }) => StatusCode::FORBIDDEN,
        (_, AuthError::Unavailable { .. })
        | (
            Endpoint::Write,
            AuthError::Invalid {
                reason: Invalid::Expired(_),
            },
        ) => StatusCode::SERVICE_UNAVAILABLE,
        (_, AuthError::NoCredential | AuthError::Invalid { .. }) => StatusCode::UNAUTHORIZED,
    }
}

/// What a credential that does not hold is called in metrics: the user's name that it is for, or the
/// beginning of the token's digest, which `sha256sum` says of the token's file as well.
fn credential_name(headers: &HeaderMap) -> String {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return "none".to_owned();
    };
    let value = value.to_str().unwrap_or_default();
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        let digest = TokenDigest::of(rest.trim()).to_string();
        return format!("token {}", digest.chars().take(12).collect::<String>());
    }
    let decoded = STANDARD.decode(rest.trim()).ok();
    let user = decoded
        .as_deref()
        .and_then(|text| std::str::from_utf8(text).ok()?.split_once(':'));
    match user.filter(|_| scheme.eq_ignore_ascii_case("basic")) {
        Some((user, _)) => format!("user {}", user.chars().take(64).collect::<String>()),
        None => "unreadable".to_owned(),
    }
}

/// Remote write or read of somebody who is known.
pub(crate) async fn remote(
    wiring: &Wiring,
    endpoint: Endpoint,
    principal: Arc<Principal>,
    request: Request,
) -> Answer {
    let Some(remote) = &wiring.remote else {
        let message = "no Prometheus endpoint is configured here (add the section `prometheus`)";
        let response = (StatusCode::NOT_FOUND, format!("{message}\n")).into_response();
        return Answer::refused(Some(principal), message, response);
    };
    let response = match endpoint {
        Endpoint::Write => remote.write(&principal, request).await,
        Endpoint::Read => remote.read(&principal, request).await,
    };
    let refusal = response.extensions().get().cloned();
    let reason = refusal.map(|witgate_prometheus::Refusal(reason)| reason);
    Answer {
        response,
        principal: Some(principal),
        reason,
    }
}

/// Who is calling.
pub(crate) async fn authenticate(wiring: &Wiring, shown: Shown<'_>) -> Result<Arc<Principal>, AuthError> {
    let certificate = shown.extensions.get::<Arc<ClientCertificate>>();
    let certificate = certificate.map(AsRef::as_ref);
    wiring.identity.authenticate(shown.headers, certificate).await
}

fn with_challenge(mut response: Response, challenge: &'static str) -> Response {
    match response.status() {
        StatusCode::UNAUTHORIZED => {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        _ => {}
    }
    response
}

async fn not_found(State(gateway): State<Arc<Gateway>>, mut request: Request) -> Response {
    let visit = gateway.begin(Route::Unknown, &mut request);
    let message = "there is nothing here; see / for what there is";
    let response = (StatusCode::NOT_FOUND, format!("{message}\n")).into_response();
    gateway.end(visit, Answer::refused(None, message, response)).await
}

async fn livez() -> &'static str {
    "ok\n"
}

/// Ready means that a configuration is in service, and that decisions can be written down. What is
/// behind the gateway may come and go; that its state does is said.
async fn readyz(State(gateway): State<Arc<Gateway>>) -> (StatusCode, String) {
    if !gateway.audit.is_writable() {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{UNAUDITED}\n"));
    }
    let generation = gateway.metrics.generation.get();
    let mut text = format!("ok\nconfiguration generation {generation}\n");
    if let Some(missing) = gateway.missing_state().await {
        // Not ready would mean that sessions end that can go on.
        text += &format!("{missing}: sessions go on for a while, and nobody logs in or is revoked\n");
    }
    (StatusCode::OK, text)
}

async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response {
    match gateway.metrics.encode() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
