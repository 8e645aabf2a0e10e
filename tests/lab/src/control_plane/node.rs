//! Defines one node of a control plane: its files, its etcd member and its apiserver.

use std::{
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use super::{
    EtcdLine,
    configuration::API_PORT,
    kubeadm::Kubeadm,
    static_pod::{Place, StaticPod},
};
use crate::{
    component::Component,
    error::Error,
    http,
    process::Launch,
    service::{Readiness, Service},
};

/// What `kubeadm join` downloads from Secret `kubeadm-certs`: the same on every node.
pub(super) const SHARED_FILES: [&str; 8] = [
    "ca.crt",
    "ca.key",
    "etcd/ca.crt",
    "etcd/ca.key",
    "front-proxy-ca.crt",
    "front-proxy-ca.key",
    "sa.key",
    "sa.pub",
];

/// A node: a directory that kubeadm takes for its root, an etcd member and a kube-apiserver.
#[derive(Debug)]
pub struct ControlPlaneNode {
    name: String,
    place: Place,
    kubeadm: Kubeadm,
    line: EtcdLine,
    /// What kubeadm was told, for its later commands on this node.
    configuration: String,
    etcd: Option<Service>,
    apiserver: Option<Service>,
}

impl ControlPlaneNode {
    pub(super) fn new(
        name: String,
        address: Ipv4Addr,
        root: PathBuf,
        line: EtcdLine,
        configuration: String,
    ) -> Result<Self, Error> {
        let node = Self {
            kubeadm: Kubeadm::new(&root)?,
            name,
            place: Place { root, address },
            line,
            configuration,
            etcd: None,
            apiserver: None,
        };
        node.lay_out()?;
        Ok(node)
    }

    /// The Node's name, which is the etcd member's as well.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address of its etcd member (ports 2379, 2380, and 2381 for metrics) and its apiserver (6443).
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.place.address
    }

    /// Its etcd member's client URL, as it advertises it.
    #[must_use]
    pub fn etcd_endpoint(&self) -> String {
        format!("https://{}:2379", self.place.address)
    }

    /// Its etcd member's peer URL.
    pub(super) fn etcd_peer(&self) -> String {
        format!("https://{}:2380", self.place.address)
    }

    /// Its apiserver's URL.
    #[must_use]
    pub fn server(&self) -> String {
        format!("https://{}:{API_PORT}", self.place.address)
    }

    /// The directory that is the node's root: `etc/kubernetes` and `var/lib/etcd` are in it.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.place.root
    }

    /// The node's `/etc/kubernetes/pki`.
    #[must_use]
    pub fn pki(&self) -> PathBuf {
        self.kubernetes("pki")
    }

    /// Runs kubeadm on this node, as its root, such as `["token", "list"]`, and gives what it printed.
    /// The node's own configuration is in `/kubeadm.yaml`, for `--config`.
    ///
    /// # Errors
    /// [`Error::Command`] with all that it printed, if it fails.
    pub async fn kubeadm(&self, args: &[&str]) -> Result<String, Error> {
        self.kubeadm.run(args).await
    }

    /// kubeadm on this node, to run beside other things.
    pub(super) fn kubeadm_handle(&self) -> Kubeadm {
        self.kubeadm.clone()
    }

    /// Kills its etcd member and its apiserver (SIGKILL); its files and its Node stay.
    pub fn kill(&mut self) {
        (self.etcd, self.apiserver) = (None, None);
    }

    /// Kills it and empties its disk: certificates, kubeconfigs, manifests, etcd's data.
    pub(super) fn wipe(&mut self) -> Result<(), Error> {
        self.kill();
        fs::remove_dir_all(&self.place.root).map_err(Error::io(self.place.root.display().to_string()))?;
        self.lay_out()
    }

    /// Starts its etcd member and then its apiserver again, as a machine that comes back.
    ///
    /// # Errors
    /// If one of them does not start to serve.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.spawn_etcd()?;
        self.ready().await?;
        self.spawn_apiserver()?;
        self.ready().await
    }

    pub(super) fn spawn_etcd(&mut self) -> Result<(), Error> {
        let pod = self.static_pod("etcd")?;
        let (component, arguments) = match self.line {
            EtcdLine::Current => (Component::Etcd, pod.arguments(&self.place)),
            EtcdLine::V35 => (Component::Etcd35, pod.arguments_for_etcd35(&self.place)),
        };
        // The one before lets go of the ports first.
        self.etcd = None;
        let launch = Launch::new("etcd", component.find("etcd")?, &self.place.root).args(arguments);
        let readiness = Readiness::http(format!("http://{}:2381/readyz", self.place.address));
        self.etcd = Some(Service::spawn(launch, readiness)?);
        Ok(())
    }

    pub(super) fn spawn_apiserver(&mut self) -> Result<(), Error> {
        let pod = self.static_pod("kube-apiserver")?;
        self.apiserver = None;
        let program = Component::Kubernetes.find("kube-apiserver")?;
        let launch = Launch::new("kube-apiserver", program, &self.place.root)
            .args(pod.arguments(&self.place))
            // On a machine of its own it would take all addresses.
            .flag("bind-address", self.place.address.to_string());
        let readiness = Readiness::Http {
            client: http::client_trusting(&self.read("pki/ca.crt")?)?,
            url: format!("{}/readyz", self.server()),
        };
        self.apiserver = Some(Service::spawn(launch, readiness)?);
        Ok(())
    }

    /// Waits until what was spawned serves.
    pub(super) async fn ready(&mut self) -> Result<(), Error> {
        for service in [&mut self.etcd, &mut self.apiserver].into_iter().flatten() {
            service.ready().await?;
        }
        Ok(())
    }

    /// Makes the cluster of its etcd's first start that of all these members (`NAME=PEER,...`), as
    /// though they had joined one after another.
    pub(super) fn found_with(&self, members: &str) -> Result<(), Error> {
        let path = self.manifest("etcd");
        let manifest = self.read("manifests/etcd.yaml")?;
        let alone = format!("--initial-cluster={}={}", self.name, self.etcd_peer());
        let together = manifest.replace(&alone, &format!("--initial-cluster={members}"));
        fs::write(&path, together).map_err(Error::io(path.display().to_string()))
    }

    /// Takes the files that all nodes share from another, as `kubeadm join` downloads them.
    pub(super) fn share(&self, first: &Self) -> Result<(), Error> {
        for file in SHARED_FILES {
            let (from, to) = (first.pki().join(file), self.pki().join(file));
            fs::copy(&from, &to).map_err(Error::io(format!("copying {}", from.display())))?;
        }
        Ok(())
    }

    /// A static Pod of its manifests.
    pub(super) fn static_pod(&self, name: &str) -> Result<StaticPod, Error> {
        StaticPod::read(&self.manifest(name))
    }

    pub(super) fn manifest(&self, name: &str) -> PathBuf {
        self.kubernetes(&format!("manifests/{name}.yaml"))
    }

    /// A file in `/etc/kubernetes`.
    pub(super) fn read(&self, name: &str) -> Result<String, Error> {
        let path = self.kubernetes(name);
        fs::read_to_string(&path).map_err(Error::io(path.display().to_string()))
    }

    fn kubernetes(&self, name: &str) -> PathBuf {
        self.place.root.join("etc/kubernetes").join(name)
    }

    /// An empty disk, with kubeadm's configuration.
    fn lay_out(&self) -> Result<(), Error> {
        let made: io::Result<()> = ["etc/kubernetes/pki/etcd", "var/lib", "tmp", "root"]
            .iter()
            .try_for_each(|directory| fs::create_dir_all(self.place.root.join(directory)))
            .and_then(|()| fs::write(self.place.root.join("kubeadm.yaml"), &self.configuration));
        made.map_err(Error::io(self.place.root.display().to_string()))
    }
}
