//! A database most of which is free pages.

use witgate_sdk::recovery::{Action, Finding, Member, Mode, Proposal, Refusal, Severity, Step, Survey};

use crate::{evidence, leader, subject};

pub(crate) const CLASS: &str = "fragmented";

pub(crate) fn find(survey: &Survey, percent: u64, bytes: u64) -> Option<Finding> {
    let fragmented = |member: &Member| {
        let status = survey.status(member.id)?;
        let free = status.db_size.saturating_sub(status.db_size_in_use);
        let share = free.saturating_mul(100).checked_div(status.db_size)?;
        let raw = format!("{free} of {} bytes are free ({share} %)", status.db_size);
        let evidence = evidence::said(status, &subject(member), "size of the database", raw);
        (share >= percent && free >= bytes).then_some(evidence)
    };
    let evidence: Vec<_> = survey.members.iter().filter_map(fragmented).collect();
    (!evidence.is_empty()).then(|| Finding {
        class: CLASS.to_owned(),
        severity: Severity::Notice,
        subject: "etcd".to_owned(),
        summary: format!(
            "{} of {} databases are free pages by more than {percent} %",
            evidence.len(),
            survey.members.len()
        ),
        evidence,
    })
}

pub(crate) fn plan(survey: &Survey) -> Result<Proposal, Refusal> {
    Ok(Proposal {
        summary: "give free pages back to the disks, one member after the other".to_owned(),
        mode: Mode::WithQuorum,
        steps: steps(survey),
    })
}

/// Defragments all members, the leader last: it does not answer meanwhile.
pub(crate) fn steps(survey: &Survey) -> Vec<Step> {
    let leader = leader(survey);
    let mut members: Vec<_> = survey.members.iter().collect();
    members.sort_by_key(|member| leader == Some(member.id));
    let step = |member: &&Member| {
        let reason = if leader == Some(member.id) {
            "it leads, so it comes last"
        } else {
            "it gives its free pages back, and the others serve meanwhile"
        };
        Step::new(Action::Defragment(member.identity()), reason)
    };
    members.iter().map(step).collect()
}
