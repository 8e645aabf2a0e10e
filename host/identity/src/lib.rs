//! Who is calling: verification of tokens and passwords, browser login, sessions.
//!
//! An [`Identity`] is built from one configuration. [`Identity::authenticate`] turns a request's
//! headers into a [`Principal`]; [`Identity::login`], [`Identity::callback`] and
//! [`Identity::logout`] are what a browser goes through, and [`Identity::token`] is where a command
//! line gets its tokens. Whether a credential holds is decided here; which user it stands for is the
//! claims plugin's to say, within the bounds that are checked afterwards. What holds can be revoked:
//! [`Identity::revoke`] ends it for requests and, through [`Identity::on_revocation`], for streams.

mod administration;
mod authenticate;
mod authorization;
mod backchannel;
mod basic;
mod cache;
mod certificate;
mod claims;
mod config;
mod cookie;
mod credential;
mod error;
mod grant;
mod hash;
mod identity;
mod issuer;
mod login;
mod names;
mod principal;
mod query;
mod records;
mod revocation;
mod seal;
mod service_account;
mod session;
mod static_token;
mod token;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

pub use authorization::{
    CLIENT_ID, CodeRequest, DeviceAuthorization, DeviceRequest, OAuthError, TokenRequest,
};
pub use certificate::ClientCertificate;
pub use config::{
    Algorithm, BasicConfig, ConfigError, IdentityConfig, IssuerConfig, ServiceAccountConfig, SessionConfig,
    TokenConfig,
};
pub use error::{AuthError, Invalid, Unavailable};
pub use hash::{HashError, generate_token, hash_password, hash_token};
pub use identity::{Identity, Surroundings};
pub use issuer::IssuerStatus;
pub use login::{Login, LoginError, Logout, LogoutError, Redirect};
pub use names::examine;
pub use principal::{Method, NotHexadecimal, Principal, Proof, SessionId, Subject, TokenDigest};
pub use records::{Records, RecordsError};
pub use revocation::{Revocation, Revocations, Revoked};
pub use seal::{KeyError, SealingKey};
pub use service_account::{Reviewed, TokenReviewer};
pub use session::{Client, SessionSummary, SessionTokens};
