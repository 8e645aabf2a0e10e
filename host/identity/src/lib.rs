//! Who is calling: verification of tokens and passwords, browser login, sessions.
//!
//! An [`Identity`] is built from one configuration. [`Identity::authenticate`] turns a request's
//! headers into a [`Principal`]; [`Identity::login`], [`Identity::callback`] and
//! [`Identity::logout`] are what a browser goes through. Whether a token holds is decided here;
//! which user it stands for is the claims plugin's to say, within the bounds that are checked
//! afterwards.

mod authenticate;
mod basic;
mod cache;
mod claims;
mod config;
mod cookie;
mod credential;
mod error;
mod hash;
mod identity;
mod issuer;
mod login;
mod names;
mod principal;
mod session;
mod static_token;
mod token;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

pub use config::{
    Algorithm, BasicConfig, ConfigError, IdentityConfig, IssuerConfig, SessionConfig, TokenConfig,
};
pub use error::{AuthError, Invalid, Unavailable};
pub use hash::{HashError, generate_token, hash_password, hash_token};
pub use identity::Identity;
pub use issuer::IssuerStatus;
pub use login::{Login, LoginError, LogoutError, Redirect};
pub use principal::{Method, Principal};
