//! `witgate credential`: what kubectl runs to get a token (`client.authentication.k8s.io/v1`).

use std::io::Write;

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{
    Gateway, Login, login, not_logged_in,
    store::{self, Store},
};
use crate::cli::ServerArgs;

/// A token that ends sooner is renewed: the request that it is for takes its time too.
const EARLY: u64 = 60;

const API_VERSION: &str = "client.authentication.k8s.io/v1";

/// Prints a credential, renewing it if need be, and logging in if that is possible.
pub(crate) async fn credential(args: &ServerArgs) -> anyhow::Result<()> {
    let asked = asked()?;
    let store = Store::open(&args.server)?;
    let gateway = match authority(&asked)? {
        Some(authority) if args.ca_file.is_none() => Gateway::new(&args.server, Some(authority))?,
        _ => Gateway::of(args, &store)?,
    };
    let login = match current(&gateway, &store).await? {
        Some(login) => login,
        None if is_interactive(&asked) => {
            let mut locked = store.lock().await?;
            // Another kubectl may have asked its user meanwhile.
            match locked.login()? {
                Some(login) if login.is_fresh() => login,
                _ => {
                    let login = login::login(&gateway, false).await?;
                    locked.put(&login)?;
                    login
                }
            }
        }
        None => bail!(not_logged_in(&gateway.url)),
    };
    let expires = std::time::UNIX_EPOCH + std::time::Duration::from_secs(login.expires);
    let answer = json!({
        "apiVersion": API_VERSION,
        "kind": "ExecCredential",
        "status": {
            "token": login.access_token.expose_secret(),
            "expirationTimestamp": humantime::format_rfc3339_seconds(expires).to_string(),
        },
    });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}")?;
    Ok(out.flush()?)
}

/// The login of a gateway with a token that holds. Nothing, if the user has to log in.
pub(super) async fn current(gateway: &Gateway, store: &Store) -> anyhow::Result<Option<Login>> {
    match store.login()? {
        None => return Ok(None),
        Some(login) if login.is_fresh() => return Ok(Some(login)),
        Some(_) => {}
    }
    // One refreshes; the others wait here and find that it is done.
    let mut locked = store.lock().await?;
    let login = match locked.login()? {
        None => return Ok(None),
        Some(login) if login.is_fresh() => return Ok(Some(login)),
        Some(login) => login,
    };
    match gateway.refresh(&login.refresh_token).await? {
        Ok(tokens) => {
            let authority = login.authority.or_else(|| gateway.authority.clone());
            let login = Login::new(tokens, authority);
            locked.put(&login)?;
            Ok(Some(login))
        }
        Err(refusal) if refusal.error == "invalid_grant" => {
            eprintln!("witgate: {refusal}");
            locked.remove()?;
            Ok(None)
        }
        Err(refusal) => Err(refusal).context("the gateway gave no new token"),
    }
}

impl Login {
    fn is_fresh(&self) -> bool {
        self.expires > store::now() + EARLY
    }
}

/// What kubectl says (`KUBERNETES_EXEC_INFO`); nothing, when somebody runs this by hand.
fn asked() -> anyhow::Result<Value> {
    let Ok(text) = std::env::var("KUBERNETES_EXEC_INFO") else {
        return Ok(Value::Null);
    };
    let asked: Value = serde_json::from_str(&text).context("KUBERNETES_EXEC_INFO can't be read")?;
    match asked.get("apiVersion").and_then(Value::as_str) {
        Some(API_VERSION) => Ok(asked),
        other => bail!(
            "kubectl asks for {}, and this is {API_VERSION}: change `apiVersion` in the kubeconfig",
            other.unwrap_or("nothing")
        ),
    }
}

fn is_interactive(asked: &Value) -> bool {
    let interactive = asked.pointer("/spec/interactive").and_then(Value::as_bool);
    interactive.unwrap_or_else(|| std::io::IsTerminal::is_terminal(&std::io::stdin()))
}

/// The authority of the cluster, which is the gateway's too.
fn authority(asked: &Value) -> anyhow::Result<Option<String>> {
    let data = asked.pointer("/spec/cluster/certificate-authority-data");
    let Some(data) = data.and_then(Value::as_str).filter(|data| !data.is_empty()) else {
        return Ok(None);
    };
    let pem = STANDARD
        .decode(data)
        .ok()
        .and_then(|pem| String::from_utf8(pem).ok());
    Ok(Some(pem.context(
        "the cluster's certificate-authority-data is not base64 of PEM",
    )?))
}
