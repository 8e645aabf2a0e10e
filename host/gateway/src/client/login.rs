//! `witgate login`: in a browser on this machine, or with a code that is typed into one elsewhere.

use std::time::Duration;

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use url::Url;
use witgate_identity::CLIENT_ID;

use super::{Gateway, Login, OAuthRefusal, Tokens, browser::Listener};

/// RFC 8628 section 3.2.
#[derive(Deserialize)]
struct Device {
    device_code: String,
    user_code: String,
    verification_uri: String,
    expires_in: u64,
    interval: u64,
}

pub(super) async fn login(gateway: &Gateway, no_browser: bool) -> anyhow::Result<Login> {
    let tokens = if no_browser {
        by_code(gateway).await?
    } else {
        match by_browser(gateway).await? {
            Some(tokens) => tokens,
            None => by_code(gateway).await?,
        }
    };
    Ok(Login::new(tokens, gateway.authority.clone()))
}

/// Nothing, if no browser can be opened here.
async fn by_browser(gateway: &Gateway) -> anyhow::Result<Option<Tokens>> {
    let metadata = gateway.metadata().await?;
    let listener = Listener::open().await?;
    let random = || URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    let (verifier, state) = (random(), random());
    let redirect_uri = listener.redirect_uri();
    let mut url = Url::parse(&metadata.authorization_endpoint)?;
    url.query_pairs_mut()
        .append_pair("client_id", CLIENT_ID)
        .append_pair("response_type", "code")
        .append_pair("redirect_uri", &redirect_uri)
        .append_pair("state", &state)
        .append_pair("code_challenge_method", "S256")
        .append_pair(
            "code_challenge",
            &URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier)),
        )
        .append_pair("name", &name());
    if webbrowser::open(url.as_str()).is_err() {
        return Ok(None);
    }
    eprintln!("Go on in the browser. If none has opened, this is the address:\n\n  {url}\n");
    let code = listener.code(&state, &metadata.issuer).await?;
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT_ID),
        ("code", code.as_str()),
        ("code_verifier", verifier.as_str()),
        ("redirect_uri", redirect_uri.as_str()),
    ];
    let tokens = gateway.form::<Tokens>("/oauth/token", &form).await?;
    Ok(Some(tokens.context("the gateway gave no token")?))
}

async fn by_code(gateway: &Gateway) -> anyhow::Result<Tokens> {
    let name = name();
    let form = [("client_id", CLIENT_ID), ("name", name.as_str())];
    let begun = gateway.form::<Device>("/oauth/device", &form).await?;
    let device = begun.context("the gateway began no login")?;
    eprintln!(
        "Open this address in a browser, on any machine, and type the code:\n\n  {}\n  {}\n",
        device.verification_uri, device.user_code
    );
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("client_id", CLIENT_ID),
        ("device_code", device.device_code.as_str()),
    ];
    let mut interval = Duration::from_secs(device.interval.max(1));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(device.expires_in);
    while tokio::time::Instant::now() < deadline {
        tokio::time::sleep(interval).await;
        match gateway.form::<Tokens>("/oauth/token", &form).await? {
            Ok(tokens) => return Ok(tokens),
            Err(OAuthRefusal { error, .. }) if error == "authorization_pending" => {}
            // RFC 8628 section 3.5: five seconds more, from now on.
            Err(OAuthRefusal { error, .. }) if error == "slow_down" => interval += Duration::from_secs(5),
            Err(refusal) => bail!(refusal),
        }
    }
    bail!("nobody typed the code in time")
}

/// What this machine is called in the list of sessions.
fn name() -> String {
    let user = std::env::var("USER").unwrap_or_default();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => std::env::var("HOSTNAME").unwrap_or_default(),
        host => host.to_owned(),
    };
    match (user.as_str(), host.as_str()) {
        ("", "") => "a command line".to_owned(),
        ("", host) => host.to_owned(),
        (user, "") => user.to_owned(),
        (user, host) => format!("{user}@{host}"),
    }
}
