//! Too few members to commit anything: people restore it, step by step.

use witgate_sdk::recovery::{
    Action, Condition, Finding, Instruction, Member, Mode, Proposal, Seen, Severity, Step, Survey,
};

use crate::{evidence, subject};

pub(crate) const CLASS: &str = "quorum-lost";

fn voters(survey: &Survey) -> impl Iterator<Item = &Member> {
    survey.members.iter().filter(|member| !member.learner)
}

pub(crate) fn find(survey: &Survey) -> Vec<Finding> {
    let count = voters(survey).count();
    let alive =
        voters(survey).filter(|member| survey.status(member.id).is_some_and(|status| status.leader != 0));
    let (alive, needed) = (alive.count(), count / 2 + 1);
    if survey.confirmed || alive >= needed {
        return Vec::new();
    }
    let silent = survey
        .sightings
        .iter()
        .filter(|sighting| sighting.seen == Seen::Silent);
    let evidence = silent.filter_map(|sighting| {
        let member = survey
            .members
            .iter()
            .find(|member| member.id == sighting.member)?;
        Some(evidence::sighting(sighting, &subject(member)))
    });
    vec![Finding {
        class: CLASS.to_owned(),
        severity: Severity::Critical,
        subject: "etcd".to_owned(),
        summary: format!(
            "{alive} of {count} voters follow a leader, and {needed} are needed; nothing can be written"
        ),
        evidence: evidence.collect(),
    }]
}

/// The survivor that has the most goes on alone, after it is certain that no other will come back.
pub(crate) fn plan(survey: &Survey) -> Proposal {
    let rank = |member: &&Member| {
        let status = survey.status(member.id);
        status.map(|status| (status.raft_term, status.raft_applied_index))
    };
    let survivor = voters(survey).max_by_key(rank);
    let by_hand = |machine: &str, text: String, commands: &[&str]| {
        Action::ByHand(Instruction {
            machine: machine.to_owned(),
            text,
            commands: commands.iter().map(|command| (*command).to_owned()).collect(),
        })
    };
    let mut steps = vec![Step::new(
        Action::TakeSnapshot,
        "it is taken from the survivor that has the most",
    )];
    let others = survey
        .members
        .iter()
        .filter(|member| survivor.is_none_or(|survivor| survivor.id != member.id));
    steps.extend(others.map(|member| {
        let text = format!(
            "Make certain that etcd of {} is stopped and can't start again: move its manifest away, or cut its power.",
            subject(member)
        );
        let commands = ["mv /etc/kubernetes/manifests/etcd.yaml /etc/kubernetes/etcd.yaml.kept"];
        Step::new(
            by_hand(&member.name, text, &commands),
            "two halves that both go on would be two clusters",
        )
    }));
    let name = survivor.map_or("the survivor", |survivor| survivor.name.as_str());
    let restart = Step {
        after: vec![Condition::Quorum, Condition::Voters(1)],
        ..Step::new(
            by_hand(
                name,
                "Keep a copy of the data directory. Start etcd once with --force-new-cluster, and when it leads, \
                 again without: it is then a cluster of one."
                    .to_owned(),
                &["cp -a /var/lib/etcd /var/lib/etcd.kept"],
            ),
            "it forgets the other members, and commits alone",
        )
    };
    steps.push(restart);
    Proposal {
        summary: format!("go on with {name} alone, from where it is; the others join anew afterwards"),
        mode: Mode::QuorumLost,
        steps,
    }
}
