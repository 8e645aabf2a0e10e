//! Defines what kubeadm is told about the cluster and about a node.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::{component::Component, error::Error};

/// The apiservers' and the load balancer's port.
pub(super) const API_PORT: u16 = 6443;

/// All controllers that kubeadm asks for, but the one that takes a Node without heartbeats for dead:
/// no kubelet sends any here, and the lab sets a Node's conditions itself.
const CONTROLLERS: &str = "*,bootstrapsigner,tokencleaner,-node-lifecycle-controller";

/// An InitConfiguration and a ClusterConfiguration, for `kubeadm init --config`.
pub(super) fn init(node: &str, address: Ipv4Addr, balancer: Ipv4Addr) -> String {
    let api = "kubeadm.k8s.io/v1beta4";
    let init = json!({
        "apiVersion": api,
        "kind": "InitConfiguration",
        "nodeRegistration": {"name": node, "criSocket": "unix:///run/containerd/containerd.sock"},
        "localAPIEndpoint": {"advertiseAddress": address, "bindPort": API_PORT},
    });
    let etcd = [
        // Outlives a kill of etcd, though not of the machine, and spares slow disks.
        argument("unsafe-no-fsync", "true"),
        argument("log-level", "warn"),
    ];
    let local = json!({
        "dataDir": "/var/lib/etcd",
        "extraArgs": etcd,
        // Where all connections on this machine come from; etcd holds a peer's certificate against it.
        "peerCertSANs": [source(balancer)],
    });
    let cluster = json!({
        "apiVersion": api,
        "kind": "ClusterConfiguration",
        "kubernetesVersion": Component::ControlPlane.version(),
        "controlPlaneEndpoint": format!("{balancer}:{API_PORT}"),
        // An RSA key, kubeadm's default, takes a second to make.
        "encryptionAlgorithm": "ECDSA-P256",
        "controllerManager": {"extraArgs": [argument("controllers", CONTROLLERS)]},
        "etcd": {"local": local},
    });
    format!("{init:#}\n---\n{cluster:#}\n")
}

/// What kubeadm kept beside the ClusterConfiguration before Kubernetes 1.22, and clusters that were
/// upgraded since may still have.
pub(super) fn cluster_status(nodes: impl IntoIterator<Item = (String, Ipv4Addr)>) -> Result<String, Error> {
    let endpoint = |address| json!({"advertiseAddress": address, "bindPort": API_PORT});
    let endpoints: serde_json::Map<String, Value> = nodes
        .into_iter()
        .map(|(name, address)| (name, endpoint(address)))
        .collect();
    let status = json!({
        "apiEndpoints": endpoints,
        "apiVersion": "kubeadm.k8s.io/v1beta2",
        "kind": "ClusterStatus",
    });
    serde_saphyr::to_string(&status).map_err(|error| Error::Answer {
        what: "ClusterStatus",
        problem: error.to_string(),
    })
}

/// The address that loopback has in the block of the load balancer's.
fn source(balancer: Ipv4Addr) -> Ipv4Addr {
    let [first, second, third, _] = balancer.octets();
    Ipv4Addr::new(first, second, third, 1)
}

fn argument(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}
