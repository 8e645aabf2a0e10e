//! Between the contract's types and the host's.

use super::{bindings::witgate::recovery::types, imports::path_segment};
use crate::denials::Printable;
use crate::recovery::{
    self, Action, Alarm, AlarmKind, Awaited, ClusterStatusEntry, Condition, Evidence, Finding, Instruction,
    JoinMaterial, KubeResource, Leadership, MemberId, MemberIdentity, Mode, ObjectIdentity, Proposal,
    RecoveryError, Refusal, Seen, Severity, Step, Survey,
};

/// What one text of a plugin may be: it is printed in a terminal, a page and a journal.
const MAX_TEXT: usize = 4096;

/// A plugin's words, without what could fake a line of the log or a terminal's.
pub(super) fn printed(text: &str) -> String {
    Printable(text, MAX_TEXT).to_string()
}

pub(super) fn trouble(trouble: types::Trouble) -> RecoveryError {
    RecoveryError::Blind(match trouble {
        types::Trouble::NotGranted(words)
        | types::Trouble::Unavailable(words)
        | types::Trouble::TooLarge(words) => {
            // Lines of the configuration to add are among the words, so line breaks stay.
            words.lines().map(printed).collect::<Vec<_>>().join("\n")
        }
    })
}

pub(super) fn refusal(refusal: &types::Refusal) -> Refusal {
    Refusal {
        rule: printed(&refusal.rule),
        reason: printed(&refusal.reason),
        advice: printed(&refusal.advice),
    }
}

pub(super) fn resource(resource: types::KubeResource) -> Result<KubeResource, types::Trouble> {
    for part in [&resource.group, &resource.version, &resource.plural] {
        path_segment(part)?;
    }
    Ok(KubeResource {
        group: resource.group,
        version: resource.version,
        plural: resource.plural,
    })
}

pub(super) fn finding(finding: types::Finding) -> Finding {
    let evidence = finding.evidence.into_iter().map(|evidence| Evidence {
        what: printed(&evidence.what),
        vantage: printed(&evidence.vantage),
        at: evidence.at,
        raw: printed(&evidence.raw),
    });
    Finding {
        class: printed(&finding.class),
        severity: match finding.severity {
            types::Severity::Notice => Severity::Notice,
            types::Severity::Degraded => Severity::Degraded,
            types::Severity::Critical => Severity::Critical,
        },
        subject: printed(&finding.subject),
        summary: printed(&finding.summary),
        evidence: evidence.collect(),
    }
}

pub(super) fn finding_back(finding: &Finding) -> types::Finding {
    let evidence = finding.evidence.iter().map(|evidence| types::Evidence {
        what: evidence.what.clone(),
        vantage: evidence.vantage.clone(),
        at: evidence.at,
        raw: evidence.raw.clone(),
    });
    types::Finding {
        class: finding.class.clone(),
        severity: match finding.severity {
            Severity::Notice => types::Severity::Notice,
            Severity::Degraded => types::Severity::Degraded,
            Severity::Critical => types::Severity::Critical,
        },
        subject: finding.subject.clone(),
        summary: finding.summary.clone(),
        evidence: evidence.collect(),
    }
}

pub(super) fn survey(survey: Survey) -> types::Survey {
    let member = |member: recovery::Member| types::Member {
        id: member.id.0,
        name: member.name,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
        learner: member.learner,
        silent_since: member.silent_since,
    };
    let sighting = |sighting: recovery::Sighting| types::Sighting {
        member: sighting.member.0,
        vantage: sighting.vantage,
        at: sighting.at,
        seen: match sighting.seen {
            Seen::Answers => types::Seen::Answers,
            Seen::Silent => types::Seen::Silent,
            Seen::Unknown => types::Seen::Unknown,
        },
        raw: sighting.raw,
    };
    types::Survey {
        cluster_id: survey.cluster_id.map(|id| id.0),
        taken: survey.taken,
        members: survey.members.into_iter().map(member).collect(),
        confirmed: survey.confirmed,
        sightings: survey.sightings.into_iter().map(sighting).collect(),
        statuses: survey.statuses.into_iter().map(status).collect(),
        alarms: survey.alarms.into_iter().map(alarm_back).collect(),
    }
}

fn status(status: recovery::Status) -> types::Status {
    types::Status {
        member: status.member.0,
        at: status.at,
        version: status.version,
        db_size: status.db_size,
        db_size_in_use: status.db_size_in_use,
        db_quota: status.db_quota,
        leader: status.leader.0,
        raft_term: status.raft_term,
        raft_index: status.raft_index,
        raft_applied_index: status.raft_applied_index,
        revision: status.revision,
        learner: status.learner,
        errors: status.errors,
        hash: status.hash.map(|hash| types::Hash {
            hash: hash.hash,
            revision: hash.revision,
            compact_revision: hash.compact_revision,
        }),
    }
}

fn alarm_back(alarm: Alarm) -> types::Alarm {
    types::Alarm {
        member: alarm.member.0,
        kind: match alarm.kind {
            AlarmKind::NoSpace => types::AlarmKind::NoSpace,
            AlarmKind::Corrupt => types::AlarmKind::Corrupt,
        },
    }
}

fn alarm(alarm: types::Alarm) -> Alarm {
    Alarm {
        member: MemberId(alarm.member),
        kind: match alarm.kind {
            types::AlarmKind::NoSpace => AlarmKind::NoSpace,
            types::AlarmKind::Corrupt => AlarmKind::Corrupt,
        },
    }
}

pub(super) fn proposal(proposal: types::Proposal) -> Proposal {
    Proposal {
        summary: printed(&proposal.summary),
        mode: match proposal.mode {
            types::Mode::WithQuorum => Mode::WithQuorum,
            types::Mode::QuorumLost => Mode::QuorumLost,
        },
        steps: proposal.steps.into_iter().map(step).collect(),
    }
}

fn step(step: types::Step) -> Step {
    Step {
        action: action(step.action),
        reason: printed(&step.reason),
        before: step.before.into_iter().map(condition).collect(),
        after: step.after.into_iter().map(condition).collect(),
    }
}

fn action(action: types::Action) -> Action {
    match action {
        types::Action::TakeSnapshot => Action::TakeSnapshot,
        types::Action::MoveLeader(leadership) => Action::MoveLeader(Leadership {
            from: member(&leadership.from),
            to: member(&leadership.to),
        }),
        types::Action::RemoveMember(identity) => Action::RemoveMember(member(&identity)),
        types::Action::PromoteLearner(identity) => Action::PromoteLearner(member(&identity)),
        types::Action::DeleteNode(identity) => Action::DeleteNode(object(&identity)),
        types::Action::DeleteMirrorPod(identity) => Action::DeleteMirrorPod(object(&identity)),
        types::Action::DeleteLease(identity) => Action::DeleteLease(object(&identity)),
        types::Action::EditClusterStatus(entry) => Action::EditClusterStatus(ClusterStatusEntry {
            uid: printed(&entry.uid),
            resource_version: printed(&entry.resource_version),
            node: printed(&entry.node),
        }),
        types::Action::MintJoinMaterial(material) => Action::MintJoinMaterial(JoinMaterial {
            node: printed(&material.node),
            lifetime_seconds: material.lifetime_seconds,
            kubernetes_version: printed(&material.kubernetes_version),
        }),
        types::Action::WaitForMember(awaited) => Action::WaitForMember(Awaited {
            name: printed(&awaited.name),
            timeout_seconds: awaited.timeout_seconds,
        }),
        types::Action::RevokeJoinMaterial => Action::RevokeJoinMaterial,
        types::Action::Defragment(identity) => Action::Defragment(member(&identity)),
        types::Action::Compact(revision) => Action::Compact(revision),
        types::Action::DisarmAlarm(raised) => Action::DisarmAlarm(alarm(raised)),
        types::Action::ByHand(instruction) => Action::ByHand(Instruction {
            machine: printed(&instruction.machine),
            text: printed(&instruction.text),
            commands: instruction
                .commands
                .iter()
                .map(|command| printed(command))
                .collect(),
        }),
    }
}

fn condition(condition: types::Condition) -> Condition {
    match condition {
        types::Condition::Quorum => Condition::Quorum,
        types::Condition::Voters(count) => Condition::Voters(count),
        types::Condition::AllAnswer => Condition::AllAnswer,
        types::Condition::HashesAgree => Condition::HashesAgree,
        types::Condition::NoLearner => Condition::NoLearner,
        types::Condition::Listed(identity) => Condition::Listed(member(&identity)),
        types::Condition::NotListed(id) => Condition::NotListed(MemberId(id)),
        types::Condition::Dead(identity) => Condition::Dead(member(&identity)),
        types::Condition::Answers(identity) => Condition::Answers(member(&identity)),
        types::Condition::Leads(id) => Condition::Leads(MemberId(id)),
        types::Condition::DoesNotLead(id) => Condition::DoesNotLead(MemberId(id)),
        types::Condition::Raised(raised) => Condition::Raised(alarm(raised)),
        types::Condition::NotRaised(raised) => Condition::NotRaised(alarm(raised)),
        types::Condition::BelowQuota((identity, percent)) => {
            Condition::BelowQuota(member(&identity), percent)
        }
        types::Condition::FragmentedLessThan((identity, percent)) => {
            Condition::FragmentedLessThan(member(&identity), percent)
        }
        types::Condition::Present((kind, identity)) => Condition::Present(plain(&kind), object(&identity)),
        types::Condition::Absent((kind, identity)) => Condition::Absent(plain(&kind), object(&identity)),
        types::Condition::NotReady(identity) => Condition::NotReady(object(&identity)),
        types::Condition::NoClusterStatusOf(node) => Condition::NoClusterStatusOf(printed(&node)),
        types::Condition::SnapshotFresh => Condition::SnapshotFresh,
        types::Condition::JoinMaterialThere => Condition::JoinMaterialThere,
        types::Condition::JoinMaterialGone => Condition::JoinMaterialGone,
    }
}

fn plain(resource: &types::KubeResource) -> KubeResource {
    KubeResource {
        group: printed(&resource.group),
        version: printed(&resource.version),
        plural: printed(&resource.plural),
    }
}

fn member(identity: &types::MemberIdentity) -> MemberIdentity {
    MemberIdentity {
        id: MemberId(identity.id),
        name: printed(&identity.name),
        peer_urls: identity.peer_urls.iter().map(|url| printed(url)).collect(),
    }
}

fn object(identity: &types::ObjectIdentity) -> ObjectIdentity {
    ObjectIdentity {
        namespace: printed(&identity.namespace),
        name: printed(&identity.name),
        uid: printed(&identity.uid),
    }
}
