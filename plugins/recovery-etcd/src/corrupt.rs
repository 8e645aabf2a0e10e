//! Stores that should be the same and are not.

use std::collections::BTreeMap;

use witgate_sdk::recovery::{
    Action, AlarmKind, Finding, Hash, Member, Mode, Proposal, Refusal, Severity, Step, Survey,
};

use crate::{evidence, leader, subject};

pub(crate) const CLASS: &str = "corrupt";

/// Members with their hashes, if all can be compared.
fn comparable(survey: &Survey) -> Option<Vec<(&Member, Hash)>> {
    let hashes: Option<Vec<_>> = survey
        .members
        .iter()
        .map(|member| Some((member, survey.status(member.id)?.hash?)))
        .collect();
    let hashes = hashes?;
    let place = |hash: &Hash| (hash.revision, hash.compact_revision);
    let first = hashes.first().map(|(_, hash)| place(hash));
    hashes
        .iter()
        .all(|(_, hash)| Some(place(hash)) == first)
        .then_some(hashes)
}

/// Those whose hash is not what a strict majority has; none if there is no such majority.
fn culprits(survey: &Survey) -> Option<Vec<&Member>> {
    let hashes = comparable(survey)?;
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    hashes
        .iter()
        .for_each(|(_, hash)| *counts.entry(hash.hash).or_default() += 1);
    let (right, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    (hashes.len() >= 3 && count * 2 > hashes.len()).then(|| {
        hashes
            .iter()
            .filter(|(_, hash)| hash.hash != right)
            .map(|(member, _)| *member)
            .collect()
    })
}

pub(crate) fn find(survey: &Survey) -> Option<Finding> {
    let alarms = survey
        .alarms
        .iter()
        .filter(|alarm| alarm.kind == AlarmKind::Corrupt)
        .count();
    let hashes = comparable(survey).unwrap_or_default();
    let differ = hashes
        .iter()
        .any(|(_, hash)| hashes.iter().any(|(_, other)| other.hash != hash.hash));
    if alarms == 0 && !differ {
        return None;
    }
    let evidence = survey.members.iter().filter_map(|member| {
        let status = survey.status(member.id)?;
        let raw = match status.hash {
            Some(hash) => format!(
                "{:08x} at revision {} from {}",
                hash.hash, hash.revision, hash.compact_revision
            ),
            None => "there is none".to_owned(),
        };
        Some(evidence::said(status, &subject(member), "hash of the store", raw))
    });
    Some(Finding {
        class: CLASS.to_owned(),
        severity: Severity::Critical,
        subject: "etcd".to_owned(),
        summary: match culprits(survey) {
            Some(culprits) => format!(
                "{} members' stores are not what most have; {alarms} alarms",
                culprits.len()
            ),
            None => format!(
                "stores differ or can't be compared, and no majority says which is right; {alarms} alarms"
            ),
        },
        evidence: evidence.collect(),
    })
}

pub(crate) fn plan(survey: &Survey) -> Result<Proposal, Refusal> {
    let Some(culprits) = culprits(survey) else {
        return Err(Refusal::new(
            "strict-majority",
            format!(
                "{} of {} members' hashes are there at one revision, and a strict majority of at least 3 has to agree",
                survey
                    .statuses
                    .iter()
                    .filter(|status| status.hash.is_some())
                    .count(),
                survey.members.len()
            ),
            "Bring all members back and diagnose again; or restore from a snapshot.",
        ));
    };
    let mut steps = vec![Step::new(Action::TakeSnapshot, "what follows can't be undone")];
    match culprits.as_slice() {
        [] => {
            let alarms = survey
                .alarms
                .iter()
                .filter(|alarm| alarm.kind == AlarmKind::Corrupt);
            steps.extend(
                alarms.map(|alarm| Step::new(Action::DisarmAlarm(*alarm), "all stores are the same again")),
            );
        }
        [culprit] if leader(survey) != Some(culprit.id) => {
            steps.push(Step::new(
                Action::RemoveMember(culprit.identity()),
                "its store is not what most members have; one with an empty disk takes its place",
            ));
            steps.push(Step::new(
                Action::WaitForMember(witgate_sdk::recovery::AwaitedMember {
                    name: culprit.name.clone(),
                    timeout_seconds: 3600,
                }),
                "stop etcd on that machine, empty its data directory, and add it again",
            ));
        }
        [culprit] => {
            return Err(Refusal::new(
                "leader-moves-first",
                format!(
                    "{} leads, and its store is 1 that is not what most have",
                    subject(culprit)
                ),
                "Stop etcd there, so that another member leads, and diagnose again.",
            ));
        }
        several => {
            return Err(Refusal::new(
                "one-change-at-a-time",
                format!("{} stores are not what most members have", several.len()),
                "Restore from a snapshot.",
            ));
        }
    }
    Ok(Proposal {
        summary: "put right the stores that are not what most members have".to_owned(),
        mode: Mode::WithQuorum,
        steps,
    })
}
