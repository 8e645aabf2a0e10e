//! What is left of a node of the control plane whose member is gone.

use std::collections::BTreeSet;

use witgate_sdk::recovery::{Action, Finding, Mode, Proposal, Refusal, Severity, Step};

use crate::{
    Config,
    cluster::Cluster,
    evidence, gone, join, leftovers, node_subject,
    objects::Node,
    rules::{self, Census},
};

pub(crate) const CLASS: &str = "stale-node";

/// The names of Nodes that are not ready and of what mirror pods without a Node are on; without a
/// member all of them.
fn stale(cluster: &Cluster, config: &Config) -> BTreeSet<String> {
    if cluster.stacked().is_empty() {
        return BTreeSet::new();
    }
    let silence = config.silence_seconds.saturating_mul(1000);
    let silent = |node: &&Node| {
        let lasted = cluster.now().saturating_sub(node.since);
        node.control_plane && !node.ready && lasted >= silence
    };
    let nodes = cluster.nodes.iter().filter(silent).map(|node| node.name.as_str());
    let pods = cluster.pods.iter().map(|pod| pod.node.as_str());
    let pods = pods.filter(|name| cluster.node(name).is_none());
    nodes
        .chain(pods)
        .filter(|name| cluster.member(name).is_none())
        .map(str::to_owned)
        .collect()
}

pub(crate) fn find(cluster: &Cluster, config: &Config) -> Vec<Finding> {
    let finding = |name: String| {
        let node = cluster.node(&name);
        let pods: Vec<_> = cluster.pods.iter().filter(|pod| pod.node == name).collect();
        let mut evidence = vec![evidence::no_member(cluster, &name)];
        evidence.push(match node {
            Some(node) => evidence::node(cluster, node),
            None => evidence::no_node(cluster, &name),
        });
        evidence.extend(pods.iter().map(|pod| evidence::pod(cluster, pod)));
        Finding {
            class: CLASS.to_owned(),
            severity: Severity::Notice,
            subject: node_subject(&name),
            summary: format!(
                "etcd has no member {name}; {} Nodes, not ready, and {} mirror pods are left of it",
                usize::from(node.is_some()),
                pods.len()
            ),
            evidence,
        }
    };
    stale(cluster, config).into_iter().map(finding).collect()
}

pub(crate) fn plan(cluster: &Cluster, config: &Config, wanted: &str) -> Result<Proposal, Refusal> {
    let stale = stale(cluster, config);
    let found = stale.iter().find(|name| node_subject(name) == wanted);
    let name = found.ok_or_else(|| gone(wanted, stale.len()))?;
    rules::may_commit(Census::of(&cluster.survey))?;
    let mut steps = Vec::new();
    if cluster.node(name).is_some() {
        steps.push(Step::new(Action::TakeSnapshot, "the Node's object is not kept"));
    }
    steps.extend(leftovers::steps(cluster, name));
    let missed = config.nodes.contains(name) && rules::may_grow(cluster, None).is_ok();
    if missed {
        steps.extend(join::steps(cluster, config, name));
    }
    let then = if missed { ", and let another join" } else { "" };
    Ok(Proposal {
        summary: format!("take away what is left of {wanted}{then}"),
        mode: Mode::WithQuorum,
        steps,
    })
}
