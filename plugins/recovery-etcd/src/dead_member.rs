//! A member that is silent from everywhere, and a quorum without it.

use witgate_sdk::recovery::{Action, Finding, Mode, Proposal, Refusal, Seen, Severity, Step, Survey};

use crate::{evidence, subject};

pub(crate) const CLASS: &str = "dead-member";

pub(crate) fn find(survey: &Survey, silence: u64) -> Vec<Finding> {
    let silent = survey.members.iter().filter_map(|member| {
        let since = member.silent_since?;
        let lasted = survey.taken.saturating_sub(since);
        (lasted >= silence).then(|| {
            let subject = subject(member);
            let silent = survey
                .sightings(member.id)
                .filter(|sighting| sighting.seen == Seen::Silent);
            let evidence: Vec<_> = silent
                .map(|silent| evidence::sighting(silent, &subject))
                .collect();
            Finding {
                class: CLASS.to_owned(),
                severity: Severity::Degraded,
                summary: format!(
                    "{subject} is silent from {} places, for {} s",
                    evidence.len(),
                    lasted / 1000
                ),
                subject,
                evidence,
            }
        })
    });
    silent.filter(|finding| !finding.evidence.is_empty()).collect()
}

pub(crate) fn plan(survey: &Survey, wanted: &str) -> Result<Proposal, Refusal> {
    let Some(member) = survey.members.iter().find(|member| subject(member) == wanted) else {
        let count = survey.members.len();
        return Err(Refusal::new(
            "same-member",
            format!("none of the {count} members is {wanted}"),
            "Diagnose again.",
        ));
    };
    Ok(Proposal {
        summary: format!("remove {wanted}, which is dead"),
        mode: Mode::WithQuorum,
        steps: vec![
            Step::new(Action::TakeSnapshot, "removing a member can't be undone"),
            Step::new(
                Action::RemoveMember(member.identity()),
                "as long as it is listed it counts for the quorum, and no other can take its place",
            ),
        ],
    })
}
