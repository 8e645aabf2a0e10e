//! Everything that is built from one configuration, and is replaced as a whole by the next one.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use witgate_apiserver::Cluster;
use witgate_identity::Identity;
use witgate_plugins::{Plugins, Runtime};
use witgate_prometheus::Remote;
use witgate_state::Embedded;

use crate::config::{Config, Loaded};

/// What outlives a configuration.
#[derive(Debug)]
pub(crate) struct Foundation {
    pub(crate) state: Embedded,
    pub(crate) runtime: Runtime,
}

/// One configuration in service. Requests hold on to the one they began with.
#[derive(Debug)]
pub(crate) struct Wiring {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) clusters: BTreeMap<String, Cluster>,
    pub(crate) remote: Option<Remote>,
    pub(crate) plugins: Plugins,
}

/// Why a configuration can't be put in service.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WiringError {
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
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

        let identity = Identity::new(
            &config.identity,
            loaded.base(),
            &|name| plugins.claims(name),
            &foundation.state,
            previous.map(|wiring| &wiring.identity),
        )
        .map_err(|reason| WiringError::Identity { file: file(), reason })?;

        let mut clusters = BTreeMap::new();
        for cluster in &config.clusters {
            let connected = Cluster::connect(cluster, loaded.base())
                .await
                .map_err(|reason| WiringError::Clusters { file: file(), reason })?;
            clusters.insert(cluster.name.clone(), connected);
        }

        let remote = config
            .prometheus
            .as_ref()
            .map(|prometheus| Remote::new(prometheus, &|name| plugins.storage(name)))
            .transpose()
            .map_err(|reason| WiringError::Prometheus { file: file(), reason })?;

        Ok(Self {
            config,
            identity,
            clusters,
            remote,
            plugins,
        })
    }

    /// The files whose change means that this wiring is out of date.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.plugins.files().map(ToOwned::to_owned).collect()
    }
}

/// The wiring in service, for those who serve with it.
pub(crate) type Live = Arc<arc_swap::ArcSwap<Wiring>>;
