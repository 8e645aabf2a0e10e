//! What a claims plugin is to the rest of the gateway, whichever way it is implemented.

use super::CallError;

/// Names the user behind a verified token. Implemented by components (any version of
/// `witgate:claims`) and by native code alike.
#[async_trait::async_trait]
pub trait Claims: Send + Sync + std::fmt::Debug {
    /// The identity for a token, or why there is none.
    async fn resolve(&self, token: &VerifiedToken) -> Result<Identity, ClaimsError>;
}

/// A token whose signature, issuer, audience and times were verified.
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    /// The issuer's URL.
    pub issuer: String,
    /// The claim `sub`.
    pub subject: String,
    /// All claims, as the JSON object that was signed.
    pub claims: String,
}

/// What a claims plugin made of a token. Not yet checked against reserved names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user's name.
    pub user: String,
    /// A name for the same user that is never given to another one.
    pub uid: Option<String>,
    /// The user's groups.
    pub groups: Vec<String>,
    /// Additional facts, by key.
    pub extra: Vec<(String, Vec<String>)>,
}

/// Why a token got no identity.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    /// The plugin refused the user, in words for the user.
    #[error("{0}")]
    Denied(String),
    /// The plugin could not be asked. The caller must not be let in.
    #[error(transparent)]
    Failed(#[from] CallError),
}
