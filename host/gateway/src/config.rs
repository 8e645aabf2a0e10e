//! The configuration file: what it may say, and reading it whole before anything starts.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::Deserialize;
use witgate_apiserver::ClusterConfig;
use witgate_identity::{IdentityConfig, Principal};
use witgate_plugins::PluginConfig;
use witgate_prometheus::PrometheusConfig;
use witgate_state::EtcdConfig;

use crate::{limits::LimitsConfig, origins::DashboardsConfig, recovery::RecoveryConfig};

/// Larger than any sensible configuration; a mistaken path to a disk image should not be read.
const MAX_BYTES: u64 = 4 << 20;

/// The configuration of a gateway. Relative paths are relative to the file's directory. A key that
/// is not listed here is an error.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "witgate configuration")]
pub(crate) struct Config {
    /// Where the gateway accepts connections.
    pub(crate) listeners: Vec<ListenerConfig>,
    /// Where the gateway keeps what outlives a request.
    pub(crate) state: StateConfig,
    /// The plugins, by the name under which other sections refer to them.
    #[serde(default)]
    pub(crate) plugins: BTreeMap<String, PluginConfig>,
    /// Who is let in.
    pub(crate) identity: IdentityConfig,
    /// The Kubernetes clusters behind the gateway, at `/clusters/<name>`.
    #[serde(default)]
    pub(crate) clusters: Vec<ClusterConfig>,
    /// The Prometheus remote endpoints. Without this section there are none.
    #[serde(default)]
    pub(crate) prometheus: Option<PrometheusConfig>,
    /// The control plane that the gateway can repair. Without this section there is none.
    #[serde(default)]
    pub(crate) recovery: Option<RecoveryConfig>,
    /// Accept InfluxDB's query parameters `u` and `p` on `/api/v1/prom/*` as basic credentials, for
    /// Prometheus configurations that have them in the URL. URLs end up in logs along the way, so
    /// prefer `basic_auth`. Default: false.
    #[serde(default)]
    pub(crate) url_credentials: bool,
    /// Who may see and end everybody's sessions. Nobody by default.
    #[serde(default)]
    pub(crate) admin: MembersConfig,
    /// Who may ask about tokens at `/webhooks/token-review`: the apiservers' own credentials here.
    /// Nobody by default.
    #[serde(default)]
    pub(crate) webhooks: MembersConfig,
    /// How often requests may come. No limits by default.
    #[serde(default)]
    pub(crate) limits: LimitsConfig,
    /// Web pages that may use the clusters with a browser's session. None by default.
    #[serde(default)]
    pub(crate) dashboards: DashboardsConfig,
    /// A PEM file with the authority of the certificate that clients see, for the kubeconfigs that
    /// are handed out. Leave it away if clients trust that certificate anyway.
    #[serde(default)]
    pub(crate) public_ca_file: Option<PathBuf>,
    /// Where audit lines go.
    #[serde(default)]
    pub(crate) audit: AuditConfig,
}

/// Users, and everybody in groups.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct MembersConfig {
    /// Names of users, as the claims plugin gives them.
    #[serde(default)]
    pub(crate) users: Vec<String>,
    /// Names of groups.
    #[serde(default)]
    pub(crate) groups: Vec<String>,
}

impl MembersConfig {
    pub(crate) fn has(&self, principal: &Principal) -> bool {
        principal.is_among(&self.users, &self.groups)
    }
}

/// One address on which the gateway accepts connections.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ListenerConfig {
    /// IP address and port: `0.0.0.0:8443`, `[::]:8443`.
    pub(crate) address: SocketAddr,
    /// What is served there.
    #[serde(default)]
    pub(crate) serves: Serves,
    /// The certificate to show. Without it the listener speaks plain HTTP, which is accepted on a
    /// loopback address only, unless `plaintext` says otherwise.
    #[serde(default)]
    pub(crate) tls: Option<TlsConfig>,
    /// Accept plain HTTP on an address that others can reach, because something in front of the
    /// gateway does TLS. Credentials then cross the network between the two unprotected.
    #[serde(default)]
    pub(crate) plaintext: bool,
}

/// What a listener serves.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Serves {
    /// Everything: the console, `/clusters/<name>`, the Prometheus endpoints, health.
    #[default]
    Gateway,
    /// One cluster at the root, for clients that can't do with a path in the server's address.
    Cluster(String),
    /// Health and the gateway's own metrics, without authentication. Not for the public.
    Admin,
}

/// The certificate of a listener.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TlsConfig {
    /// A PEM file with the certificate, followed by the intermediate ones.
    pub(crate) certificate_file: PathBuf,
    /// A PEM file with the certificate's key.
    pub(crate) key_file: PathBuf,
    /// A PEM file with authorities for client certificates. Clients may then show one: its common
    /// name is the user, its organizations are the groups, as Kubernetes reads them. A certificate
    /// can't be taken back before it expires but by `witgate revoke`.
    #[serde(default)]
    pub(crate) client_ca_file: Option<PathBuf>,
}

impl TlsConfig {
    /// The files that it is read from.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.certificate_file, &self.key_file]
            .into_iter()
            .chain(&self.client_ca_file)
    }
}

/// Where the gateway keeps what outlives a request: sessions, and what plugins store.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct StateConfig {
    /// A directory of the gateway's own. It is made if it isn't there; one process at a time can
    /// use it. With `etcd` it holds only what can be made anew.
    pub(crate) directory: PathBuf,
    /// An etcd which several gateways share: each of them then serves any request, and what is revoked at
    /// one is revoked at all. Without it the state is in the directory, and there is one gateway.
    #[serde(default)]
    pub(crate) etcd: Option<EtcdConfig>,
    /// A file with the key that seals refresh tokens: 32 random bytes (`head -c 32 /dev/urandom`). With
    /// `etcd` it has to be given, the same for all gateways. Default: `sealing.key` in the directory, made
    /// if it isn't there.
    #[serde(default)]
    pub(crate) sealing_key_file: Option<PathBuf>,
}

/// Where audit lines go: one JSON object for each decision.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AuditConfig {
    /// A file that lines are appended to. Without it they go to standard output.
    #[serde(default)]
    pub(crate) file: Option<PathBuf>,
}

/// A configuration that was read, and where from.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    /// The file.
    pub(crate) file: PathBuf,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file can't be read.
    #[error("{file}: can't be read: {reason}")]
    Unreadable { file: PathBuf, reason: std::io::Error },
    /// It is larger than a configuration can be.
    #[error("{file}: is over {} MiB, which is no configuration", MAX_BYTES >> 20)]
    TooLarge { file: PathBuf },
    /// It is not YAML, or not of the form that is described here.
    #[error("{file}: {reason}")]
    Malformed { file: PathBuf, reason: String },
    /// It says something that can't be.
    #[error("{file}: {path}: {reason}")]
    Invalid {
        file: PathBuf,
        path: String,
        reason: String,
    },
}

// === impl Loaded ===

impl Loaded {
    /// Reads and checks a configuration file. Other sections are checked further by the crates that
    /// they are for, when they are built.
    pub(crate) fn read(file: &Path) -> Result<Self, ConfigError> {
        let unreadable = |reason| ConfigError::Unreadable {
            file: file.to_owned(),
            reason,
        };
        let length = std::fs::metadata(file).map_err(unreadable)?.len();
        if length > MAX_BYTES {
            return Err(ConfigError::TooLarge {
                file: file.to_owned(),
            });
        }
        let text = std::fs::read_to_string(file).map_err(unreadable)?;
        let config = serde_saphyr::from_str::<Config>(&text).map_err(|error| ConfigError::Malformed {
            file: file.to_owned(),
            reason: error.to_string(),
        })?;
        let loaded = Self {
            config,
            file: file.to_owned(),
        };
        loaded.check()?;
        Ok(loaded)
    }

    /// The directory that relative paths are relative to.
    pub(crate) fn base(&self) -> &Path {
        match self.file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.config.listeners.is_empty() {
            return Err(self.invalid("listeners", "is empty: list at least one `address`"));
        }
        for (index, listener) in self.config.listeners.iter().enumerate() {
            self.check_listener(&format!("listeners[{index}]"), listener)?;
        }
        for (index, cluster) in self.config.clusters.iter().enumerate() {
            let same = |other: &ClusterConfig| other.name == cluster.name;
            if self.config.clusters.iter().take(index).any(same) {
                let reason = format!("the name {:?} is given to another cluster too", cluster.name);
                return Err(self.invalid(&format!("clusters[{index}].name"), &reason));
            }
        }
        Ok(())
    }

    fn check_listener(&self, path: &str, listener: &ListenerConfig) -> Result<(), ConfigError> {
        let plain = listener.tls.is_none() && !listener.plaintext;
        if plain && !listener.address.ip().is_loopback() {
            let reason = format!(
                "{} can be reached by others, and there is no `tls`: give it a certificate, or say \
                 `plaintext: true` if something in front of the gateway does TLS",
                listener.address
            );
            return Err(self.invalid(path, &reason));
        }
        if let Serves::Cluster(name) = &listener.serves
            && !self.config.clusters.iter().any(|cluster| cluster.name == *name)
        {
            let reason = format!("there is no cluster {name:?} under `clusters`");
            return Err(self.invalid(&format!("{path}.serves.cluster"), &reason));
        }
        Ok(())
    }

    fn invalid(&self, path: &str, reason: &str) -> ConfigError {
        ConfigError::Invalid {
            file: self.file.clone(),
            path: path.to_owned(),
            reason: reason.to_owned(),
        }
    }
}

/// The JSON Schema of the configuration file, for editors.
pub(crate) fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "listeners: [{address: '127.0.0.1:8443'}]\nstate: {directory: state}\n\
                           identity: {publicUrl: 'https://localhost:8443'}\n";

    fn read(text: &str) -> Result<Loaded, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("witgate.yaml");
        std::fs::write(&file, text).unwrap();
        Loaded::read(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn a_minimal_configuration_is_enough() {
        assert!(read(MINIMAL).unwrap().config.clusters.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let cases = [
            (MINIMAL.replace("state:", "stats:"), "stats"),
            (MINIMAL.replace("127.0.0.1:8443", "localhost"), "address"),
            (
                MINIMAL.replace("127.0.0.1:8443", "0.0.0.0:8443"),
                "listeners[0]: 0.0.0.0:8443 can be reached",
            ),
            (
                MINIMAL.replace("'}]", "', serves: {cluster: prod}}]"),
                "there is no cluster \"prod\"",
            ),
            (
                "listeners: []\nstate: {directory: state}\nidentity: {publicUrl: 'https://localhost'}".into(),
                "listeners: is empty",
            ),
            ("listeners: [".into(), "witgate.yaml"),
        ];
        for (text, expected) in cases {
            let error = read(&text).unwrap_err();
            assert!(error.contains(expected), "{expected:?} is not in: {error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Loaded::read(Path::new("/nowhere/witgate.yaml"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("/nowhere/witgate.yaml: can't be read"), "{error}");
    }
}
