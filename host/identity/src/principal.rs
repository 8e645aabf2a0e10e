//! Who a request comes from, once that is known.

use std::{fmt, str::FromStr, time::SystemTime};

use serde::{Deserialize, Serialize};

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
    /// What a revocation can name.
    pub proof: Proof,
}

/// How a caller proved who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// An id_token of this issuer, as a bearer token.
    IdToken {
        /// The issuer's name in the configuration.
        issuer: String,
    },
    /// A session of this gateway's, which was opened by logging in at this issuer.
    Session {
        /// The issuer's name in the configuration.
        issuer: String,
    },
    /// A service account's token, which a cluster vouched for.
    ServiceAccount {
        /// The cluster's name in the configuration.
        cluster: String,
    },
    /// A client certificate, signed by an authority of the listener's.
    Certificate,
    /// A static token of the configuration.
    StaticToken,
    /// A name and password of the configuration.
    Basic,
}

/// By what a credential is known, so that it can be revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// When it was given out, in seconds since 1970: the login of a session, the `iat` of a token.
    /// `None` for credentials of the configuration: they count as older than anything.
    pub issued: Option<u64>,
    /// Whom the issuer means.
    pub subject: Option<Subject>,
    /// The gateway's session, if it is one's.
    pub session: Option<SessionId>,
    /// The issuer's own session (`sid`, OpenID Connect Back-Channel Logout 1.0), if it says so.
    pub issuer_session: Option<String>,
    /// The bearer token, if it is not a session's.
    pub token: Option<TokenDigest>,
    /// The client that an id_token was issued to: `azp`, else its only audience.
    pub client: Option<String>,
}

/// A user as the issuer knows them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// The issuer's URL.
    pub issuer: String,
    /// The claim `sub`.
    pub subject: String,
}

/// What a session is called. Not a secret: its credential can't be found out from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(pub(crate) [u8; 16]);

/// The SHA-256 digest of a bearer token, which is what the token is called.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenDigest(pub(crate) [u8; 32]);

/// Something that should be hexadecimal digits, and is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {0} hexadecimal digits")]
pub struct NotHexadecimal(usize);

macro_rules! hexadecimal {
    ($name:ident, $bytes:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = NotHexadecimal;

            fn from_str(text: &str) -> Result<Self, NotHexadecimal> {
                let refused = NotHexadecimal(2 * $bytes);
                if text.len() != 2 * $bytes || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(refused);
                }
                let mut bytes = [0; $bytes];
                for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    let pair = std::str::from_utf8(pair).map_err(|_| refused)?;
                    *byte = u8::from_str_radix(pair, 16).map_err(|_| refused)?;
                }
                Ok(Self(bytes))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotHexadecimal;

            fn try_from(text: String) -> Result<Self, NotHexadecimal> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.to_string()
            }
        }
    };
}

hexadecimal!(SessionId, 16);
hexadecimal!(TokenDigest, 32);

// === impl Principal ===

impl Principal {
    /// Whether the principal is one of these users or in one of these groups.
    pub fn is_among(&self, users: &[String], groups: &[String]) -> bool {
        users.contains(&self.user) || self.groups.iter().any(|group| groups.contains(group))
    }

    /// Whether `other` stands for the same person with the same rights.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.user == other.user
            && self.uid == other.uid
            && self.groups == other.groups
            && self.extra == other.extra
    }
}

// === impl TokenDigest ===

impl TokenDigest {
    /// What this token is called.
    pub fn of(token: &str) -> Self {
        Self(crate::hash::sha256(token))
    }
}
