//! Everything that one configuration says about who is let in.

use std::{fmt, path::Path, sync::Arc};

use witgate_plugins::Claims;
use witgate_state::State;

use crate::{
    basic::BasicUsers,
    cache::Principals,
    config::{ConfigError, IdentityConfig, Settings},
    issuer::{Issuer, IssuerStatus},
    login::Attempts,
    names::Names,
    session::Sessions,
    static_token::StaticTokens,
};

/// The spaces of the state that are used here.
const LOGINS: &str = "logins";
const SESSIONS: &str = "sessions";

/// Decides who is calling.
pub struct Identity {
    /// Without a trailing slash.
    pub(crate) public_url: String,
    pub(crate) issuers: Vec<Issuer>,
    pub(crate) names: Names,
    pub(crate) static_tokens: StaticTokens,
    pub(crate) basic_users: BasicUsers,
    pub(crate) principals: Principals,
    pub(crate) attempts: Arc<Attempts>,
    pub(crate) sessions: Sessions,
}

impl Identity {
    /// Checks the configuration and reads the files that it names, relative to `base_dir`. Nothing
    /// is asked of the network. `claims` finds a claims plugin by name. An issuer that `previous`
    /// already knows keeps the keys that were fetched; what else was found out is found out anew,
    /// since the plugins may be others.
    pub fn new(
        config: &IdentityConfig,
        base_dir: &Path,
        claims: &dyn Fn(&str) -> Option<Arc<dyn Claims>>,
        state: &dyn State,
        previous: Option<&Self>,
    ) -> Result<Self, ConfigError> {
        let settings = Settings::check(config, base_dir)?;
        let mut issuers = Vec::with_capacity(settings.issuers.len());
        for (index, issuer) in settings.issuers.iter().enumerate() {
            let path = format!("issuers[{index}]");
            let plugin = claims(&issuer.claims).ok_or_else(|| ConfigError {
                path: format!("{path}.claims"),
                reason: format!("there is no claims plugin {:?} under `plugins`", issuer.claims),
            })?;
            let providers = previous.into_iter().flat_map(|previous| &previous.issuers);
            let providers = providers.map(|issuer| Arc::clone(&issuer.provider));
            issuers.push(Issuer::new(issuer, plugin, providers, &path)?);
        }
        let space = |name: &str| {
            state.space(name).map_err(|error| ConfigError {
                path: "session".to_owned(),
                reason: format!("there is nowhere to keep sessions: {error}"),
            })
        };
        let attempts = match previous {
            Some(previous) => Arc::clone(&previous.attempts),
            None => Arc::new(Attempts::new(space(LOGINS)?)),
        };
        Ok(Self {
            public_url: settings.public_url,
            issuers,
            names: settings.names,
            static_tokens: StaticTokens::new(settings.tokens),
            basic_users: BasicUsers::new(settings.basic),
            principals: Principals::new(),
            attempts,
            sessions: Sessions::new(space(SESSIONS)?, settings.session_lifetime),
        })
    }

    /// How each issuer is doing.
    pub fn issuers(&self) -> Vec<IssuerStatus> {
        self.issuers.iter().map(Issuer::status).collect()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("issuers", &self.issuers())
            .finish_non_exhaustive()
    }
}
