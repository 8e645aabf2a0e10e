//! What plugins propose: the right thing, the right thing with something wrong in it, and anything.

use witgate_plugins::recovery::{
    Action, Alarm, AlarmKind, Awaited, ClusterStatusEntry, Condition, Instruction, JoinMaterial, Leadership,
    MemberId, MemberIdentity, Mode, ObjectIdentity, Proposal, Step,
};

use super::ground::{Ground, Real};

pub(super) fn identity(real: &Real) -> MemberIdentity {
    MemberIdentity {
        id: real.id,
        name: real.name.clone(),
        peer_urls: vec![real.peer.clone()],
    }
}

fn step_of(action: Action) -> Step {
    Step {
        action,
        reason: String::new(),
        before: Vec::new(),
        after: Vec::new(),
    }
}

pub(super) fn plan(actions: Vec<Action>) -> Proposal {
    Proposal {
        summary: String::new(),
        mode: Mode::WithQuorum,
        steps: actions.into_iter().map(step_of).collect(),
    }
}

/// How a dead member is replaced.
pub(super) fn replace(ground: &Ground, dead: &Real) -> Proposal {
    let mut actions = vec![Action::TakeSnapshot];
    if ground.leader == Some(dead.id)
        && let Some(other) = ground.voters().find(|voter| voter.id != dead.id && voter.alive)
    {
        actions.push(Action::MoveLeader(Leadership {
            from: identity(dead),
            to: identity(other),
        }));
    }
    actions.push(Action::RemoveMember(identity(dead)));
    let object = |name: &str, uid: &str, namespace: &str| ObjectIdentity {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
    };
    if let Some(node) = ground
        .seen
        .nodes
        .iter()
        .find(|node| node.name == dead.name && !node.ready)
    {
        actions.push(Action::DeleteNode(object(&node.name, &node.uid, "")));
        let mirror = ground
            .seen
            .pods
            .iter()
            .find(|pod| pod.node == dead.name && pod.mirror);
        actions.extend(mirror.map(|pod| Action::DeleteMirrorPod(object(&pod.name, &pod.uid, "kube-system"))));
    }
    let map = ground.seen.kubeadm.as_ref().unwrap();
    if map
        .cluster_status
        .as_ref()
        .is_some_and(|nodes| nodes.contains(&dead.name))
    {
        actions.push(edit(ground, &dead.name));
    }
    actions.extend([
        mint(&dead.name),
        Action::WaitForMember(Awaited {
            name: dead.name.clone(),
            timeout_seconds: 30,
        }),
        Action::RevokeJoinMaterial,
    ]);
    plan(actions)
}

/// How a member is removed that nothing replaces.
pub(super) fn remove(dead: &Real) -> Proposal {
    plan(vec![Action::TakeSnapshot, Action::RemoveMember(identity(dead))])
}

pub(super) fn mint(node: &str) -> Action {
    Action::MintJoinMaterial(JoinMaterial {
        node: node.to_owned(),
        lifetime_seconds: 3600,
        kubernetes_version: "v1.34.2".to_owned(),
    })
}

fn edit(ground: &Ground, node: &str) -> Action {
    let map = ground.seen.kubeadm.as_ref().unwrap();
    Action::EditClusterStatus(ClusterStatusEntry {
        uid: map.uid.clone(),
        resource_version: map.resource_version.clone(),
        node: node.to_owned(),
    })
}

/// How space is made again.
fn make_room(ground: &Ground, rng: &mut fastrand::Rng) -> Proposal {
    let mut actions = vec![Action::TakeSnapshot, Action::Compact(ground.revision - 10)];
    let mut members: Vec<_> = ground.members.iter().collect();
    members.sort_by_cached_key(|member| (ground.leader == Some(member.id)) ^ rng.bool());
    actions.extend(members.iter().map(|member| Action::Defragment(identity(member))));
    actions.extend(ground.alarms.iter().map(|alarm| Action::DisarmAlarm(*alarm)));
    plan(actions)
}

/// Something.
pub(super) fn proposal(ground: &Ground, rng: &mut fastrand::Rng) -> Proposal {
    let dead: Vec<_> = ground.members.iter().filter(|member| !member.alive).collect();
    let odd: Vec<_> = ground
        .members
        .iter()
        .filter(|member| member.hash != 7 || member.learner)
        .collect();
    let mut proposal = match rng.u8(..8) {
        0..=3 if !dead.is_empty() => replace(ground, dead[rng.usize(..dead.len())]),
        4 if !odd.is_empty() => replace(ground, odd[rng.usize(..odd.len())]),
        5 => make_room(ground, rng),
        6 if !dead.is_empty() => remove(dead[rng.usize(..dead.len())]),
        _ => {
            let mut actions = Vec::new();
            if rng.u8(..4) > 0 {
                actions.push(Action::TakeSnapshot);
            }
            actions.extend((0..rng.usize(1..4)).map(|_| anything(ground, rng)));
            plan(actions)
        }
    };
    if rng.u8(..3) == 0 {
        spoil(&mut proposal, ground, rng);
    }
    proposal
}

fn any_member(ground: &Ground, rng: &mut fastrand::Rng) -> MemberIdentity {
    if ground.members.is_empty() {
        return MemberIdentity {
            id: MemberId(1),
            name: String::new(),
            peer_urls: Vec::new(),
        };
    }
    // What is odd is more interesting than what is well.
    let odd: Vec<_> = ground
        .members
        .iter()
        .filter(|m| !m.alive || m.learner || m.cut || m.hash != 7)
        .collect();
    match odd.get(rng.usize(..ground.members.len() + odd.len())) {
        Some(member) => identity(member),
        None => identity(&ground.members[rng.usize(..ground.members.len())]),
    }
}

fn anything(ground: &Ground, rng: &mut fastrand::Rng) -> Action {
    let member = any_member(ground, rng);
    let seen = &ground.seen;
    let object = |namespace: &str, name: &str, uid: &str| ObjectIdentity {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
    };
    match rng.u8(..13) {
        0..=2 => Action::RemoveMember(member),
        3 => Action::PromoteLearner(member),
        4 => {
            let leader = ground.leader.and_then(|leader| ground.find(leader)).map(identity);
            Action::MoveLeader(Leadership {
                from: leader.unwrap_or_else(|| any_member(ground, rng)),
                to: member,
            })
        }
        5 if !seen.nodes.is_empty() => {
            let node = &seen.nodes[rng.usize(..seen.nodes.len())];
            Action::DeleteNode(object("", &node.name, &node.uid))
        }
        6 if !seen.pods.is_empty() => {
            let pod = &seen.pods[rng.usize(..seen.pods.len())];
            Action::DeleteMirrorPod(object(&pod.namespace, &pod.name, &pod.uid))
        }
        7 if !seen.leases.is_empty() => {
            let lease = &seen.leases[rng.usize(..seen.leases.len())];
            Action::DeleteLease(object(&lease.namespace, &lease.name, &lease.uid))
        }
        8 => edit(ground, &member.name),
        9 => Action::Defragment(member),
        10 => Action::Compact(ground.revision - 100),
        11 => {
            let raised = ground.alarms.iter().next().copied();
            Action::DisarmAlarm(raised.unwrap_or(Alarm {
                member: member.id,
                kind: AlarmKind::NoSpace,
            }))
        }
        _ => mint(&member.name),
    }
}

/// Makes one thing wrong.
fn spoil(proposal: &mut Proposal, ground: &Ground, rng: &mut fastrand::Rng) {
    let steps = proposal.steps.len();
    let place = rng.usize(..steps);
    let step = &mut proposal.steps[place];
    match rng.u8(..8) {
        0 => {
            proposal.steps.remove(place);
            if proposal.steps.is_empty() {
                proposal.steps.push(step_of(Action::TakeSnapshot));
            }
        }
        1 => step.before.push(Condition::Voters(rng.u32(1..6))),
        2 => step.before.push(Condition::NoLearner),
        3 => step.before.push(Condition::Answers(any_member(ground, rng))),
        4 => {
            let by_hand = Action::ByHand(Instruction {
                machine: "cp-0".to_owned(),
                text: "something".to_owned(),
                commands: Vec::new(),
            });
            proposal.steps.insert(place, step_of(by_hand));
        }
        5 => proposal.steps.swap(place, steps - 1),
        _ => match &mut step.action {
            Action::RemoveMember(member) | Action::Defragment(member) | Action::PromoteLearner(member) => {
                if rng.bool() {
                    member.name.push('x');
                } else {
                    member.peer_urls = vec!["https://elsewhere:2380".to_owned()];
                }
            }
            Action::DeleteNode(object) | Action::DeleteMirrorPod(object) => object.uid.push('x'),
            Action::MintJoinMaterial(material) => {
                if rng.bool() {
                    material.lifetime_seconds = 100_000;
                } else {
                    material.kubernetes_version = "v1.30.0".to_owned();
                }
            }
            _ => {}
        },
    }
}
