//! What is refused, in the words in which people read it.

use witgate_plugins::recovery::{
    Action, Alarm, AlarmKind, Instruction, JoinMaterial, Leadership, MemberId, ObjectIdentity, Proposal,
};

use super::{
    ground::{Ground, Real},
    people::History,
    proposals::{identity, mint, plan, remove, replace},
    schedule::finish,
};
use crate::plan::PlanId;

/// Why there is no plan for what is proposed, when a cluster with these dead members has been changed.
fn planning(
    count: usize,
    dead: &[usize],
    change: fn(&mut Ground),
    proposal: fn(&Ground) -> Proposal,
) -> String {
    let mut history = History::of(count, dead, None);
    change(&mut history.ground.lock().unwrap());
    history.look_on(3);
    let proposal = proposal(&history.ground.lock().unwrap());
    let error = history.propose(&proposal).unwrap_err();
    assert!(error.violation().is_some(), "{error}");
    error.to_string()
}

fn nothing(_: &mut Ground) {}

fn snapshot_then(action: Action) -> Proposal {
    plan(vec![Action::TakeSnapshot, action])
}

fn remove_second(ground: &Ground) -> Proposal {
    remove(&ground.members[1])
}

fn disarm(kind: AlarmKind, member: &Real) -> Proposal {
    snapshot_then(Action::DisarmAlarm(Alarm {
        member: member.id,
        kind,
    }))
}

#[test]
fn a_cluster_that_cannot_commit_is_not_changed() {
    assert_eq!(
        planning(3, &[1, 2], nothing, remove_second),
        "quorum-commits: 1 of 3 voters answer, 0 follow one leader, and 2 are needed to commit anything"
    );
    assert_eq!(
        planning(2, &[1], nothing, remove_second),
        "quorum-commits: 1 of 2 voters answer, 0 follow one leader, and 2 are needed to commit anything"
    );
    assert_eq!(
        planning(
            1,
            &[],
            |ground| ground.members[0].hash = 9,
            |ground| remove(&ground.members[0])
        ),
        "dead-for-sure: member cp-0 (a1) answers, 0 entries behind the leader, and is not removed"
    );
}

#[test]
fn what_is_not_dead_for_sure_is_not_removed() {
    assert_eq!(
        planning(3, &[], nothing, remove_second),
        "dead-for-sure: member cp-1 (a2) answers, 0 entries behind the leader, and is not removed"
    );
    let cut = |ground: &mut Ground| ground.members[1].cut = true;
    assert_eq!(
        planning(3, &[], cut, remove_second),
        "dead-for-sure: member cp-1 (a2) is not known to be dead: it was seen silent from gateway, answers from \
         member cp-0, answers from member cp-2, answers from node; it has to be silent from 2 places and from \
         none otherwise, for 60 s, and it is for 0 s"
    );
    let orphaned = |ground: &mut Ground| ground.seen.nodes.retain(|node| node.name != "cp-1");
    assert_eq!(
        planning(3, &[], orphaned, remove_second),
        "dead-for-sure: member cp-1 (a2) answers, 0 entries behind the leader, and is not removed"
    );
    let lately = |ground: &mut Ground| {
        ground.now += 200_000;
        ground.members[1].alive = false;
        ground.seen.nodes[1].ready = false;
    };
    let mut history = History::of(3, &[], None);
    lately(&mut history.ground.lock().unwrap());
    history.look_on(1);
    let proposal = remove_second(&history.ground.lock().unwrap());
    let error = history.propose(&proposal).unwrap_err().to_string();
    assert!(error.ends_with("for 60 s, and it is for 40 s"), "{error}");
}

#[test]
fn a_member_is_the_one_that_the_plan_means() {
    let renamed = |ground: &Ground| {
        let mut member = identity(&ground.members[1]);
        member.peer_urls = vec!["https://elsewhere:2380".to_owned()];
        snapshot_then(Action::RemoveMember(member))
    };
    assert_eq!(
        planning(3, &[1], nothing, renamed),
        "same-member: the plan means member cp-1 (a2) at https://elsewhere:2380, and a2 is cp-1 (a2) at \
         https://cp-1:2380"
    );
    let gone = |ground: &Ground| {
        let mut member = identity(&ground.members[1]);
        member.id = MemberId(0x77);
        snapshot_then(Action::RemoveMember(member))
    };
    assert_eq!(
        planning(3, &[1], nothing, gone),
        "same-member: the plan means member cp-1 (77), and none of the 3 members has that id"
    );
}

#[test]
fn a_leader_is_not_removed_and_leads_on_to_one_who_can() {
    let corrupt = |ground: &mut Ground| ground.members[0].hash = 9;
    assert_eq!(
        planning(3, &[], corrupt, |ground| remove(&ground.members[0])),
        "leader-moves-first: member cp-0 (a1) leads: one of the 2 other voters has to, before it is removed"
    );
    let behind = |ground: &mut Ground| ground.members[1].behind = 5_000;
    let lead = |ground: &Ground| {
        snapshot_then(Action::MoveLeader(Leadership {
            from: identity(&ground.members[0]),
            to: identity(&ground.members[1]),
        }))
    };
    assert_eq!(
        planning(3, &[], behind, lead),
        "leader-moves-first: member cp-1 (a2) is 5000 entries behind, and 1000 may be"
    );
}

#[test]
fn nobody_joins_while_a_voter_is_silent() {
    let join = |_: &Ground| plan(vec![mint("cp-3"), Action::RevokeJoinMaterial]);
    assert_eq!(
        planning(3, &[1], nothing, join),
        "grows-when-whole: 2 of 3 voters answer, and none may be silent while one more is added; silent: cp-1 (a2)"
    );
    let other = |_: &Ground| {
        let material = JoinMaterial {
            node: "cp-3".to_owned(),
            lifetime_seconds: 3600,
            kubernetes_version: "v1.33.0".to_owned(),
        };
        plan(vec![
            Action::MintJoinMaterial(material),
            Action::RevokeJoinMaterial,
        ])
    };
    assert_eq!(
        planning(3, &[], nothing, other),
        "version-fits: the plan lets kubeadm v1.33.0 join, and the cluster is of v1.34.2"
    );
    let shell = |_: &Ground| plan(vec![mint("cp-3;reboot"), Action::RevokeJoinMaterial]);
    assert_eq!(
        planning(3, &[], nothing, shell),
        "well-formed: 0 nodes can be named \"cp-3;reboot\": letters of lower case, digits, hyphens and dots"
    );
    assert_eq!(
        planning(3, &[], nothing, |_| plan(vec![mint("cp-3")])),
        "secrets-end: step 1 makes join material, and 0 steps after it revoke it"
    );
}

#[test]
fn what_cannot_be_undone_has_a_fresh_snapshot_behind_it() {
    let at_once = |ground: &Ground| plan(vec![Action::RemoveMember(identity(&ground.members[1]))]);
    assert_eq!(
        planning(3, &[1], nothing, at_once),
        "snapshot-first: 0 of 0 snapshots are of this cluster and verified"
    );
    let old = |ground: &mut Ground| {
        ground.snapshots.push(crate::observation::Snapshot {
            at: ground.now - 880_000,
            cluster_id: super::ground::CLUSTER,
            revision: ground.revision,
            verified: true,
            ..Default::default()
        });
    };
    assert_eq!(
        planning(3, &[1], old, at_once),
        "snapshot-first: the newest snapshot is 1000 s old, and 900 s are the most"
    );
}

#[test]
fn an_alarm_is_cleared_after_its_cause() {
    let full = |ground: &mut Ground| ground.members[2].size = 950;
    assert_eq!(
        planning(3, &[], full, |ground| disarm(
            AlarmKind::NoSpace,
            &ground.members[2]
        )),
        "cause-gone: the database of member a3 takes 950 of 1000 bytes (95 %), and has to be below 90 %"
    );
    let corrupt = |ground: &mut Ground| ground.members[2].hash = 9;
    assert_eq!(
        planning(3, &[], corrupt, |ground| disarm(
            AlarmKind::Corrupt,
            &ground.members[2]
        )),
        "cause-gone: 2 of 3 members have the same hash, and all have to"
    );
    let nobody = |_: &Ground| {
        snapshot_then(Action::DisarmAlarm(Alarm {
            member: MemberId(0),
            kind: AlarmKind::Corrupt,
        }))
    };
    assert_eq!(
        planning(3, &[], corrupt, nobody),
        "cause-gone: the CORRUPT alarm is of no member (id 0), and nobody knows whose store it is"
    );
    // One against one: nobody knows who is right.
    let undecided = |ground: &mut Ground| ground.members[1].hash = 9;
    assert_eq!(
        planning(2, &[], undecided, remove_second),
        "dead-for-sure: member cp-1 (a2) answers, 0 entries behind the leader, and is not removed"
    );
}

#[test]
fn databases_are_defragmented_when_all_are_well_the_leaders_last() {
    let defragment = |ground: &Ground, place: usize| Action::Defragment(identity(&ground.members[place]));
    assert_eq!(
        planning(3, &[1], nothing, |ground| plan(vec![Action::Defragment(
            identity(&ground.members[2])
        )])),
        "defragment-in-turn: 2 of 3 members answer and are at most 1000 entries behind, and all have to"
    );
    let mut history = History::of(3, &[], None);
    history.look_on(1);
    let proposal = {
        let ground = history.ground.lock().unwrap();
        plan(vec![defragment(&ground, 0), defragment(&ground, 1)])
    };
    assert_eq!(
        history.propose(&proposal).unwrap_err().to_string(),
        "defragment-in-turn: member cp-0 (a1) leads (0 % of its database is free), and 1 others come first"
    );
}

#[test]
fn an_object_is_the_one_of_its_uid() {
    let node = |uid: &str| ObjectIdentity {
        namespace: String::new(),
        name: "cp-1".to_owned(),
        uid: uid.to_owned(),
    };
    let mut history = History::of(3, &[1], None);
    history.ground.lock().unwrap().members.remove(1);
    history.look_on(1);
    let delete = snapshot_then(Action::DeleteNode(node("another")));
    assert_eq!(
        history.propose(&delete).unwrap_err().to_string(),
        "exact-object: the plan means Node cp-1 (uid another), and the Node of that name has the uid uid-162"
    );
    let still = |ground: &Ground| {
        snapshot_then(Action::DeleteNode(ObjectIdentity {
            namespace: String::new(),
            name: "cp-1".to_owned(),
            uid: ground.seen.nodes[1].uid.clone(),
        }))
    };
    assert_eq!(
        planning(3, &[1], nothing, still),
        "exact-object: Node cp-1 (uid uid-162) still has a member (a2): the member goes first"
    );
}

#[test]
fn a_plan_is_what_its_mode_allows_and_leaves_as_much_to_lose() {
    let by_hand = |_: &Ground| {
        plan(vec![Action::ByHand(Instruction {
            machine: "cp-0".to_owned(),
            text: "rm -r /var/lib/etcd".to_owned(),
            commands: Vec::new(),
        })])
    };
    assert_eq!(
        planning(3, &[], nothing, by_hand),
        "well-formed: 1 steps are by hand, which a plan has if, and only if, quorum is lost; this one is for one \
         that holds"
    );
    let corrupt = |ground: &mut Ground| ground.members[1].hash = 9;
    assert_eq!(
        planning(3, &[], corrupt, remove_second),
        "tolerance-kept: 3 of 3 voters live and 1 may fail; afterwards it is 2 of 2 and 0"
    );
}

fn approved_replacement() -> (History, PlanId) {
    let mut history = History::of(3, &[1], None);
    let proposal = {
        let ground = history.ground.lock().unwrap();
        replace(&ground, &ground.members[1])
    };
    let id = history.approved(&proposal);
    (history, id)
}

fn applying(history: &History, id: &PlanId) -> String {
    finish(history.engine().apply(id, "executor"))
        .unwrap_err()
        .to_string()
}

#[test]
fn nobody_approves_their_own_plan_or_one_that_reality_has_left() {
    let (mut history, id) = approved_replacement();
    assert_eq!(
        finish(history.engine().approve(&id, "alice"))
            .unwrap_err()
            .to_string(),
        "approved-as-is: alice asked for the plan, and 1 others have to approve it"
    );
    history.ground.lock().unwrap().members[1].alive = true;
    history.look_on(1);
    let drift = "no-drift: 1 things are not as planned: member cp-1 (a2) was dead and is alive";
    assert_eq!(
        finish(history.engine().approve(&id, "carol"))
            .unwrap_err()
            .to_string(),
        drift
    );
    assert_eq!(applying(&history, &id), drift);
    assert_eq!(history.ground.lock().unwrap().performed, 0);
}

#[test]
fn an_approval_ends() {
    let (mut history, id) = approved_replacement();
    history.look_on(35);
    assert_eq!(
        applying(&history, &id),
        "approved-as-is: 0 approvals count, 1 are needed; 1 of 1 have expired"
    );
}

#[test]
fn a_second_executor_waits_for_the_first() {
    let (mut history, id) = approved_replacement();
    history.execute(&[&id], 0, Some(30));
    assert_eq!(
        applying(&history, &id),
        "one-executor: executor-0 carries out plans at the moment, for 90 s at least (token 1)"
    );
    history.let_the_lease_end();
    history.execute(&[&id], 0, None);
    assert_eq!(
        applying(&history, &id),
        "the plan is over: Finished. Make a new one"
    );
}

#[test]
fn what_was_given_up_is_not_begun_again() {
    let (history, id) = approved_replacement();
    finish(history.engine().abandon(&id, "bob", "not needed")).unwrap();
    assert_eq!(
        applying(&history, &id),
        "the plan is over: Abandoned. Make a new one"
    );
    assert_eq!(
        finish(history.engine().approve(&id, "carol"))
            .unwrap_err()
            .to_string(),
        "the plan is over: Abandoned. Make a new one"
    );
}
