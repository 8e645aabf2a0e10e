//! A control plane of several nodes is what kubeadm makes, loses a node as it would, and gets it back
//! by `kubeadm join`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what can't go on fails its test"
)]

use std::time::Duration;

use serde_json::{Value, json};
use witgate_lab::{
    Component, ControlPlane, ControlPlaneNode, ControlPlaneOptions, Kubectl, eventually, require,
};

const SOON: Duration = Duration::from_secs(60);

async fn config_map(kubectl: &Kubectl, name: &str) -> Value {
    let get = ["get", "configmap", name, "-n", "kube-system", "-o", "json"];
    let map: Value = serde_json::from_str(&kubectl.succeed(&get).await.unwrap()).unwrap();
    map["data"].clone()
}

async fn ready(kubectl: &Kubectl, node: &str) -> String {
    let path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
    kubectl.succeed(&["get", "node", node, "-o", path]).await.unwrap()
}

/// Takes a node that was lost out of the cluster, as an operator does by hand.
///
/// Its peers see it as connected for some seconds after its death (rafthttp), and refuse until then.
async fn remove(control_plane: &ControlPlane, lost: &str) {
    let survivor = control_plane.node(0);
    let members = survivor.members().await.unwrap();
    let dead = members.iter().find(|member| member.name == lost).unwrap();
    let id = json!({"ID": dead.id.to_string()});
    let removed = async || survivor.etcd_call("cluster/member/remove", &id).await;
    eventually("the member is removed", SOON, removed).await.unwrap();
    let kubectl = control_plane.kubectl().unwrap();
    kubectl.succeed(&["delete", "node", lost]).await.unwrap();
}

async fn three_voters_agree(control_plane: &ControlPlane) {
    let voters = ["cp-1", "cp-2", "cp-3"].map(|name| (name.to_owned(), false));
    eventually("the members' hashes agree", SOON, async || {
        let mut seen = Vec::new();
        for node in control_plane.nodes() {
            let members = node.members().await.map_err(|error| error.to_string())?;
            let mut names: Vec<_> = members
                .into_iter()
                .map(|member| (member.name, member.learner))
                .collect();
            names.sort();
            assert_eq!(names, voters);
            let hash = node.etcd_call("maintenance/hash", &json!({})).await;
            seen.push(hash.map_err(|error| error.to_string())?);
        }
        let same = |hash: &Value| hash["hash"] == seen[0]["hash"];
        if seen.iter().all(same) {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_lost_node_comes_back_by_joining() {
    let Ok(()) = require(Component::ControlPlane) else {
        return;
    };
    lose_and_replace(ControlPlaneOptions::default(), "3.6.").await;
}

#[tokio::test]
async fn so_does_one_of_an_older_cluster() {
    let (Ok(()), Ok(())) = (require(Component::ControlPlane), require(Component::Etcd35)) else {
        return;
    };
    lose_and_replace(ControlPlaneOptions::OLDER, "3.5.").await;
}

async fn lose_and_replace(options: ControlPlaneOptions, version: &str) {
    let mut control_plane = ControlPlane::start(options).await.unwrap();
    let kubectl = control_plane.kubectl().unwrap();
    let status = control_plane
        .node(1)
        .etcd_call("maintenance/status", &json!({}))
        .await
        .unwrap();
    assert!(
        status["version"].as_str().unwrap().starts_with(version),
        "{status}"
    );
    let config = config_map(&kubectl, "kubeadm-config").await;
    assert!(config["ClusterConfiguration"].is_string(), "{config}");
    assert_eq!(config["ClusterStatus"].is_string(), options.cluster_status);
    let selector = "component=etcd,tier=control-plane";
    let annotation = r"jsonpath={range .items[*]}{.metadata.annotations.kubeadm\.kubernetes\.io/etcd\.advertise-client-urls}{'\n'}{end}";
    let get = [
        "get",
        "pods",
        "-n",
        "kube-system",
        "-l",
        selector,
        "-o",
        annotation,
    ];
    let endpoints = kubectl.succeed(&get).await.unwrap();
    let nodes = control_plane.nodes().iter();
    let expected: Vec<_> = nodes.map(ControlPlaneNode::etcd_endpoint).collect();
    assert_eq!(endpoints.lines().collect::<Vec<_>>(), expected);

    control_plane.lose(2).await.unwrap();
    assert!(!control_plane.node(2).root().join("var/lib/etcd").exists());
    assert_eq!(ready(&kubectl, "cp-3").await, "Unknown");
    // What is left serves reads and writes.
    kubectl
        .succeed(&["create", "configmap", "meanwhile"])
        .await
        .unwrap();

    remove(&control_plane, "cp-3").await;
    let line = control_plane.join_line(0).await.unwrap();
    let printed = control_plane.join(2, &line).await.unwrap();
    assert!(printed.contains("A new etcd member was added"), "{printed}");
    three_voters_agree(&control_plane).await;
    assert_eq!(ready(&kubectl, "cp-3").await, "True");
    let server = control_plane.node(2).server();
    let through_the_new = ["get", "configmap", "meanwhile", "--server", &server];
    kubectl.succeed(&through_the_new).await.unwrap();
}
