//! One cluster behind the gateway: every request goes through here.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::body::Body;
use http::{Request, Response, StatusCode, header, uri::PathAndQuery};
use http_body_util::BodyExt;
use witgate_identity::{Method, Principal};

use crate::{
    Attendant, ClusterConfig, ConnectError, Impersonated, Mode, Target,
    attendant::Attended,
    headers, impersonation,
    own_name::OwnName,
    path, status_response,
    stream::Stream,
    upgrade::Upgrade,
    upstream::{Upstream, causes},
};

/// The most of `/version` that is read.
const VERSION_BYTES: usize = 64 << 10;

/// A cluster, and the way to its apiserver.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    mode: Mode,
    pub(crate) upstream: Upstream,
    own_name: OwnName,
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
            mode: config.mode,
            upstream: Upstream::new(config, base).await?,
            own_name: OwnName::default(),
        })
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The files that the credential came from, whose change means that this cluster has to be
    /// connected anew.
    pub fn files(&self) -> &[PathBuf] {
        self.upstream.files()
    }

    /// Whether a user has the name by which the cluster knows the gateway itself. Fails while the
    /// cluster does not answer.
    pub async fn is_own_name(&self, user: &str) -> Result<bool, CheckError> {
        // There the gateway has no credential, and so no name.
        if self.mode == Mode::Passthrough {
            return Ok(false);
        }
        let is_own = self.own_name.is(user, &self.upstream).await;
        is_own.map_err(|reason| CheckError {
            cluster: self.name.clone(),
            reason,
        })
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
    /// path is relative to the apiserver's root. A stream gets the attendant that `attend` makes.
    pub async fn proxy(
        &self,
        principal: &Principal,
        request: Request<Body>,
        attend: impl FnOnce() -> Arc<dyn Attendant>,
    ) -> Response<Body> {
        let target = Target::of(&self.name, request.method(), request.uri());
        let mut response = match self.forward(principal, request, &target, attend).await {
            Ok(response) => response,
            Err(refused) => *refused,
        };
        response.extensions_mut().insert(target);
        response
    }

    async fn forward(
        &self,
        principal: &Principal,
        mut request: Request<Body>,
        target: &Target,
        attend: impl FnOnce() -> Arc<dyn Attendant>,
    ) -> Result<Response<Body>, Box<Response<Body>>> {
        let refuse = |code, reason, message: &str| Box::new(status_response(code, reason, message));
        let bad_request = |message: &str| refuse(StatusCode::BAD_REQUEST, "BadRequest", message);
        if let Some(reason) = path::refusal(request.uri().path()) {
            return Err(bad_request(reason));
        }
        let upgrade = Upgrade::take(&mut request).map_err(|error| bad_request(&error.to_string()))?;
        let shown = request.headers().get(header::AUTHORIZATION).cloned();
        headers::remove_hop_by_hop(request.headers_mut());
        let asked = Impersonated::parse(request.headers()).map_err(|refusal| self.refuse(&refusal))?;
        let asked = asked.map(Arc::new);
        headers::remove_claims(request.headers_mut());
        self.check_origin(principal)
            .map_err(|message| refuse(StatusCode::FORBIDDEN, "Forbidden", &message))?;
        let said = match (self.mode, &asked) {
            (Mode::Passthrough, None) => Ok(()),
            // The apiserver asks by itself whether the caller may.
            (Mode::Passthrough, Some(asked)) => {
                headers::impersonate(request.headers_mut(), &asked.principal(principal))
            }
            (Mode::Impersonate, None) => {
                self.check_name(principal).await?;
                headers::impersonate(request.headers_mut(), principal)
            }
            (Mode::Impersonate, Some(asked)) => {
                self.check_name(principal).await?;
                let allowed = asked.authorise(principal, &self.upstream).await;
                allowed.map_err(|refusal| self.refuse(&refusal))?;
                headers::impersonate(request.headers_mut(), &asked.principal(principal))
            }
        };
        said.map_err(|unsayable| refuse(StatusCode::FORBIDDEN, "Forbidden", &unsayable.to_string()))?;
        self.address(&mut request).await.map_err(|message| {
            tracing::error!(cluster = self.name, "{message}");
            refuse(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", &message)
        })?;
        if self.mode == Mode::Passthrough {
            let token = shown.filter(|_| {
                matches!(
                    principal.method,
                    Method::IdToken { .. } | Method::ServiceAccount { .. }
                )
            });
            let message =
                "this cluster is handed your own token, and you have shown none: log in with an id_token";
            let token = token.ok_or_else(|| refuse(StatusCode::FORBIDDEN, "Forbidden", message))?;
            request.headers_mut().insert(header::AUTHORIZATION, token);
        }
        let sent = match &upgrade {
            None => self.upstream.send(request).await,
            Some(upgrade) => {
                upgrade.ask(request.headers_mut());
                self.upstream.send_upgrade(request).await
            }
        };
        let (response, place) = sent.map_err(|error| {
            let message = format!("cluster {} does not answer: {}", self.name, causes(&error));
            tracing::warn!("{message}");
            refuse(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", &message)
        })?;
        let attended = || Attended::new(attend(), target.clone(), asked.clone());
        let mut answer = match upgrade {
            Some(upgrade) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let mut headers = response.headers().clone();
                headers::remove_hop_by_hop(&mut headers);
                upgrade.accept(response, headers, place, attended())
            }
            _ if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let message = "the apiserver changes to a protocol that nobody asked for";
                return Err(refuse(StatusCode::BAD_GATEWAY, "InternalError", message));
            }
            // What refuses an upgrade is handed back whole: kubectl tries another way then.
            _ => {
                let (mut parts, body) = response.into_parts();
                headers::remove_hop_by_hop(&mut parts.headers);
                let attended = target.is_stream().then(attended);
                Response::from_parts(parts, Body::new(Stream::new(body, place, attended)))
            }
        };
        if let Some(asked) = asked {
            answer.extensions_mut().insert(asked);
        }
        Ok(answer)
    }

    /// A service account's name means somebody else in another cluster.
    fn check_origin(&self, principal: &Principal) -> Result<(), String> {
        match &principal.method {
            Method::ServiceAccount { cluster } if *cluster != self.name => Err(format!(
                "{} is a service account of cluster {cluster}, which means nothing to cluster {}",
                principal.user, self.name
            )),
            _ => Ok(()),
        }
    }

    /// Whoever had the gateway's own name would have its rights.
    async fn check_name(&self, principal: &Principal) -> Result<(), Box<Response<Body>>> {
        let refuse = |code, reason, message: &str| Box::new(status_response(code, reason, message));
        match self.is_own_name(&principal.user).await {
            Ok(false) => Ok(()),
            Ok(true) => {
                let message = format!(
                    "{:?} is the gateway's own name in cluster {}, so nobody else can have it there",
                    principal.user, self.name
                );
                tracing::error!("{message}: change what the claims plugin makes of users' names");
                Err(refuse(StatusCode::FORBIDDEN, "Forbidden", &message))
            }
            Err(error) => {
                let message = format!("cluster {} does not answer: {}", self.name, error.reason);
                tracing::warn!("{message}");
                Err(refuse(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "ServiceUnavailable",
                    &message,
                ))
            }
        }
    }

    fn refuse(&self, refusal: &impersonation::Refusal) -> Box<Response<Body>> {
        use impersonation::Refusal::{BadRequest, Forbidden, Unavailable};
        let (code, reason) = match refusal {
            BadRequest(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
            Forbidden(_) => (StatusCode::FORBIDDEN, "Forbidden"),
            Unavailable(error) => {
                tracing::warn!(cluster = self.name, error, "an access review failed");
                (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")
            }
        };
        Box::new(status_response(code, reason, &refusal.to_string()))
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
