//! Defines the HTTP clients that talk to components: no proxies, no system roots, short patience.

use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Identity};
use rustls::crypto::ring;
use serde_json::Value;

use crate::error::Error;

/// A component on loopback that has not answered by then hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client for plain HTTP.
///
/// # Panics
/// If the TLS library cannot be set up, which depends on nothing but the build.
#[must_use]
#[expect(
    clippy::expect_used,
    reason = "depends on nothing but the build, and would burden every call"
)]
pub fn client() -> Client {
    builder()
        .tls_certs_only([])
        .build()
        .expect("a client without certificates can be built")
}

/// A client that trusts the certificates of this authority (PEM) and no others.
///
/// # Errors
/// If `authority` is not a certificate.
pub fn client_trusting(authority: &str) -> Result<Client, Error> {
    let what = "the authority's certificate";
    let root = Certificate::from_pem(authority.as_bytes()).map_err(Error::http(what))?;
    builder()
        .tls_certs_only([root])
        .build()
        .map_err(Error::http(what))
}

/// A client that shows a certificate (its PEM and its key's, in a row), and trusts as
/// [`client_trusting`].
///
/// # Errors
/// If `authority` or `identity` cannot be read.
pub fn client_identified(authority: &str, identity: &str) -> Result<Client, Error> {
    let what = "the client's certificates";
    let root = Certificate::from_pem(authority.as_bytes()).map_err(Error::http(what))?;
    let identity = Identity::from_pem(identity.as_bytes()).map_err(Error::http(what))?;
    builder()
        .tls_certs_only([root])
        .identity(identity)
        .build()
        .map_err(Error::http(what))
}

/// The common part of all clients.
///
/// No connection is kept, because a client may outlive the runtime of the test that first used it.
fn builder() -> ClientBuilder {
    // Fails only if it was installed before, by us or by the code under test: then that one serves.
    let _ = ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .pool_max_idle_per_host(0)
}

/// Sends a request that must succeed, and gives the answer's text.
pub(crate) async fn text(request: reqwest::RequestBuilder) -> Result<String, Error> {
    let (client, request) = request.build_split();
    let request = request.map_err(Error::http("building a request"))?;
    let what = format!("{} {}", request.method(), request.url());
    let answer = client.execute(request).await.map_err(Error::http(&what))?;
    let status = answer.status();
    let body = answer.text().await.map_err(Error::http(&what))?;
    if status.is_success() {
        Ok(body)
    } else {
        Err(Error::Refused {
            what,
            status: status.as_u16(),
            body,
        })
    }
}

/// Sends a request that must succeed, and reads the answer's JSON.
pub(crate) async fn json(request: reqwest::RequestBuilder) -> Result<Value, Error> {
    let body = text(request).await?;
    serde_json::from_str(&body).map_err(|error| Error::Refused {
        what: format!("reading JSON ({error})"),
        status: 200,
        body,
    })
}
