//! The section once it is checked: what is in here can be relied on.

use std::{collections::HashSet, io::Read, path::Path, sync::Arc, time::Duration};

use argon2::password_hash::PasswordHashString;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use super::{
    Algorithm, BasicConfig, ConfigError, IdentityConfig, IssuerConfig, ServiceAccountConfig, SessionConfig,
    TokenConfig,
};
use crate::{
    names::{Names, Proposal},
    principal::{Method, Principal, Proof, TokenDigest},
};

/// No secret and no bundle of authorities is larger.
const MAX_FILE: u64 = 1 << 20;

/// A password hash may not ask for more memory than this (KiB): each check takes it.
const MAX_HASH_MEMORY: u32 = 256 * 1024;

/// Nor for more passes over it.
const MAX_HASH_PASSES: u32 = 16;

const SESSION_LIFETIMES: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(30 * 24 * 3600);

/// Sessions that go on for longer than this without their issuer's word need no issuer.
const LONGEST_OUTAGE: Duration = Duration::from_secs(7 * 24 * 3600);

const REFRESHES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

/// The section `identity`, checked.
pub(crate) struct Settings {
    /// Without a trailing slash.
    pub(crate) public_url: String,
    pub(crate) issuers: Vec<Arc<IssuerSettings>>,
    pub(crate) names: Names,
    pub(crate) tokens: Vec<([u8; 32], Arc<Principal>)>,
    pub(crate) basic: Vec<(String, PasswordHashString, Arc<Principal>)>,
    pub(crate) session: SessionSettings,
    pub(crate) service_accounts: Vec<ServiceAccountConfig>,
}

/// How long sessions last, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionSettings {
    pub(crate) lifetime: Duration,
    pub(crate) command_line_lifetime: Duration,
    pub(crate) refresh: Duration,
    pub(crate) outage: Duration,
}

/// An issuer, checked, with the content of the files it names.
pub(crate) struct IssuerSettings {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<SecretString>,
    /// `clientId`, and what else is accepted.
    pub(crate) audiences: Vec<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) claims: String,
    /// How long an answer of the claims plugin holds.
    pub(crate) claims_lifetime: Option<Duration>,
    /// How long after that it is used while the plugin fails.
    pub(crate) claims_outage: Duration,
    /// The parameter `prompt` of authorization requests.
    pub(crate) prompt: Option<String>,
    /// The content of `caFile`.
    pub(crate) authorities: Option<Vec<u8>>,
    pub(crate) algorithms: Vec<Algorithm>,
}

// === impl Settings ===

impl Settings {
    pub(crate) fn check(config: &IdentityConfig, base: &Path) -> Result<Self, ConfigError> {
        let names = Names::new(config.allow_reserved_names.iter().cloned());
        let mut issuers: Vec<Arc<IssuerSettings>> = Vec::new();
        for (index, issuer) in config.issuers.iter().enumerate() {
            let path = format!("issuers[{index}]");
            let issuer = IssuerSettings::check(issuer, base, &path)?;
            if issuers.iter().any(|other| other.name == issuer.name) {
                return Err(invalid(
                    &path,
                    "name",
                    format!("{:?} names another issuer too", issuer.name),
                ));
            }
            if issuers.iter().any(|other| other.url == issuer.url) {
                return Err(invalid(
                    &path,
                    "url",
                    format!("{:?} is another issuer's too", issuer.url),
                ));
            }
            issuers.push(Arc::new(issuer));
        }
        let mut tokens = Vec::new();
        let mut token_names = HashSet::new();
        for (index, token) in config.tokens.iter().enumerate() {
            let path = format!("tokens[{index}]");
            if !token_names.insert(&token.name) {
                return Err(invalid(
                    &path,
                    "name",
                    format!("{:?} names another token too", token.name),
                ));
            }
            let checked = check_token(token, &names, &path)?;
            if tokens.iter().any(|(digest, _)| *digest == checked.0) {
                return Err(invalid(&path, "sha256", "is another token's too"));
            }
            tokens.push(checked);
        }
        let mut basic: Vec<(String, PasswordHashString, Arc<Principal>)> = Vec::new();
        for (index, entry) in config.basic.iter().enumerate() {
            let path = format!("basic[{index}]");
            if basic.iter().any(|(username, ..)| *username == entry.username) {
                return Err(invalid(
                    &path,
                    "username",
                    format!("{:?} is there twice", entry.username),
                ));
            }
            basic.push(check_basic(entry, &names, &path)?);
        }
        let session = SessionSettings::check(&config.session)?;
        for (index, entry) in config.service_accounts.iter().enumerate() {
            let path = format!("serviceAccounts[{index}]");
            let is_same = |other: &ServiceAccountConfig| other.issuer == entry.issuer;
            let is_issuers = |other: &Arc<IssuerSettings>| other.url == entry.issuer;
            if config.service_accounts.iter().take(index).any(is_same) || issuers.iter().any(is_issuers) {
                return Err(invalid(
                    &path,
                    "issuer",
                    format!("{:?} is another one's too", entry.issuer),
                ));
            }
        }
        Ok(Self {
            public_url: check_public_url(&config.public_url)?,
            issuers,
            names,
            tokens,
            basic,
            session,
            service_accounts: config.service_accounts.clone(),
        })
    }
}

// === impl SessionSettings ===

impl SessionSettings {
    fn check(config: &SessionConfig) -> Result<Self, ConfigError> {
        for (field, lifetime) in [
            ("lifetime", config.lifetime),
            ("commandLineLifetime", config.command_line_lifetime),
        ] {
            if !SESSION_LIFETIMES.contains(&lifetime) {
                let lifetime = humantime::format_duration(lifetime);
                return Err(invalid(
                    "session",
                    field,
                    format!("{lifetime} is not between 1m and 30days"),
                ));
            }
        }
        if !REFRESHES.contains(&config.refresh) {
            let refresh = humantime::format_duration(config.refresh);
            return Err(invalid(
                "session",
                "refresh",
                format!("{refresh} is not between 1s and 1day"),
            ));
        }
        if config.outage > LONGEST_OUTAGE {
            let outage = humantime::format_duration(config.outage);
            return Err(invalid("session", "outage", format!("{outage} is over 7days")));
        }
        Ok(Self {
            outage: config.outage,
            lifetime: config.lifetime,
            command_line_lifetime: config.command_line_lifetime,
            refresh: config.refresh,
        })
    }

    pub(crate) fn longest_lifetime(&self) -> Duration {
        self.lifetime.max(self.command_line_lifetime)
    }
}

// === impl IssuerSettings ===

impl IssuerSettings {
    fn check(config: &IssuerConfig, base: &Path, path: &str) -> Result<Self, ConfigError> {
        let name = &config.name;
        if name.is_empty() || name.len() > 64 || !name.bytes().all(is_name_byte) {
            let reason = format!("{name:?} is not a name of up to 64 letters, digits, `-`, `_` and `.`");
            return Err(invalid(path, "name", reason));
        }
        check_issuer_url(&config.url).map_err(|reason| invalid(path, "url", reason))?;
        if config.client_id.is_empty() {
            let reason = "is empty: it is the name of the gateway's client at the issuer";
            return Err(invalid(path, "clientId", reason));
        }
        if config.algorithms.is_empty() {
            return Err(invalid(
                path,
                "algorithms",
                "is empty: list at least one, or leave it away",
            ));
        }
        if config.audiences.iter().any(String::is_empty) {
            return Err(invalid(path, "audiences", "has an empty entry"));
        }
        for scope in &config.scopes {
            // RFC 6749 section 3.3.
            let valid = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
            if scope.is_empty() || !scope.bytes().all(valid) {
                let reason = format!("{scope:?} is not a scope: write one word per entry");
                return Err(invalid(path, "scopes", reason));
            }
        }
        let client_secret = match &config.client_secret_file {
            None => None,
            Some(file) => Some(read_secret(&base.join(file), path)?),
        };
        let authorities = match &config.ca_file {
            None => None,
            Some(file) => Some(read(&base.join(file)).map_err(|reason| invalid(path, "caFile", reason))?),
        };
        Ok(Self {
            name: name.clone(),
            url: config.url.clone(),
            client_id: config.client_id.clone(),
            client_secret,
            audiences: std::iter::once(&config.client_id)
                .chain(&config.audiences)
                .cloned()
                .collect(),
            scopes: config
                .scopes
                .iter()
                .filter(|scope| *scope != "openid")
                .cloned()
                .collect(),
            claims: config.claims.clone(),
            claims_lifetime: config.claims_lifetime,
            claims_outage: config.claims_outage,
            prompt: config.prompt.clone(),
            authorities,
            algorithms: config.algorithms.clone(),
        })
    }
}

fn check_issuer_url(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| {
        format!("{text:?} is not a URL ({error}): expected as in https://dex.example.com")
    })?;
    let is_bare = url.username().is_empty() && url.password().is_none();
    if !is_bare || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{text:?} must have no user, query or fragment"));
    }
    if !is_confidential(&url) {
        return Err(format!(
            "{text:?} must begin with https:// (http:// only for a loopback address)"
        ));
    }
    Ok(())
}

/// Whether what is sent there can't be read on the way: it goes over TLS, or stays on this machine.
pub(crate) fn is_confidential(url: &Url) -> bool {
    url.scheme() == "https" || url.scheme() == "http" && is_loopback(url)
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(domain)) => domain == "localhost",
        None => false,
    }
}

fn check_public_url(text: &str) -> Result<String, ConfigError> {
    let fail = |reason| ConfigError {
        path: "publicUrl".to_owned(),
        reason,
    };
    let expected = "expected scheme, host and port only, as in https://gateway.example.com";
    let url =
        Url::parse(text).map_err(|error| fail(format!("{text:?} is not a URL ({error}): {expected}")))?;
    if url.origin().ascii_serialization() != text {
        return Err(fail(format!("{text:?} is not an origin: {expected}")));
    }
    if !is_confidential(&url) {
        return Err(fail(format!(
            "{text:?} must begin with https:// (http:// only for a loopback address)"
        )));
    }
    Ok(text.to_owned())
}

fn check_token(
    token: &TokenConfig,
    names: &Names,
    path: &str,
) -> Result<([u8; 32], Arc<Principal>), ConfigError> {
    let digest = parse_sha256(&token.sha256).ok_or_else(|| {
        let reason = "is not the 64 hexadecimal digits of a SHA-256 digest; `witgate hash token` prints one";
        invalid(path, "sha256", reason)
    })?;
    let user = token.user.as_ref().unwrap_or(&token.name);
    Ok((
        digest,
        principal(
            user,
            &token.groups,
            Method::StaticToken,
            Proof {
                token: Some(TokenDigest(digest)),
                ..Proof::default()
            },
            names,
            path,
        )?,
    ))
}

fn check_basic(
    entry: &BasicConfig,
    names: &Names,
    path: &str,
) -> Result<(String, PasswordHashString, Arc<Principal>), ConfigError> {
    let username = &entry.username;
    if username.is_empty() || username.contains(':') || username.chars().any(char::is_control) {
        let reason = format!("{username:?} can't be sent: it is empty, or has a colon or control characters");
        return Err(invalid(path, "username", reason));
    }
    let hash =
        check_password_hash(&entry.password_hash).map_err(|reason| invalid(path, "passwordHash", reason))?;
    let user = entry.user.as_ref().unwrap_or(username);
    Ok((
        username.clone(),
        hash,
        principal(user, &entry.groups, Method::Basic, Proof::default(), names, path)?,
    ))
}

fn check_password_hash(text: &str) -> Result<PasswordHashString, String> {
    let expected = "expected what `witgate hash password` prints, beginning with $argon2id$";
    let hash = PasswordHashString::new(text)
        .map_err(|error| format!("is no password hash ({error}): {expected}"))?;
    let parsed = hash.password_hash();
    let parameters = argon2::Algorithm::try_from(parsed.algorithm)
        .and_then(|_| argon2::Params::try_from(&parsed))
        .map_err(|error| format!("is no Argon2 hash ({error}): {expected}"))?;
    if parsed.salt.is_none() || parsed.hash.is_none() {
        return Err(format!("lacks its salt or its digest: {expected}"));
    }
    let (memory, passes) = (parameters.m_cost(), parameters.t_cost());
    if memory > MAX_HASH_MEMORY || passes > MAX_HASH_PASSES {
        let most = format!("at most m={MAX_HASH_MEMORY},t={MAX_HASH_PASSES}");
        return Err(format!("costs too much to check (m={memory},t={passes}): {most}"));
    }
    Ok(hash)
}

/// A principal of the configuration, held to the same rules as those of plugins.
fn principal(
    user: &str,
    groups: &[String],
    method: Method,
    proof: Proof,
    names: &Names,
    path: &str,
) -> Result<Arc<Principal>, ConfigError> {
    let proposal = Proposal {
        user: user.to_owned(),
        groups: groups.to_vec(),
        ..Proposal::default()
    };
    let approved = names.approve(proposal).map_err(|error| ConfigError {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(Arc::new(approved.into_principal(method, None, proof)))
}

fn parse_sha256(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

fn read_secret(file: &Path, path: &str) -> Result<SecretString, ConfigError> {
    let fail = |reason: String| invalid(path, "clientSecretFile", reason);
    let content = String::from_utf8(read(file).map_err(fail)?)
        .map_err(|_| fail(format!("{} is not text", file.display())))?;
    let secret = SecretString::from(content.trim_end_matches(['\r', '\n']));
    if secret.expose_secret().is_empty() {
        return Err(fail(format!("{} is empty", file.display())));
    }
    Ok(secret)
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(MAX_FILE + 1).read_to_end(&mut content))
        .map_err(|error| format!("{} can't be read: {error}", file.display()))?;
    if content.len() as u64 > MAX_FILE {
        return Err(format!("{} is over 1 MiB", file.display()));
    }
    Ok(content)
}

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')
}

fn invalid(path: &str, field: &str, reason: impl Into<String>) -> ConfigError {
    ConfigError {
        path: format!("{path}.{field}"),
        reason: reason.into(),
    }
}
