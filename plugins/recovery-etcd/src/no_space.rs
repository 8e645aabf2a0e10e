//! A database that is full, or nearly.

use witgate_sdk::recovery::{Action, AlarmKind, Finding, Mode, Proposal, Refusal, Severity, Step, Survey};

use crate::{evidence, fragmented, leader, subject};

pub(crate) const CLASS: &str = "no-space";

/// What etcd takes as its quota unless it is told otherwise.
const DEFAULT_QUOTA: u64 = 2 << 30;

/// So many of the latest revisions are kept: who watches may be that far behind.
const KEPT: i64 = 1000;

pub(crate) fn find(survey: &Survey, percent: u64) -> Option<Finding> {
    let raised = survey
        .alarms
        .iter()
        .filter(|alarm| alarm.kind == AlarmKind::NoSpace)
        .count();
    let fullest = survey.statuses.iter().max_by_key(|status| {
        status.db_size.saturating_mul(100) / status.db_quota.unwrap_or(DEFAULT_QUOTA).max(1)
    })?;
    let quota = fullest.db_quota.unwrap_or(DEFAULT_QUOTA);
    let used = fullest.db_size.saturating_mul(100) / quota.max(1);
    if raised == 0 && used < percent {
        return None;
    }
    let member = survey.members.iter().find(|member| member.id == fullest.member)?;
    let raw = format!(
        "{} of {quota} bytes, of which {} are in use",
        fullest.db_size, fullest.db_size_in_use
    );
    Some(Finding {
        class: CLASS.to_owned(),
        severity: if raised > 0 {
            Severity::Critical
        } else {
            Severity::Degraded
        },
        subject: "etcd".to_owned(),
        summary: format!("the fullest database takes {used} % of its quota, and {raised} alarms are raised"),
        evidence: vec![evidence::said(
            fullest,
            &subject(member),
            "size of the database",
            raw,
        )],
    })
}

pub(crate) fn plan(survey: &Survey) -> Result<Proposal, Refusal> {
    if leader(survey).is_none() {
        return Err(Refusal::new(
            "quorum-commits",
            format!("0 of {} members know a leader", survey.statuses.len()),
            "Restore the quorum first.",
        ));
    }
    let newest = survey
        .statuses
        .iter()
        .map(|status| status.revision)
        .max()
        .unwrap_or(0);
    let mut steps = vec![Step::new(Action::TakeSnapshot, "compacting can't be undone")];
    // A store of few revisions has its weight in the latest ones.
    let revision = if newest > 2 * KEPT { newest - KEPT } else { newest };
    if revision > 0 {
        steps.push(Step::new(
            Action::Compact(revision),
            format!("values before revision {revision} of {newest} are not read any more"),
        ));
    }
    steps.extend(fragmented::steps(survey));
    let full = survey
        .alarms
        .iter()
        .filter(|alarm| alarm.kind == AlarmKind::NoSpace);
    steps.extend(
        full.map(|alarm| Step::new(Action::DisarmAlarm(*alarm), "etcd takes writes again only then")),
    );
    Ok(Proposal {
        summary: "make room in etcd: compact it, defragment its members one by one, clear the alarms"
            .to_owned(),
        mode: Mode::WithQuorum,
        steps,
    })
}
