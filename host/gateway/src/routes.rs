//! Which request goes where, and how each kind of client is told no.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header, uri::PathAndQuery};
use witgate_apiserver::status_response;
use witgate_identity::{AuthError, Principal};
use witgate_prometheus::Endpoint;

use crate::{
    config::Serves,
    console,
    gateway::{Answer, Gateway},
    metrics::Route,
    url_credentials,
    wiring::Wiring,
};

/// How soon somebody whom the gateway could not decide about should ask again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// What a listener serves.
pub(crate) fn router(gateway: &Arc<Gateway>, serves: &Serves) -> Router {
    let router = match serves {
        Serves::Gateway => Router::new()
            .route("/", get(console::home))
            .route("/login", get(console::login))
            .route("/callback", get(console::callback))
            .route("/logout", post(console::logout))
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
    router.with_state(Arc::clone(gateway))
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
    let answer = match authenticate(&wiring, request.headers()).await {
        Err(error) => {
            let (code, reason) = match &error {
                AuthError::Denied { .. } => (StatusCode::FORBIDDEN, "Forbidden"),
                AuthError::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
                AuthError::NoCredential | AuthError::Invalid { .. } => {
                    (StatusCode::UNAUTHORIZED, "Unauthorized")
                }
            };
            let message = error.to_string();
            let response = status_response(code, reason, &message);
            Answer::refused(
                None,
                message,
                with_challenge(response, r#"Bearer realm="witgate""#),
            )
        }
        Ok(principal) => match wiring.clusters.get(name) {
            None => {
                let message = no_cluster(&wiring, name);
                let response = status_response(StatusCode::NOT_FOUND, "NotFound", &message);
                Answer::refused(Some(principal), message, response)
            }
            Some(cluster) => {
                let response = cluster.proxy(&principal, request).await;
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
    gateway.end(visit, answer).await
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
    let answer = match (authenticate(&wiring, request.headers()).await, &wiring.remote) {
        (Err(error), _) => {
            let code = match &error {
                AuthError::Denied { .. } => StatusCode::FORBIDDEN,
                AuthError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
                AuthError::NoCredential | AuthError::Invalid { .. } => StatusCode::UNAUTHORIZED,
            };
            let message = error.to_string();
            let response = (code, format!("{message}\n")).into_response();
            Answer::refused(
                None,
                message,
                with_challenge(response, r#"Basic realm="witgate", Bearer"#),
            )
        }
        (Ok(principal), None) => {
            let message = "no Prometheus endpoint is configured here (add the section `prometheus`)";
            let response = (StatusCode::NOT_FOUND, format!("{message}\n")).into_response();
            Answer::refused(Some(principal), message, response)
        }
        (Ok(principal), Some(remote)) => {
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
    };
    gateway.end(visit, answer).await
}

/// Who is calling an endpoint that machines and command lines use. A browser's cookie is not
/// looked at here: another site could have sent it along.
async fn authenticate(wiring: &Wiring, headers: &HeaderMap) -> Result<Arc<Principal>, AuthError> {
    if !headers.contains_key(header::AUTHORIZATION) {
        return Err(AuthError::NoCredential);
    }
    wiring.identity.authenticate(headers).await
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

/// Ready means that a configuration is in service. What is behind the gateway may come and go.
async fn readyz(State(gateway): State<Arc<Gateway>>) -> String {
    format!(
        "ok\nconfiguration generation {}\n",
        gateway.metrics.generation.get()
    )
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
