//! Everything that is built from one configuration, and is replaced as a whole by the next one.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use witgate_apiserver::Cluster;
use witgate_identity::{Identity, Records, Surroundings, TokenReviewer};
use witgate_plugins::{Plugins, Runtime};
use witgate_prometheus::{Foundations, Remote};
use witgate_state::{Space, State};

use crate::{
    config::{Config, Loaded},
    limits::Limits,
    recovery::Recovery,
};

/// What outlives a configuration.
#[derive(Debug)]
pub(crate) struct Foundation {
    pub(crate) runtime: Runtime,
    pub(crate) records: Arc<Records>,
    /// Where plans of recovery are journalled.
    pub(crate) state: Arc<dyn State>,
    /// Which replicas of which Prometheus are stored.
    pub(crate) replicas: Arc<dyn Space>,
}

/// One configuration in service. Requests hold on to the one they began with.
#[derive(Debug)]
pub(crate) struct Wiring {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) clusters: BTreeMap<String, Arc<Cluster>>,
    pub(crate) remote: Option<Remote>,
    pub(crate) recovery: Option<Recovery>,
    pub(crate) plugins: Plugins,
    pub(crate) limits: Limits,
    /// The content of `publicCaFile`.
    pub(crate) public_authority: Option<String>,
}

/// Why a configuration can't be put in service.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WiringError {
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    #[error(transparent)]
    Certificate(#[from] crate::listener::ListenError),
    #[error("{file}: plugins: {reason}")]
    Plugins {
        file: PathBuf,
        reason: witgate_plugins::LoadErrors,
    },
    #[error("{file}: identity: {reason}")]
    Identity {
        file: PathBuf,
        reason: witgate_identity::ConfigError,
    },
    #[error("{file}: clusters: {reason}")]
    Clusters {
        file: PathBuf,
        reason: witgate_apiserver::ConnectError,
    },
    #[error("{file}: publicCaFile: {name}: can't be read: {reason}")]
    File {
        file: PathBuf,
        name: PathBuf,
        reason: std::io::Error,
    },
    #[error("{file}: recovery: {reason}")]
    Recovery {
        file: PathBuf,
        reason: crate::recovery::RecoveryConfigError,
    },
    #[error("{file}: prometheus: {reason}")]
    Prometheus {
        file: PathBuf,
        reason: witgate_prometheus::ConfigError,
    },
}

impl Wiring {
    /// Builds what a configuration describes. Plugins and issuers that are described as before are
    /// taken over from `previous`, with their instances and keys. Does not wait for anything on the
    /// network but what the plugins' checks need.
    pub(crate) async fn build(
        loaded: &Loaded,
        foundation: &Foundation,
        previous: Option<&Self>,
    ) -> Result<Self, WiringError> {
        let file = || loaded.file.clone();
        let config = loaded.config.clone();
        let plugins = Plugins::load(
            &foundation.runtime,
            &config.plugins,
            loaded.base(),
            previous.map(|wiring| &wiring.plugins),
        )
        .await
        .map_err(|reason| WiringError::Plugins { file: file(), reason })?;

        let mut clusters: BTreeMap<String, Arc<Cluster>> = BTreeMap::new();
        for cluster in &config.clusters {
            let connected = Cluster::connect(cluster, loaded.base())
                .await
                .map_err(|reason| WiringError::Clusters { file: file(), reason })?;
            clusters.insert(cluster.name.clone(), Arc::new(connected));
        }

        let identity = Identity::new(
            &config.identity,
            &Surroundings {
                base_dir: loaded.base(),
                claims: &|name| plugins.claims(name),
                clusters: &|name| {
                    let cluster = clusters.get(name)?;
                    Some(Arc::clone(cluster) as Arc<dyn TokenReviewer>)
                },
                records: &foundation.records,
            },
            previous.map(|wiring| &wiring.identity),
        )
        .map_err(|reason| WiringError::Identity { file: file(), reason })?;

        let remote = config
            .prometheus
            .as_ref()
            .map(|prometheus| {
                let foundations = Foundations {
                    storage: &|name| plugins.storage(name),
                    replicas: &foundation.replicas,
                };
                let before = previous.and_then(|wiring| wiring.remote.as_ref());
                Remote::new(prometheus, foundations, before)
            })
            .transpose()
            .map_err(|reason| WiringError::Prometheus { file: file(), reason })?;

        let recovery = match &config.recovery {
            None => None,
            Some(section) => {
                let state = &*foundation.state;
                let built = Recovery::new(section, loaded.base(), &plugins, state).await;
                Some(built.map_err(|reason| WiringError::Recovery { file: file(), reason })?)
            }
        };

        let public_authority = match &config.public_ca_file {
            None => None,
            Some(name) => {
                let read = std::fs::read_to_string(loaded.base().join(name));
                Some(read.map_err(|reason| WiringError::File {
                    file: file(),
                    name: name.clone(),
                    reason,
                })?)
            }
        };
        Ok(Self {
            limits: Limits::new(&config.limits),
            public_authority,
            config,
            identity,
            clusters,
            remote,
            recovery,
            plugins,
        })
    }

    /// The files whose change means that this wiring is out of date: components, credentials,
    /// authorities. Relative ones are relative to `base`.
    pub(crate) fn files(&self, base: &Path) -> Vec<PathBuf> {
        let plugins = self.plugins.files().map(ToOwned::to_owned);
        let clusters = self.clusters.values().flat_map(|cluster| cluster.files());
        let issuers = { self.config.identity.issuers.iter() }
            .flat_map(|issuer| issuer.client_secret_file.iter().chain(&issuer.ca_file));
        let named = issuers
            .chain(&self.config.public_ca_file)
            .map(|file| base.join(file));
        let recovery = self.recovery.iter().flat_map(Recovery::files);
        let own = clusters.chain(recovery).cloned();
        plugins.chain(own).chain(named).collect()
    }

    /// Begins what goes on while this wiring is in service.
    pub(crate) fn begin(&self) {
        if let Some(recovery) = &self.recovery {
            recovery.attend();
        }
    }
}

/// The wiring in service, for those who serve with it.
pub(crate) type Live = Arc<arc_swap::ArcSwap<Wiring>>;
