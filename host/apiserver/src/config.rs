//! What the configuration says of a cluster.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

/// One cluster behind the gateway. Exactly one of `kubeconfig` and `inCluster`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterConfig {
    /// Its name, in `/clusters/<name>`: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// A kubeconfig file with the gateway's own credential for the cluster. RBAC has to allow it to
    /// `impersonate` users, groups, uids and user extras.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig. Default: its current one.
    #[serde(default)]
    pub context: Option<String>,
    /// How the apiserver learns who asks. Default: `impersonate`.
    #[serde(default)]
    pub mode: Mode,
    /// Use the service account of the pod that the gateway runs in. Default: false.
    #[serde(default)]
    pub in_cluster: bool,
}

/// How an apiserver learns who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// The gateway says so, with a credential of its own that may impersonate.
    #[default]
    Impersonate,
    /// From the caller's own id_token, which is handed on: the apiserver is set up for the same issuer
    /// (`--oidc-*`), or asks the gateway (`--authentication-token-webhook-config-file`). The gateway
    /// verifies it all the same, and its revocations hold. Its own credential is not used.
    Passthrough,
}

/// Why a cluster can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The section says something that can't be.
    #[error("{name:?}: {reason}")]
    Config {
        /// The cluster's name.
        name: String,
        /// What is wrong and what it should be.
        reason: String,
    },
    /// The credential can't be used.
    #[error("{name}: {place}: {reason}")]
    Credential {
        /// The cluster's name.
        name: String,
        /// Where it should come from.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ClusterConfig {
    /// Refuses what can't be.
    pub(crate) fn check(&self) -> Result<(), ConnectError> {
        let refuse = |reason: &str| {
            Err(ConnectError::Config {
                name: self.name.clone(),
                reason: reason.to_owned(),
            })
        };
        let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.name.is_empty() || !self.name.chars().all(in_name) || self.name.starts_with('.') {
            return refuse(
                "a name is made of letters, digits, `-`, `_` and `.`, and does not begin with `.`",
            );
        }
        match (&self.kubeconfig, self.in_cluster) {
            (None, false) => refuse("give it a `kubeconfig`, or say `inCluster: true`"),
            (Some(_), true) => refuse("`kubeconfig` and `inCluster` exclude each other"),
            (None, true) if self.context.is_some() => refuse("`context` goes with `kubeconfig`"),
            _ => Ok(()),
        }
    }
}
