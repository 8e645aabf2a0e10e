//! A node of a control plane that kubeadm made is lost, with its disk: found, planned for, approved by
//! another person and taken out by `witgate recovery`, while the apiservers serve; and another joins.

use std::fs;

use serde_json::{Value, json};
use witgate_lab::{Component, ControlPlane, ControlPlaneOptions, eventually, require};

use super::{
    desk::Desk,
    objects::kubeadm_config,
    site::SOON,
    traffic::{Traffic, count},
};

/// The node that is lost.
const LOST: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_node_is_replaced_while_the_apiservers_serve() {
    let Ok(()) = require(Component::ControlPlane) else {
        return;
    };
    replace_a_lost_node(ControlPlaneOptions::default(), "3.6.").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_one_of_an_older_cluster() {
    let Ok(()) = require(Component::ControlPlane) else {
        return;
    };
    let Ok(()) = require(Component::Etcd35) else {
        return;
    };
    replace_a_lost_node(ControlPlaneOptions::OLDER, "3.5.").await;
}

async fn replace_a_lost_node(options: ControlPlaneOptions, etcd: &str) {
    let mut control_plane = ControlPlane::start(options).await.unwrap();
    let desk = Desk::at(&control_plane).await;
    desk.sees("3 of 3 voters are alive").await;
    let well = desk.says("alice", &["diagnose"]).await.unwrap();
    assert_eq!(well, "nothing is wrong\n");
    follow(&control_plane, LOST).await;
    let status = etcd_status(&control_plane, 0).await;
    let version = status["version"].as_str().unwrap();
    assert!(version.starts_with(etcd), "{version}");

    let traffic = Traffic::start(&control_plane).await;
    // No kubelet runs here, so the Node's condition is set as the node controller sets it when a kubelet's
    // heartbeats have stopped for 50 s.
    control_plane.lose(LOST).await.unwrap();
    desk.finds("dead-member  degraded  member cp-3").await;
    let before = traffic.written();
    let plan = desk.planned("dead-member").await;
    let own = desk.says("alice", &["approve", &plan]).await.unwrap_err();
    assert!(own.contains("approved-as-is: alice asked for the plan"), "{own}");
    repair(&desk, &plan).await;
    desk.sees("2 of 2 voters are alive").await;
    // What is left of it: its Node, its Pods, its entry in ClusterStatus.
    desk.finds("stale-node").await;
    repair(&desk, &desk.planned("stale-node").await).await;
    let left = left_behind(&control_plane).await;
    assert!(left.contains("node/cp-1") && !left.contains("cp-3"), "{left}");
    assert_eq!(left.contains("apiEndpoints"), options.cluster_status, "{left}");
    assert!(traffic.written() > before, "nothing was written meanwhile");
    no_secret_is_told(&desk, &control_plane).await;

    let new = control_plane.add_node().unwrap();
    let line = control_plane.join_line(0).await.unwrap();
    let printed = control_plane.join(new, &line).await.unwrap();
    assert!(printed.contains("A new etcd member was added"), "{printed}");
    desk.sees("3 of 3 voters are alive").await;

    let written = traffic.written();
    let [writer, reader] = traffic.stop().await;
    for (client, served) in [("writer", &writer), ("reader", &reader)] {
        assert!(served.failures.is_empty(), "{client}: {:#?}", served.failures);
        // What the dead node was answering when it died.
        assert!(served.cut.len() <= 1, "{client}: {:#?}", served.cut);
        assert!(served.well > 10, "{client}: {}", served.well);
    }
    members_agree(&control_plane, [0, 1, new]).await;
    for node in [0, 1, new] {
        assert!(read(&control_plane, node).await >= written, "cp-{}", node + 1);
    }
}

/// Has a plan approved and carried out.
async fn repair(desk: &Desk, plan: &str) {
    desk.says("bob", &["approve", plan]).await.unwrap();
    let applied = desk.says("alice", &["apply", plan]).await.unwrap();
    assert!(applied.trim_end().ends_with("finished"), "{applied}");
}

/// The names of what there is, and ConfigMap kubeadm-config.
async fn left_behind(control_plane: &ControlPlane) -> String {
    let kubectl = control_plane.kubectl().unwrap();
    let names = ["get", "nodes,pods,leases", "-n", "kube-system", "-o", "name"];
    kubectl.succeed(&names).await.unwrap() + &kubeadm_config(&kubectl, "yaml").await
}

/// Neither the journal with its plans, nor the gateway's log, nor its audit has a line of a key.
async fn no_secret_is_told(desk: &Desk, control_plane: &ControlPlane) {
    let log = desk.gateway.process();
    let audit = fs::read_to_string(desk.gateway.dir().join("audit.jsonl")).unwrap();
    let journal = desk.says("bob", &["journal"]).await.unwrap();
    assert!(journal.contains("\"finished\""), "{journal}");
    let told = journal + &log.stdout() + &log.stderr() + &audit;
    let pki = control_plane.pki();
    for key in ["ca.key", "sa.key", "etcd/ca.key", "etcd/healthcheck-client.key"] {
        let pem = fs::read_to_string(pki.join(key)).unwrap();
        let line = pem.lines().nth(1).unwrap();
        assert!(line.len() > 40 && !told.contains(line), "{key}");
    }
}

/// Sees to it that a node's member is not etcd's leader. When that dies, what is asked of the apiservers
/// during the election fails for a second, which is etcd's and not what is shown here.
pub(crate) async fn follow(control_plane: &ControlPlane, index: usize) {
    let status = etcd_status(control_plane, index).await;
    if status["leader"] == status["header"]["member_id"] {
        lead(control_plane, 0).await;
    }
}

/// Sees to it that a node's member is etcd's leader.
pub(crate) async fn lead(control_plane: &ControlPlane, index: usize) {
    let name = control_plane.node(index).name();
    let led = async || {
        let status = etcd_status(control_plane, index).await;
        let members = control_plane.node(index).members().await.unwrap();
        let leader = status["leader"].as_str().and_then(|id| id.parse().ok());
        let leader = members.iter().find(|member| leader == Some(member.id));
        let leader = leader.ok_or("nobody leads")?;
        if leader.name == name {
            return Ok(());
        }
        let node = control_plane
            .nodes()
            .iter()
            .find(|node| node.name() == leader.name);
        let own = members.iter().find(|member| member.name == name).unwrap();
        let target = json!({"targetID": own.id.to_string()});
        let call = node
            .unwrap()
            .etcd_call("maintenance/transfer-leadership", &target);
        call.await.map_err(|error| error.to_string())?;
        Err(format!("{} led", leader.name))
    };
    eventually(&format!("{name} leads"), SOON, led).await.unwrap();
}

async fn etcd_status(control_plane: &ControlPlane, index: usize) -> Value {
    let node = control_plane.node(index);
    node.etcd_call("maintenance/status", &json!({})).await.unwrap()
}

async fn read(control_plane: &ControlPlane, node: usize) -> u64 {
    let server = control_plane.node(node).server();
    let kubectl = control_plane.kubectl().unwrap();
    let get = ["get", "configmap", "traffic", "-o", "json", "--server", &server];
    count(&serde_json::from_str(&kubectl.succeed(&get).await.unwrap()).unwrap())
}

/// All are voters, and their stores are the same.
async fn members_agree(control_plane: &ControlPlane, nodes: [usize; 3]) {
    let names: Vec<_> = nodes
        .iter()
        .map(|node| (control_plane.node(*node).name(), false))
        .collect();
    eventually("the members agree", SOON, async || {
        let mut hashes: Vec<Value> = Vec::new();
        for node in nodes {
            let node = control_plane.node(node);
            let members = node.members().await.map_err(|error| error.to_string())?;
            let mut seen: Vec<_> = members
                .iter()
                .map(|member| (&*member.name, member.learner))
                .collect();
            seen.sort_unstable();
            assert_eq!(seen, names);
            let hash = node.etcd_call("maintenance/hash", &json!({})).await;
            hashes.push(hash.map_err(|error| error.to_string())?["hash"].take());
        }
        let agree = hashes.iter().all(|hash| *hash == hashes[0]);
        if agree { Ok(()) } else { Err(format!("{hashes:?}")) }
    })
    .await
    .unwrap();
}
