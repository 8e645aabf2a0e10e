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

/// A member that is not started yet.
struct Founder {
    name: String,
    client: Port,
    peer: Port,
    /// Where it says that clients reach it, if not where they do.
    advertised: Option<String>,
}

impl Founder {
    async fn found(self, founders: &str, quota: Option<u64>) -> Result<Etcd, Error> {
        let dir = tempfile::tempdir().map_err(Error::io("a directory for etcd"))?;
        let client_url = format!("http://{}", self.client.address());
        let peer_url = format!("http://{}", self.peer.address());
        let advertised = self.advertised.as_ref().unwrap_or(&client_url);
        let launch = Launch::new("etcd", Component::Etcd.find("etcd")?, dir.path())
            .flag("name", self.name)
            .flag("data-dir", dir.path().join("data"))
            .flag("listen-client-urls", &client_url)
            .flag("advertise-client-urls", advertised)
            .flag("listen-peer-urls", &peer_url)
            .flag("initial-advertise-peer-urls", &peer_url)
            .flag("initial-cluster", founders)
            .args(quota.map(|bytes| format!("--quota-backend-bytes={bytes}")))
            // Outlives a kill of etcd, though not of the machine, and spares slow disks.
            .arg("--unsafe-no-fsync")
            .flag("log-level", "warn");
        let service = Service::start(launch, Readiness::http(format!("{client_url}/health"))).await?;
        Ok(Etcd {
            service,
            client: self.client,
            _peer: self.peer,
            dir,
        })
    }
}

impl Etcd {
    /// Starts an empty etcd of one member.
    ///
    /// # Errors
    /// If etcd is missing or does not become healthy.
    pub async fn start() -> Result<Self, Error> {
        let (client, peer) = (Port::free()?, Port::free()?);
        let founders = format!("lab=http://{}", peer.address());
        let founder = Founder {
            name: "lab".to_owned(),
            client,
            peer,
            advertised: None,
        };
        founder.found(&founders, None).await
    }

    /// Starts an empty cluster of so many members, `etcd-1`, `etcd-2` and so on, whose databases may
    /// take `quota` bytes each.
    ///
    /// # Errors
    /// If etcd is missing or does not become healthy.
    pub async fn cluster(members: usize, quota: Option<u64>) -> Result<Vec<Self>, Error> {
        Self::together(vec![None; members], quota).await
    }

    /// Starts an empty cluster whose members say of themselves that clients reach them at these URLs.
    ///
    /// # Errors
    /// If etcd is missing or does not become healthy.
    pub async fn cluster_behind(urls: &[String]) -> Result<Vec<Self>, Error> {
        Self::together(urls.iter().cloned().map(Some).collect(), None).await
    }

    async fn together(advertised: Vec<Option<String>>, quota: Option<u64>) -> Result<Vec<Self>, Error> {
        let mut founding = Vec::new();
        for (number, advertised) in (1..).zip(advertised) {
            founding.push(Founder {
                name: format!("etcd-{number}"),
                client: Port::free()?,
                peer: Port::free()?,
                advertised,
            });
        }
        let founders: Vec<_> = founding
            .iter()
            .map(|founder| format!("{}=http://{}", founder.name, founder.peer.address()))
            .collect();
        let founders = founders.join(",");
        // None is healthy before there is a quorum.
        try_join_all(
            founding
                .into_iter()
                .map(|founder| founder.found(&founders, quota)),
        )
        .await
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
