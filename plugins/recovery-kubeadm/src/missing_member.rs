//! A node of the control plane that has no member of etcd: it did not finish its join, or is to be
//! there and nothing is left of it.

use std::collections::BTreeSet;

use witgate_sdk::recovery::{Finding, Mode, Proposal, Refusal};

use crate::{
    Config,
    cluster::Cluster,
    evidence, gone, join, join_material, node_subject,
    rules::{self, Census},
};

pub(crate) const CLASS: &str = "missing-member";

/// The names of ready nodes of the control plane, and of those that should be there, without a member.
/// What is left of a dead one is a stale node; one that is ready for a short time may be joining.
pub(crate) fn missing(cluster: &Cluster, config: &Config) -> BTreeSet<String> {
    if cluster.stacked().is_empty() {
        return BTreeSet::new();
    }
    let joining = config.learning_seconds.saturating_mul(1000);
    let ready = cluster.nodes.iter().filter(|node| {
        let lasted = cluster.now().saturating_sub(node.since);
        node.control_plane && node.ready && lasted >= joining
    });
    let wanted = config.nodes.iter().filter(|name| cluster.node(name).is_none());
    let names = ready.map(|node| &node.name).chain(wanted);
    names
        .filter(|name| cluster.member(name).is_none())
        .cloned()
        .collect()
}

pub(crate) fn find(cluster: &Cluster, config: &Config) -> Vec<Finding> {
    let census = Census::of(&cluster.survey);
    let finding = |name: String| {
        let node = cluster.node(&name);
        let mut evidence = vec![evidence::no_member(cluster, &name)];
        evidence.push(match node {
            Some(node) => evidence::node(cluster, node),
            None => evidence::no_node(cluster, &name),
        });
        evidence.extend(join_material::state(cluster));
        Finding {
            class: CLASS.to_owned(),
            severity: census.severity(),
            subject: node_subject(&name),
            summary: format!(
                "node {name} {} and has no member; {} of {} voters are alive; kubeadm {} joins it",
                if node.is_some() {
                    "is ready"
                } else {
                    "is not there"
                },
                census.alive,
                census.voters,
                cluster.kubeadm.version
            ),
            evidence,
        }
    };
    missing(cluster, config).into_iter().map(finding).collect()
}

pub(crate) fn plan(cluster: &Cluster, config: &Config, wanted: &str) -> Result<Proposal, Refusal> {
    let missing = missing(cluster, config);
    let found = missing.iter().find(|name| node_subject(name) == wanted);
    let name = found.ok_or_else(|| gone(wanted, missing.len()))?;
    rules::may_commit(Census::of(&cluster.survey))?;
    rules::may_grow(cluster, None)?;
    let first = match cluster.node(name) {
        Some(_) => "; run `kubeadm reset` on it before: a join does not go on where one was broken off",
        None => "",
    };
    Ok(Proposal {
        summary: format!("let {wanted} join{first}"),
        mode: Mode::WithQuorum,
        steps: join::steps(cluster, config, name),
    })
}
