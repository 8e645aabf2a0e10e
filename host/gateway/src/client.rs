//! The command line as a client of a gateway: logging in, being asked by kubectl, sessions.

mod browser;
mod credential;
mod login;
mod store;

use std::{path::Path, time::Duration};

use anyhow::{Context, anyhow, bail};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use url::Url;
use witgate_identity::{CLIENT_ID, Revocation, Revoked, SessionSummary, TokenDigest};

use self::store::{Login, Store};
use crate::{
    api::RevocationRequest,
    cli::{KubeconfigArgs, LiftArgs, LoginArgs, RevokeArgs, RevokeWhat, ServerArgs},
    kubeconfig::Kubeconfig,
};

pub(crate) use self::credential::credential;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A gateway, spoken to over HTTPS.
pub(crate) struct Gateway {
    http: reqwest::Client,
    /// Without a trailing slash.
    url: String,
    /// The authority of its certificate, if it isn't publicly trusted (PEM).
    authority: Option<String>,
}

/// What the gateway says of itself (RFC 8414).
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    #[serde(default)]
    witgate_clusters: Vec<String>,
}

/// Tokens, as the gateway gives them.
#[derive(Deserialize)]
struct Tokens {
    access_token: SecretString,
    refresh_token: SecretString,
    expires_in: u64,
}

/// An OAuth error (RFC 6749 section 5.2).
#[derive(Debug, Deserialize, thiserror::Error)]
#[error("{error_description}")]
struct OAuthRefusal {
    error: String,
    #[serde(default)]
    error_description: String,
}

// === impl Gateway ===

impl Gateway {
    fn new(server: &Url, authority: Option<String>) -> anyhow::Result<Self> {
        if server.scheme() != "https" {
            bail!("{server} is not https: tokens would travel in the clear");
        }
        let mut builder = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("witgate/", env!("CARGO_PKG_VERSION")));
        if let Some(authority) = &authority {
            let authorities = reqwest::Certificate::from_pem_bundle(authority.as_bytes())
                .context("the gateway's authority is not PEM")?;
            builder = builder.tls_certs_only(authorities);
        }
        Ok(Self {
            http: builder.build()?,
            url: server.as_str().trim_end_matches('/').to_owned(),
            authority,
        })
    }

    /// The gateway of the arguments, with the authority of its login if none is named.
    fn of(args: &ServerArgs, store: &Store) -> anyhow::Result<Self> {
        let authority = match &args.ca_file {
            Some(file) => Some(read(file)?),
            None => store.login()?.and_then(|login| login.authority),
        };
        Self::new(&args.server, authority)
    }

    async fn metadata(&self) -> anyhow::Result<Metadata> {
        let url = format!("{}/.well-known/oauth-authorization-server", self.url);
        let answer = self.http.get(&url).send().await;
        let answer = answer.with_context(|| format!("{} does not answer", self.url))?;
        let status = answer.status();
        let metadata: Metadata = answer
            .json()
            .await
            .with_context(|| format!("{url} answers {status}: is it a witgate?"))?;
        if metadata.issuer != self.url {
            bail!(
                "{} says that it is {}: use that name with --server",
                self.url,
                metadata.issuer
            );
        }
        Ok(metadata)
    }

    /// Sends a form to one of the endpoints for tokens.
    async fn form<T: DeserializeOwned>(
        &self,
        path: &str,
        form: &[(&str, &str)],
    ) -> anyhow::Result<Result<T, OAuthRefusal>> {
        let answer = self.http.post(format!("{}{path}", self.url)).form(form).send();
        let answer = answer
            .await
            .with_context(|| format!("{} does not answer", self.url))?;
        let status = answer.status();
        let body = answer.bytes().await?;
        if status.is_success() {
            let parsed = serde_json::from_slice(&body);
            return Ok(Ok(parsed.context("the gateway's answer can't be read")?));
        }
        match serde_json::from_slice::<OAuthRefusal>(&body) {
            Ok(refusal) => Ok(Err(refusal)),
            Err(_) => bail!("{} answers {status}", self.url),
        }
    }

    async fn refresh(&self, token: &SecretString) -> anyhow::Result<Result<Tokens, OAuthRefusal>> {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", CLIENT_ID),
            ("refresh_token", token.expose_secret()),
        ];
        self.form("/oauth/token", &form).await
    }

    /// A request as the user who is logged in.
    async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        token: &SecretString,
        object: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(token.expose_secret());
        if let Some(object) = object {
            request = request.json(object);
        }
        let answer = request
            .send()
            .await
            .with_context(|| format!("{} does not answer", self.url))?;
        let status = answer.status();
        let body = answer.bytes().await?;
        let object: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(object);
        }
        let message = object.get("message").and_then(Value::as_str);
        Err(anyhow!(
            "{} answers {status}: {}",
            self.url,
            message.unwrap_or_default()
        ))
    }
}

/// `witgate login`.
pub(crate) async fn login(args: &LoginArgs) -> anyhow::Result<()> {
    let store = Store::open(&args.server.server)?;
    let gateway = Gateway::of(&args.server, &store)?;
    let mut locked = store.lock().await?;
    let login = login::login(&gateway, args.no_browser).await?;
    locked.put(&login)?;
    let who = gateway
        .call(
            reqwest::Method::GET,
            "/gateway/v1/whoami",
            &login.access_token,
            None,
        )
        .await?;
    eprintln!("Logged in at {} as {}.", gateway.url, text(&who, "user"));
    Ok(())
}

/// `witgate logout`.
pub(crate) async fn logout(args: &ServerArgs) -> anyhow::Result<()> {
    let store = Store::open(&args.server)?;
    let gateway = Gateway::of(args, &store)?;
    let mut locked = store.lock().await?;
    let Some(login) = locked.login()? else {
        println!("You are not logged in at {}.", gateway.url);
        return Ok(());
    };
    let form = [("token", login.refresh_token.expose_secret())];
    let told = gateway
        .http
        .post(format!("{}/oauth/revoke", gateway.url))
        .form(&form);
    let told = told.send().await.and_then(reqwest::Response::error_for_status);
    // Forgotten in any case: whoever logs out wants this machine to hold nothing.
    locked.remove()?;
    told.context("this machine has forgotten its tokens, but the gateway could not be told: end the session in its console")?;
    println!("Logged out of {}.", gateway.url);
    Ok(())
}

/// `witgate whoami`.
pub(crate) async fn whoami(args: &ServerArgs, json: bool) -> anyhow::Result<()> {
    let who = get(args, "/gateway/v1/whoami").await?;
    if json {
        println!("{who:#}");
        return Ok(());
    }
    let list = |key: &str| -> Vec<&str> {
        let values = who.get(key).and_then(Value::as_array).into_iter().flatten();
        values.filter_map(Value::as_str).collect()
    };
    println!("{}", text(&who, "user"));
    println!("  groups  {}", list("groups").join(", "));
    println!("  issuer  {}", text(&who, "issuer"));
    println!("  session {}", text(&who, "session"));
    Ok(())
}

/// `witgate kubeconfig`.
pub(crate) async fn kubeconfig(args: &KubeconfigArgs) -> anyhow::Result<()> {
    let store = Store::open(&args.server.server)?;
    let gateway = Gateway::of(&args.server, &store)?;
    let metadata = gateway.metadata().await?;
    let kubeconfig = Kubeconfig {
        server: &gateway.url,
        authority: gateway.authority.as_deref(),
        clusters: metadata.witgate_clusters.iter().map(String::as_str).collect(),
    };
    let Some(file) = &args.merge else {
        print!("{}", kubeconfig.render());
        return Ok(());
    };
    let mut merged: Value = match std::fs::read_to_string(file) {
        Ok(text) => serde_saphyr::from_str(&text)
            .with_context(|| format!("{}: is not a kubeconfig", file.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Value::Null,
        Err(error) => return Err(error).with_context(|| format!("{}: can't be read", file.display())),
    };
    kubeconfig.merge_into(&mut merged);
    let text = serde_saphyr::to_string(&merged)?;
    store::replace(file, text.as_bytes()).with_context(|| format!("{}: can't be written", file.display()))?;
    eprintln!("{}: written", file.display());
    Ok(())
}

/// `witgate sessions`.
pub(crate) async fn sessions(args: &ServerArgs, all: bool) -> anyhow::Result<()> {
    let path = if all {
        "/gateway/v1/sessions?all"
    } else {
        "/gateway/v1/sessions"
    };
    let sessions: Vec<SessionSummary> = serde_json::from_value(get(args, path).await?)?;
    for session in sessions {
        let client = serde_json::to_value(&session.client)?;
        let place = match text(&client, "kind") {
            "browser" => format!("browser {}", text(&client, "agent")),
            _ => format!("command line {}", text(&client, "name")),
        };
        let since = std::time::UNIX_EPOCH + Duration::from_secs(session.created);
        println!(
            "{}  {}  {}  {place}",
            session.id,
            humantime::format_rfc3339_seconds(since),
            session.user
        );
    }
    Ok(())
}

/// `witgate revoke`.
pub(crate) async fn revoke(args: &RevokeArgs) -> anyhow::Result<()> {
    let request = RevocationRequest {
        revoked: revoked(&args.what)?,
        block: args.block,
        until: args.before.map(|time| {
            let since = time.duration_since(std::time::UNIX_EPOCH);
            since.unwrap_or_default().as_secs()
        }),
        reason: args.reason.clone(),
    };
    if let Revoked::Session { id } = &request.revoked
        && request.reason.is_none()
    {
        // One's own, for which nobody has to be an administrator.
        let path = format!("/gateway/v1/sessions/{id}");
        send(&args.server, reqwest::Method::DELETE, &path, None).await?;
        println!("The session has ended.");
        return Ok(());
    }
    let object = serde_json::to_value(&request)?;
    let path = "/gateway/v1/revocations";
    let answer = send(&args.server, reqwest::Method::POST, path, Some(&object)).await?;
    let revocation: Revocation = serde_json::from_value(answer)?;
    match revocation.until {
        Some(_) => println!("Revoked: what was given out until now does not hold any more."),
        None => println!("Revoked, until it is lifted with `witgate revocations lift`."),
    }
    Ok(())
}

/// `witgate revocations`.
pub(crate) async fn revocations(args: &ServerArgs) -> anyhow::Result<()> {
    let listed = get(args, "/gateway/v1/revocations").await?;
    println!("{listed:#}");
    Ok(())
}

/// `witgate revocations lift`.
pub(crate) async fn lift(args: &LiftArgs) -> anyhow::Result<()> {
    let object = serde_json::to_value(revoked(&args.what)?)?;
    let path = "/gateway/v1/revocations";
    send(&args.server, reqwest::Method::DELETE, path, Some(&object)).await?;
    println!("Lifted.");
    Ok(())
}

fn revoked(what: &RevokeWhat) -> anyhow::Result<Revoked> {
    Ok(match what {
        RevokeWhat::Session { id } => Revoked::Session { id: *id },
        RevokeWhat::User { name } => Revoked::User { name: name.clone() },
        RevokeWhat::Token { file } => Revoked::Token {
            sha256: TokenDigest::of(read(file)?.trim()),
        },
        RevokeWhat::Everything => Revoked::Everything,
    })
}

/// The authority that a login at a gateway came with (PEM), if there is one.
pub(crate) fn authority(server: &Url) -> anyhow::Result<Option<String>> {
    // Where a service has no home, nobody has logged in.
    let Ok(store) = Store::open(server) else {
        return Ok(None);
    };
    Ok(store.login()?.and_then(|login| login.authority))
}

/// The token of the login at a gateway, renewed if need be; none, if the user has to log in.
pub(crate) async fn access_token(args: &ServerArgs) -> anyhow::Result<Option<SecretString>> {
    let store = Store::open(&args.server)?;
    let gateway = Gateway::of(args, &store)?;
    let login = credential::current(&gateway, &store).await?;
    Ok(login.map(|login| login.access_token))
}

async fn get(args: &ServerArgs, path: &str) -> anyhow::Result<Value> {
    send(args, reqwest::Method::GET, path, None).await
}

async fn send(
    args: &ServerArgs,
    method: reqwest::Method,
    path: &str,
    object: Option<&Value>,
) -> anyhow::Result<Value> {
    let store = Store::open(&args.server)?;
    let gateway = Gateway::of(args, &store)?;
    let login = credential::current(&gateway, &store).await?;
    let login = login.ok_or_else(|| not_logged_in(&gateway.url))?;
    gateway.call(method, path, &login.access_token, object).await
}

fn not_logged_in(url: &str) -> anyhow::Error {
    anyhow!("you are not logged in at {url}: run `witgate login --server {url}`")
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or("-")
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("{}: can't be read", file.display()))
}

impl Login {
    fn new(tokens: Tokens, authority: Option<String>) -> Self {
        Self {
            access_token: tokens.access_token,
            refresh_token: tokens.refresh_token,
            expires: store::now() + tokens.expires_in,
            authority,
        }
    }
}
