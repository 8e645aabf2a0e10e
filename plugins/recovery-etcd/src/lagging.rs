//! A member that does not keep up.

use witgate_sdk::recovery::{
    Action, Finding, Leadership, Member, Mode, Proposal, Refusal, Severity, Step, Survey,
};

use crate::{evidence, leader, subject};

pub(crate) const CLASS: &str = "lagging-member";

fn lag(survey: &Survey, member: &Member) -> Option<u64> {
    let leader = survey.status(leader(survey)?)?;
    let status = survey.status(member.id)?;
    Some(leader.raft_index.saturating_sub(status.raft_applied_index))
}

pub(crate) fn find(survey: &Survey, most: u64) -> Vec<Finding> {
    let lagging = survey.members.iter().filter_map(|member| {
        let lag = lag(survey, member).filter(|lag| *lag > most)?;
        let status = survey.status(member.id)?;
        let subject = subject(member);
        let raw = format!("{} of {}", status.raft_applied_index, status.raft_index);
        Some(Finding {
            class: CLASS.to_owned(),
            severity: Severity::Degraded,
            summary: format!("{subject} is {lag} entries of the log behind the leader"),
            evidence: vec![evidence::said(status, &subject, "applied entries", raw)],
            subject,
        })
    });
    lagging.collect()
}

/// A leader that can't apply what it proposes hands the lead on. A follower is not touched: slow is
/// not dead.
pub(crate) fn plan(survey: &Survey, wanted: &str) -> Result<Proposal, Refusal> {
    let leads = leader(survey);
    let from = survey
        .members
        .iter()
        .find(|member| subject(member) == wanted && leads == Some(member.id));
    let voters = survey
        .members
        .iter()
        .filter(|member| !member.learner && leads != Some(member.id));
    let to = voters.min_by_key(|member| lag(survey, member).unwrap_or(u64::MAX));
    let (Some(from), Some(to)) = (from, to) else {
        return Err(Refusal::new(
            "slow-is-not-dead",
            format!("{wanted} follows, and 0 steps would make its disk or network faster"),
            "Look at its disk (etcd_disk_wal_fsync_duration_seconds) and its network.",
        ));
    };
    let leadership = Leadership {
        from: from.identity(),
        to: to.identity(),
    };
    Ok(Proposal {
        summary: format!("let {} lead instead of {wanted}", subject(to)),
        mode: Mode::WithQuorum,
        steps: vec![Step::new(
            Action::MoveLeader(leadership),
            "a slow leader makes every write slow",
        )],
    })
}
