//! What is wrong about an action, by the truth and in other words than the rules'.

use std::collections::{BTreeMap, BTreeSet};

use witgate_plugins::recovery::{Action, Alarm, AlarmKind, Condition, MemberId, MemberIdentity, Proposal};

use super::{
    ground::{CLUSTER, Ground, Process, QUOTA, Real},
    people::policy,
};
use crate::{
    executor::Task,
    journal::{Entry, Event},
    observation::{Observation, quorum},
    policy::millis,
};

/// What is remembered of a plan from when it was made.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) proposal: Proposal,
    pub(super) requester: String,
    /// Who was listed, with which vote, and whether the gateway reached them.
    pub(super) listed: BTreeMap<MemberId, (bool, bool)>,
    pub(super) alarms: BTreeSet<Alarm>,
    pub(super) revision: i64,
    pub(super) faults: usize,
    pub(super) tolerance: i64,
}

impl Planned {
    pub(super) fn of(proposal: &Proposal, requester: &str, ground: &Ground) -> Self {
        Self {
            proposal: proposal.clone(),
            requester: requester.to_owned(),
            listed: listed(ground),
            alarms: ground.alarms.clone(),
            revision: ground.revision,
            faults: ground.faults,
            tolerance: ground.tolerance(),
        }
    }
}

fn listed(ground: &Ground) -> BTreeMap<MemberId, (bool, bool)> {
    let reached = |member: &Real| member.alive && !member.cut;
    let members = ground.members.iter();
    members
        .map(|member| (member.id, (member.learner, reached(member))))
        .collect()
}

/// Everything that is wrong about a task, as things were when its process looked last: what happened
/// after that nobody could know.
pub(super) fn judge(process: &Process, task: &Task<'_>) -> Vec<String> {
    let looked = process.looked.lock().unwrap();
    let (then, seen) = looked.as_ref().expect("acted without ever having looked");
    let plans = process.plans.lock().unwrap();
    let planned = &plans[task.plan];
    let mut wrong = Vec::new();
    wrong.extend(paper(process, then, planned, task));
    wrong.extend(about_etcd(then, planned, task));
    wrong.extend(about_objects(then, task.action));
    wrong.extend(drifted(then, planned, task.step));
    let step = &planned.proposal.steps[task.step];
    wrong.extend(
        step.before
            .iter()
            .filter(|condition| !true_then(condition, then, seen))
            .map(|condition| format!("although its plan wants that {condition}")),
    );
    let what = |why: String| format!("step {} ({}): {why}", task.step, task.action);
    wrong.into_iter().map(what).collect()
}

/// Intent, lease, approvals, and that it was not done before.
fn paper(process: &Process, then: &Ground, planned: &Planned, task: &Task<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let index = process.memory.last(format!("plan/{}/", task.plan).as_bytes());
    let number = index.map(|(key, _)| {
        String::from_utf8(key)
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned()
    });
    let entry = number.and_then(|number| process.memory.peek(format!("entry/{number}").as_bytes()));
    let entry: Option<Entry> = entry.map(|bytes| serde_json::from_slice(&bytes).unwrap());
    let intended = entry.is_some_and(|entry| {
        matches!(entry.event, Event::Intended { step, token, .. } if step == task.step && token == task.token)
    });
    if !intended {
        wrong.push("without an intent on disk".to_owned());
    }
    let lease = process.memory.peek(b"lease");
    let lease: serde_json::Value =
        lease.map_or_else(Default::default, |raw| serde_json::from_slice(&raw).unwrap());
    if lease["token"].as_u64() != Some(task.token) {
        wrong.push(format!("with token {} while the lease is {lease}", task.token));
    }
    let lifetime = millis(policy().approval_lifetime);
    let counted: BTreeSet<_> = then
        .approvals
        .iter()
        .filter(|(plan, by, at)| plan == task.plan && *by != planned.requester && at + lifetime > then.now)
        .map(|(_, by, _)| by)
        .collect();
    if counted.len() < policy().approvals {
        wrong.push(format!("approved by {counted:?}"));
    }
    if is_done(task.action, then, task.plan.label()) {
        wrong.push("although it was done already".to_owned());
    }
    let open = process.memory.all(b"open/");
    let own = format!("open/{}", task.plan).into_bytes();
    if task.action.changes_membership() && open.iter().any(|(key, _)| *key != own) {
        wrong.push("while another change of membership is open".to_owned());
    }
    wrong
}

fn is_done(action: &Action, then: &Ground, plan: &str) -> bool {
    match action {
        Action::MoveLeader(leadership) => then.leader == Some(leadership.to.id),
        Action::RemoveMember(member) => then.find(member.id).is_none(),
        Action::PromoteLearner(member) => then.find(member.id).is_some_and(|real| !real.learner),
        Action::Compact(revision) => then.compacted >= *revision,
        Action::DisarmAlarm(alarm) => !then.alarms.contains(alarm),
        Action::RevokeJoinMaterial => {
            then.can_commit() && !then.seen.join.iter().flatten().any(|join| join.plan == plan)
        }
        _ => false,
    }
}

fn about_etcd(then: &Ground, planned: &Planned, task: &Task<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |holds: bool, says: &str| {
        if !holds {
            wrong.push(says.to_owned());
        }
    };
    let action = task.action;
    check(
        matches!(action, Action::TakeSnapshot) || then.can_commit(),
        "without a quorum",
    );
    let real = |identity: &MemberIdentity| {
        let real = then.find(identity.id);
        real.filter(|real| real.name == identity.name && identity.peer_urls == [real.peer.clone()])
    };
    let fresh = then.snapshots.iter().any(|snapshot| {
        snapshot.verified
            && snapshot.cluster_id == CLUSTER
            && then.now - snapshot.at <= millis(policy().snapshot_age)
            && snapshot.revision >= planned.revision - policy().snapshot_revisions
    });
    let behind = policy().lag;
    match action {
        Action::RemoveMember(identity) => {
            check(fresh, "without a fresh snapshot");
            let Some(real) = real(identity) else {
                check(false, "to somebody else");
                return wrong;
            };
            let stuck = real.learner && real.behind > behind;
            check(
                !lives(then, real) || stuck || is_culprit(then, real),
                "to a live member",
            );
            check(!real.alive || then.leader != Some(real.id), "to the leader");
            if !real.learner {
                let left = then.live() - usize::from(real.alive && !real.isolated);
                check(
                    left >= quorum(then.voters().count() - 1).max(1),
                    "and quorum is lost",
                );
            }
        }
        Action::PromoteLearner(identity) => {
            let ready =
                real(identity).is_some_and(|real| real.learner && real.alive && real.behind <= behind);
            check(ready, "to no learner that is ready");
            check(then.voters().all(|voter| voter.alive), "while a voter is dead");
        }
        Action::MoveLeader(leadership) => {
            let fit = real(&leadership.to).is_some_and(|to| to.alive && !to.learner && to.behind <= behind);
            check(fit, "to no voter that could");
            check(then.leader == Some(leadership.from.id), "from no leader");
        }
        Action::MintJoinMaterial(material) => {
            check(then.voters().all(|voter| voter.alive), "while a voter is dead");
            check(
                then.members.iter().all(|member| !member.learner),
                "while there is a learner",
            );
            check(material.lifetime_seconds <= 7200, "for too long");
            let version = then.seen.kubeadm.as_ref().map(|map| &map.kubernetes_version);
            check(
                version == Some(&material.kubernetes_version),
                "for another version",
            );
        }
        Action::Defragment(identity) => {
            check(real(identity).is_some(), "to somebody else");
            check(
                then.members
                    .iter()
                    .all(|member| member.alive && member.behind <= behind),
                "while not all are well",
            );
            let later = planned.proposal.steps.iter().skip(task.step + 1);
            let later = later
                .filter(|step| matches!(step.action, Action::Defragment(_)))
                .count();
            check(
                later == 0 || then.leader != Some(identity.id),
                "to the leader before the others",
            );
        }
        Action::Compact(_) | Action::DeleteNode(_) => check(fresh, "without a fresh snapshot"),
        Action::DisarmAlarm(alarm) => {
            check(fresh, "without a fresh snapshot");
            let reached = || then.members.iter().filter(|member| member.alive && !member.cut);
            check(alarm.member != MemberId(0), "of nobody");
            match alarm.kind {
                AlarmKind::NoSpace => check(
                    reached().all(|m| m.size * 10 < QUOTA * 9),
                    "while there is no space",
                ),
                AlarmKind::Corrupt => {
                    let hashes: BTreeSet<_> = reached().map(|member| member.hash).collect();
                    let all = reached().count() == then.members.len();
                    check(
                        all && hashes.len() == 1,
                        "while hashes differ, or can't be compared",
                    );
                }
            }
        }
        _ => {}
    }
    wrong
}

/// Whether a member may still be of use to anybody. One that nobody at all reaches, nor its machine,
/// is as good as dead.
fn lives(then: &Ground, real: &Real) -> bool {
    let machine = then.seen.nodes.iter().find(|node| node.name == real.name);
    let reached = !real.cut || !real.isolated || machine.is_some_and(|node| node.ready);
    real.alive && reached
}

fn is_culprit(then: &Ground, real: &Real) -> bool {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    then.members
        .iter()
        .for_each(|member| *counts.entry(member.hash).or_default() += 1);
    let all = then.members.len();
    let major = counts.iter().find(|(_, count)| **count * 2 > all);
    all >= 3 && major.is_some_and(|(hash, _)| *hash != real.hash)
}

fn about_objects(then: &Ground, action: &Action) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |holds: bool, says: &str| {
        if !holds {
            wrong.push(says.to_owned());
        }
    };
    match action {
        Action::DeleteNode(object) => {
            let node = then.seen.nodes.iter().find(|node| node.name == object.name);
            check(node.is_none_or(|node| node.uid == object.uid), "of another uid");
            check(node.is_none_or(|node| !node.ready), "which is ready");
            check(
                then.members.iter().all(|member| member.name != object.name),
                "before its member",
            );
        }
        Action::DeleteMirrorPod(object) => {
            let pod = then.seen.pods.iter().find(|pod| pod.name == object.name);
            check(pod.is_none_or(|pod| pod.uid == object.uid), "of another uid");
            check(pod.is_none_or(|pod| pod.mirror), "which is no mirror");
        }
        Action::DeleteLease(object) => {
            let lease = then.seen.leases.iter().find(|lease| lease.name == object.name);
            check(lease.is_none_or(|lease| lease.until < then.now), "which holds");
            check(
                object.name.starts_with("kube-"),
                "which is not the control plane's",
            );
        }
        Action::EditClusterStatus(entry) => {
            let version = then.seen.kubeadm.as_ref().map(|map| &map.resource_version);
            check(version == Some(&entry.resource_version), "of another version");
            check(
                then.members.iter().all(|member| member.name != entry.node),
                "before its member",
            );
        }
        _ => {}
    }
    wrong
}

/// Who is there that the plan does not know, or is gone or different without it.
fn drifted(then: &Ground, planned: &Planned, step: usize) -> Option<String> {
    let mut expected = planned.listed.clone();
    let mut alarms = planned.alarms.clone();
    let mut joining = BTreeSet::new();
    for done in planned.proposal.steps.iter().take(step) {
        match &done.action {
            Action::RemoveMember(member) => {
                expected.remove(&member.id);
                alarms.retain(|alarm| alarm.member != member.id);
            }
            Action::PromoteLearner(member) => {
                expected
                    .entry(member.id)
                    .and_modify(|(learner, _)| *learner = false);
            }
            Action::DisarmAlarm(alarm) => drop(alarms.remove(alarm)),
            _ => {}
        }
    }
    let opens = |action: &Action| matches!(action, Action::MintJoinMaterial(_) | Action::WaitForMember(_));
    if planned
        .proposal
        .steps
        .iter()
        .take(step + 1)
        .any(|step| opens(&step.action))
    {
        for step in &planned.proposal.steps {
            if let Action::WaitForMember(awaited) = &step.action {
                joining.insert(awaited.name.clone());
            }
        }
    }
    let known = |id: &MemberId| planned.listed.contains_key(id);
    let mut is = listed(then);
    is.retain(|id, _| known(id) || then.find(*id).is_some_and(|real| !joining.contains(&real.name)));
    (is != expected || then.alarms != alarms).then(|| {
        format!(
            "although the plan is for {expected:?} {alarms:?}, and there is {is:?} {:?}",
            then.alarms
        )
    })
}

/// Conditions that the model's plans have.
fn true_then(condition: &Condition, then: &Ground, seen: &Observation) -> bool {
    match condition {
        Condition::Voters(count) => then.voters().count() == *count as usize,
        Condition::NoLearner => then.members.iter().all(|member| !member.learner),
        Condition::Answers(identity) => seen.survey.status(identity.id).is_some(),
        other => panic!("the model's plans have no {other:?}"),
    }
}
