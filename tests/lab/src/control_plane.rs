//! Defines a control plane of three nodes, as kubeadm makes it: each with a stacked etcd member and a
//! kube-apiserver, behind one load balancer, with Kubernetes' controllers.
//!
//! kubeadm itself makes the certificates, kubeconfigs, manifests, ConfigMaps and RBAC, and joins a
//! node; the lab stands in for the machines, the kubelets and the node controller.

mod api;
mod balancer;
mod configuration;
mod controllers;
mod join;
mod kubeadm;
mod members;
mod network;
mod node;
mod static_pod;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use self::{
    api::{Api, STATIC_PODS},
    balancer::Balancer,
    configuration::API_PORT,
    network::Network,
};
pub use self::{members::EtcdMember, node::ControlPlaneNode};
use crate::{error::Error, kubernetes::Kubectl, service::Service};

/// The last number of the load balancer's address, of the controllers' and of the first node's.
const BALANCER: u8 = 10;
const CONTROLLERS: u8 = 20;
const FIRST_NODE: u8 = 11;

/// How many nodes there are at first, and as many as the load balancer knows.
const NODES: u8 = 3;
const MOST_NODES: u8 = 4;

/// What `kubeadm init` does for a node's files, before anything runs.
const SKIPPED_BEFORE: &str = "--skip-phases=preflight,kubelet-start,wait-control-plane,upload-config,\
                              upload-certs,mark-control-plane,bootstrap-token,kubelet-finalize,addon,\
                              show-join-command";

/// What `kubeadm init` puts into the cluster, once it runs.
const SKIPPED_AFTER: &str = "--skip-phases=preflight,certs,kubeconfig,etcd,control-plane,kubelet-start,\
                             wait-control-plane,upload-certs,mark-control-plane,kubelet-finalize,addon,\
                             show-join-command";

/// Which etcd the members are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EtcdLine {
    /// The current one.
    #[default]
    Current,
    /// 3.5, of [`Component::Etcd35`](crate::Component::Etcd35).
    V35,
}

/// What differs between control planes.
#[derive(Debug, Clone, Copy, Default)]
pub struct ControlPlaneOptions {
    /// Which etcd.
    pub etcd: EtcdLine,
    /// Whether ConfigMap kubeadm-config has a `ClusterStatus`, as before Kubernetes 1.22.
    pub cluster_status: bool,
}

impl ControlPlaneOptions {
    /// As older clusters are: etcd 3.5, and a `ClusterStatus`.
    pub const OLDER: Self = Self {
        etcd: EtcdLine::V35,
        cluster_status: true,
    };
}

/// A running control plane.
///
/// Its load balancer lives on the runtime that started it.
#[derive(Debug)]
pub struct ControlPlane {
    options: ControlPlaneOptions,
    nodes: Vec<ControlPlaneNode>,
    controller_manager: Service,
    api: Api,
    _balancer: Balancer,
    network: Network,
    dir: TempDir,
}

impl ControlPlane {
    /// Starts a control plane whose nodes, `cp-1`, `cp-2` and `cp-3`, are all Ready.
    ///
    /// # Errors
    /// If a program is missing, kubeadm fails, or a component does not become ready.
    pub async fn start(options: ControlPlaneOptions) -> Result<Self, Error> {
        let dir = tempfile::tempdir().map_err(Error::io("a directory for the control plane"))?;
        let network = Network::free()?;
        let mut nodes = Vec::new();
        for index in 0..NODES {
            nodes.push(new_node(options, index, &network, dir.path())?);
        }
        let first = make_files(&nodes).await?;
        let kubeadm = first.kubeadm_handle();
        let controllers = controllers::lay_out(first, &network, dir.path())?;
        let api = Api::new(server(&network), &first.read("super-admin.conf")?)?;
        let balancer = SocketAddr::from((network.address(BALANCER), API_PORT));
        let backends = (0..MOST_NODES).map(|index| (node_address(&network, index), API_PORT).into());
        let balancer = Balancer::start(balancer, backends.collect()).await?;
        found(&mut nodes).await?;

        let mut controller_manager = controllers.spawn()?;
        kubeadm
            .run(&["init", "--config", "/kubeadm.yaml", SKIPPED_AFTER])
            .await?;
        register(&api, &nodes).await?;
        if options.cluster_status {
            let endpoints = nodes.iter().map(|node| (node.name().to_owned(), node.address()));
            let status = configuration::cluster_status(endpoints)?;
            api.add_to_config_map("kubeadm-config", "ClusterStatus", &status)
                .await?;
        }
        controller_manager.ready().await?;
        Ok(Self {
            options,
            nodes,
            controller_manager,
            api,
            _balancer: balancer,
            network,
            dir,
        })
    }

    /// The nodes, dead ones too.
    #[must_use]
    pub fn nodes(&self) -> &[ControlPlaneNode] {
        &self.nodes
    }

    /// A node, counted from 0.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    #[expect(clippy::panic, reason = "a test that counts wrong should fail where it does")]
    pub fn node(&self, index: usize) -> &ControlPlaneNode {
        let Some(node) = self.nodes.get(index) else {
            panic!("there is no node {index}");
        };
        node
    }

    /// A node, to kill or restart it.
    ///
    /// # Panics
    /// If there are not so many.
    #[expect(clippy::panic, reason = "a test that counts wrong should fail where it does")]
    pub fn node_mut(&mut self, index: usize) -> &mut ControlPlaneNode {
        let Some(node) = self.nodes.get_mut(index) else {
            panic!("there is no node {index}");
        };
        node
    }

    /// The cluster's `controlPlaneEndpoint`: a load balancer in front of all apiservers.
    #[must_use]
    pub fn server(&self) -> String {
        server(&self.network)
    }

    /// A kubeconfig for the group `system:masters`, through the load balancer; it outlives the nodes.
    #[must_use]
    pub fn admin_kubeconfig(&self) -> PathBuf {
        controllers::root(self.dir.path()).join("etc/kubernetes/super-admin.conf")
    }

    /// The certificates and keys that all nodes share and etcd's client certificate, as an operator
    /// keeps them: they outlive the nodes.
    #[must_use]
    pub fn pki(&self) -> PathBuf {
        controllers::root(self.dir.path()).join("etc/kubernetes/pki")
    }

    /// A client of the apiservers, as the administrator, for more than kubectl can do in the time.
    #[must_use]
    pub fn client(&self) -> reqwest::Client {
        self.api.client()
    }

    /// kubectl as the administrator, through the load balancer.
    ///
    /// # Errors
    /// If kubectl is missing.
    pub fn kubectl(&self) -> Result<Kubectl, Error> {
        Kubectl::with_kubeconfig(&self.admin_kubeconfig())
    }

    /// Sets the conditions of a Node and its Pods as the node controller does: `false` when the
    /// kubelet's heartbeats have stopped.
    ///
    /// # Errors
    /// If the API refuses.
    pub async fn set_ready(&self, index: usize, ready: bool) -> Result<(), Error> {
        self.api.set_ready(self.node(index).name(), ready).await
    }

    /// The whole of a dead machine: its programs end, its disk is empty, its Node becomes NotReady.
    ///
    /// # Errors
    /// If its files cannot be removed, or no apiserver is left.
    pub async fn lose(&mut self, index: usize) -> Result<(), Error> {
        self.node_mut(index).wipe()?;
        self.set_ready(index, false).await
    }

    /// Kills kube-controller-manager (SIGKILL): nothing signs `cluster-info` any more, and nothing that has
    /// expired goes.
    pub fn kill_controllers(&mut self) {
        self.controller_manager.process.kill();
    }

    /// Starts kube-controller-manager again. It does nothing before the lease of the one before has ended.
    ///
    /// # Errors
    /// If it does not start to serve.
    pub async fn restart_controllers(&mut self) -> Result<(), Error> {
        self.controller_manager.restart().await
    }

    /// An empty machine with an address of its own, to join as another node; gives its index.
    ///
    /// # Errors
    /// If there are as many as the load balancer knows.
    pub fn add_node(&mut self) -> Result<usize, Error> {
        let index = self.nodes.len();
        let host = u8::try_from(index).ok().filter(|index| *index < MOST_NODES);
        let host = host.ok_or(Error::NoNetwork)?;
        let node = new_node(self.options, host, &self.network, self.dir.path())?;
        self.nodes.push(node);
        Ok(index)
    }
}

fn server(network: &Network) -> String {
    format!("https://{}:{API_PORT}", network.address(BALANCER))
}

fn node_address(network: &Network, index: u8) -> Ipv4Addr {
    network.address(FIRST_NODE + index)
}

fn new_node(
    options: ControlPlaneOptions,
    index: u8,
    network: &Network,
    dir: &Path,
) -> Result<ControlPlaneNode, Error> {
    let name = format!("cp-{}", index + 1);
    let address = node_address(network, index);
    let configuration = configuration::init(&name, address, network.address(BALANCER));
    ControlPlaneNode::new(name.clone(), address, dir.join(name), options.etcd, configuration)
}

/// Lets kubeadm make every node's files: the authorities once, on the first, which it gives.
async fn make_files(nodes: &[ControlPlaneNode]) -> Result<&ControlPlaneNode, Error> {
    let (first, others) = nodes.split_first().ok_or(Error::NoNetwork)?;
    let init = ["init", "--config", "/kubeadm.yaml", SKIPPED_BEFORE];
    first.kubeadm(&init).await?;
    for node in others {
        node.share(first)?;
        node.kubeadm(&init).await?;
    }
    Ok(first)
}

/// Starts the nodes' programs, all at once: no member is ready before there is a quorum.
async fn found(nodes: &mut [ControlPlaneNode]) -> Result<(), Error> {
    let members: Vec<_> = nodes
        .iter()
        .map(|node| format!("{}={}", node.name(), node.etcd_peer()))
        .collect();
    for node in &mut *nodes {
        node.found_with(&members.join(","))?;
        node.spawn_etcd()?;
    }
    // An apiserver gives up on an etcd that does not answer for 20 seconds.
    for node in &mut *nodes {
        node.ready().await?;
    }
    for node in &mut *nodes {
        node.spawn_apiserver()?;
    }
    for node in nodes {
        node.ready().await?;
    }
    Ok(())
}

/// Registers Nodes and shows their Pods.
async fn register(api: &Api, nodes: &[ControlPlaneNode]) -> Result<(), Error> {
    for node in nodes {
        let uid = api.register(node).await?;
        for pod in STATIC_PODS {
            api.mirror(node, &uid, &node.static_pod(pod)?).await?;
        }
    }
    Ok(())
}
