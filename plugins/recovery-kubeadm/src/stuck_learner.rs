//! A learner that does not become a voter: etcd takes one at a time, so no other node can join.

use witgate_sdk::recovery::{Action, Finding, Member, Mode, Proposal, Refusal, Severity, Step};

use crate::{Config, cluster::Cluster, evidence, gone, member_subject, orphan_member, rules};

pub(crate) const CLASS: &str = "stuck-learner";

/// Learners that have had their time: since their pod was made, or as long as they are silent.
fn stuck<'a>(cluster: &'a Cluster, config: &Config) -> Vec<&'a Member> {
    let (learning, silence) = (config.learning_seconds, config.silence_seconds);
    let had_its_time = |member: &&Member| {
        if cluster.survey.status(member.id).is_none() {
            return cluster
                .silence(member)
                .is_some_and(|lasted| lasted >= silence.saturating_mul(1000));
        }
        started(cluster, member)
            .is_none_or(|since| cluster.now().saturating_sub(since) >= learning.saturating_mul(1000))
    };
    let without_dead_node = |member: &&Member| {
        let node = cluster.node(&member.name);
        cluster.survey.status(member.id).is_some() || node.is_none()
    };
    cluster
        .stacked()
        .iter()
        .filter(|member| member.learner)
        .filter(had_its_time)
        .filter(without_dead_node)
        .collect()
}

/// Since when its pod has been there.
fn started(cluster: &Cluster, member: &Member) -> Option<u64> {
    let mut pods = cluster.pods.iter();
    let pod = pods.find(|pod| pod.component == "etcd" && pod.node == member.name)?;
    Some(pod.created)
}

pub(crate) fn find(cluster: &Cluster, config: &Config) -> Vec<Finding> {
    let finding = |member: &Member| {
        let subject = member_subject(member);
        let mut evidence = vec![evidence::listed(cluster, member)];
        evidence.extend(evidence::silence(cluster, member));
        evidence.extend(evidence::answers(cluster, member));
        let what = match rules::lag(&cluster.survey, member) {
            Some(lag) if lag <= config.lag => {
                format!("is {lag} entries behind the leader and was not promoted")
            }
            Some(lag) => format!("is {lag} entries behind the leader, and {} may be", config.lag),
            None if member.name.is_empty() => "was added and has never started".to_owned(),
            None => "is silent, and has no node".to_owned(),
        };
        Finding {
            class: CLASS.to_owned(),
            severity: Severity::Degraded,
            summary: format!("{subject} {what}; no other node can join meanwhile"),
            subject,
            evidence,
        }
    };
    stuck(cluster, config).into_iter().map(finding).collect()
}

pub(crate) fn plan(cluster: &Cluster, config: &Config, wanted: &str) -> Result<Proposal, Refusal> {
    let stuck = stuck(cluster, config);
    let found = stuck.iter().find(|member| member_subject(member) == wanted);
    let member = found.ok_or_else(|| gone(wanted, stuck.len()))?;
    let lag = rules::lag(&cluster.survey, member);
    let proposal = |summary: &str, steps| Proposal {
        summary: format!("{summary} {wanted}"),
        mode: Mode::WithQuorum,
        steps,
    };
    match (lag, cluster.node(&member.name)) {
        (Some(lag), Some(_)) if lag <= config.lag => {
            rules::may_commit(rules::Census::of(&cluster.survey))?;
            rules::may_vote_be_added(cluster.survey.members.iter(), &cluster.survey)?;
            let promote = Step::new(
                Action::PromoteLearner(member.identity()),
                format!("it is {lag} entries behind, and as a learner it keeps others out"),
            );
            Ok(proposal("give a vote to", vec![promote]))
        }
        (Some(lag), Some(_)) => Err(Refusal::new(
            "grows-when-whole",
            format!("{wanted} is {lag} entries behind, and {} may be", config.lag),
            "It lives and its node is there: look at its disk (etcd_disk_wal_fsync_duration_seconds) and its \
             network. If it has to go, run `kubeadm reset` on its machine.",
        )),
        _ => Ok(proposal(
            "remove",
            orphan_member::removal(cluster, config, member)?,
        )),
    }
}
