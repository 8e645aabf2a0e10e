//! etcd: its members one by one, as maintenance and membership see them. Keys are not read or written.
//!
//! It is called by the JSON gateway that every member serves on its client URL
//! (`--enable-grpc-gateway`, on by default); the same client reads the members' metrics.

mod act;
mod call;
mod metrics;
mod snapshot;
mod survey;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use snapshot::Stream;
pub(crate) use survey::Depth;

/// How long a member may take to answer before it counts as silent from here. A member that is
/// defragmented or on a slow disk takes seconds; the look goes to all members at the same time.
const ANSWER: Duration = Duration::from_secs(5);

/// How etcd is reached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EtcdConfig {
    /// Client URLs of some members: `https://10.0.0.11:2379`. The others are found by asking.
    pub endpoints: Vec<String>,
    /// A file with the authority's certificate, PEM; kubeadm's is `/etc/kubernetes/pki/etcd/ca.crt`.
    /// Default: the system's authorities.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// A file with the gateway's client certificate, PEM. Goes with `keyFile`.
    #[serde(default)]
    pub certificate_file: Option<PathBuf>,
    /// A file with that certificate's key, PEM.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

/// etcd as a whole. A clone shares its connections.
#[derive(Clone)]
pub(crate) struct Etcd {
    endpoints: Vec<String>,
    http: reqwest::Client,
}

/// Why something was not got from etcd, or not done by it.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// A file of the configuration.
    #[error("{file} can't be used: {reason}")]
    File {
        /// Which.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What the configuration says does not go together.
    #[error("etcd: {0}")]
    Config(&'static str),
    /// A member, or the way to it.
    #[error("{endpoint}: {reason}")]
    Call {
        /// Which one was called.
        endpoint: String,
        /// What it said.
        reason: String,
    },
    /// Nobody could do it.
    #[error("{0}")]
    Nobody(String),
}

impl Etcd {
    /// Reads the files that the configuration names. Nothing is called.
    pub(crate) async fn open(config: &EtcdConfig) -> Result<Self, EtcdError> {
        if config.endpoints.is_empty() {
            return Err(EtcdError::Config(
                "endpoints: name at least one member's client URL",
            ));
        }
        let mut http = reqwest::Client::builder()
            .connect_timeout(ANSWER)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(file) = &config.ca_file {
            let authorities = reqwest::Certificate::from_pem_bundle(&read(file).await?).map_err(bad(file))?;
            http = http.tls_certs_only(authorities);
        }
        match (&config.certificate_file, &config.key_file) {
            (Some(certificate), Some(key)) => {
                let mut pem = read(certificate).await?;
                pem.extend_from_slice(&read(key).await?);
                http = http.identity(reqwest::Identity::from_pem(&pem).map_err(bad(certificate))?);
            }
            (None, None) => {}
            _ => {
                return Err(EtcdError::Config(
                    "certificateFile and keyFile go together: give both or neither",
                ));
            }
        }
        let http = http
            .build()
            .map_err(|error| EtcdError::Nobody(call::causes(&error)))?;
        Ok(Self {
            endpoints: config.endpoints.clone(),
            http,
        })
    }
}

async fn read(file: &Path) -> Result<Vec<u8>, EtcdError> {
    tokio::fs::read(file).await.map_err(bad(file))
}

fn bad<E: std::fmt::Display>(file: &Path) -> impl Fn(E) -> EtcdError {
    let file = file.display().to_string();
    move |error| EtcdError::File {
        file: file.clone(),
        reason: error.to_string(),
    }
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Etcd")
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}
