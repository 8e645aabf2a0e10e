//! A control plane as the operator writes it, and how it is opened.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use kube::config::{KubeConfigOptions, Kubeconfig};
use schemars::JsonSchema;
use serde::Deserialize;
use witgate_state::State;

use crate::{
    control_plane::ControlPlane,
    etcd::{Etcd, EtcdConfig, EtcdError},
    executor::Clock,
    join::{self, Safe},
    kubernetes::Kube,
    policy::Policy,
    silence::Silence,
    snapshots::{SnapshotConfig, Snapshots},
};

/// A control plane that can be recovered.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ControlPlaneConfig {
    /// A kubeconfig with which the control plane's objects can be read and changed. Its authority is
    /// what `kube-public/cluster-info` is compared with before a node is let in. Without it only etcd is
    /// seen and repaired.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// How etcd is reached.
    pub etcd: EtcdConfig,
    /// Where its snapshots are kept.
    pub snapshots: SnapshotConfig,
    /// Thresholds, and who has to agree.
    #[serde(default)]
    pub policy: Policy,
}

/// Why a control plane can't be opened. That it does not answer is no reason.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kubeconfig.
    #[error("{file}: {reason}")]
    Kubeconfig {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// etcd's files.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// The state.
    #[error(transparent)]
    State(#[from] witgate_state::Error),
}

impl ControlPlaneConfig {
    /// With its relative paths relative to a directory.
    #[must_use]
    pub fn relative_to(&self, base: &Path) -> Self {
        let from = |file: &Option<PathBuf>| file.as_ref().map(|file| base.join(file));
        Self {
            kubeconfig: from(&self.kubeconfig),
            etcd: EtcdConfig {
                endpoints: self.etcd.endpoints.clone(),
                ca_file: from(&self.etcd.ca_file),
                certificate_file: from(&self.etcd.certificate_file),
                key_file: from(&self.etcd.key_file),
            },
            snapshots: SnapshotConfig {
                directory: base.join(&self.snapshots.directory),
                etcdutl: from(&self.snapshots.etcdutl),
                ..self.snapshots.clone()
            },
            policy: self.policy.clone(),
        }
    }

    /// The files that are read when it is opened.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let EtcdConfig {
            ca_file,
            certificate_file,
            key_file,
            ..
        } = &self.etcd;
        let files = [&self.kubeconfig, ca_file, certificate_file, key_file];
        files.into_iter().flatten()
    }
}

impl ControlPlane {
    /// Opens what the configuration names. Nothing is called, and nothing is written.
    pub async fn open(
        config: &ControlPlaneConfig,
        state: &dyn State,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let (kube, authorities) = match &config.kubeconfig {
            Some(file) => {
                let (client, authorities) = client(file).await?;
                (Some(Kube::new(client)), authorities)
            }
            None => (None, Vec::new()),
        };
        Ok(Self {
            etcd: Etcd::open(&config.etcd).await?,
            kube,
            authorities: authorities.into(),
            admission: None,
            safe: Safe::open(state)?,
            snapshots: Snapshots::new(config.snapshots.clone()),
            silence: Silence::open(state).await?,
            clock,
            policy: config.policy.clone(),
        })
    }
}

/// A client by a kubeconfig, and the hashes of the authorities that it trusts.
async fn client(file: &Path) -> Result<(kube::Client, Vec<String>), OpenError> {
    let wrong = |reason: &dyn std::fmt::Display| OpenError::Kubeconfig {
        file: file.display().to_string(),
        reason: reason.to_string(),
    };
    let kubeconfig = Kubeconfig::read_from(file).map_err(|error| wrong(&error))?;
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let config = config.map_err(|error| wrong(&error))?;
    let authorities = config.root_cert.iter().flatten();
    let authorities = authorities
        .map(|der| join::key_hash(der))
        .collect::<Result<_, _>>();
    let authorities = authorities.map_err(|error| wrong(&error))?;
    let client = kube::Client::try_from(config).map_err(|error| wrong(&error))?;
    Ok((client, authorities))
}
