//! What Kubernetes' objects demand.

use witgate_plugins::recovery::{Action, ObjectIdentity};

use super::{Rule, Scene, Violation};
use crate::observation::Kubernetes;

/// Where the control plane's pods, Leases and ConfigMaps are.
pub(crate) const NAMESPACE: &str = "kube-system";

/// Leases that a dead holder can leave behind and whose loss stops the control plane. Others are not
/// recovery's to delete.
const LEASES: [&str; 2] = ["kube-controller-manager", "kube-scheduler"];

fn kubernetes<'a>(scene: &Scene<'a>) -> Result<&'a Kubernetes, Violation> {
    let seen = scene.seen.kubernetes.as_ref();
    seen.ok_or_else(|| Rule::ExactObject.broken("0 apiservers answer, so no object can be looked at"))
}

pub(super) fn exact_object(action: &Action, scene: &Scene<'_>) -> Result<(), Violation> {
    let same = |kind: &str, identity: &ObjectIdentity, found: Option<&str>| {
        Rule::ExactObject.demand(found == Some(identity.uid.as_str()), || match found {
            Some(uid) => {
                format!("the plan means {kind} {identity}, and the {kind} of that name has the uid {uid}")
            }
            None => format!("the plan means {kind} {identity}, and 0 have that name"),
        })
    };
    match action {
        Action::DeleteNode(identity) => {
            let seen = kubernetes(scene)?;
            let node = seen.nodes.iter().find(|node| node.name == identity.name);
            same("Node", identity, node.map(|node| node.uid.as_str()))?;
            Rule::ExactObject.demand(node.is_some_and(|node| !node.ready), || {
                format!("Node {identity} is ready: 1 of 1 heartbeats says that it lives")
            })?;
            let member = scene.seen.survey.members.iter().find(|m| m.name == identity.name);
            Rule::ExactObject.demand(member.is_none(), || {
                let id = member.map_or(0, |member| member.id.0);
                format!("Node {identity} still has a member ({id:x}): the member goes first")
            })
        }
        Action::DeleteMirrorPod(identity) => {
            let seen = kubernetes(scene)?;
            let pod = seen
                .pods
                .iter()
                .find(|pod| pod.name == identity.name && pod.namespace == identity.namespace);
            same("pod", identity, pod.map(|pod| pod.uid.as_str()))?;
            let node = pod.and_then(|pod| seen.nodes.iter().find(|node| node.name == pod.node));
            Rule::ExactObject.demand(node.is_none(), || {
                let node = node.map(|node| node.name.as_str()).unwrap_or_default();
                format!("pod {identity} is on Node {node}, which is there (1 of 1)")
            })
        }
        Action::DeleteLease(identity) => {
            let seen = kubernetes(scene)?;
            let lease = seen
                .leases
                .iter()
                .find(|lease| lease.name == identity.name && lease.namespace == identity.namespace);
            same("Lease", identity, lease.map(|lease| lease.uid.as_str()))?;
            let until = lease.map_or(0, |lease| lease.until);
            Rule::ExactObject.demand(until < scene.seen.at, || {
                let left = until.saturating_sub(scene.seen.at);
                format!("Lease {identity} still holds for {left} ms")
            })
        }
        Action::EditClusterStatus(entry) => {
            let kubeadm = kubernetes(scene)?.kubeadm.as_ref();
            let found = kubeadm.map(|map| (map.uid.as_str(), map.resource_version.as_str()));
            let meant = (entry.uid.as_str(), entry.resource_version.as_str());
            Rule::ExactObject.demand(found == Some(meant), || {
                format!(
                    "the plan means kubeadm-config of uid {} at version {}, and there is {found:?}",
                    meant.0, meant.1
                )
            })?;
            let lists = kubeadm
                .and_then(|map| map.cluster_status.as_ref())
                .is_some_and(|nodes| nodes.contains(&entry.node));
            Rule::ExactObject.demand(lists, || {
                format!("ClusterStatus has 0 entries of the name {}", entry.node)
            })?;
            let member = scene.seen.survey.members.iter().find(|m| m.name == entry.node);
            Rule::ExactObject.demand(member.is_none(), || {
                let id = member.map_or(0, |member| member.id.0);
                format!(
                    "{} still has a member ({id:x}): the member goes first",
                    entry.node
                )
            })
        }
        _ => Ok(()),
    }
}

pub(super) fn only_its_objects(action: &Action, scene: &Scene<'_>) -> Result<(), Violation> {
    match action {
        Action::DeleteMirrorPod(identity) => {
            let mirror = kubernetes(scene)?
                .pods
                .iter()
                .any(|pod| pod.mirror && pod.name == identity.name && pod.namespace == identity.namespace);
            Rule::OnlyItsObjects.demand(identity.namespace == NAMESPACE && mirror, || {
                format!("pod {identity} is no mirror of a static pod in {NAMESPACE} (0 of 1)")
            })
        }
        Action::DeleteLease(identity) => {
            let known = identity.namespace == NAMESPACE && LEASES.contains(&identity.name.as_str());
            Rule::OnlyItsObjects.demand(known, || {
                format!(
                    "Lease {identity} is none of the {} of the control plane",
                    LEASES.len()
                )
            })
        }
        _ => Ok(()),
    }
}
