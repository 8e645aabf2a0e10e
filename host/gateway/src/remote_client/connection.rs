//! A gateway, and how somebody on the command line authenticates to it.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use reqwest::RequestBuilder;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use crate::{
    cli::{GatewayArgs, ServerArgs},
    client,
};

/// How long one request may take. A look at a control plane that has lost its quorum waits for its members
/// and its apiservers, for each plugin, for 5 s at a time.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The most that an answer may have.
const ANSWER_BYTES: usize = 256 << 20;

/// A gateway.
pub(crate) struct Connection {
    http: reqwest::Client,
    pub(crate) server: Url,
}

/// What shows a gateway who is calling.
pub(crate) enum Credential {
    /// A bearer token, and the file that it is from.
    Token(SecretString, PathBuf),
    /// A name and a password, and the file that the password is from.
    Basic(String, SecretString, PathBuf),
    /// The token of `witgate login`.
    Login(SecretString),
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

// === impl Connection ===

impl Connection {
    /// A gateway whose certificate is checked against the file of the arguments, the authority of the
    /// login, or the system's.
    pub(crate) fn new(args: &GatewayArgs) -> anyhow::Result<Self> {
        let server = &args.server;
        if server.scheme() != "https" && !is_loopback(server) {
            bail!("{server} is not https: the credential would travel in the clear");
        }
        let mut builder = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("witgate/", env!("CARGO_PKG_VERSION")));
        let named = args.ca_file.as_ref().map(|file| {
            let pem = std::fs::read(file).with_context(|| format!("{}: can't be read", file.display()))?;
            Ok::<_, anyhow::Error>((pem, file.display().to_string()))
        });
        let authority = match named.transpose()? {
            Some(named) => Some(named),
            None => client::authority(server)?.map(|pem| (pem.into_bytes(), "the login".to_owned())),
        };
        if let Some((pem, place)) = authority {
            let authorities = reqwest::Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("{place}: holds no PEM certificates"))?;
            if authorities.is_empty() {
                bail!("{place}: holds no PEM certificates");
            }
            builder = builder.tls_certs_only(authorities);
        }
        Ok(Self {
            http: builder.build()?,
            server: server.clone(),
        })
    }

    /// A GET without a credential.
    pub(crate) async fn look(&self, path: &str) -> reqwest::Result<reqwest::Response> {
        self.http.get(self.url(path)).send().await
    }

    /// A GET as somebody.
    pub(crate) async fn get(
        &self,
        path: &str,
        credential: &Credential,
        headers: HeaderMap,
    ) -> anyhow::Result<Reply> {
        let request = self.http.get(self.url(path)).headers(headers);
        self.send(credential.put_on(request)).await
    }

    /// A POST as somebody.
    pub(crate) async fn post(
        &self,
        path: &str,
        credential: &Credential,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> anyhow::Result<Reply> {
        self.send_body(Method::POST, path, credential, headers, body)
            .await
    }

    /// A PUT as somebody.
    pub(crate) async fn put(
        &self,
        path: &str,
        credential: &Credential,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> anyhow::Result<Reply> {
        self.send_body(Method::PUT, path, credential, headers, body).await
    }

    async fn send_body(
        &self,
        method: Method,
        path: &str,
        credential: &Credential,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> anyhow::Result<Reply> {
        let request = self.http.request(method, self.url(path));
        self.send(credential.put_on(request.headers(headers).body(body)))
            .await
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Reply> {
        let context = || format!("{} does not answer", self.server);
        let mut answer = request.send().await.with_context(context)?;
        let (status, headers) = (answer.status(), std::mem::take(answer.headers_mut()));
        let mut body = bytes::BytesMut::new();
        while let Some(piece) = answer.chunk().await.with_context(context)? {
            if body.len() + piece.len() > ANSWER_BYTES {
                bail!("the answer is over {ANSWER_BYTES} bytes large: ask for less");
            }
            body.extend_from_slice(&piece);
        }
        Ok(Reply {
            status,
            headers,
            body: body.freeze(),
        })
    }

    /// The server's address has no path of its own: what the gateway serves is at its root.
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.as_str().trim_end_matches('/'))
    }
}

// === impl Credential ===

impl Credential {
    /// The credential that the arguments name: a name and a password, a token, or else the login.
    pub(crate) async fn of(args: &GatewayArgs) -> anyhow::Result<Self> {
        let read = |file: &PathBuf| {
            let text = std::fs::read_to_string(file);
            let text = text.with_context(|| format!("{}: can't be read", file.display()))?;
            // As Prometheus does with its files.
            Ok::<SecretString, anyhow::Error>(text.trim().into())
        };
        if let (Some(user), Some(file)) = (&args.username, &args.password_file) {
            return Ok(Self::Basic(user.clone(), read(file)?, file.clone()));
        }
        if let Some(file) = &args.token_file {
            return Ok(Self::Token(read(file)?, file.clone()));
        }
        let server = ServerArgs {
            server: args.server.clone(),
            ca_file: args.ca_file.clone(),
        };
        match client::access_token(&server).await? {
            Some(token) => Ok(Self::Login(token)),
            None => bail!(
                "nothing says who you are: name a token with --token-file, or --username and \
                 --password-file, or run `witgate login --server {}`",
                args.server
            ),
        }
    }

    fn put_on(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Token(token, _) | Self::Login(token) => request.bearer_auth(token.expose_secret()),
            Self::Basic(user, password, _) => request.basic_auth(user, Some(password.expose_secret())),
        }
    }
}

// === impl Reply ===

impl Reply {
    /// What it says, in one line of bounded length.
    pub(crate) fn line(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let status = serde_json::from_str::<serde_json::Value>(&text).ok();
        let message = status.and_then(|status| Some(status.get("message")?.as_str()?.to_owned()));
        let line = message.unwrap_or_else(|| text.into_owned());
        let line = line.trim().lines().next().unwrap_or_default();
        line.chars().take(500).collect()
    }
}

fn is_loopback(server: &Url) -> bool {
    match server.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
