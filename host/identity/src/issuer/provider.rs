//! What an issuer says of itself, fetched when it is first needed and kept while it is away.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use openidconnect::{
    AdditionalProviderMetadata, AuthUrl, DiscoveryError, IssuerUrl, JsonWebKeySet, JsonWebKeySetUrl,
    ProviderMetadata, TokenUrl,
    core::{
        CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType, CoreJsonWebKey,
        CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType,
        CoreSubjectIdentifierType,
    },
};
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;
use url::Url;

use super::{Fetcher, KeySet, check_endpoint, fetch::FetchError};
use crate::config::{ConfigError, IssuerSettings};

/// At most one fetch in this time because of keys that are not known: anybody can make up `kid`s.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);

/// When everything is fetched again though nothing seems to be missing, so that a key that the
/// issuer has withdrawn is not trusted for ever.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// How long an issuer that fails is left alone: doubled with every failure in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// An issuer's endpoints and keys.
pub(crate) struct Provider {
    url: IssuerUrl,
    authorities: Option<Vec<u8>>,
    fetcher: Fetcher,
    /// The last good answer.
    known: RwLock<Option<Arc<Known>>>,
    progress: Mutex<Progress>,
    /// Taken by who fetches, so that one does and the others wait.
    fetching: Arc<tokio::sync::Mutex<()>>,
}

/// What an issuer has said.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) keys: KeySet,
    pub(crate) authorization_endpoint: AuthUrl,
    pub(crate) token_endpoint: Option<TokenUrl>,
    /// The client's secret goes into the body instead of the header.
    pub(crate) secret_in_body: bool,
    /// Answers to authorization requests name the issuer (RFC 9207).
    pub(crate) names_itself: bool,
    /// Where the issuer's own session can be ended.
    end_session_endpoint: Option<String>,
    /// Where refresh tokens can be given back.
    pub(crate) revocation_endpoint: Option<String>,
    keys_url: JsonWebKeySetUrl,
    since: Instant,
}

#[derive(Default)]
struct Progress {
    failures_in_a_row: u32,
    not_before: Option<Instant>,
    keys_refreshed: Option<Instant>,
    last_error: Option<Failure>,
}

/// A failure, for those who wait for a login and for those who run the gateway.
#[derive(Clone)]
struct Failure {
    shown: String,
    detail: String,
}

/// What newer specifications add to discovery.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Additional {
    /// RFC 9207 section 3.
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    /// OpenID Connect RP-Initiated Logout 1.0, section 2.1.
    #[serde(default)]
    end_session_endpoint: Option<String>,
    /// RFC 8414 section 2.
    #[serde(default)]
    revocation_endpoint: Option<String>,
}

impl AdditionalProviderMetadata for Additional {}

type Metadata = ProviderMetadata<
    Additional,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

// === impl Provider ===

impl Provider {
    pub(super) fn new(settings: &IssuerSettings, path: &str) -> Result<Self, ConfigError> {
        let fail = |field: &str, reason: String| ConfigError {
            path: format!("{path}.{field}"),
            reason,
        };
        let url = IssuerUrl::new(settings.url.clone()).map_err(|error| fail("url", error.to_string()))?;
        let fetcher = Fetcher::new(url.url(), settings.authorities.as_deref())
            .map_err(|reason| fail("caFile", reason))?;
        Ok(Self {
            url,
            authorities: settings.authorities.clone(),
            fetcher,
            known: RwLock::default(),
            progress: Mutex::default(),
            fetching: Arc::default(),
        })
    }

    /// Whether what was fetched by this one holds for that configuration.
    pub(super) fn is_for(&self, settings: &IssuerSettings) -> bool {
        *self.url == settings.url && self.authorities == settings.authorities
    }

    pub(crate) fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// Where browsers end the issuer's own session, if it is known and offers that.
    pub(crate) fn end_session_endpoint(&self) -> Option<String> {
        self.current()?.end_session_endpoint.clone()
    }

    /// How many keys are known, and the last error's detail.
    pub(super) fn status(&self) -> (Option<usize>, Option<String>) {
        let error = self.with_progress(|progress| progress.last_error.clone());
        (
            self.current().map(|known| known.keys.len()),
            error.map(|error| error.detail),
        )
    }

    /// How long it is still left alone because of a failure, if the last answer was one.
    pub(super) fn pause(&self) -> Option<Duration> {
        let not_before = self.with_progress(|progress| progress.not_before)?;
        Some(not_before.saturating_duration_since(Instant::now()))
    }

    /// What the issuer has said, or why it is not known, in words for everybody.
    pub(super) async fn known(self: &Arc<Self>) -> Result<Arc<Known>, String> {
        if let Some(known) = self.current() {
            if known.since.elapsed() > MAX_AGE {
                self.renew();
            }
            return Ok(known);
        }
        let turn = Arc::clone(&self.fetching).lock_owned().await;
        if let Some(known) = self.current() {
            return Ok(known);
        }
        if let Some(failure) = self.with_progress(|progress| progress.recent_failure(Instant::now())) {
            return Err(failure.shown);
        }
        // Goes on when the request that asked for it is cancelled: others wait for it too.
        let this = Arc::clone(self);
        let fetched = tokio::spawn(async move { this.discover(turn).await }).await;
        fetched
            .map_err(|_| "the gateway is shutting down".to_owned())?
            .map_err(|failure| failure.shown)
    }

    /// Something newer than `seen`, in which a key was missing. Nothing, if the keys were fetched a
    /// moment ago or can't be.
    pub(super) async fn refreshed(self: &Arc<Self>, seen: &Arc<Known>) -> Option<Arc<Known>> {
        let turn = Arc::clone(&self.fetching).lock_owned().await;
        let current = self.current()?;
        if !Arc::ptr_eq(&current, seen) {
            return Some(current);
        }
        let may_fetch = self.with_progress(|progress| progress.begin_refresh(Instant::now()));
        if !may_fetch {
            return None;
        }
        let this = Arc::clone(self);
        tokio::spawn(async move { this.refresh_keys(&current, turn).await })
            .await
            .ok()
            .flatten()
    }

    /// Fetches everything anew, without anybody waiting for it.
    fn renew(self: &Arc<Self>) {
        if self
            .with_progress(|progress| progress.recent_failure(Instant::now()))
            .is_some()
        {
            return;
        }
        if let Ok(turn) = Arc::clone(&self.fetching).try_lock_owned() {
            let this = Arc::clone(self);
            tokio::spawn(async move { this.discover(turn).await.ok() });
        }
    }

    async fn discover(&self, _turn: OwnedMutexGuard<()>) -> Result<Arc<Known>, Failure> {
        let metadata = Metadata::discover_async(self.url.clone(), &self.fetcher).await;
        let result = metadata
            .map_err(|error| Failure::new(&error))
            .and_then(|metadata| {
                Known::new(&metadata, &self.url).map_err(|reason| Failure {
                    shown: reason.clone(),
                    detail: reason,
                })
            });
        self.finish(result)
    }

    async fn refresh_keys(&self, known: &Known, _turn: OwnedMutexGuard<()>) -> Option<Arc<Known>> {
        let fetched = JsonWebKeySet::fetch_async(&known.keys_url, &self.fetcher).await;
        let result = fetched.map_err(|error| Failure::new(&error)).and_then(|keys| {
            let keys = KeySet::new(&keys).map_err(|reason| Failure {
                shown: reason.clone(),
                detail: reason,
            })?;
            Ok(Known {
                keys,
                authorization_endpoint: known.authorization_endpoint.clone(),
                token_endpoint: known.token_endpoint.clone(),
                end_session_endpoint: known.end_session_endpoint.clone(),
                revocation_endpoint: known.revocation_endpoint.clone(),
                keys_url: known.keys_url.clone(),
                ..*known
            })
        });
        self.finish(result).ok()
    }

    /// Puts what was fetched in service, or takes down why it was not.
    fn finish(&self, result: Result<Known, Failure>) -> Result<Arc<Known>, Failure> {
        match result {
            Ok(known) => {
                let known = Arc::new(known);
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&known));
                self.with_progress(|progress| {
                    progress.failures_in_a_row = 0;
                    progress.not_before = None;
                    progress.last_error = None;
                });
                tracing::debug!(issuer = %self.url, keys = known.keys.len(), "the issuer's keys were fetched");
                Ok(known)
            }
            Err(failure) => {
                tracing::warn!(issuer = %self.url, reason = failure.detail, "the issuer can't be asked for its keys");
                self.with_progress(|progress| progress.fail(failure.clone(), Instant::now()));
                Err(failure)
            }
        }
    }

    fn current(&self) -> Option<Arc<Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn with_progress<T>(&self, f: impl FnOnce(&mut Progress) -> T) -> T {
        f(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Known ===

impl Known {
    fn new(metadata: &Metadata, url: &IssuerUrl) -> Result<Self, String> {
        if metadata.issuer() != url {
            return Err("it says that it is another issuer".to_owned());
        }
        check_endpoint("jwks_uri", metadata.jwks_uri().url())?;
        if let Some(endpoint) = metadata.token_endpoint() {
            check_endpoint("token_endpoint", endpoint.url())?;
        }
        let additional = metadata.additional_metadata();
        for (what, endpoint) in [
            ("revocation_endpoint", &additional.revocation_endpoint),
            ("end_session_endpoint", &additional.end_session_endpoint),
        ] {
            if let Some(endpoint) = endpoint {
                let url = Url::parse(endpoint).map_err(|error| format!("its {what} is no URL: {error}"))?;
                check_endpoint(what, &url)?;
            }
        }
        let methods = metadata.token_endpoint_auth_methods_supported();
        let offers = |method| methods.is_some_and(|methods| methods.contains(&method));
        Ok(Self {
            keys: KeySet::new(metadata.jwks())?,
            authorization_endpoint: metadata.authorization_endpoint().clone(),
            token_endpoint: metadata.token_endpoint().cloned(),
            secret_in_body: offers(CoreClientAuthMethod::ClientSecretPost)
                && !offers(CoreClientAuthMethod::ClientSecretBasic),
            names_itself: additional.authorization_response_iss_parameter_supported,
            end_session_endpoint: additional.end_session_endpoint.clone(),
            revocation_endpoint: additional.revocation_endpoint.clone(),
            keys_url: metadata.jwks_uri().clone(),
            since: Instant::now(),
        })
    }
}

// === impl Progress ===

impl Progress {
    /// Whether keys may be fetched at `now` because one is missing. If so, that counts as done.
    fn begin_refresh(&mut self, now: Instant) -> bool {
        let may = self
            .keys_refreshed
            .is_none_or(|last| now.duration_since(last) >= REFRESH_INTERVAL);
        if may {
            self.keys_refreshed = Some(now);
        }
        may
    }

    /// The last failure, while the issuer is left alone because of it.
    fn recent_failure(&self, now: Instant) -> Option<Failure> {
        let pausing = self.not_before.is_some_and(|not_before| now < not_before);
        if pausing { self.last_error.clone() } else { None }
    }

    fn fail(&mut self, failure: Failure, now: Instant) {
        let pause = FIRST_PAUSE
            .saturating_mul(1 << self.failures_in_a_row.min(10))
            .min(LONGEST_PAUSE);
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.not_before = Some(now + pause);
        self.last_error = Some(failure);
    }
}

// === impl Failure ===

impl Failure {
    fn new(error: &DiscoveryError<FetchError>) -> Self {
        let shown = match error {
            DiscoveryError::Request(FetchError::Failed(_)) => "no connection".to_owned(),
            DiscoveryError::Request(error) => error.to_string(),
            DiscoveryError::Response(status, ..) => format!("it answered {status}"),
            DiscoveryError::Parse(_) => "its answer can't be read".to_owned(),
            DiscoveryError::Validation(_) => "it says that it is another issuer".to_owned(),
            _ => "its address is wrong".to_owned(),
        };
        let detail = match error {
            DiscoveryError::Request(error) => describe(error),
            DiscoveryError::Response(_, _, why) => describe(why),
            DiscoveryError::Parse(error) => describe(error),
            other => describe(other),
        };
        Self { shown, detail }
    }
}

/// An issuer's text may be of any length.
fn describe(error: &impl Display) -> String {
    crate::error::plain(&error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_keys_cause_one_fetch_in_ten_seconds() {
        let (mut progress, start) = (Progress::default(), Instant::now());
        assert!(progress.begin_refresh(start));
        assert!(!progress.begin_refresh(start));
        assert!(!progress.begin_refresh(start + Duration::from_millis(9_999)));
        assert!(progress.begin_refresh(start + Duration::from_secs(10)));
        assert!(!progress.begin_refresh(start + Duration::from_secs(11)));
    }

    #[test]
    fn a_failing_issuer_is_left_alone_longer_each_time_but_never_longer_than_half_a_minute() {
        let (mut progress, start) = (Progress::default(), Instant::now());
        let failure = Failure {
            shown: "no".into(),
            detail: "no".into(),
        };
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            progress.fail(failure.clone(), start);
            let end = start + Duration::from_secs(pause);
            assert!(
                progress.recent_failure(end - Duration::from_millis(1)).is_some(),
                "{pause}"
            );
            assert!(progress.recent_failure(end).is_none(), "{pause}");
        }
    }
}
