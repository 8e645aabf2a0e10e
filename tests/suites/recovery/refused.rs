//! What is not done to a control plane of kubeadm's, on real servers: to a member that came back, and to
//! one of two that died.

use witgate_lab::{Component, ControlPlane, ControlPlaneOptions, require};

use super::{control_plane::follow, desk::Desk};

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_came_back_stays_and_so_does_one_without_which_there_is_no_quorum() {
    let Ok(()) = require(Component::ControlPlane) else {
        return;
    };
    let options = ControlPlaneOptions::default();
    let mut control_plane = ControlPlane::start(options).await.unwrap();
    let desk = Desk::at(&control_plane).await;

    follow(&control_plane, 2).await;
    control_plane.node_mut(2).kill();
    control_plane.set_ready(2, false).await.unwrap();
    desk.finds("dead-member  degraded  member cp-3").await;
    let approved = desk.planned("dead-member").await;
    desk.says("bob", &["approve", &approved]).await.unwrap();
    let late = desk.planned("dead-member").await;
    control_plane.node_mut(2).restart().await.unwrap();
    control_plane.set_ready(2, true).await.unwrap();
    desk.sees("3 of 3 voters are alive").await;
    for (user, args) in [("alice", ["apply", &approved]), ("bob", ["approve", &late])] {
        let refused = desk.says(user, &args).await.unwrap_err();
        assert!(
            refused.contains("no-drift: 1 things are not as planned"),
            "{refused}"
        );
        assert!(
            refused.contains("member cp-3") && refused.contains("was dead and is alive"),
            "{refused}"
        );
    }

    control_plane.node_mut(1).kill();
    control_plane.node_mut(2).kill();
    // No apiserver answers any more: those of the two are dead, and that of the third waits for etcd.
    desk.finds("quorum-lost  critical  etcd").await;
    let refused = desk.says("alice", &["plan", "dead-member"]).await.unwrap_err();
    assert!(refused.contains("nothing of the class"), "{refused}");
    desk.says("alice", &["resume", &approved]).await.unwrap_err();
    let members = control_plane.node(0).members().await.unwrap();
    assert_eq!(members.len(), 3, "{members:?}");
}
