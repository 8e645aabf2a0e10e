//! What the configuration says of the remote endpoints.

use std::{collections::BTreeMap, num::NonZeroU32};

use schemars::JsonSchema;
use serde::Deserialize;
use witgate_plugins::Size;

/// The Prometheus remote endpoints.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrometheusConfig {
    /// Whose samples go where. The order matters: a caller gets the first tenant that grants it.
    pub tenants: Vec<TenantConfig>,
    /// A label that keeps the tenants' series apart, whatever the backend does: each series that is
    /// written gets it with the tenant's name, and nothing else is read. A tenant neither sees nor sets
    /// it; a series that comes with another value is refused. None by default: then the storage plugin
    /// alone keeps tenants apart.
    #[serde(default)]
    pub tenant_label: Option<String>,
    /// Bounds on what is accepted.
    #[serde(default)]
    pub limits: Limits,
}

/// A tenant: some callers, and the storage that their samples are in.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantConfig {
    /// Its name. Storage plugins keep tenants apart by it, so renaming one hides its samples.
    pub name: String,
    /// The storage plugin, by its name under `plugins`.
    pub storage: String,
    /// For the storage plugin: `db` and `rp` for InfluxDB, for instance. On InfluxDB's paths a `db`
    /// in the URL selects, among the tenants that the caller may use, the one with that `db`.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// Who may write. Nobody by default.
    #[serde(default)]
    pub write: Callers,
    /// Who may read. Nobody by default.
    #[serde(default)]
    pub read: Callers,
    /// Its own bounds, where they are others than everybody's.
    #[serde(default)]
    pub limits: TenantLimits,
}

/// Bounds of one tenant.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantLimits {
    /// Samples, histograms and exemplars in a second. What is more is told to come again (429), and
    /// the sender keeps it. Unlimited by default.
    pub samples_per_second: Option<NonZeroU32>,
    /// How many of them may come at once. Default: ten seconds' worth.
    pub burst: Option<NonZeroU32>,
    /// Labels of one series.
    pub labels: Option<usize>,
    /// Bytes of a label's name or value.
    pub label: Option<Size>,
    /// Samples of the answer to one read.
    pub read_samples: Option<usize>,
}

impl TenantLimits {
    /// These, and everybody's where they don't say.
    pub(crate) fn over(&self, all: &Limits) -> Limits {
        Limits {
            labels: self.labels.unwrap_or(all.labels),
            label: self.label.unwrap_or(all.label),
            read_samples: self.read_samples.unwrap_or(all.read_samples),
            ..all.clone()
        }
    }
}

/// Some callers, by name or by group.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Callers {
    /// Users.
    #[serde(default)]
    pub users: Vec<String>,
    /// Groups, of which one is enough.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// Bounds on what is accepted.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// A request's body as it comes. Default: `16MiB`; Prometheus sends some 100 KiB.
    pub body: Size,
    /// A request's body decompressed. Default: `32MiB`, as Prometheus' own receiver has it.
    pub decoded: Size,
    /// Labels of one series. Default: 128.
    pub labels: usize,
    /// Bytes of a label's name or value. Default: `16KiB`.
    pub label: Size,
    /// Samples of the answer to one read. Default: 5,000,000.
    pub read_samples: usize,
    /// What the answer to one read may take in memory, compressed as it is. Default: `256MiB`.
    pub read_memory: Size,
    /// Reads at the same time; more are told to come again. Default: 10, as in Prometheus.
    pub concurrent_reads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: Size(16 << 20),
            decoded: Size(32 << 20),
            labels: 128,
            label: Size(16 << 10),
            read_samples: 5_000_000,
            read_memory: Size(256 << 20),
            concurrent_reads: 10,
        }
    }
}

/// Why the section can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Two tenants have one name.
    #[error("tenants[{0}].name: {1:?} is the name of another tenant too")]
    SameName(usize, String),
    /// A label that can't be one.
    #[error("tenantLabel: {0:?} can't be the label of tenants: give a name as in `tenant`")]
    TenantLabel(String),
    /// There is no such plugin.
    #[error("tenants[{0}].storage: there is no storage plugin {1:?} under `plugins`")]
    NoStorage(usize, String),
}
