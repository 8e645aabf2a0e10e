//! Defines etcd without TLS: one member, or several in one cluster.

use std::path::PathBuf;

use futures::future::try_join_all;
use tempfile::TempDir;

use crate::{
    component::Component,
    error::Error,
    port::Port,
    process::Launch,
    service::{Readiness, Service, lifecycle},
};

/// A running member of etcd.
#[derive(Debug)]
pub struct Etcd {
    service: Service,
    client: Port,
    _peer: Port,
    dir: TempDir,
}

impl Etcd {
    /// Starts an empty etcd of one member.
    ///
    /// # Errors
    /// If etcd is missing or does not become healthy.
    pub async fn start() -> Result<Self, Error> {
        let (client, peer) = (Port::free()?, Port::free()?);
        let founders = format!("lab=http://{}", peer.address());
        Self::found("lab".to_owned(), client, peer, &founders, None).await
    }

    /// Starts an empty cluster of so many members, `etcd-1`, `etcd-2` and so on, whose databases may
    /// take `quota` bytes each.
    ///
    /// # Errors
    /// If etcd is missing or does not become healthy.
    pub async fn cluster(members: usize, quota: Option<u64>) -> Result<Vec<Self>, Error> {
        let mut founding = Vec::new();
        for number in 1..=members {
            founding.push((format!("etcd-{number}"), Port::free()?, Port::free()?));
        }
        let founders: Vec<_> = founding
            .iter()
            .map(|(name, _, peer)| format!("{name}=http://{}", peer.address()))
            .collect();
        let founders = founders.join(",");
        // None is healthy before there is a quorum.
        let started = founding
            .into_iter()
            .map(|(name, client, peer)| Self::found(name, client, peer, &founders, quota));
        try_join_all(started).await
    }

    async fn found(
        name: String,
        client: Port,
        peer: Port,
        founders: &str,
        quota: Option<u64>,
    ) -> Result<Self, Error> {
        let dir = tempfile::tempdir().map_err(Error::io("a directory for etcd"))?;
        let client_url = format!("http://{}", client.address());
        let peer_url = format!("http://{}", peer.address());
        let launch = Launch::new("etcd", Component::Etcd.find("etcd")?, dir.path())
            .flag("name", name)
            .flag("data-dir", dir.path().join("data"))
            .flag("listen-client-urls", &client_url)
            .flag("advertise-client-urls", &client_url)
            .flag("listen-peer-urls", &peer_url)
            .flag("initial-advertise-peer-urls", &peer_url)
            .flag("initial-cluster", founders)
            .args(quota.map(|bytes| format!("--quota-backend-bytes={bytes}")))
            // Outlives a kill of etcd, though not of the machine, and spares slow disks.
            .arg("--unsafe-no-fsync")
            .flag("log-level", "warn");
        let service = Service::start(launch, Readiness::http(format!("{client_url}/health"))).await?;
        Ok(Self {
            service,
            client,
            _peer: peer,
            dir,
        })
    }

    /// Where clients connect, as `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.client.address())
    }

    /// The file with its keys and values, to damage it while it is stopped.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.dir.path().join("data/member/snap/db")
    }
}

lifecycle!(Etcd);
