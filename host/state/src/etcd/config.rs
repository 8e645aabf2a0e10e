//! How etcd is reached, as the operator writes it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use schemars::JsonSchema;
use serde::Deserialize;

/// How long one call may take, an election of etcd's included.
const CALL: Duration = Duration::from_secs(10);

const CONNECT: Duration = Duration::from_secs(3);

/// How often a connection is asked whether it still is one, and how long that may take: a watch on a
/// connection that silently is none hears of no revocation.
const ALIVE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3));

/// How etcd is reached, and where in it the state is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EtcdConfig {
    /// Client URLs of its members: `https://10.0.0.11:2379`. Name all, so that one may be away.
    pub endpoints: Vec<String>,
    /// What all keys begin with. Gateways with the same prefix are replicas of one. Default: `/witgate`.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// A file with the authority of the members' certificates, PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// A file with the gateway's client certificate, PEM. Goes with `keyFile`.
    #[serde(default)]
    pub certificate_file: Option<PathBuf>,
    /// A file with that certificate's key, PEM.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// The user, if etcd asks for one. Goes with `passwordFile`.
    #[serde(default)]
    pub username: Option<String>,
    /// A file with the user's password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

fn prefix() -> String {
    "/witgate".to_owned()
}

impl EtcdConfig {
    /// With its relative paths relative to a directory.
    #[must_use]
    pub fn relative_to(&self, base: &Path) -> Self {
        let from = |file: &Option<PathBuf>| file.as_ref().map(|file| base.join(file));
        Self {
            ca_file: from(&self.ca_file),
            certificate_file: from(&self.certificate_file),
            key_file: from(&self.key_file),
            password_file: from(&self.password_file),
            ..self.clone()
        }
    }

    pub(super) fn place(&self) -> String {
        format!("etcd at {} under {}", self.endpoints.join(", "), self.prefix)
    }

    pub(super) async fn connect(&self) -> Result<Client, String> {
        if self.endpoints.is_empty() {
            return Err("endpoints: name at least one member's client URL".to_owned());
        }
        let mut options = ConnectOptions::new()
            .with_timeout(CALL)
            .with_connect_timeout(CONNECT)
            .with_keep_alive(ALIVE.0, ALIVE.1)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if self
            .endpoints
            .iter()
            .any(|endpoint| endpoint.starts_with("https://"))
        {
            options = options.with_tls(self.tls().await?);
        }
        match (&self.username, &self.password_file) {
            (Some(name), Some(file)) => {
                let password = String::from_utf8(read(file).await?);
                let password = password.map_err(|_| format!("{} is no text", file.display()))?;
                options = options.with_user(name, password.trim_end_matches(['\r', '\n']));
            }
            (None, None) => {}
            _ => return Err("username and passwordFile go together: give both or neither".to_owned()),
        }
        let client = Client::connect(&self.endpoints, Some(options)).await;
        client.map_err(|error| error.to_string())
    }

    async fn tls(&self) -> Result<TlsOptions, String> {
        let mut tls = TlsOptions::new();
        if let Some(file) = &self.ca_file {
            tls = tls.ca_certificate(Certificate::from_pem(read(file).await?));
        }
        match (&self.certificate_file, &self.key_file) {
            (Some(certificate), Some(key)) => {
                tls = tls.identity(Identity::from_pem(read(certificate).await?, read(key).await?));
            }
            (None, None) => {}
            _ => {
                return Err("certificateFile and keyFile go together: give both or neither".to_owned());
            }
        }
        Ok(tls)
    }
}

async fn read(file: &Path) -> Result<Vec<u8>, String> {
    let bytes = tokio::fs::read(file).await;
    bytes.map_err(|error| format!("{} can't be read: {error}", file.display()))
}
