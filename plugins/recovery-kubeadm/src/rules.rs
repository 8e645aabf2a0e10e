//! What the gateway would refuse: to propose it would cost people a round. The names of the rules are
//! the gateway's own.

use std::collections::BTreeSet;

use witgate_sdk::recovery::{Member, Refusal, Seen, Severity, Survey};

use crate::{cluster::Cluster, member_subject};

/// Vantage points that have to agree before a member counts as dead.
const VANTAGE_POINTS: usize = 2;

/// The numbers that quorum is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Census {
    pub(crate) voters: usize,
    /// Of those, the ones that answer and follow the same leader.
    pub(crate) alive: usize,
}

impl Census {
    pub(crate) fn of(survey: &Survey) -> Self {
        let leader = leader(survey);
        let voters = || survey.members.iter().filter(|member| !member.learner);
        let follows = |member: &&Member| {
            let status = survey.status(member.id);
            status.is_some_and(|status| Some(status.leader) == leader)
        };
        Self {
            voters: voters().count(),
            alive: voters().filter(follows).count(),
        }
    }

    /// How much it matters that one of the voters is gone.
    pub(crate) fn severity(self) -> Severity {
        if self.alive > quorum(self.voters) {
            Severity::Degraded
        } else {
            Severity::Critical
        }
    }
}

fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

/// Who leads, by the member of the highest term that knows.
fn leader(survey: &Survey) -> Option<u64> {
    let knows = survey.statuses.iter().filter(|status| status.leader != 0);
    Some(knows.max_by_key(|status| status.raft_term)?.leader)
}

/// How many entries of the log a member has not applied yet that the leader has.
pub(crate) fn lag(survey: &Survey, member: &Member) -> Option<u64> {
    let leader = survey.status(leader(survey)?)?;
    let status = survey.status(member.id)?;
    Some(leader.raft_index.saturating_sub(status.raft_applied_index))
}

/// Whether a member may be removed. A learner that lives and lags by more than `lag` may be.
pub(crate) fn may_remove(
    cluster: &Cluster,
    member: &Member,
    silence_seconds: u64,
    lag_allowed: u64,
) -> Result<(), Refusal> {
    let (survey, subject) = (&cluster.survey, member_subject(member));
    let lag = lag(survey, member);
    let lags = member.learner && lag.is_some_and(|lag| lag > lag_allowed);
    if survey.status(member.id).is_some() && !lags {
        return Err(Refusal::new(
            "dead-for-sure",
            format!(
                "{subject} answers, {} entries behind the leader, and is not removed",
                lag.unwrap_or(0)
            ),
            "What lives is stopped by the people who run it: stop etcd on its machine, and diagnose again.",
        ));
    }
    if !lags {
        dead(cluster, member, silence_seconds)?;
    }
    let census = Census::of(survey);
    may_commit(census)?;
    if !survey.confirmed {
        return Err(Refusal::new(
            "one-change-at-a-time",
            format!("no quorum confirmed the list of {} members", survey.members.len()),
            "Try again when a quorum answers.",
        ));
    }
    if member.learner {
        return Ok(());
    }
    // It does not answer, so it is none of the live ones.
    let (left, needed) = (census.alive, quorum(census.voters.saturating_sub(1)));
    if census.voters <= 1 || left < needed {
        return Err(Refusal::new(
            "quorum-survives",
            format!(
                "without {subject} there are {left} live of {} voters, and {needed} are needed",
                census.voters.saturating_sub(1)
            ),
            "Bring another member back first.",
        ));
    }
    Ok(())
}

fn dead(cluster: &Cluster, member: &Member, silence_seconds: u64) -> Result<(), Refusal> {
    let sightings = || cluster.survey.sightings(member.id);
    let silent: BTreeSet<_> = sightings()
        .filter(|sighting| sighting.seen == Seen::Silent)
        .map(|sighting| sighting.vantage.as_str())
        .collect();
    let seen: Vec<_> = sightings()
        .filter(|sighting| sighting.seen == Seen::Answers)
        .map(|sighting| sighting.vantage.as_str())
        .collect();
    let lasted = cluster.silence(member).unwrap_or(0) / 1000;
    if silent.len() >= VANTAGE_POINTS && seen.is_empty() && lasted >= silence_seconds {
        return Ok(());
    }
    let seen = if seen.is_empty() {
        "none".to_owned()
    } else {
        seen.join(", ")
    };
    Err(Refusal::new(
        "dead-for-sure",
        format!(
            "{} is silent from {} vantage points for {lasted} s and seen by {seen}; it has to be silent from \
             {VANTAGE_POINTS} for {silence_seconds} s, and seen by none",
            member_subject(member),
            silent.len(),
        ),
        "It may come back: look at the network between the members, and at its machine.",
    ))
}

/// Whether the cluster can commit anything.
pub(crate) fn may_commit(census: Census) -> Result<(), Refusal> {
    let Census { voters, alive } = census;
    if alive >= quorum(voters) {
        return Ok(());
    }
    Err(Refusal::new(
        "quorum-commits",
        format!(
            "{alive} of {voters} voters follow one leader, and {} are needed to commit anything",
            quorum(voters)
        ),
        "Restore the quorum first: recovery-etcd finds quorum-lost, and two people repair it by hand.",
    ))
}

/// Whether another member may be let in, when one (if any) has been removed before.
pub(crate) fn may_grow(cluster: &Cluster, removed: Option<u64>) -> Result<(), Refusal> {
    let survey = &cluster.survey;
    let left = || {
        survey
            .members
            .iter()
            .filter(move |member| Some(member.id) != removed)
    };
    may_vote_be_added(left(), survey)?;
    let learners: Vec<_> = left()
        .filter(|member| member.learner)
        .map(member_subject)
        .collect();
    if !learners.is_empty() {
        return Err(Refusal::new(
            "grows-when-whole",
            format!(
                "there are {} learners, and etcd takes 1 at a time: {}",
                learners.len(),
                learners.join(", ")
            ),
            "Promote or remove it first: it is found as stuck-learner if it stays.",
        ));
    }
    if cluster.kubeadm.version.is_empty() {
        return Err(Refusal::new(
            "version-fits",
            "kubeadm-config says 0 times which version the cluster is of".to_owned(),
            "Write kubernetesVersion into ClusterConfiguration of kube-system/kubeadm-config.",
        ));
    }
    Ok(())
}

/// Whether no voter of those is silent.
pub(crate) fn may_vote_be_added<'a>(
    members: impl Iterator<Item = &'a Member> + Clone,
    survey: &Survey,
) -> Result<(), Refusal> {
    let voters = members.filter(|member| !member.learner);
    let silent: Vec<_> = voters
        .clone()
        .filter(|member| survey.status(member.id).is_none())
        .map(member_subject)
        .collect();
    if silent.is_empty() {
        return Ok(());
    }
    let voters = voters.count();
    Err(Refusal::new(
        "grows-when-whole",
        format!(
            "{} of {voters} voters answer, and none may be silent while one more is added; silent: {}",
            voters - silent.len(),
            silent.join(", ")
        ),
        "Repair or remove the silent one first.",
    ))
}
