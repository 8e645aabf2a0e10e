//! What a control plane is expected to be after a step, from what it was before.
//!
//! What can't be known in advance (how much space compacting will free) is projected at its best:
//! a plan is refused for what it certainly breaks, and every step is checked again on what is really
//! there before it is taken.

use witgate_plugins::recovery::{Action, Member, MemberId, ObjectIdentity, Status};

use crate::observation::{Join, Observation, Snapshot};

/// The id of a member that will join: not known yet.
pub(crate) const TO_COME: MemberId = MemberId(0);

/// Changes an observation into what is expected after an action.
pub(crate) fn project(seen: &mut Observation, action: &Action, plan: &str) {
    match action {
        Action::TakeSnapshot => seen.snapshots.push(Snapshot {
            file: String::new(),
            at: seen.at,
            cluster_id: seen.survey.cluster_id.unwrap_or_default(),
            revision: seen.revision(),
            verified: true,
        }),
        Action::MoveLeader(leadership) => {
            for status in &mut seen.survey.statuses {
                status.leader = leadership.to.id;
            }
        }
        Action::RemoveMember(member) => {
            seen.survey.members.retain(|listed| listed.id != member.id);
            seen.survey.statuses.retain(|status| status.member != member.id);
            seen.survey
                .sightings
                .retain(|sighting| sighting.member != member.id);
            seen.survey.alarms.retain(|alarm| alarm.member != member.id);
        }
        Action::PromoteLearner(member) => {
            for listed in &mut seen.survey.members {
                listed.learner &= listed.id != member.id;
            }
        }
        Action::WaitForMember(awaited) => welcome(seen, &awaited.name),
        Action::Defragment(member) => {
            for status in &mut seen.survey.statuses {
                if status.member == member.id {
                    status.db_size = status.db_size_in_use;
                }
            }
        }
        Action::Compact(revision) => {
            for status in &mut seen.survey.statuses {
                status.db_size_in_use = 0;
                if let Some(hash) = &mut status.hash {
                    hash.compact_revision = *revision;
                }
            }
        }
        Action::DisarmAlarm(alarm) => seen.survey.alarms.retain(|raised| raised != alarm),
        Action::ByHand(_) => {}
        Action::DeleteNode(_)
        | Action::DeleteMirrorPod(_)
        | Action::DeleteLease(_)
        | Action::EditClusterStatus(_)
        | Action::MintJoinMaterial(_)
        | Action::RevokeJoinMaterial => objects(seen, action, plan),
    }
}

fn welcome(seen: &mut Observation, name: &str) {
    let leader = seen
        .leader()
        .and_then(|leader| seen.survey.status(leader))
        .cloned();
    let Some(leader) = leader else { return };
    if seen
        .voters()
        .any(|voter| voter.name == name && seen.agrees(voter))
    {
        return;
    }
    // It may be on its way already.
    let learners = seen
        .survey
        .members
        .iter()
        .filter(|member| member.learner && member.name == name);
    let learners: Vec<_> = learners.map(|member| member.id).collect();
    seen.survey
        .statuses
        .retain(|status| !learners.contains(&status.member));
    seen.survey
        .members
        .retain(|member| member.name != name || !member.learner);
    seen.survey.members.push(Member {
        id: TO_COME,
        name: name.to_owned(),
        ..Member::default()
    });
    seen.survey.statuses.push(Status {
        member: TO_COME,
        db_size: leader.db_size_in_use,
        ..leader
    });
}

fn objects(seen: &mut Observation, action: &Action, plan: &str) {
    let at = seen.at;
    let Some(kubernetes) = &mut seen.kubernetes else {
        return;
    };
    match action {
        Action::DeleteNode(ObjectIdentity { uid, .. }) => kubernetes.nodes.retain(|node| node.uid != *uid),
        Action::DeleteMirrorPod(ObjectIdentity { uid, .. }) => kubernetes.pods.retain(|pod| pod.uid != *uid),
        Action::DeleteLease(ObjectIdentity { uid, .. }) => {
            kubernetes.leases.retain(|lease| lease.uid != *uid);
        }
        Action::EditClusterStatus(entry) => {
            let kubeadm = kubernetes.kubeadm.as_mut();
            if let Some(nodes) = kubeadm.and_then(|map| map.cluster_status.as_mut()) {
                nodes.remove(&entry.node);
            }
        }
        Action::MintJoinMaterial(material) => {
            let made = kubernetes.join.get_or_insert_default();
            made.retain(|join| join.plan != plan);
            made.push(Join {
                plan: plan.to_owned(),
                token: true,
                certificates: true,
                expires: at + u64::from(material.lifetime_seconds) * 1000,
            });
        }
        Action::RevokeJoinMaterial => {
            let made = kubernetes.join.get_or_insert_default();
            made.retain(|join| join.plan != plan);
        }
        _ => {}
    }
}
