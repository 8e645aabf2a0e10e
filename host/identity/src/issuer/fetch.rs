//! Requests to issuers: no redirects, a deadline, and answers of a bounded size.

use std::{error::Error, future::Future, pin::Pin, sync::Arc, time::Duration};

use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use url::Url;

use crate::config::{is_confidential, is_loopback};

/// From connecting to the last byte.
const DEADLINE: Duration = Duration::from_secs(10);

/// Discovery documents and key sets are a few KiB.
const MAX_ANSWER: usize = 1 << 20;

/// A client for one issuer.
pub(crate) struct Fetcher {
    client: reqwest::Client,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The address is not one to send secrets to.
    #[error("{0} is not https")]
    Plaintext(String),
    #[error("it did not answer within {} s", DEADLINE.as_secs())]
    TimedOut,
    #[error("its answer is over 1 MiB")]
    TooLarge,
    #[error("no connection ({0})")]
    Failed(String),
}

// === impl Fetcher ===

impl Fetcher {
    /// A client that trusts `authorities` (PEM), or else the system's.
    pub(crate) fn new(url: &Url, authorities: Option<&[u8]>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        match authorities {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|error| format!("is not PEM: {error}"))?;
                    roots
                        .add(certificate)
                        .map_err(|error| format!("has a certificate that can't be used: {error}"))?;
                }
                if roots.is_empty() {
                    return Err("has no certificate in it".to_owned());
                }
            }
            None if url.scheme() == "https" => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
            None => {}
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(DEADLINE)
            .user_agent(concat!("witgate/", env!("CARGO_PKG_VERSION")));
        if is_loopback(url) {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| chain(&error))?;
        Ok(Self { client })
    }

    async fn fetch(&self, request: HttpRequest) -> Result<HttpResponse, FetchError> {
        let request = reqwest::Request::try_from(request)?;
        if !is_confidential(request.url()) {
            return Err(FetchError::Plaintext(
                request.url().origin().ascii_serialization(),
            ));
        }
        let mut answer = self.client.execute(request).await?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        let mut response = HttpResponse::new(body);
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}

impl<'c> AsyncHttpClient<'c> for Fetcher {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.fetch(request))
    }
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::TimedOut
        } else {
            Self::Failed(chain(&error))
        }
    }
}

/// An error and what caused it, without the URL, which may have a query.
fn chain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut source = error.source();
    while let Some(cause) = source {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}
