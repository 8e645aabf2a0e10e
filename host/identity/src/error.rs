//! Why somebody was not let in, in words that are safe to show to them.

use std::time::SystemTime;

/// What a request's credentials came to, when they did not come to a principal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is none. HTTP: 401.
    #[error(
        "no credential was sent: send `Authorization: Bearer` with an id_token, or log in with a browser"
    )]
    NoCredential,
    /// It does not hold. HTTP: 401.
    #[error("{reason}")]
    Invalid {
        /// What is wrong with it.
        reason: Invalid,
    },
    /// It holds, but whose it is may not come in. HTTP: 403.
    #[error("{reason}")]
    Denied {
        /// What the claims plugin said, or what is wrong with the identity that it gave.
        reason: String,
    },
    /// It can't be decided now. HTTP: 503.
    #[error("{reason}")]
    Unavailable {
        /// What is missing for a decision.
        reason: Unavailable,
    },
}

/// What is wrong with a credential. Says nothing that the sender did not send or can't know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// More than one `Authorization` header.
    #[error("there are several Authorization headers: send one")]
    SeveralHeaders,
    /// An `Authorization` header that is not visible ASCII or has no credential in it.
    #[error("the Authorization header can't be read: it is `Bearer <token>` or `Basic <base64>`")]
    UnreadableHeader,
    /// A scheme that is not served here.
    #[error("the authorization scheme {0} is not accepted: use Bearer or Basic")]
    Scheme(String),
    /// A bearer token over the limit, refused before it is looked at.
    #[error("the token has {length} bytes, more than the {limit} that are accepted")]
    TooLarge {
        /// Its length in bytes.
        length: usize,
        /// The most that is looked at.
        limit: usize,
    },
    /// Neither in the configuration nor of a token's form.
    #[error(
        "the bearer token is neither an id_token (three parts with dots between) nor one of the configured tokens"
    )]
    NotAToken,
    /// A JWE.
    #[error("the token is encrypted (JWE): only signed id_tokens are accepted")]
    Encrypted,
    /// A part of the token that can't be decoded.
    #[error("the token's {part} can't be read: {why}")]
    Malformed {
        /// `header`, `payload` or `signature`.
        part: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// `crit` (RFC 7515 section 4.1.11): none of its extensions is understood here.
    #[error("the token's header has `crit`, and no such extension is understood here")]
    Critical,
    /// Not an id_token, by what it says of itself.
    #[error("the token is of type {0}, not an id_token")]
    Type(String),
    /// No `iss`, or none of the configured ones.
    #[error(
        "the token is of issuer {issuer}, which is not one of this gateway's (the URL must be the same, byte for byte)"
    )]
    Issuer {
        /// The claim `iss`.
        issuer: String,
    },
    /// An algorithm that the issuer is not configured for, `none` among them.
    #[error("algorithm {algorithm} is not accepted, only {accepted}")]
    Algorithm {
        /// The header's `alg`.
        algorithm: String,
        /// What would be accepted.
        accepted: String,
    },
    /// No key of the issuer's has the token's `kid`, not even after a refresh.
    #[error("the issuer has no key {0}, with which the token says it is signed")]
    UnknownKey(String),
    /// An RSA key that is too short to be trusted.
    #[error("the issuer's key has {bits} bits, and RSA needs 2048 or more")]
    WeakKey {
        /// The modulus's length.
        bits: usize,
    },
    /// The signature is not the issuer's.
    #[error("the token's signature is wrong")]
    Signature,
    /// A claim that is missing or not of its type.
    #[error("the token's claim `{claim}` {why}")]
    Claim {
        /// Its name.
        claim: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// It is for somebody else.
    #[error("the token is for audience {found}, this gateway accepts {accepted}")]
    Audience {
        /// The claim `aud`.
        found: String,
        /// What is accepted.
        accepted: String,
    },
    /// It is for somebody else as well, who could have passed it on.
    #[error("the token is also for audience {found}, this gateway accepts {accepted}")]
    OtherAudience {
        /// The audience that is not accepted.
        found: String,
        /// What is accepted.
        accepted: String,
    },
    /// It was issued to somebody else (`azp`).
    #[error("the token was issued to {found}, this gateway accepts {accepted}")]
    AuthorizedParty {
        /// The claim `azp`.
        found: String,
        /// What is accepted.
        accepted: String,
    },
    /// Its time is over.
    #[error("the token expired at {}", humantime::format_rfc3339_seconds(*.0))]
    Expired(SystemTime),
    /// Its time has not come.
    #[error("the token is not valid before {}", humantime::format_rfc3339_seconds(*.0))]
    NotYet(SystemTime),
    /// It says it comes from the future.
    #[error("the token says it was issued at {}, which is ahead of this gateway's clock", humantime::format_rfc3339_seconds(*.0))]
    IssuedAhead(SystemTime),
    /// It does not belong to the login under way.
    #[error("the token's nonce is not the one of this login")]
    Nonce,
    /// It does not belong to the access token beside it (`at_hash`).
    #[error("the token's at_hash does not fit the access token")]
    AccessTokenHash,
    /// Unknown name or wrong password; which of the two is not said.
    #[error("the user name or the password is wrong")]
    Password,
    /// The session cookie is there twice, or is not of its form.
    #[error("the session cookie can't be read: log in again")]
    Cookie,
    /// It was revoked.
    #[error("{0}: log in again")]
    Revoked(&'static str),
    /// A client certificate that no name can be read from.
    #[error("the client certificate can't be used: {0}")]
    Certificate(&'static str),
    /// A service account's token that its cluster does not vouch for.
    #[error("cluster {cluster} does not vouch for this service account token")]
    ServiceAccount {
        /// The cluster's name in the configuration.
        cluster: String,
    },
    /// The session has ended, or never was.
    #[error("the session has ended: log in again")]
    Session,
}

/// What was missing for a decision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The issuer's keys were never fetched, and can't be now.
    #[error("the issuer {name} can't be asked for its keys: {why}")]
    Issuer {
        /// Its name in the configuration.
        name: String,
        /// What came instead.
        why: String,
    },
    /// The claims plugin did not answer. Details are in the log.
    #[error("the claims plugin of issuer {0} did not answer")]
    Claims(String),
    /// Sessions can't be looked up. Details are in the log.
    #[error("the gateway's state can't be reached")]
    State,
    /// A cluster did not say whether a service account's token holds. Details are in the log.
    #[error("cluster {0} can't be asked about service account tokens")]
    Cluster(String),
    /// Too many passwords are being checked already.
    #[error("too many passwords are being checked: try again")]
    Busy,
}

impl From<Invalid> for AuthError {
    fn from(reason: Invalid) -> Self {
        Self::Invalid { reason }
    }
}

impl From<Unavailable> for AuthError {
    fn from(reason: Unavailable) -> Self {
        Self::Unavailable { reason }
    }
}

/// Text from outside, for a message: quoted, escaped, and not too long.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 100;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// Text from outside that was written for people, without what could disturb a page or a log.
pub(crate) fn plain(text: &str) -> String {
    const SHOWN: usize = 300;
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SHOWN)
        .collect()
}
