//! The gateway as an authorization server for its own command line (RFC 6749, 8252, 8628).
//!
//! `witgate login` gets a session of its own, which the user allows in the browser: by being sent
//! back to a loopback address with a code (PKCE, RFC 7636), or, without a browser on that machine,
//! by a short code that is typed into a page of the gateway's. Either way the user logs in at the
//! issuer as always, and no token of the issuer's ever reaches the command line.

mod code;
mod device;
mod token;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use witgate_state::{Change, Outcome, Space, Transaction};

pub use code::CodeRequest;
pub use device::{DeviceAuthorization, DeviceRequest};
pub use token::TokenRequest;

use crate::{
    error::Unavailable,
    hash::sha256,
    identity::Identity,
    principal::{Method, Principal, Subject},
    session::{Client, Opening, failed},
};
use device::Limits;

/// The only client. It is public: nothing that is installed on people's machines keeps a secret.
pub const CLIENT_ID: &str = "witgate-cli";

/// Keys of logout tokens that were used.
const USED: u8 = b'j';

/// What a command line may call itself, in characters.
const MAX_NAME: usize = 100;

/// Codes under way.
pub(crate) struct Authorizations {
    space: Arc<dyn Space>,
    limits: Mutex<Limits>,
}

/// Who allowed a command line to act for them.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Approval {
    /// The issuer's name in the configuration.
    issuer: String,
    subject: Subject,
    user: String,
    issuer_session: Option<String>,
}

/// An answer that says no, in OAuth's form (RFC 6749 section 5.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{error}: {error_description}")]
pub struct OAuthError {
    /// One of the RFCs' codes.
    pub error: &'static str,
    /// For people.
    pub error_description: String,
}

// === impl Authorizations ===

impl Authorizations {
    pub(crate) fn new(space: Arc<dyn Space>) -> Self {
        Self {
            space,
            limits: Mutex::default(),
        }
    }

    async fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<(T, Vec<u8>)>, Unavailable> {
        let found = self.space.get(key).await.map_err(|error| failed(&error))?;
        let Some(value) = found else { return Ok(None) };
        let parsed = serde_json::from_slice(&value).map_err(|error| failed(&error))?;
        Ok(Some((parsed, value)))
    }

    /// Takes what is under a key: once, whoever else asks at the same moment.
    async fn take<T: DeserializeOwned>(&self, key: Vec<u8>) -> Result<Option<T>, Unavailable> {
        let Some((parsed, value)) = self.get(&key).await? else {
            return Ok(None);
        };
        let taken = self
            .commit(vec![(key.clone(), Some(value))], vec![Change::Delete(key)])
            .await?;
        Ok((taken == Outcome::Committed).then_some(parsed))
    }

    /// Whether a logout token is used for the first time.
    pub(crate) async fn first_use(
        &self,
        issuer: &str,
        token_id: &str,
        lifetime: Duration,
    ) -> Result<bool, Unavailable> {
        let key = [&[USED], sha256(format!("{issuer}\0{token_id}")).as_slice()].concat();
        let put = Change::Put {
            key: key.clone(),
            value: Vec::new(),
            lifetime: Some(lifetime),
        };
        let outcome = self.commit(vec![(key, None)], vec![put]).await?;
        Ok(outcome == Outcome::Committed)
    }

    async fn commit(
        &self,
        expect: Vec<(Vec<u8>, Option<Vec<u8>>)>,
        changes: Vec<Change>,
    ) -> Result<Outcome, Unavailable> {
        let committed = self.space.commit(Transaction { expect, changes }).await;
        committed.map_err(|error| failed(&error))
    }
}

// === impl Approval ===

impl Approval {
    /// Only whoever logged in can allow another to act for them, and not with a token: what a
    /// command line holds must not be worth a second command line.
    fn of(principal: &Principal) -> Result<Self, OAuthError> {
        match (&principal.method, &principal.proof.subject) {
            (Method::Session { issuer }, Some(subject)) if principal.proof.token.is_none() => Ok(Self {
                issuer: issuer.clone(),
                subject: subject.clone(),
                user: principal.user.clone(),
                issuer_session: principal.proof.issuer_session.clone(),
            }),
            _ => Err(OAuthError::new("access_denied", "log in with a browser first")),
        }
    }

    fn opening(self, identity: &Identity, name: String) -> Opening {
        Opening {
            issuer: self.issuer,
            subject: self.subject,
            user: self.user,
            client: Client::CommandLine { name },
            issuer_session: self.issuer_session,
            lifetime: identity.session_settings.command_line_lifetime,
        }
    }
}

// === impl OAuthError ===

impl OAuthError {
    pub(crate) fn new(error: &'static str, description: impl Into<String>) -> Self {
        Self {
            error,
            error_description: description.into(),
        }
    }
}

impl From<Unavailable> for OAuthError {
    fn from(error: Unavailable) -> Self {
        Self::new("temporarily_unavailable", error.to_string())
    }
}

/// What a command line calls itself, as it is shown and kept.
fn client_name(text: Option<&str>) -> String {
    let name: String = text
        .unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_NAME)
        .collect();
    if name.trim().is_empty() {
        "a command line".to_owned()
    } else {
        name
    }
}

fn check_client(client_id: Option<&str>) -> Result<(), OAuthError> {
    match client_id {
        Some(CLIENT_ID) => Ok(()),
        _ => Err(OAuthError::new(
            "invalid_client",
            format!("the only client is {CLIENT_ID}"),
        )),
    }
}
