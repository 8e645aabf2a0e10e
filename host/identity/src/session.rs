//! Browser sessions, in the state.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use witgate_plugins::VerifiedToken;
use witgate_state::{Change, Outcome, Space, Transaction};

use crate::{
    error::Unavailable,
    hash::{random_text, sha256},
    issuer::Issuer,
};

/// Sessions by the SHA-256 digest of their id: who reads the state can't use them.
pub(crate) struct Sessions {
    space: Arc<dyn Space>,
    lifetime: Duration,
}

/// A session. Holds what the issuer said at login rather than what the claims plugin made of it, so
/// that a change of the plugin's rules reaches it; and not the id_token, which others would accept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Session {
    /// The issuer's name in the configuration.
    pub(crate) issuer: String,
    pub(crate) issuer_url: String,
    subject: String,
    /// All claims of the id_token, as JSON.
    claims: String,
    /// In seconds since 1970.
    created: u64,
    expires: u64,
}

// === impl Sessions ===

impl Sessions {
    pub(crate) fn new(space: Arc<dyn Space>, lifetime: Duration) -> Self {
        Self { space, lifetime }
    }

    pub(crate) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Opens a session, and returns its id.
    pub(crate) async fn open(&self, issuer: &Issuer, token: VerifiedToken) -> Result<String, Unavailable> {
        let id = random_text();
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let session = Session {
            issuer: issuer.settings.name.clone(),
            issuer_url: token.issuer,
            subject: token.subject,
            claims: token.claims,
            created: created.as_secs(),
            expires: (created + self.lifetime).as_secs(),
        };
        let put = Change::Put {
            key: key(&id),
            value: serde_json::to_vec(&session).map_err(|error| failed(&error))?,
            lifetime: Some(self.lifetime),
        };
        self.commit(put).await?;
        Ok(id)
    }

    pub(crate) async fn find(&self, id: &str) -> Result<Option<Session>, Unavailable> {
        match self.space.get(&key(id)).await {
            Ok(None) => Ok(None),
            Ok(Some(value)) => Ok(Some(
                serde_json::from_slice(&value).map_err(|error| failed(&error))?,
            )),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Ends a session, if there is one of this id.
    pub(crate) async fn end(&self, id: &str) -> Result<(), Unavailable> {
        self.commit(Change::Delete(key(id))).await
    }

    async fn commit(&self, change: Change) -> Result<(), Unavailable> {
        let transaction = Transaction {
            expect: Vec::new(),
            changes: vec![change],
        };
        match self.space.commit(transaction).await {
            Ok(Outcome::Committed) => Ok(()),
            Ok(Outcome::Conflict) => Err(failed(&"a conflict, though nothing was expected")),
            Err(error) => Err(failed(&error)),
        }
    }
}

// === impl Session ===

impl Session {
    pub(crate) fn expires(&self) -> SystemTime {
        UNIX_EPOCH
            .checked_add(Duration::from_secs(self.expires))
            .unwrap_or(UNIX_EPOCH)
    }

    /// The token that it was opened with.
    pub(crate) fn token(&self) -> VerifiedToken {
        VerifiedToken {
            issuer: self.issuer_url.clone(),
            subject: self.subject.clone(),
            claims: self.claims.clone(),
        }
    }
}

fn key(id: &str) -> Vec<u8> {
    sha256(id).to_vec()
}

fn failed(error: &dyn std::fmt::Display) -> Unavailable {
    tracing::error!(%error, "sessions can't be looked up");
    Unavailable::State
}
