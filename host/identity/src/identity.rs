//! Everything that one configuration says about who is let in.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use witgate_plugins::Claims;

use crate::{
    basic::BasicUsers,
    cache::Principals,
    config::{ConfigError, IdentityConfig, SessionSettings, Settings},
    error::{AuthError, Unavailable},
    issuer::{Issuer, IssuerStatus},
    names::Names,
    records::Records,
    service_account::{ServiceAccounts, TokenReviewer},
    static_token::StaticTokens,
};

/// Decides who is calling.
pub struct Identity {
    /// Without a trailing slash.
    pub(crate) public_url: String,
    pub(crate) issuers: Vec<Arc<Issuer>>,
    pub(crate) names: Names,
    pub(crate) static_tokens: StaticTokens,
    pub(crate) basic_users: BasicUsers,
    pub(crate) service_accounts: Vec<ServiceAccounts>,
    pub(crate) principals: Principals,
    pub(crate) session_settings: SessionSettings,
    pub(crate) records: Arc<Records>,
}

/// Where a configuration's names lead.
pub struct Surroundings<'a> {
    /// The directory that relative paths are relative to.
    pub base_dir: &'a Path,
    /// Finds a claims plugin by its name.
    pub claims: &'a dyn Fn(&str) -> Option<Arc<dyn Claims>>,
    /// Finds a cluster by its name.
    pub clusters: &'a dyn Fn(&str) -> Option<Arc<dyn TokenReviewer>>,
    /// Sessions and the like, which outlive a configuration.
    pub records: &'a Arc<Records>,
}

impl Identity {
    /// Checks the configuration and reads the files that it names. Nothing is asked of the network.
    /// An issuer that `previous` already knows keeps the keys that were fetched; what else was found
    /// out is found out anew, since the plugins may be others.
    pub fn new(
        config: &IdentityConfig,
        surroundings: &Surroundings<'_>,
        previous: Option<&Self>,
    ) -> Result<Self, ConfigError> {
        let settings = Settings::check(config, surroundings.base_dir)?;
        let mut issuers = Vec::with_capacity(settings.issuers.len());
        for (index, issuer) in settings.issuers.iter().enumerate() {
            let path = format!("issuers[{index}]");
            let plugin = (surroundings.claims)(&issuer.claims).ok_or_else(|| ConfigError {
                path: format!("{path}.claims"),
                reason: format!("there is no claims plugin {:?} under `plugins`", issuer.claims),
            })?;
            let providers = previous.into_iter().flat_map(|previous| &previous.issuers);
            let providers = providers.map(|issuer| Arc::clone(&issuer.provider));
            issuers.push(Arc::new(Issuer::new(issuer, plugin, providers, &path)?));
        }
        let mut service_accounts = Vec::with_capacity(settings.service_accounts.len());
        for (index, config) in settings.service_accounts.into_iter().enumerate() {
            let reviewer = (surroundings.clusters)(&config.cluster).ok_or_else(|| ConfigError {
                path: format!("serviceAccounts[{index}].cluster"),
                reason: format!("there is no cluster {:?} under `clusters`", config.cluster),
            })?;
            service_accounts.push(ServiceAccounts { config, reviewer });
        }
        Ok(Self {
            public_url: settings.public_url,
            issuers,
            names: settings.names,
            static_tokens: StaticTokens::new(settings.tokens),
            basic_users: BasicUsers::new(settings.basic),
            service_accounts,
            principals: Principals::remembering(settings.session.outage + settings.session.refresh),
            session_settings: settings.session,
            records: Arc::clone(surroundings.records),
        })
    }

    /// How each issuer is doing.
    pub fn issuers(&self) -> Vec<IssuerStatus> {
        self.issuers.iter().map(|issuer| issuer.status()).collect()
    }

    /// When it is worth asking again, if that is known: an issuer that did not answer is left alone for a
    /// while.
    pub fn retry_after(&self, error: &AuthError) -> Option<Duration> {
        let AuthError::Unavailable {
            reason: Unavailable::Issuer { name, .. },
        } = error
        else {
            return None;
        };
        let issuer = { self.issuers.iter() }.find(|issuer| issuer.settings.name == *name)?;
        issuer.pause()
    }

    /// Where browsers reach the gateway, without a trailing slash.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("issuers", &self.issuers())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("base_dir", &self.base_dir)
            .finish_non_exhaustive()
    }
}
