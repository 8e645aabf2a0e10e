//! An issuer: its tokens are verified here.

mod fetch;
mod keys;
mod provider;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use url::Url;
use witgate_plugins::{Claims, VerifiedToken};

pub(crate) use fetch::{FetchError, Fetcher};
pub(crate) use keys::{KeySet, Verdict};
pub(crate) use provider::{Known, Provider};

use crate::{
    claims::LastKnown,
    config::{ConfigError, IssuerSettings},
    error::{AuthError, Invalid, Unavailable, quoted},
    token::{Unverified, check_times},
};

/// A configured issuer.
pub(crate) struct Issuer {
    pub(crate) settings: Arc<IssuerSettings>,
    pub(crate) provider: Arc<Provider>,
    pub(crate) claims: Arc<dyn Claims>,
    pub(crate) last_known: LastKnown,
}

/// What is true of a token that was verified.
pub(crate) struct Verified {
    pub(crate) token: VerifiedToken,
    pub(crate) expires: SystemTime,
}

/// How an issuer is doing, for a health page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Its URL.
    pub url: String,
    /// How many usable keys are known. `None`: it was not asked yet, which happens with the first
    /// login or token, or did not answer.
    pub keys: Option<usize>,
    /// What went wrong when it was last asked, if something did. Not for everybody's eyes: it may
    /// name addresses.
    pub last_error: Option<String>,
}

// === impl Issuer ===

impl Issuer {
    /// An issuer that has not been asked anything yet, unless `previous` did.
    pub(crate) fn new(
        settings: &Arc<IssuerSettings>,
        claims: Arc<dyn Claims>,
        previous: impl Iterator<Item = Arc<Provider>>,
        path: &str,
    ) -> Result<Self, ConfigError> {
        let provider = match { previous }.find(|provider| provider.is_for(settings)) {
            Some(provider) => provider,
            None => Arc::new(Provider::new(settings, path)?),
        };
        Ok(Self {
            settings: Arc::clone(settings),
            provider,
            claims,
            last_known: LastKnown::new(settings.claims_lifetime, settings.claims_outage),
        })
    }

    /// Verifies an id_token of this issuer: the signature first, then what it says (OpenID Connect
    /// Core 3.1.3.7).
    pub(crate) async fn verify(&self, token: &Unverified<'_>) -> Result<Verified, AuthError> {
        let expires = self.verify_signed(token).await?;
        let subject = match token.text("sub")? {
            Some(subject) if !subject.is_empty() => subject.to_owned(),
            _ => {
                return Err(Invalid::Claim {
                    claim: "sub",
                    why: "is not there, or empty".to_owned(),
                }
                .into());
            }
        };
        let token = VerifiedToken {
            issuer: self.settings.url.clone(),
            subject,
            claims: token.payload.clone(),
        };
        Ok(Verified { token, expires })
    }

    /// Verifies what all signed tokens have: that it is this issuer's, its times, and that it is for
    /// this gateway. When it expires.
    pub(crate) async fn verify_signed(&self, token: &Unverified<'_>) -> Result<SystemTime, AuthError> {
        let settings = &self.settings;
        let issuer = token.issuer()?;
        if issuer != settings.url {
            return Err(Invalid::Issuer {
                issuer: quoted(issuer),
            }
            .into());
        }
        let algorithm = settings
            .algorithms
            .iter()
            .find(|algorithm| algorithm.name() == token.algorithm);
        let Some(algorithm) = algorithm else {
            let accepted: Vec<_> = settings
                .algorithms
                .iter()
                .map(|algorithm| algorithm.name())
                .collect();
            return Err(Invalid::Algorithm {
                algorithm: plain_name(&token.algorithm),
                accepted: accepted.join(", "),
            }
            .into());
        };
        let verify = |known: &Known| {
            known.keys.verify(
                token.key_id.as_deref(),
                &algorithm.jws(),
                token.signed,
                &token.signature,
            )
        };
        let known = self.known().await?;
        let mut verdict = verify(&known);
        if verdict == Verdict::UnknownKey
            && let Some(newer) = self.provider.refreshed(&known).await
        {
            verdict = verify(&newer);
        }
        match verdict {
            Verdict::Valid => {}
            Verdict::Wrong => return Err(Invalid::Signature.into()),
            Verdict::Weak { bits } => return Err(Invalid::WeakKey { bits }.into()),
            Verdict::UnknownKey => {
                let reason = match &token.key_id {
                    Some(key_id) => Invalid::UnknownKey(quoted(key_id)),
                    None => Invalid::Signature,
                };
                return Err(reason.into());
            }
        }
        let expires = check_times(&token.claims, SystemTime::now())?;
        self.check_audience(token)?;
        Ok(expires)
    }

    /// What the issuer says of itself. Asks it if it was not asked yet.
    pub(crate) async fn known(&self) -> Result<Arc<Known>, Unavailable> {
        let name = &self.settings.name;
        self.provider.known().await.map_err(|why| Unavailable::Issuer {
            name: name.clone(),
            why,
        })
    }

    /// How long it is still left alone because it did not answer.
    pub(crate) fn pause(&self) -> Option<Duration> {
        self.provider.pause()
    }

    pub(crate) fn status(&self) -> IssuerStatus {
        let (keys, last_error) = self.provider.status();
        IssuerStatus {
            name: self.settings.name.clone(),
            url: self.settings.url.clone(),
            keys,
            last_error,
        }
    }

    /// Everybody whom a token is for can use it, so all of them must be accepted.
    fn check_audience(&self, token: &Unverified<'_>) -> Result<(), Invalid> {
        let accepted = &self.settings.audiences;
        let is_accepted = |audience: &str| accepted.iter().any(|accepted| accepted == audience);
        let listed = || {
            accepted
                .iter()
                .map(|audience| plain_name(audience))
                .collect::<Vec<_>>()
                .join(" and ")
        };
        let audiences = token.audiences()?;
        if !audiences.iter().any(|audience| is_accepted(audience)) {
            let found = audiences
                .iter()
                .take(8)
                .map(|audience| plain_name(audience))
                .collect::<Vec<_>>()
                .join(", ");
            return Err(Invalid::Audience {
                found,
                accepted: listed(),
            });
        }
        if let Some(other) = audiences.iter().find(|audience| !is_accepted(audience)) {
            return Err(Invalid::OtherAudience {
                found: plain_name(other),
                accepted: listed(),
            });
        }
        match token.text("azp")? {
            Some(party) if !is_accepted(party) => Err(Invalid::AuthorizedParty {
                found: plain_name(party),
                accepted: listed(),
            }),
            _ => Ok(()),
        }
    }
}

/// An identifier as it is if it can't be mistaken for anything else, else quoted.
fn plain_name(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/');
    if !text.is_empty() && text.len() <= 100 && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// Fails for an address of the issuer's to which secrets or tokens would travel in the clear.
fn check_endpoint(what: &str, url: &Url) -> Result<(), String> {
    match crate::config::is_confidential(url) {
        true => Ok(()),
        false => Err(format!(
            "its {what} is {}, which is not https",
            quoted(url.as_str())
        )),
    }
}
