//! The requests that plugins send: to granted origins only, with limits, through one pooled
//! client for each plugin.
//!
//! The client is not shared between plugins, because a connection that one plugin's grant allowed
//! must not carry a request of another. Redirects are handed to the plugin, never followed.

mod body;
mod dial;

use std::{fmt, sync::Arc, time::Duration};

use body::Bounded;
use dial::{DialError, Dialer};
use http::{Method, Request, Response, Version};
use http_body_util::BodyExt;
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, Error as ClientError},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::{
    config::{Addresses, Bounds, HttpGrant},
    denials::{Denial, Denials},
    origin::Origin,
    secrets::Secrets,
};

/// What a response's header section may take. Proxies commonly stop at 8 to 64 KiB.
const MAX_HEADERS: u32 = 64 << 10;

/// How long an idle connection is kept: shorter than the 60 s and more after which servers
/// commonly close theirs, so that a request rarely meets a closing one.
const IDLE: Duration = Duration::from_secs(50);

/// The way out of one plugin.
pub(crate) struct Egress {
    policy: Arc<Policy>,
    secrets: Secrets,
    client: Client<HttpsConnector<Dialer>, WasiBody>,
    slots: Arc<Semaphore>,
    bounds: Bounds,
}

/// Where one plugin may send requests.
#[derive(Debug)]
pub(crate) struct Policy {
    grants: Vec<HttpGrant>,
    pub(crate) denials: Denials,
}

/// The hooks of one instance's `wasi:http`.
pub(crate) struct Hooks(pub(crate) Arc<Egress>);

/// What `wasi:http` wants to get back from sending a request: the response, and a future that
/// drives the connection, which the client does by itself.
type Sent = Result<
    (
        Response<WasiBody>,
        Box<dyn Future<Output = Result<(), Error>> + Send>,
    ),
    Error,
>;

impl Policy {
    pub(crate) fn new(plugin: &str, grants: &[HttpGrant]) -> Self {
        let mut grants = grants.to_vec();
        // An exact grant says more about its origin than one that happens to cover it.
        grants.sort_by_key(|grant| grant.origin.exact().is_none());
        Self {
            grants,
            denials: Denials::new(plugin),
        }
    }

    /// Which addresses `origin` may have, if it is granted.
    pub(crate) fn granted(&self, origin: &Origin) -> Option<Addresses> {
        self.grants
            .iter()
            .find(|grant| grant.origin.matches(origin))
            .map(|grant| grant.addresses)
    }
}

impl Egress {
    pub(crate) fn new(policy: Policy, secrets: Secrets, bounds: &Bounds, tls: ClientConfig) -> Self {
        let policy = Arc::new(policy);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(Dialer::new(policy.clone()));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(usize::from(bounds.http_requests))
            .http1_max_buf_size(MAX_HEADERS as usize)
            .http2_max_header_list_size(MAX_HEADERS)
            .build(connector);
        let slots = Arc::new(Semaphore::new(usize::from(bounds.http_requests)));
        Self {
            policy,
            secrets,
            client,
            slots,
            bounds: bounds.clone(),
        }
    }

    pub(crate) fn denials(&self) -> &Denials {
        &self.policy.denials
    }

    /// Whether the secrets that are in use are still `secrets`.
    pub(crate) fn has(&self, secrets: &Secrets) -> bool {
        self.secrets == *secrets
    }

    /// Decides about a request before anything of it leaves, and fills its secrets in.
    fn admit(
        &self,
        mut request: Request<WasiBody>,
    ) -> Result<(Request<WasiBody>, OwnedSemaphorePermit), Error> {
        let origin = Origin::of(request.uri()).map_err(|_| {
            let authority = request
                .uri()
                .authority()
                .map_or("", |authority| authority.as_str());
            self.denied(Denial::NotAnOrigin(
                crate::denials::printable(authority).to_string(),
            ))
        })?;
        if self.policy.granted(&origin).is_none() {
            return Err(self.denied(Denial::Origin(origin)));
        }
        if request.method() == Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        self.secrets
            .fill(&origin, request.headers_mut())
            .map_err(|withheld| self.denied(Denial::Secret { origin, withheld }))?;
        *request.version_mut() = Version::HTTP_11;
        let slot = self.slots.clone().try_acquire_owned().map_err(|_| {
            tracing::debug!(
                "more than {} HTTP requests of a plugin at once",
                self.bounds.http_requests
            );
            Error::ConnectionLimitReached
        })?;
        Ok((request, slot))
    }

    fn denied(&self, denial: Denial) -> Error {
        self.policy.denials.record(denial);
        Error::HttpRequestDenied
    }

    async fn send(self: Arc<Self>, request: Request<WasiBody>, options: Option<RequestOptions>) -> Sent {
        let (request, slot) = self.admit(request)?;
        let options = options.unwrap_or_default();
        let first_byte = options
            .first_byte_timeout
            .unwrap_or(self.bounds.time)
            .min(self.bounds.time);
        let between = options
            .between_bytes_timeout
            .unwrap_or(self.bounds.time)
            .min(self.bounds.time);
        let response = tokio::time::timeout(first_byte, self.client.request(request))
            .await
            .map_err(|_| Error::ConnectionReadTimeout)?
            .map_err(|error| explain(&error))?;
        let limit = self.bounds.http_response.0;
        let response = response.map(|body| Bounded::new(body, limit, between, slot).boxed_unsync());
        Ok((response, Box::new(std::future::ready(Ok(())))))
    }
}

impl WasiHttpHooks for Hooks {
    /// The client sets it from the request's authority, which is the one that was checked.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn default_scheme(&mut self) -> Option<http::uri::Scheme> {
        None
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _consumed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        Box::new(self.0.clone().send(request, options))
    }
}

/// What went wrong, in the terms of `wasi:http`, from the errors that the client wraps.
fn explain(error: &ClientError) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(dial) = inner.downcast_ref::<DialError>() {
            return dial.as_wasi();
        }
        if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
            return match tls {
                rustls::Error::InvalidCertificate(_) => Error::TlsCertificateError,
                _ => Error::TlsProtocolError,
            };
        }
        if let Some(hyper) = inner.downcast_ref::<hyper::Error>() {
            if hyper.is_parse_too_large() {
                return Error::HttpResponseHeaderSectionSize(Some(MAX_HEADERS));
            }
            if hyper.is_parse() {
                return Error::HttpProtocolError;
            }
            if hyper.is_incomplete_message() || hyper.is_closed() {
                return Error::ConnectionTerminated;
            }
        }
        // An error of TLS comes inside one of I/O, which does not name it as its source.
        cause = match inner
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped),
            None => inner.source(),
        };
    }
    if error.is_connect() {
        Error::ConnectionRefused
    } else {
        Error::ConnectionTerminated
    }
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress")
            .field("policy", &self.policy)
            .field("secrets", &self.secrets)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
