//! Cases of claims plugins: a token's claims, and who its bearer is.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use witgate_plugins::{ClaimsError, Identity, Kind, VerifiedToken};

use super::{Loaded, Outcome, recorded::Exchange};

/// A token and what has to come of it: one of `identity`, `denied`, `refused` and `failed`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Case {
    name: String,
    /// What an issuer has signed.
    claims: Map<String, Value>,
    #[serde(default)]
    http: Vec<Exchange>,
    #[serde(flatten)]
    expected: Expected,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Expected {
    /// The plugin names the user, and the gateway has nothing against it.
    Identity(Named),
    /// The plugin does not let them in, in these words.
    Denied(String),
    /// The gateway does not take what the plugin says, in words that have these in them.
    Refused(String),
    /// The plugin traps or runs into a limit, in words that have these in them.
    Failed(String),
}

/// What is left out has to be empty.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Named {
    user: String,
    #[serde(default)]
    uid: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

#[async_trait::async_trait]
impl super::Case for Case {
    const KIND: Kind = Kind::Claims;

    fn name(&self) -> &str {
        &self.name
    }

    fn http(&self) -> &[Exchange] {
        &self.http
    }

    async fn run(&self, plugin: &Loaded) -> anyhow::Result<Outcome> {
        let claims = plugin.plugins.claims(&plugin.name).context("it is not loaded")?;
        let text = |claim: &str| {
            self.claims
                .get(claim)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let token = VerifiedToken {
            issuer: text("iss"),
            subject: text("sub"),
            claims: Value::Object(self.claims.clone()).to_string(),
        };
        let answer = claims.resolve(&token).await;
        let found = match answer {
            Ok(identity) => match witgate_identity::examine(identity) {
                Ok(identity) => json!({"identity": Named::from(identity)}),
                Err(reason) => json!({"refused": reason}),
            },
            Err(ClaimsError::Denied(reason)) => json!({"denied": reason}),
            Err(ClaimsError::Failed(error)) => json!({"failed": error.reason}),
        };
        let expected = match &self.expected {
            Expected::Identity(named) => json!({"identity": named}),
            Expected::Denied(reason) => json!({"denied": reason}),
            Expected::Refused(words) => said(&found, "refused", words),
            Expected::Failed(words) => said(&found, "failed", words),
        };
        Ok(Outcome { expected, found })
    }
}

/// What was said, if it has these words in it, and else the words.
pub(super) fn said(found: &Value, key: &str, words: &str) -> Value {
    let said = found.get(key).and_then(Value::as_str);
    json!({key: said.filter(|said| said.contains(words)).unwrap_or(words)})
}

impl From<Identity> for Named {
    fn from(identity: Identity) -> Self {
        let Identity {
            user,
            uid,
            groups,
            extra,
        } = identity;
        Self {
            user,
            uid,
            groups,
            extra: extra.into_iter().collect(),
        }
    }
}
