//! What letting a node in demands.

use witgate_plugins::recovery::Action;

use super::{Rule, Scene, Violation};
use crate::{join::is_node_name, policy::MAX_JOIN_LIFETIME};

/// The name goes into a command that root pastes into a shell.
pub(super) fn names_a_node(action: &Action, _: &Scene<'_>) -> Result<(), Violation> {
    let Action::MintJoinMaterial(material) = action else {
        return Ok(());
    };
    Rule::WellFormed.demand(is_node_name(&material.node), || {
        format!(
            "0 nodes can be named {:?}: letters of lower case, digits, hyphens and dots",
            material.node
        )
    })
}

/// A joining kubeadm has to be of the version that the cluster was made or upgraded with last;
/// kubeadm refuses other minor versions itself, after the node was changed.
pub(super) fn version_fits(action: &Action, scene: &Scene<'_>) -> Result<(), Violation> {
    let Action::MintJoinMaterial(material) = action else {
        return Ok(());
    };
    let kubeadm = scene
        .seen
        .kubernetes
        .as_ref()
        .and_then(|seen| seen.kubeadm.as_ref());
    let wanted = kubeadm.map(|map| map.kubernetes_version.as_str());
    Rule::VersionFits.demand(wanted == Some(material.kubernetes_version.as_str()), || {
        format!(
            "the plan lets kubeadm {} join, and the cluster is of {}",
            material.kubernetes_version,
            wanted.unwrap_or("no known version (0 kubeadm-config)")
        )
    })
}

pub(super) fn secrets_end(action: &Action, _: &Scene<'_>) -> Result<(), Violation> {
    let Action::MintJoinMaterial(material) = action else {
        return Ok(());
    };
    let most = MAX_JOIN_LIFETIME.as_secs();
    let lifetime = u64::from(material.lifetime_seconds);
    Rule::SecretsEnd.demand((1..=most).contains(&lifetime), || {
        format!("join material would be good for {lifetime} s, and {most} s are the most")
    })
}
