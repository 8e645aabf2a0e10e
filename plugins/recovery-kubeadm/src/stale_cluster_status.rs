//! Entries of nodes that are gone in `ClusterStatus`, which kubeadm before 1.22 keeps: a join asks every
//! endpoint in it, and stops at one that is silent.

use witgate_sdk::recovery::{Action, Finding, Mode, Proposal, Refusal, Severity, Step};

use crate::{
    cluster::Cluster,
    evidence, gone,
    rules::{self, Census},
};

pub(crate) const CLASS: &str = "stale-cluster-status";

fn subject(name: &str) -> String {
    format!("ClusterStatus entry {name}")
}

/// Entries that have neither a Node nor a member.
fn stale(cluster: &Cluster) -> Vec<&(String, String)> {
    let gone = |name: &str| cluster.node(name).is_none() && cluster.member(name).is_none();
    let endpoints = cluster.kubeadm.endpoints.iter();
    endpoints.filter(|(name, _)| gone(name)).collect()
}

pub(crate) fn find(cluster: &Cluster) -> Vec<Finding> {
    let finding = |(name, address): &(String, String)| Finding {
        class: CLASS.to_owned(),
        severity: Severity::Notice,
        subject: subject(name),
        summary: format!(
            "kubeadm-config lists an apiserver {address} of {name}, which has no node and no member"
        ),
        evidence: vec![
            evidence::object(
                cluster,
                "ClusterStatus in kube-system/kubeadm-config".to_owned(),
                format!("apiEndpoints: {name}: {address}"),
            ),
            evidence::no_node(cluster, name),
            evidence::no_member(cluster, name),
        ],
    };
    stale(cluster).into_iter().map(finding).collect()
}

pub(crate) fn plan(cluster: &Cluster, wanted: &str) -> Result<Proposal, Refusal> {
    let stale = stale(cluster);
    let found = stale.iter().find(|(name, _)| subject(name) == wanted);
    let (name, _) = found.ok_or_else(|| gone(wanted, stale.len()))?;
    let entry = cluster.kubeadm.entry(name);
    let entry = entry.ok_or_else(|| gone(wanted, stale.len()))?;
    rules::may_commit(Census::of(&cluster.survey))?;
    Ok(Proposal {
        summary: format!("remove the {wanted}"),
        mode: Mode::WithQuorum,
        steps: vec![Step::new(
            Action::EditClusterStatus(entry),
            "nothing of that name is left, and a join would wait for it",
        )],
    })
}
