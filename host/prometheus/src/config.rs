//! What the configuration says of the remote endpoints.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;
use witgate_plugins::Size;

use crate::{
    caller::PatternError,
    name::NameError,
    relabel::{RelabelConfig, RelabelError},
};

/// The Prometheus remote endpoints.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrometheusConfig {
    /// Whose samples go where. The order matters: a caller gets the first tenant that grants it, or,
    /// among those that do, the one that the header `X-Scope-OrgID` of the request names.
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
    /// Its name: up to 64 letters, digits, `-`, `_` and `.`, with a letter or digit in front. Storage
    /// plugins keep tenants apart by it, so renaming one hides its samples.
    ///
    /// With `{tenant}` in it (`{tenant}`, `team-{tenant}`) this is many tenants, each of which comes to
    /// be when its first caller does. All users, groups, clients and extra values of `write` and `read`
    /// then have `{tenant}` too, which is where the name comes from: with the group
    /// `metrics:{tenant}:write` under `write.groups`, members of `metrics:red:write` write for `red`.
    /// A name of another tenant here is never found in that way, nor one of another form.
    pub name: String,
    /// The storage plugin, by its name under `plugins`. Either this or `storages`.
    #[serde(default)]
    pub storage: Option<String>,
    /// Several storage plugins, each of which gets all samples. A write is acknowledged once every one
    /// has acknowledged it that is not `bestEffort`; if one of those can't, the sender is told to come
    /// again and sends all of it to all of them, which storage plugins take without storing it twice.
    /// What one of them holds no kind of, native histograms for instance, is refused for all.
    #[serde(default)]
    pub storages: Vec<TenantStorageConfig>,
    /// For the storage plugin: `db` and `rp` for InfluxDB, for instance. On InfluxDB's paths a `db`
    /// in the URL selects, among the tenants that the caller may use, the one with that `db`. Where the
    /// name has `{tenant}`, a value may too, and it stands for the same.
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
    /// Pairs of Prometheus servers that scrape the same: of each cluster one replica's series are stored.
    /// None by default.
    #[serde(default)]
    pub replicas: Option<ReplicasConfig>,
    /// What series go through before they get the tenant's label: rules as under Prometheus'
    /// `write_relabel_configs`, in the same words and with the same meaning. What they drop is counted,
    /// and is no fault of the sender's.
    #[serde(default)]
    pub relabel: Vec<RelabelConfig>,
}

/// One of several storage plugins of a tenant.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantStorageConfig {
    /// Its name under `plugins`.
    pub plugin: String,
    /// For this plugin, over the tenant's `attributes`.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// Whether samples may be missing here: a write succeeds without it, and does not wait for it for
    /// more than a second. One that fails is left out for ten seconds. Default: false.
    #[serde(default)]
    pub best_effort: bool,
    /// Whether it is the one that is read from. Default: the first that is not `bestEffort`.
    #[serde(default)]
    pub read: bool,
}

/// Which labels say that series are of one of several replicas of a Prometheus. Series without both are
/// stored as they are.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ReplicasConfig {
    /// The label with the name of what the replicas scrape. Default: `cluster`.
    pub cluster_label: String,
    /// The label in which they differ, which is removed. Default: `__replica__`.
    pub replica_label: String,
    /// How long the replica whose series are stored may be silent before another one's are: `30s` by
    /// default. More than the interval at which they send.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub failover: Duration,
    /// Clusters that are known at the same time. Series of more are refused. Default: 100.
    pub clusters: usize,
}

impl Default for ReplicasConfig {
    fn default() -> Self {
        Self {
            cluster_label: "cluster".to_owned(),
            replica_label: "__replica__".to_owned(),
            failover: Duration::from_secs(30),
            clusters: 100,
        }
    }
}

/// Bounds of one tenant.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TenantLimits {
    /// Samples, histograms and exemplars in a second. What is more is told to come again (429 with
    /// `Retry-After`), which a Prometheus does with `retry_on_http_429: true` in its `queue_config`, and
    /// else drops it. Unlimited by default.
    pub samples_per_second: Option<NonZeroU32>,
    /// How many of them may come at once. Default: ten seconds' worth.
    pub burst: Option<NonZeroU32>,
    /// Series that may be active: written within `seriesWindow`. A new one beyond is refused (400), so
    /// that the others of its request are stored and the sender does not come again with it for ever,
    /// which would hold up all that it has. A restart begins anew. Unlimited by default.
    pub series: Option<usize>,
    /// How long a series is active after it was last written. Default: `1h`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Option<String>")]
    pub series_window: Option<Duration>,
    /// A request's body as it comes.
    pub body: Option<Size>,
    /// A request's body decompressed.
    pub decoded: Option<Size>,
    /// Its reads at the same time, of those that everybody may have together.
    pub concurrent_reads: Option<usize>,
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
            body: self.body.unwrap_or(all.body),
            decoded: self.decoded.unwrap_or(all.decoded),
            labels: self.labels.unwrap_or(all.labels),
            label: self.label.unwrap_or(all.label),
            read_samples: self.read_samples.unwrap_or(all.read_samples),
            ..all.clone()
        }
    }
}

/// Some callers. To be known by one of these is enough.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Callers {
    /// Users.
    #[serde(default)]
    pub users: Vec<String>,
    /// Groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// OAuth clients: what an id_token says that it was issued to (`azp`, else its only audience).
    #[serde(default)]
    pub clients: Vec<String>,
    /// Values of what the claims plugin, or a cluster of its service accounts, says of a user beside
    /// groups, by key.
    #[serde(default)]
    pub extra: BTreeMap<String, Vec<String>>,
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
    /// Tenants in service at the same time that come from one entry with `{tenant}`. More are told to
    /// come again, until one was not there for an hour. Default: 10,000.
    pub tenants: usize,
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
            tenants: 10_000,
        }
    }
}

/// Why the section can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Two tenants have one name.
    #[error("tenants[{0}].name: {1:?} is the name of another tenant too")]
    SameName(usize, String),
    /// Two tenants that may come to one name.
    #[error(
        "tenants[{0}].name: {1:?} and {2:?}, which is another tenant's, may both be the name of one tenant: \
         give them different beginnings or ends"
    )]
    NamesMeet(usize, String, String),
    /// A name that can't be one.
    #[error("tenants[{0}].name: {1:?}: {2}")]
    Name(usize, String, NameError),
    /// Callers that can't be found.
    #[error("tenants[{0}].{1}: {2}")]
    Callers(usize, String, PatternError),
    /// A label that can't be one.
    #[error("tenantLabel: {0:?} can't be the label of tenants: give a name as in `tenant`")]
    TenantLabel(String),
    /// There is no such plugin.
    #[error("tenants[{0}].{1}: there is no storage plugin {2:?} under `plugins`")]
    NoStorage(usize, String, String),
    /// Storages that can't be together.
    #[error("tenants[{0}]: {1}")]
    Storages(usize, &'static str),
    /// A rule that can't be one.
    #[error("tenants[{0}].relabel[{1}].{2}")]
    Relabel(usize, usize, RelabelError),
    /// Labels of replicas that can't be.
    #[error("tenants[{0}].replicas: {1}")]
    Replicas(usize, &'static str),
}
