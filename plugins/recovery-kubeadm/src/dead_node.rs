//! A node that died with its member of etcd, while a quorum goes on without it.

use witgate_sdk::recovery::{Action, Finding, Member, Mode, Proposal, Refusal, Step};

use crate::{
    Config,
    cluster::Cluster,
    evidence, gone, join, leftovers, node_subject,
    objects::Node,
    rules::{self, Census},
};

pub(crate) const CLASS: &str = "dead-node";

/// Nodes that are not ready, with their members that are silent.
fn dead<'a>(cluster: &'a Cluster, config: &Config) -> Vec<(&'a Node, &'a Member)> {
    let silence = config.silence_seconds.saturating_mul(1000);
    let silent = cluster
        .stacked()
        .iter()
        .filter(|member| cluster.silence(member).is_some_and(|lasted| lasted >= silence));
    silent
        .filter_map(|member| Some((cluster.node(&member.name)?, member)))
        .filter(|(node, _)| !node.ready)
        .collect()
}

pub(crate) fn find(cluster: &Cluster, config: &Config) -> Vec<Finding> {
    let census = Census::of(&cluster.survey);
    let finding = |(node, member): (&Node, &Member)| {
        let mut evidence = vec![evidence::node(cluster, node)];
        evidence.extend(evidence::silence(cluster, member));
        Finding {
            class: CLASS.to_owned(),
            severity: census.severity(),
            subject: node_subject(&node.name),
            summary: format!(
                "node {} is not ready and its member has been silent for {} s; {} of {} voters are alive",
                node.name,
                cluster.silence(member).unwrap_or(0) / 1000,
                census.alive,
                census.voters
            ),
            evidence,
        }
    };
    dead(cluster, config).into_iter().map(finding).collect()
}

pub(crate) fn plan(cluster: &Cluster, config: &Config, wanted: &str) -> Result<Proposal, Refusal> {
    let dead = dead(cluster, config);
    let found = dead.iter().find(|(node, _)| node_subject(&node.name) == wanted);
    let (node, member) = found.ok_or_else(|| gone(wanted, dead.len()))?;
    rules::may_remove(cluster, member, config.silence_seconds, config.lag)?;
    let mut steps = vec![
        Step::new(Action::TakeSnapshot, "removing a member can't be undone"),
        Step::new(
            Action::RemoveMember(member.identity()),
            "it counts for the quorum as long as it is listed, and etcd lets no other in",
        ),
    ];
    steps.extend(leftovers::steps(cluster, &node.name));
    let then = match rules::may_grow(cluster, Some(member.id)) {
        Ok(()) => {
            steps.extend(join::steps(cluster, config, &node.name));
            "and let another join in its place".to_owned()
        }
        // What is dead goes one by one; the last one's plan lets another in.
        Err(refusal) => format!("but let none join yet: {}", refusal.reason),
    };
    Ok(Proposal {
        summary: format!("remove {wanted}, which is dead, with what it left behind, {then}"),
        mode: Mode::WithQuorum,
        steps,
    })
}
