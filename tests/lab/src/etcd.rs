//! Defines etcd, one member, without TLS.

use tempfile::TempDir;

use crate::{
    component::Component,
    error::Error,
    port::Port,
    process::Launch,
    service::{Readiness, Service, lifecycle},
};

/// A running etcd of one member.
#[derive(Debug)]
pub struct Etcd {
    service: Service,
    client: Port,
    _peer: Port,
    _dir: TempDir,
}

impl Etcd {
    /// Starts an empty etcd.
    ///
    /// # Errors
    /// If etcd is missing or does not become healthy.
    pub async fn start() -> Result<Self, Error> {
        let dir = tempfile::tempdir().map_err(Error::io("a directory for etcd"))?;
        let (client, peer) = (Port::free()?, Port::free()?);
        let client_url = format!("http://{}", client.address());
        let peer_url = format!("http://{}", peer.address());
        let launch = Launch::new("etcd", Component::Etcd.find("etcd")?, dir.path())
            .flag("name", "lab")
            .flag("data-dir", dir.path().join("data"))
            .flag("listen-client-urls", &client_url)
            .flag("advertise-client-urls", &client_url)
            .flag("listen-peer-urls", &peer_url)
            .flag("initial-advertise-peer-urls", &peer_url)
            .flag("initial-cluster", format!("lab={peer_url}"))
            // Outlives a kill of etcd, though not of the machine, and spares slow disks.
            .arg("--unsafe-no-fsync")
            .flag("log-level", "warn");
        let service = Service::start(launch, Readiness::http(format!("{client_url}/health"))).await?;
        Ok(Self {
            service,
            client,
            _peer: peer,
            _dir: dir,
        })
    }

    /// Where clients connect, as `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.client.address())
    }
}

lifecycle!(Etcd);
