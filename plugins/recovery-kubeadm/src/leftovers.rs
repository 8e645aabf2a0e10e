//! What a node leaves behind when it is gone, and the steps that take it away.

use witgate_sdk::recovery::{Action, Step};

use crate::{cluster::Cluster, objects::Lease};

/// The Leases whose loss stops the control plane.
const LEASES: [&str; 2] = ["kube-controller-manager", "kube-scheduler"];

/// Takes away what is left of a node that has no member any more: the Node, then what hangs on it.
pub(crate) fn steps(cluster: &Cluster, name: &str) -> Vec<Step> {
    let node = cluster.node(name).map(|node| {
        Step::new(
            Action::DeleteNode(node.identity()),
            "its pods are then known to be gone, and its name is free for the machine that joins",
        )
    });
    let pods = cluster.pods.iter().filter(|pod| pod.node == name).map(|pod| {
        Step::new(
            Action::DeleteMirrorPod(pod.identity.clone()),
            "kubeadm takes the endpoints of etcd and of the apiservers from such pods",
        )
    });
    let leases = held(cluster, name).map(|lease| {
        Step::new(
            Action::DeleteLease(lease.identity.clone()),
            format!(
                "its holder {} is gone, and another can take it at once",
                lease.holder
            ),
        )
    });
    let entry = cluster.kubeadm.entry(name).map(|entry| {
        Step::new(
            Action::EditClusterStatus(entry),
            "kubeadm before 1.22 asks every endpoint in there, and one that is silent stops the join",
        )
    });
    node.into_iter().chain(pods).chain(leases).chain(entry).collect()
}

/// The Leases for leader election that have run out in the hands of a node's controllers. Their
/// identity is the host's name, `_` and something random.
fn held<'a>(cluster: &'a Cluster, node: &'a str) -> impl Iterator<Item = &'a Lease> {
    cluster.leases.iter().filter(move |lease| {
        let holder = lease.holder.rsplit_once('_').map(|(host, _)| host);
        holder == Some(node) && LEASES.contains(&lease.identity.name.as_str()) && lease.until < cluster.now()
    })
}
