//! What outlives a configuration: logins under way, sessions, grants, revocations.

use witgate_state::State;

use crate::{
    authorization::Authorizations, error::Unavailable, grant::Grants, login::Attempts,
    revocation::Revocations, seal::SealingKey, session::Sessions,
};

/// The spaces of the state that are used here.
const LOGINS: &str = "logins";
const AUTHORIZATIONS: &str = "authorizations";
const SESSIONS: &str = "sessions";
const REVOCATIONS: &str = "revocations";

/// Everything that [`Identity`](crate::Identity) keeps. One configuration hands it on to the next.
pub struct Records {
    pub(crate) attempts: Attempts,
    pub(crate) authorizations: Authorizations,
    pub(crate) sessions: Sessions,
    pub(crate) grants: Grants,
    /// What no longer holds.
    pub revocations: Revocations,
}

/// Why the records can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// A space can't be opened.
    #[error("there is nowhere to keep sessions: {0}")]
    State(#[from] witgate_state::Error),
    /// The revocations can't be read. Without them, nobody can be let in.
    #[error("the revocations can't be read: {0}")]
    Revocations(#[from] Unavailable),
}

impl Records {
    /// Opens the records in a state. `key` is for what is secret in them.
    pub async fn open(state: &dyn State, key: SealingKey) -> Result<Self, RecordsError> {
        let sessions = state.space(SESSIONS)?;
        Ok(Self {
            attempts: Attempts::new(state.space(LOGINS)?),
            authorizations: Authorizations::new(state.space(AUTHORIZATIONS)?),
            grants: Grants::new(std::sync::Arc::clone(&sessions), key),
            sessions: Sessions::new(sessions),
            revocations: Revocations::load(state.space(REVOCATIONS)?).await?,
        })
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").finish_non_exhaustive()
    }
}
