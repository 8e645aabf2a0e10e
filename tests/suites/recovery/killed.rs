//! A gateway is killed before and after every single thing that a plan does, and resumed each time: it ends
//! where one ends that lives, and does nothing twice.

use std::{collections::BTreeSet, process::Stdio, time::Duration};

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use witgate_lab::{Component, Etcd, Kubernetes, eventually, http, require};

use super::{
    desk::Desk,
    escrow::{escrow, planned},
    gatekeeper::{Door, Gatekeeper, SNAPSHOT},
    joining::Site,
    kubeadm::{cluster_status, objects, silence_node},
};

/// From one change to the next: the lease of a dead executor ends, and a node joins.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long nobody goes on after a kill.
const LEASE: &str = "3s";

/// Carries a plan out, with `args`, and kills the gateway each time that a change is held. `told` hears
/// what is printed.
async fn carry_out(
    desk: &mut Desk,
    keeper: &Gatekeeper,
    args: &[&str],
    mut told: impl AsyncFnMut(&str),
) -> Vec<String> {
    loop {
        let go_on = async || run(desk, keeper, args, &mut told).await;
        if eventually("the plan goes on", PATIENCE, go_on).await.unwrap() {
            return keeper.made();
        }
        desk.gateway.restart().await.unwrap();
    }
}

/// Whether it is done; if not, the gateway was killed.
async fn run(
    desk: &mut Desk,
    keeper: &Gatekeeper,
    args: &[&str],
    told: &mut impl AsyncFnMut(&str),
) -> Result<bool, String> {
    let mut command = desk.command("alice", args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut applying = command.spawn().unwrap();
    let mut printed = BufReader::new(applying.stdout.take().unwrap()).lines();
    loop {
        tokio::select! {
            biased;
            () = keeper.holds() => {
                desk.gateway.kill();
                return Ok(false);
            }
            line = printed.next_line() => match line.unwrap() {
                Some(line) => told(&line).await,
                None => break,
            }
        }
    }
    let output = applying.wait_with_output().await.unwrap();
    if output.status.success() {
        Ok(true)
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_cleared_away_by_gateways_that_are_killed_at_each_step() {
    let (Ok(()), Ok(())) = (require(Component::Etcd), require(Component::Kubernetes)) else {
        return;
    };
    let keeper = Gatekeeper::default();
    let mut doors = Vec::new();
    for _ in 0..3 {
        doors.push(keeper.door(http::client()).await);
    }
    let urls: Vec<_> = doors.iter().map(|door| door.url().to_owned()).collect();
    let mut members = Etcd::cluster_behind(&urls).await.unwrap();
    for (door, member) in doors.iter().zip(&members) {
        door.lead_to(&member.endpoint());
    }
    let kubernetes = Kubernetes::start().await.unwrap();
    let kubectl = kubernetes.kubectl().unwrap();
    // Who knows no version lets no node join, which is another story.
    let objects = objects().replace("kubernetesVersion: v1.34.2", "clusterName: lab");
    kubectl.apply(&objects).await.unwrap();
    let authority = kubernetes.authority();
    let admin = authority.client("admin", Some("system:masters")).unwrap();
    let admin = admin.certificate + &admin.key;
    let api = http::client_identified(authority.certificate(), &admin).unwrap();
    let api = keeper.door(api).await;
    api.lead_to(&kubernetes.server());
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, through(&api)).unwrap();
    let mut desk = Desk::of_nodes(
        "etcd-1, etcd-2, etcd-3",
        &json!({
            "kubeconfig": kubeconfig,
            "etcd": {"endpoints": [urls[0]]},
            "snapshots": {"directory": folder.path().join("snapshots")},
            "policy": {"silence": "1500ms", "settle": "20s", "lease": LEASE, "snapshotRevisions": 0},
        }),
    )
    .await;

    // The snapshot that every gateway begins with is not enough for the plan.
    desk.sees("newest snapshot: ").await;
    let put = http::client().post(format!("{}/v3/kv/put", members[0].endpoint()));
    let put = put
        .json(&json!({"key": "a2V5", "value": "dmFsdWU="}))
        .send()
        .await
        .unwrap();
    assert!(put.status().is_success());

    members[1].kill();
    silence_node(&kubectl, "etcd-2").await;
    let id = planned(&desk).await;
    keeper.begin();
    let made = carry_out(&mut desk, &keeper, &["apply", &id], async |_| {}).await;

    let changes: Vec<_> = made.iter().filter(|change| !change.contains(SNAPSHOT)).collect();
    let parts = [
        "/v3/cluster/member/remove",
        "/nodes/etcd-2",
        "/pods/etcd-etcd-2",
        "/pods/kube-apiserver-etcd-2",
        "/leases/kube-controller-manager",
        "/configmaps/kubeadm-config",
    ];
    assert_eq!(changes.len(), parts.len(), "{made:#?}");
    for (change, part) in changes.iter().zip(parts) {
        assert!(change.contains(part), "{part} in {made:#?}");
    }
    // Of the snapshot, the one that was cut off and the one that took its place.
    assert_eq!(made.len(), parts.len() + 2, "{made:#?}");
    assert_eq!(keeper.held(), 2 * (parts.len() + 1));

    let left = ["get", "nodes,pods,leases", "-A", "-o", "name"];
    let left = kubectl.succeed(&left).await.unwrap() + &cluster_status(&kubectl).await;
    for gone in ["etcd-2", "10.0.0.2", "kube-controller-manager"] {
        assert!(!left.contains(gone), "{gone}: {left}");
    }
    let status = desk.says("bob", &["status"]).await.unwrap();
    assert!(status.starts_with("2 of 2 voters are alive"), "{status}");
    // Its steps as they were done, each once.
    let shown = desk.says("bob", &["show", &id]).await.unwrap();
    assert!(shown.contains("finished"), "{shown}");
}

/// A kubeconfig for a door, which lets in as an administrator.
fn through(door: &Door) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {"server": door.url()}}],
        "users": [{"name": "lab", "user": {}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_let_in_by_gateways_that_are_killed_at_each_step() {
    let Ok(()) = require(Component::ControlPlane) else {
        return;
    };
    let mut site = Site::start().await;
    let keeper = Gatekeeper::default();
    let authority = std::fs::read_to_string(site.lab.pki().join("ca.crt")).unwrap();
    let api = keeper.door(http::client_trusting(&authority).unwrap()).await;
    api.lead_to(&site.lab.server());
    site.reach_at(api.url());
    let mut config = site.config();
    config["policy"]["lease"] = LEASE.into();
    let mut desk = Desk::of_nodes("cp-1, cp-2, cp-3", &config).await;
    let (recipient, identity) = site.operator();
    let pki = site.lab.node(0).pki();
    desk.says("alice", &escrow(&recipient, &pki)).await.unwrap();

    site.lab.lose(1).await.unwrap();
    let id = planned(&desk).await;
    let args = ["apply", &id, "--identity", identity.to_str().unwrap()];
    let mut joins = 0;
    keeper.begin();
    let made = carry_out(&mut desk, &keeper, &args, async |line| {
        println!("{line}");
        if let Some(start) = line.find("kubeadm join") {
            joins += 1;
            site.lab.join(1, &line[start..]).await.unwrap();
        }
    })
    .await;
    println!("{made:#?}");

    assert_eq!(joins, 1);
    // What is made to let a node in is made anew by whoever can't know the secrets of the one before.
    let (material, others): (Vec<_>, Vec<_>) = made.iter().partition(|change| change.contains("/secrets"));
    let once: BTreeSet<_> = others.iter().collect();
    assert_eq!(once.len(), others.len(), "{made:#?}");
    assert!(material.len() >= 3, "{made:#?}");
    assert_eq!(site.made().await, [""; 0]);
    let status = desk.says("bob", &["status"]).await.unwrap();
    let whole = "3 of 3 voters are alive, 2 are needed; 1 more may fail\n";
    assert!(
        status.starts_with(whole) && status.contains("  cp-2  "),
        "{status}"
    );
    let get = ["get", "nodes", "-o", "name"];
    let nodes = site.kubectl.succeed(&get).await.unwrap();
    assert_eq!(nodes, "node/cp-1\nnode/cp-2\nnode/cp-3\n");
}
