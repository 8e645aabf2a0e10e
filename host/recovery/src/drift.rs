//! Whether a control plane is as a plan expects it, and if not, what is different.

use std::collections::BTreeSet;

use witgate_plugins::recovery::{Action, Alarm, Member, MemberIdentity, Step};

use crate::{
    observation::{Observation, Standing},
    policy::millis,
    projection::TO_COME,
    rules::{Rule, Scene, Violation},
};

/// Compares what is seen with what is expected before the step of that number.
pub(crate) fn demand_none(
    expected: &Observation,
    scene: &Scene<'_>,
    steps: &[Step],
    next: usize,
) -> Result<(), Violation> {
    let differences = differences(expected, scene, &newcomers(steps, next));
    Rule::NoDrift.demand(differences.is_empty(), || {
        let count = differences.len();
        format!("{count} things are not as planned: {}", differences.join("; "))
    })
}

/// The members whose coming is part of the plan and may have begun: the step before was asked for it.
fn newcomers(steps: &[Step], next: usize) -> BTreeSet<&str> {
    let opens = |step: &Step| {
        matches!(
            step.action,
            Action::MintJoinMaterial(_) | Action::WaitForMember(_)
        )
    };
    if !steps.iter().take(next + 1).any(opens) {
        return BTreeSet::new();
    }
    steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::WaitForMember(awaited) => Some(awaited.name.as_str()),
            _ => None,
        })
        .collect()
}

fn differences(expected: &Observation, scene: &Scene<'_>, newcomers: &BTreeSet<&str>) -> Vec<String> {
    let seen = scene.seen;
    let mut found = Vec::new();
    if expected.survey.cluster_id != seen.survey.cluster_id {
        let show = |id: Option<_>| {
            id.map_or("none".to_owned(), |id: witgate_plugins::recovery::MemberId| {
                id.to_string()
            })
        };
        let (was, is) = (show(expected.survey.cluster_id), show(seen.survey.cluster_id));
        found.push(format!("the cluster was {was} and is {is}"));
    }
    let dwell = millis(scene.policy.silence);
    for member in expected
        .survey
        .members
        .iter()
        .filter(|member| member.id != TO_COME)
    {
        found.extend(difference(member, expected, seen, dwell));
    }
    for member in &seen.survey.members {
        let known = expected.survey.member(member.id).is_some();
        // A member that joins is named when it has started, and before that it has no name.
        let awaited =
            newcomers.contains(member.name.as_str()) || (member.name.is_empty() && !newcomers.is_empty());
        if !known && !awaited {
            found.push(format!(
                "member {} was not listed and is",
                MemberIdentity::from(member)
            ));
        }
    }
    let alarms = |seen: &Observation| seen.survey.alarms.iter().copied().collect::<BTreeSet<Alarm>>();
    let (was, is) = (alarms(expected), alarms(seen));
    found.extend(
        is.difference(&was)
            .map(|alarm| format!("the alarm {alarm} is raised and was not")),
    );
    found.extend(
        was.difference(&is)
            .map(|alarm| format!("the alarm {alarm} was raised and is not")),
    );
    found
}

fn difference(member: &Member, expected: &Observation, seen: &Observation, dwell: u64) -> Option<String> {
    let identity = MemberIdentity::from(member);
    let Some(found) = seen.survey.member(member.id) else {
        return Some(format!("member {identity} was listed and is not"));
    };
    if !identity.is(found) || member.learner != found.learner {
        let role = |member: &Member| if member.learner { "learner" } else { "voter" };
        let now = MemberIdentity::from(found);
        let (was, is) = (member.peer_urls.join(","), found.peer_urls.join(","));
        let (before, after) = (role(member), role(found));
        return Some(format!("{before} {identity} at {was} is {after} {now} at {is}"));
    }
    let standing = |seen: &Observation, member| seen.standing(member, dwell);
    let (was, is): (Standing, Standing) = (standing(expected, member), standing(seen, found));
    (was != is).then(|| format!("member {identity} was {} and is {}", was.word(), is.word()))
}
