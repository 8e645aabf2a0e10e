//! The whole way as people go it: `witgate recovery` at a gateway with the plugin for etcd.

use witgate_lab::{Component, Etcd, eventually, require};

use super::{desk::Desk, site::SOON};

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_member_is_found_planned_for_approved_and_removed() {
    let Ok(()) = require(Component::Etcd) else { return };
    let mut members = Etcd::cluster(3, None).await.unwrap();
    let mut desk = Desk::start(&members, "silenceSeconds: 1").await;
    let status = desk.says("alice", &["status"]).await.unwrap();
    assert!(
        status.starts_with("3 of 3 voters are alive, 2 are needed; 1 more may fail\n"),
        "{status}"
    );
    assert_eq!(
        desk.says("alice", &["diagnose"]).await.unwrap(),
        "nothing is wrong\n"
    );
    let outsider = desk.says("carol", &["status"]).await.unwrap_err();
    assert!(
        outsider.contains("carol may not repair the control plane"),
        "{outsider}"
    );

    members[1].kill();
    let found = async || {
        let found = desk.says("alice", &["diagnose"]).await?;
        if found.starts_with("dead-member  degraded  member etcd-2") {
            Ok(found)
        } else {
            Err(found)
        }
    };
    let found = eventually("the dead member is found", SOON, found).await.unwrap();
    assert!(
        found.contains("from member etcd-3: etcd_network_active_peers"),
        "{found}"
    );
    let planned = async || desk.says("alice", &["plan", "dead-member"]).await;
    let plan = eventually("there is a plan", SOON, planned).await.unwrap();
    let id = plan
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("plan "))
        .unwrap()
        .to_owned();
    assert!(plan.contains("take a snapshot of etcd and verify it"), "{plan}");
    assert!(plan.contains("remove member etcd-2"), "{plan}");

    let unapproved = desk.says("alice", &["apply", &id]).await.unwrap_err();
    assert!(
        unapproved.contains("approved-as-is: 0 approvals count, 1 are needed"),
        "{unapproved}"
    );
    let own = desk.says("alice", &["approve", &id]).await.unwrap_err();
    assert!(own.contains("approved-as-is: alice asked for the plan"), "{own}");
    desk.says("bob", &["approve", &id[..8]]).await.unwrap();
    let applied = desk.says("alice", &["resume", &id]).await.unwrap();
    assert!(applied.trim_end().ends_with("finished"), "{applied}");

    let status = desk.says("bob", &["status"]).await.unwrap();
    assert!(
        status.starts_with("2 of 2 voters are alive, 2 are needed; 0 more may fail\n"),
        "{status}"
    );
    assert!(
        status.contains("finished   2/2  remove member etcd-2"),
        "{status}"
    );

    // What was written down outlives the gateway.
    desk.gateway.kill();
    desk.gateway.restart().await.unwrap();
    let journal = desk.says("bob", &["journal"]).await.unwrap();
    let events = [
        "planned", "approved", "started", "stopped", "intended", "done", "finished",
    ];
    for event in events {
        assert!(
            journal.contains(&format!("\"{event}\"")),
            "no {event} in {journal}"
        );
    }
    assert!(!journal.contains("the password of"), "{journal}");
}
