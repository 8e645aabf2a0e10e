//! A member with a vote that belongs to no node, or that never started: its node is gone, or did not
//! get further than to be listed.

use witgate_sdk::recovery::{Action, Finding, Member, Mode, Proposal, Refusal, Step};

use crate::{
    Config,
    cluster::Cluster,
    evidence, gone, leftovers, member_subject,
    rules::{self, Census},
};

pub(crate) const CLASS: &str = "orphan-member";

/// Voters without a node. What is silent for a short time may be starting.
fn orphans<'a>(cluster: &'a Cluster, config: &Config) -> Vec<&'a Member> {
    let silence = config.silence_seconds.saturating_mul(1000);
    let settled = |member: &&Member| {
        let answers = cluster.survey.status(member.id).is_some();
        answers || cluster.silence(member).is_some_and(|lasted| lasted >= silence)
    };
    cluster
        .stacked()
        .iter()
        .filter(|member| !member.learner && cluster.node(&member.name).is_none())
        .filter(settled)
        .collect()
}

pub(crate) fn find(cluster: &Cluster, config: &Config) -> Vec<Finding> {
    let census = Census::of(&cluster.survey);
    let finding = |member: &Member| {
        let mut evidence = vec![evidence::listed(cluster, member)];
        if !member.name.is_empty() {
            evidence.push(evidence::no_node(cluster, &member.name));
        }
        evidence.extend(evidence::silence(cluster, member));
        evidence.extend(evidence::answers(cluster, member));
        let subject = member_subject(member);
        let what = match cluster.silence(member) {
            _ if cluster.survey.status(member.id).is_some() => "answers, and no node has its name".to_owned(),
            Some(lasted) => format!("has been silent for {} s, and has no node", lasted / 1000),
            None => "has no node".to_owned(),
        };
        Finding {
            class: CLASS.to_owned(),
            severity: census.severity(),
            summary: format!(
                "{subject} {what}; {} of {} voters are alive",
                census.alive, census.voters
            ),
            subject,
            evidence,
        }
    };
    orphans(cluster, config).into_iter().map(finding).collect()
}

pub(crate) fn plan(cluster: &Cluster, config: &Config, wanted: &str) -> Result<Proposal, Refusal> {
    let orphans = orphans(cluster, config);
    let found = orphans.iter().find(|member| member_subject(member) == wanted);
    let member = found.ok_or_else(|| gone(wanted, orphans.len()))?;
    Ok(Proposal {
        summary: format!("remove {wanted}, which belongs to no node"),
        mode: Mode::WithQuorum,
        steps: removal(cluster, config, member)?,
    })
}

/// Removes a member that has no node, and what is left of the node that it had.
pub(crate) fn removal(cluster: &Cluster, config: &Config, member: &Member) -> Result<Vec<Step>, Refusal> {
    rules::may_remove(cluster, member, config.silence_seconds, config.lag)?;
    let mut steps = vec![
        Step::new(Action::TakeSnapshot, "removing a member can't be undone"),
        Step::new(
            Action::RemoveMember(member.identity()),
            "no machine is left that could bring it back, and etcd lets no other in beside it",
        ),
    ];
    if !member.name.is_empty() {
        steps.extend(leftovers::steps(cluster, &member.name));
    }
    Ok(steps)
}
