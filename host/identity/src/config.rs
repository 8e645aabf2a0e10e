//! The section `identity` of the configuration, as it is written.

mod settings;

use std::{path::PathBuf, time::Duration};

use openidconnect::core::CoreJwsSigningAlgorithm;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use settings::{IssuerSettings, SessionSettings, Settings, is_confidential, is_loopback};

/// Who is let in.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityConfig {
    /// Where browsers reach the gateway: scheme, host and port, as in `https://gateway.example.com`.
    /// Issuers must know `<publicUrl>/callback` as a redirect URI.
    pub public_url: String,
    /// The OpenID Connect issuers whose users are let in. None by default.
    #[serde(default)]
    pub issuers: Vec<IssuerConfig>,
    /// The exact user and group names beginning with `system:` or `kubeadm:` that may be given to
    /// somebody. None by default.
    #[serde(default)]
    pub allow_reserved_names: Vec<String>,
    /// Bearer tokens for machines. None by default.
    #[serde(default)]
    pub tokens: Vec<TokenConfig>,
    /// Names and passwords for machines. None by default.
    #[serde(default)]
    pub basic: Vec<BasicConfig>,
    /// Clusters whose service accounts are let in with their own tokens. None by default.
    #[serde(default)]
    pub service_accounts: Vec<ServiceAccountConfig>,
    /// Sessions of browsers and of `witgate login`.
    #[serde(default)]
    pub session: SessionConfig,
}

/// An OpenID Connect issuer.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IssuerConfig {
    /// What it is called in messages, audit lines and on the login page.
    pub name: String,
    /// The issuer's URL, byte for byte as in its tokens' claim `iss`. Plain `http` is accepted for a
    /// loopback address only.
    pub url: String,
    /// The client that the gateway is at this issuer.
    pub client_id: String,
    /// A file with that client's secret. Without it, the gateway is a public client.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// Audiences that are accepted besides `clientId`. None by default.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// What a login asks for besides `openid`. By default `email`, `profile`, `groups` and
    /// `offline_access`, which makes issuers give a refresh token: by it the gateway finds out that a
    /// user was disabled or changed groups.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// The claims plugin that names the issuer's users: a key of `plugins`.
    pub claims: String,
    /// How long what that plugin says of a token holds, before it is asked again. By default until
    /// the token expires; give a time if the plugin looks things up elsewhere.
    #[serde(default, with = "humantime_serde::option")]
    #[schemars(with = "Option<String>")]
    pub claims_lifetime: Option<Duration>,
    /// How much longer the last answer for a user is used while the plugin fails, because the
    /// directory that it asks is away. By default not at all: nobody is let in by what is not known.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "String")]
    pub claims_outage: Duration,
    /// The parameter `prompt` of logins (OpenID Connect Core 3.1.2.1). Some issuers give a refresh
    /// token only with `consent`. None by default.
    #[serde(default)]
    pub prompt: Option<String>,
    /// A PEM file with the authorities that the issuer's certificate may be signed by. By default the
    /// system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The algorithms that its tokens may be signed with. By default RS256, ES256, ES384, PS256 and
    /// EdDSA.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<Algorithm>,
}

/// An algorithm that an id_token may be signed with (RFC 7518 section 3.1, RFC 8037). Those with a
/// shared secret, and `none`, are not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are the RFC's")]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// A bearer token for a machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenConfig {
    /// What it is called in messages.
    pub name: String,
    /// The SHA-256 digest of the token in hexadecimal, as `witgate hash token` prints it.
    pub sha256: String,
    /// The user that it stands for. By default `name`.
    #[serde(default)]
    pub user: Option<String>,
    /// The user's groups. None by default.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// A name and a password for a machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicConfig {
    /// The name that is sent. Without a colon.
    pub username: String,
    /// The password's Argon2 hash, as `witgate hash password` prints it.
    pub password_hash: String,
    /// The user that it stands for. By default `username`.
    #[serde(default)]
    pub user: Option<String>,
    /// The user's groups. None by default.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// A cluster whose service accounts are let in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceAccountConfig {
    /// A key of `clusters`: the cluster is asked about each token (TokenReview).
    pub cluster: String,
    /// The claim `iss` of its tokens: kube-apiserver's `--service-account-issuer`.
    pub issuer: String,
    /// Audiences that a token must have one of. By default the apiserver's own.
    #[serde(default)]
    pub audiences: Vec<String>,
}

/// Sessions.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionConfig {
    /// How long a browser's session lasts, after which the user logs in again: `8h` by default.
    #[serde(default = "default_lifetime", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub lifetime: Duration,
    /// How long the session of a command line (`witgate login`) lasts: `7days` by default.
    #[serde(default = "default_command_line_lifetime", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub command_line_lifetime: Duration,
    /// How often the issuer is asked whether a session's user may go on, and with which claims: `5m`
    /// by default. Issuers that give no refresh token can't be asked.
    #[serde(default = "default_refresh", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub refresh: Duration,
    /// How much longer sessions go on while the issuer can't be asked: `1h` by default. dex answers alike
    /// whether its directory is away or has a user no more, so with dex in front of a directory this is
    /// also how long somebody who was deleted there stays in. As long do sessions go on that a gateway has
    /// seen before, while its state in etcd can't be reached; what others revoke meanwhile it does not hear.
    #[serde(default = "default_outage", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub outage: Duration,
}

/// Something in the section that can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct ConfigError {
    /// Where in the section, as in `issuers[0].url`.
    pub path: String,
    /// What is wrong, and what is expected.
    pub reason: String,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            lifetime: default_lifetime(),
            command_line_lifetime: default_command_line_lifetime(),
            refresh: default_refresh(),
            outage: default_outage(),
        }
    }
}

fn default_lifetime() -> Duration {
    Duration::from_secs(8 * 3600)
}

fn default_command_line_lifetime() -> Duration {
    Duration::from_secs(7 * 24 * 3600)
}

fn default_refresh() -> Duration {
    Duration::from_secs(300)
}

fn default_outage() -> Duration {
    Duration::from_secs(3600)
}

fn default_scopes() -> Vec<String> {
    ["email", "profile", "groups", "offline_access"]
        .map(str::to_owned)
        .to_vec()
}

fn default_algorithms() -> Vec<Algorithm> {
    vec![
        Algorithm::Rs256,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::Ps256,
        Algorithm::EdDsa,
    ]
}

// === impl Algorithm ===

impl Algorithm {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(crate) fn jws(self) -> CoreJwsSigningAlgorithm {
        match self {
            Self::Rs256 => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
            Self::Rs384 => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
            Self::Rs512 => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
            Self::Ps256 => CoreJwsSigningAlgorithm::RsaSsaPssSha256,
            Self::Ps384 => CoreJwsSigningAlgorithm::RsaSsaPssSha384,
            Self::Ps512 => CoreJwsSigningAlgorithm::RsaSsaPssSha512,
            Self::Es256 => CoreJwsSigningAlgorithm::EcdsaP256Sha256,
            Self::Es384 => CoreJwsSigningAlgorithm::EcdsaP384Sha384,
            Self::EdDsa => CoreJwsSigningAlgorithm::EdDsa,
        }
    }
}
