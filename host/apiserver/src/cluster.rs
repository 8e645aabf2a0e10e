//! One cluster behind the gateway: every request goes through here.

use std::{error::Error, path::Path};

use axum::body::Body;
use http::{HeaderValue, Request, Response, StatusCode, header, uri::PathAndQuery};
use http_body_util::BodyExt;
use witgate_identity::Principal;

use crate::{
    ClusterConfig, ConnectError, Target, headers, path, status_response, stream::Stream, upstream::Upstream,
};

/// kubectl prints it (RFC 7234 section 5.5).
const IMPERSONATION_IGNORED: HeaderValue = HeaderValue::from_static(
    "299 - \"the gateway decides whom you act as: --as, --as-group and --as-uid were ignored\"",
);

/// The most of `/version` that is read.
const VERSION_BYTES: usize = 64 << 10;

/// A cluster, and the way to its apiserver.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    upstream: Upstream,
}

/// Why a cluster does not answer.
#[derive(Debug, thiserror::Error)]
#[error("cluster {cluster}: {reason}")]
pub struct CheckError {
    cluster: String,
    reason: String,
}

// === impl Cluster ===

impl Cluster {
    /// Reads the gateway's credential for a cluster. Relative paths are relative to `base`. Nothing
    /// is sent yet, so an apiserver that is away does not matter here.
    pub async fn connect(config: &ClusterConfig, base: &Path) -> Result<Self, ConnectError> {
        Ok(Self {
            name: config.name.clone(),
            upstream: Upstream::new(config, base).await?,
        })
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks the apiserver for its version, with the gateway's own credential.
    pub async fn check(&self) -> Result<String, CheckError> {
        let failed = |reason: String| CheckError {
            cluster: self.name.clone(),
            reason,
        };
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = self
            .upstream
            .uri(&PathAndQuery::from_static("/version"))
            .map_err(|error| failed(error.to_string()))?;
        let credential = self
            .upstream
            .credential()
            .await
            .map_err(|error| failed(error.to_string()))?;
        if let Some(credential) = credential {
            request.headers_mut().insert(header::AUTHORIZATION, credential);
        }
        let (response, _place) = self
            .upstream
            .send(request)
            .await
            .map_err(|error| failed(causes(&error)))?;
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), VERSION_BYTES)
            .collect()
            .await;
        let body = body.map_err(|error| failed(error.to_string()))?.to_bytes();
        let version: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        match version.get("gitVersion").and_then(serde_json::Value::as_str) {
            Some(version) => Ok(version.to_owned()),
            None => Err(failed(format!("/version answers {status}, and no version"))),
        }
    }

    /// Forwards a request as the principal, and hands the answer back as it comes. The request's
    /// path is relative to the apiserver's root.
    pub async fn proxy(&self, principal: &Principal, request: Request<Body>) -> Response<Body> {
        let target = Target::of(&self.name, request.method(), request.uri());
        let mut response = self.forward(principal, request).await;
        response.extensions_mut().insert(target);
        response
    }

    async fn forward(&self, principal: &Principal, mut request: Request<Body>) -> Response<Body> {
        if let Some(reason) = path::refusal(request.uri().path()) {
            return status_response(StatusCode::BAD_REQUEST, "BadRequest", reason);
        }
        if is_upgrade(&request) {
            let message = "the gateway does not forward connections that change their protocol yet: exec, \
                           attach, port-forward and cp need direct access to the cluster";
            return status_response(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message);
        }
        let removed = match headers::prepare(request.headers_mut(), principal) {
            Ok(removed) => removed,
            Err(unsayable) => {
                return status_response(StatusCode::FORBIDDEN, "Forbidden", &unsayable.to_string());
            }
        };
        if let Err(message) = self.address(&mut request).await {
            tracing::error!(cluster = self.name, "{message}");
            return status_response(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", &message);
        }
        let (response, place) = match self.upstream.send(request).await {
            Ok(answered) => answered,
            Err(error) => {
                let message = format!("cluster {} does not answer: {}", self.name, causes(&error));
                tracing::warn!("{message}");
                return status_response(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", &message);
            }
        };
        let (mut parts, body) = response.into_parts();
        headers::remove_hop_by_hop(&mut parts.headers);
        if removed.impersonation {
            parts.headers.append(header::WARNING, IMPERSONATION_IGNORED);
        }
        Response::from_parts(parts, Body::new(Stream::new(body, place, principal.expires)))
    }

    /// Turns a request towards the apiserver, with the gateway's credential.
    async fn address(&self, request: &mut Request<Body>) -> Result<(), String> {
        let root = PathAndQuery::from_static("/");
        let path = request.uri().path_and_query().unwrap_or(&root);
        *request.uri_mut() = self.upstream.uri(path).map_err(|error| error.to_string())?;
        *request.version_mut() = http::Version::HTTP_11;
        // Of the client's connection; the upstream's is set anew from the URI.
        request.headers_mut().remove(header::HOST);
        let credential =
            self.upstream.credential().await.map_err(|error| {
                format!("the gateway has no credential for cluster {}: {error}", self.name)
            })?;
        if let Some(credential) = credential {
            request.headers_mut().insert(header::AUTHORIZATION, credential);
        }
        Ok(())
    }
}

fn is_upgrade(request: &Request<Body>) -> bool {
    request.headers().contains_key(header::UPGRADE) || request.method() == http::Method::CONNECT
}

/// An error with what is behind it: the outermost message alone says "client error (Connect)".
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
