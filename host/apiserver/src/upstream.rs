//! The way to an apiserver: connections, TLS, and the gateway's own credential.

use std::{
    error::Error as StdError,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use http::{HeaderValue, Request, Response, StatusCode, header, uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    Config,
    client::ConfigExt,
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;
use tower::{BoxError, Layer, ServiceExt, service_fn, util::BoxCloneSyncService};

use crate::{ClusterConfig, ConnectError, Mode};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// Requests at a time on one lane before another is opened. kube-apiserver lets one HTTP/2
/// connection have 100 streams in its most careful setting, and watches stay for an hour.
const PER_LANE: usize = 90;

/// Where a pod finds the authority of its cluster.
const SERVICE_ACCOUNT_AUTHORITY: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// The most of an answer to the gateway itself that is read.
const MAX_ANSWER: usize = 1 << 20;

type Credential = BoxCloneSyncService<Request<Body>, Response<()>, BoxError>;

/// The way to one apiserver.
#[derive(Debug)]
pub(crate) struct Upstream {
    connector: HttpsConnector<HttpConnector>,
    lanes: RwLock<Vec<Arc<Lane>>>,
    /// For connections that change their protocol, which HTTP/2's can't.
    upgrades: Arc<Lane>,
    scheme: uri::Scheme,
    authority: uri::Authority,
    prefix: String,
    credential: Option<Credential>,
    /// Where all of this was read from.
    files: Vec<PathBuf>,
}

/// Why the apiserver did not make what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostError {
    /// It did not say.
    #[error("{0}")]
    Unanswered(String),
    /// It said no.
    #[error("it answered {status}: {message}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its words.
        message: String,
    },
}

/// A client of its own: over HTTP/2 it keeps to one connection.
#[derive(Debug)]
struct Lane {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    in_flight: AtomicUsize,
}

/// A request's place on its lane, held until its answer has ended.
#[derive(Debug)]
pub(crate) struct Place(Arc<Lane>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Upstream ===

impl Upstream {
    /// Reads the credential and prepares TLS. Nothing is sent yet.
    pub(crate) async fn new(config: &ClusterConfig, base: &Path) -> Result<Self, ConnectError> {
        config.check()?;
        let place = match &config.kubeconfig {
            Some(file) => base.join(file).display().to_string(),
            None => "the pod's service account".to_owned(),
        };
        let refused = |reason: &dyn std::fmt::Display| ConnectError::Credential {
            name: config.name.clone(),
            place: place.clone(),
            reason: reason.to_string(),
        };
        let mut files = Vec::new();
        let mut loaded = match &config.kubeconfig {
            Some(file) => {
                let file = base.join(file);
                let kubeconfig = Kubeconfig::read_from(&file).map_err(|error| refused(&error))?;
                files = named_files(&kubeconfig);
                files.push(file);
                let options = KubeConfigOptions {
                    context: config.context.clone(),
                    ..Default::default()
                };
                Config::from_custom_kubeconfig(kubeconfig, &options)
                    .await
                    .map_err(|error| refused(&error))?
            }
            None => {
                files.push(SERVICE_ACCOUNT_AUTHORITY.into());
                Config::incluster().map_err(|error| refused(&error))?
            }
        };
        if config.mode == Mode::Passthrough {
            // A client certificate would count before the caller's token.
            loaded.auth_info = AuthInfo::default();
        }
        let parts = loaded.cluster_url.clone().into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(refused(&"the server's URL has no scheme or host"));
        };
        let tls = loaded.rustls_client_config().map_err(|error| refused(&error))?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_only()
            .enable_all_versions()
            .wrap_connector(tcp.clone());
        let upgrades = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .wrap_connector(tcp);
        let auth = loaded.auth_layer().map_err(|error| refused(&error))?;
        Ok(Self {
            files,
            connector,
            lanes: RwLock::default(),
            upgrades: Arc::new(lane(upgrades)),
            scheme,
            authority,
            prefix: parts
                .path_and_query
                .map_or(String::new(), |path| path.path().trim_end_matches('/').to_owned()),
            // kube adds the credential to a request; this takes it off again, so that it is known.
            credential: auth.map(|auth| {
                BoxCloneSyncService::new(auth.layer(service_fn(|request: Request<Body>| async move {
                    let mut response = Response::new(());
                    if let Some(value) = request.headers().get(header::AUTHORIZATION) {
                        response
                            .headers_mut()
                            .insert(header::AUTHORIZATION, value.clone());
                    }
                    Ok::<_, BoxError>(response)
                })))
            }),
        })
    }

    /// The files whose change means that this way is out of date. Tokens in files are not among them:
    /// those are read again by themselves.
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The gateway's own credential for the header `Authorization`, unless a client certificate is it.
    pub(crate) async fn credential(&self) -> Result<Option<HeaderValue>, BoxError> {
        let Some(credential) = &self.credential else {
            return Ok(None);
        };
        let mut response = credential.clone().oneshot(Request::new(Body::empty())).await?;
        Ok(response.headers_mut().remove(header::AUTHORIZATION))
    }

    /// Where a path below the apiserver's root is.
    pub(crate) fn uri(&self, path_and_query: &uri::PathAndQuery) -> Result<uri::Uri, http::Error> {
        let path_and_query = if self.prefix.is_empty() {
            path_and_query.clone()
        } else {
            format!("{}{path_and_query}", self.prefix).parse()?
        };
        uri::Builder::new()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path_and_query)
            .build()
    }

    /// Sends a request on the lane with the least to do. Redirections are not followed.
    pub(crate) async fn send(&self, request: Request<Body>) -> Result<(Response<Incoming>, Place), Error> {
        let place = self.place();
        let response = place.0.client.request(request).await?;
        Ok((response, place))
    }

    /// Sends a request that asks for another protocol.
    pub(crate) async fn send_upgrade(
        &self,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, Place), Error> {
        self.upgrades.in_flight.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&self.upgrades));
        let response = place.0.client.request(request).await?;
        Ok((response, place))
    }

    /// Creates an object with the gateway's own credential, and returns the apiserver's answer.
    pub(crate) async fn post(&self, path: &'static str, object: &Value) -> Result<Value, PostError> {
        let unanswered = |error: &dyn std::fmt::Display| PostError::Unanswered(error.to_string());
        let mut request = Request::post(
            self.uri(&uri::PathAndQuery::from_static(path))
                .map_err(|error| unanswered(&error))?,
        )
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .body(Body::from(object.to_string()))
        .map_err(|error| unanswered(&error))?;
        let credential = self.credential().await.map_err(|error| unanswered(&error))?;
        if let Some(credential) = credential {
            request.headers_mut().insert(header::AUTHORIZATION, credential);
        }
        let sent = self.send(request).await;
        let (response, _place) = sent.map_err(|error| PostError::Unanswered(causes(&error)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER);
        let body = body.collect().await.map_err(|error| unanswered(&error))?;
        let answer: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        let message = answer.get("message").and_then(Value::as_str).unwrap_or_default();
        Err(PostError::Refused {
            status,
            message: message.to_owned(),
        })
    }

    fn place(&self) -> Place {
        let free = |lanes: &[Arc<Lane>]| {
            let load = |lane: &&Arc<Lane>| lane.in_flight.load(Ordering::Relaxed);
            lanes
                .iter()
                .min_by_key(load)
                .filter(|lane| load(lane) < PER_LANE)
                .cloned()
        };
        let found = free(&self.lanes.read().unwrap_or_else(PoisonError::into_inner));
        let lane = found.unwrap_or_else(|| {
            let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
            free(&lanes).unwrap_or_else(|| {
                let lane = Arc::new(lane(self.connector.clone()));
                lanes.push(Arc::clone(&lane));
                lane
            })
        });
        lane.in_flight.fetch_add(1, Ordering::Relaxed);
        Place(lane)
    }
}

/// The files that a kubeconfig refers to. Its reader has made their paths absolute.
fn named_files(kubeconfig: &Kubeconfig) -> Vec<PathBuf> {
    let clusters = { kubeconfig.clusters.iter() }.filter_map(|cluster| cluster.cluster.as_ref());
    let authorities = clusters.filter_map(|cluster| cluster.certificate_authority.as_ref());
    let users = { kubeconfig.auth_infos.iter() }.filter_map(|user| user.auth_info.as_ref());
    let certificates = users.flat_map(|user| [&user.client_certificate, &user.client_key]);
    authorities
        .chain(certificates.flatten())
        .map(PathBuf::from)
        .collect()
}

fn lane(connector: HttpsConnector<HttpConnector>) -> Lane {
    let client = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(Duration::from_secs(30))
        .http2_adaptive_window(true)
        .build(connector);
    Lane {
        client,
        in_flight: AtomicUsize::new(0),
    }
}

/// An error with what is behind it: the outermost message alone says "client error (Connect)".
pub(crate) fn causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
