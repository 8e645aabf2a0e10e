//! A plugin proposes what must not be done, at a real gateway with a real etcd: it is refused with the rule
//! and its numbers, as people read them.

use std::process::Stdio;

use regex::Regex;
use serde_json::json;
use witgate_lab::{Component, Etcd, Kubernetes, http, require};

use super::{
    desk::{Desk, endpoint},
    objects::DEAD,
    site::SOON,
};

const ANOTHER_UID: &str = "00000000-0000-0000-0000-000000000000";

/// Writes a key so often, which is a revision each time.
async fn write(members: &[Etcd], times: usize) {
    let url = format!("{}/v3/kv/put", members[0].endpoint());
    for _ in 0..times {
        let put = http::client()
            .post(&url)
            .json(&json!({"key": "YQ==", "value": "YQ=="}));
        let answer = put.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }
}

/// The one number in a text that is not known in advance.
fn number(text: &str, pattern: &str) -> u64 {
    let found = Regex::new(pattern).unwrap().captures(text);
    let found = found.unwrap_or_else(|| panic!("no {pattern:?} in {text}"));
    found[1].parse().unwrap()
}

/// The members as they are shown: id, name, role.
async fn members(desk: &Desk) -> Vec<[String; 3]> {
    let status = desk.says("alice", &["status"]).await.unwrap();
    let lines = status.lines().filter(|line| line.starts_with("  "));
    let columns = lines.map(|line| {
        let mut words = line.split_whitespace().map(str::to_owned);
        [(); 3].map(|()| words.next().unwrap())
    });
    columns.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_members_the_dead_one_is_not_removed() {
    let Ok(()) = require(Component::Etcd) else { return };
    let mut members = Etcd::cluster(2, None).await.unwrap();
    let desk = Desk::misled(&endpoint(&members), None, json!({})).await;
    desk.sees("2 of 2 voters are alive, 2 are needed; 0 more may fail")
        .await;
    members[1].kill();
    desk.finds("quorum-lost  critical  etcd").await;
    let rule =
        "quorum-commits: 1 of 2 voters answer, 0 follow one leader, and 2 are needed to commit anything";
    desk.refuses("remove-member", "etcd-2", rule).await;
    members[1].restart().await.unwrap();
    desk.sees("2 of 2 voters are alive").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lives_is_not_removed_whoever_leads() {
    let Ok(()) = require(Component::Etcd) else { return };
    let etcd = Etcd::cluster(3, None).await.unwrap();
    let desk = Desk::misled(&endpoint(&etcd), None, json!({})).await;
    desk.sees("3 of 3 voters are alive").await;
    let members = members(&desk).await;
    let leaders = members.iter().filter(|[_, _, role]| role == "leader");
    assert_eq!((members.len(), leaders.count()), (3, 1), "{members:?}");
    for [id, name, _] in &members {
        let rule = format!("dead-for-sure: member {name} ({id}) answers, ");
        let refused = desk.refuses("remove-member", name, &rule).await;
        let numbers = r"answers, (\d+) entries behind the leader, and is not removed";
        assert!(number(&refused, numbers) < 1000, "{refused}");
    }
    assert_nothing_is_planned(&desk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_node_is_deleted_by_its_name_alone() {
    let Ok(()) = require(Component::Etcd) else { return };
    let Ok(()) = require(Component::Kubernetes) else {
        return;
    };
    let etcd = Etcd::cluster(1, None).await.unwrap();
    let kubernetes = Kubernetes::start().await.unwrap();
    let kubectl = kubernetes.kubectl().unwrap();
    kubectl.apply(DEAD).await.unwrap();
    let get = ["get", "node", "cp-9", "-o", "jsonpath={.metadata.uid}"];
    let uid = kubectl.succeed(&get).await.unwrap();
    let kubeconfig = kubernetes.admin_kubeconfig();
    let desk = Desk::misled(&endpoint(&etcd), Some(&kubeconfig), json!({})).await;
    let rule = format!(
        "exact-object: the plan means Node cp-9 (uid {ANOTHER_UID}), and the Node of that name has the uid {uid}"
    );
    desk.refuses("delete-node", "cp-9", &rule).await;
    assert_nothing_is_planned(&desk).await;
}

async fn assert_nothing_is_planned(desk: &Desk) {
    assert_eq!(desk.says("bob", &["journal"]).await.unwrap(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_cannot_be_undone_relies_on_a_stale_snapshot() {
    let Ok(()) = require(Component::Etcd) else { return };
    let mut members = Etcd::cluster(3, None).await.unwrap();
    let at = endpoint(&members);
    let aged = Desk::misled(&at, None, json!({"snapshotAge": "1s"})).await;
    let behind = Desk::misled(&at, None, json!({"snapshotRevisions": 5})).await;
    for desk in [&aged, &behind] {
        desk.sees("newest snapshot: ").await;
    }
    write(&members, 10).await;
    // For it to be dead takes longer than the second that a snapshot counts.
    members[1].kill();

    let rule = "snapshot-first: the newest snapshot is ";
    let refused = aged.refuses("remove-member-at-once", "etcd-2", rule).await;
    let age = number(&refused, r"is (\d+) s old, and 1 s are the most");
    assert!(age >= 1, "{refused}");
    let rule = "snapshot-first: the newest snapshot is of revision 1, and the plan needs 6";
    behind.refuses("remove-member-at-once", "etcd-2", rule).await;
    // That is all there is against it.
    for desk in [&aged, &behind] {
        let asked = ["plan", "remove-member", "--subject", "etcd-2"];
        let plan = desk.says("alice", &asked).await.unwrap();
        assert!(plan.contains("1.       take a snapshot of etcd"), "{plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_carries_a_plan_out_nobody_else_does() {
    let Ok(()) = require(Component::Etcd) else { return };
    let mut members = Etcd::cluster(3, None).await.unwrap();
    let desk = Desk::misled(&endpoint(&members), None, json!({})).await;
    desk.sees("3 of 3 voters are alive").await;
    let waiting = desk.planned("wait-for-nobody").await;
    desk.says("bob", &["approve", &waiting]).await.unwrap();
    let mut first = desk.command("alice", &["apply", &waiting]);
    first.stdout(Stdio::piped()).stderr(Stdio::piped());
    let first = first.spawn().unwrap();
    desk.sees("running    0/1  wait-for-nobody nobody").await;

    let second = tokio::time::timeout(SOON, desk.says("bob", &["apply", &waiting])).await;
    let refused = second.expect("it waits too").unwrap_err();
    assert!(refused.contains("one-executor: "), "{refused}");
    let held = r"alice carries out plans at the moment, for (\d+) s at least \(token 1\)";
    let left = number(&refused, held);
    assert!((1..=90).contains(&left), "{refused}");
    let journal = desk.says("bob", &["journal"]).await.unwrap();
    assert_eq!(journal.matches(r#""started""#).count(), 1, "{journal}");

    // Nobody waits on for what was given up, and so another plan can be carried out.
    let why = ["abandon", &waiting, "--reason", "nobody comes"];
    desk.says("bob", &why).await.unwrap();
    let ended = first.wait_with_output().await.unwrap();
    assert!(!ended.status.success(), "{ended:?}");
    members[1].kill();
    desk.finds("dead-member  degraded  member etcd-2").await;
    let next = desk.planned("dead-member").await;
    desk.says("bob", &["approve", &next]).await.unwrap();
    let applied = desk.says("bob", &["apply", &next]).await.unwrap();
    assert!(applied.trim_end().ends_with("finished"), "{applied}");
}
