//! Who a request comes from, once that is known.

use std::time::SystemTime;

/// An authenticated caller. Everything behind authentication decides by this and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The name that RBAC, audit lines and errors show.
    pub user: String,
    /// A name for the same user that is never given to another one.
    pub uid: Option<String>,
    /// Groups, without `system:authenticated`, which holds for everybody who is authenticated.
    pub groups: Vec<String>,
    /// Additional facts, by lower-case key.
    pub extra: Vec<(String, Vec<String>)>,
    /// How the caller proved it, for the audit line.
    pub method: Method,
    /// When the proof ends, if it does. A stream must not outlive it.
    pub expires: Option<SystemTime>,
}

/// How a caller proved who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// An id_token of this issuer, as a bearer token.
    IdToken {
        /// The issuer's name in the configuration.
        issuer: String,
    },
    /// A browser session that was opened by logging in at this issuer.
    Session {
        /// The issuer's name in the configuration.
        issuer: String,
    },
    /// A static token of the configuration.
    StaticToken,
    /// A name and password of the configuration.
    Basic,
}
