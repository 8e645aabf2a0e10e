//! What the operator says about a plugin: its file, its own configuration, grants and limits.

mod grants;
mod limits;
mod size;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use grants::{Addresses, Basic, Grants, HttpGrant, KeyValueGrant, KubernetesGrant, SecretGrant};
pub(crate) use limits::{Bounds, MAX_INSTANCES, MAX_MEMORY};
pub use limits::{LimitError, Limits};
pub use size::Size;

/// One plugin of the configuration, under `plugins.<name>`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PluginConfig {
    /// What it does: `claims`, `storage` or `recovery`.
    pub kind: Kind,
    /// The component, relative to the configuration's folder.
    pub file: PathBuf,
    /// The SHA-256 digest that the file must have, in hexadecimal. Without it, any file is taken.
    #[serde(default)]
    pub sha256: Option<String>,
    /// The plugin's own configuration, handed to it as JSON. What is in it is the plugin's matter.
    #[serde(default)]
    pub config: serde_json::Map<String, serde_json::Value>,
    /// What it may reach outside its own memory. Nothing by default.
    #[serde(default)]
    pub grants: Grants,
    /// How much it may use.
    #[serde(default)]
    pub limits: Limits,
}

/// What a plugin does, which is the contract that it has to export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Names the user behind a verified token (`witgate:claims`).
    Claims,
    /// Stores and finds samples (`witgate:storage`).
    Storage,
    /// Finds out what is wrong with a control plane, and proposes repairs (`witgate:recovery`).
    Recovery,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Claims => "claims",
            Self::Storage => "storage",
            Self::Recovery => "recovery",
        })
    }
}
