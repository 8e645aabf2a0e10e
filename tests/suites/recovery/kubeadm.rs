//! A node of a kubeadm cluster dies, and the plugin for that plans its replacement: on a real etcd, and on
//! a real kube-apiserver's objects as kubeadm leaves them.

use serde_json::json;
use witgate_lab::{Component, Etcd, Kubectl, Kubernetes, eventually, http, require};

use super::{desk::Desk, objects::kubeadm_config, site::SOON};

const NODE: &str = r#"
---
apiVersion: v1
kind: Node
metadata: {name: NAME, labels: {node-role.kubernetes.io/control-plane: ""}}
status:
  conditions: [{type: Ready, status: "True", reason: KubeletReady, lastTransitionTime: "2026-01-01T00:00:00Z"}]
  nodeInfo: {kubeletVersion: v1.34.2, architecture: "", bootID: "", containerRuntimeVersion: "", kernelVersion: "",
    kubeProxyVersion: "", machineID: "", operatingSystem: "", osImage: "", systemUUID: ""}
"#;

const POD: &str = r#"
---
apiVersion: v1
kind: Pod
metadata:
  name: COMPONENT-NAME
  namespace: kube-system
  labels: {component: COMPONENT, tier: control-plane}
  annotations: {kubernetes.io/config.mirror: abc}
spec:
  nodeName: NAME
  containers: [{name: COMPONENT, image: 'registry.example/COMPONENT:v1.34.2'}]
"#;

const OTHERS: &str = r#"
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kubeadm-config, namespace: kube-system}
data:
  ClusterConfiguration: |
    apiVersion: kubeadm.k8s.io/v1beta2
    kind: ClusterConfiguration
    kubernetesVersion: v1.34.2
  ClusterStatus: |
    apiEndpoints:
      etcd-1: {advertiseAddress: 10.0.0.1, bindPort: 6443}
      etcd-2: {advertiseAddress: 10.0.0.2, bindPort: 6443}
      etcd-3: {advertiseAddress: 10.0.0.3, bindPort: 6443}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: kube-controller-manager, namespace: kube-system}
spec: {holderIdentity: etcd-2_0123, leaseDurationSeconds: 15, renewTime: "2026-01-01T00:00:00.000000Z"}
---
apiVersion: v1
kind: Secret
metadata: {name: bootstrap-token-abcdef, namespace: kube-system}
type: bootstrap.kubernetes.io/token
stringData: {token-id: abcdef, token-secret: 0123456789abcdef, expiration: "2026-01-01T00:00:00Z"}
---
apiVersion: v1
kind: Secret
metadata: {name: kubeadm-certs, namespace: kube-system}
stringData: {ca.key: 'the key of the authority'}
"#;

const UNREADY: &str = r#"{"status": {"conditions": [{"type": "Ready", "status": "Unknown",
    "reason": "NodeStatusUnknown", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}"#;

/// What a kubeadm cluster of three nodes has, as far as a repair is concerned.
pub(crate) fn objects() -> String {
    let mut all = String::new();
    for name in ["etcd-1", "etcd-2", "etcd-3"] {
        all += &NODE.replace("NAME", name);
        for component in ["etcd", "kube-apiserver"] {
            all += &POD.replace("COMPONENT", component).replace("NAME", name);
        }
    }
    all + OTHERS
}

async fn found(desk: &Desk, line: &str) -> String {
    let found = async || {
        let found = desk.says("alice", &["diagnose"]).await?;
        if found.contains(line) {
            Ok(found)
        } else {
            Err(found)
        }
    };
    eventually(&format!("{line:?} is found"), SOON, found)
        .await
        .unwrap()
}

/// Asks for a plan and gives its text.
async fn planned(desk: &Desk, class: &str) -> String {
    let planned = async || desk.says("alice", &["plan", class]).await;
    eventually("there is a plan", SOON, planned).await.unwrap()
}

/// Has a plan approved and carried out.
async fn repaired(desk: &Desk, plan: &str) {
    let id = { plan.lines().next() }
        .and_then(|line| line.strip_prefix("plan "))
        .unwrap();
    desk.says("bob", &["approve", id]).await.unwrap();
    let applied = desk.says("alice", &["apply", id]).await.unwrap();
    assert!(applied.trim_end().ends_with("finished"), "{applied}");
}

/// What the steps of a plan do.
fn steps(plan: &str) -> Vec<&str> {
    let numbered = plan.lines().filter_map(|line| {
        let (number, step) = line.trim_start().split_once('.')?;
        number.parse::<u8>().ok()?;
        Some(step.trim_start())
    });
    numbered.collect()
}

fn assert_steps(plan: &str, expected: &[&str]) {
    let steps = steps(plan);
    assert_eq!(steps.len(), expected.len(), "{plan}");
    for (step, words) in steps.iter().zip(expected) {
        assert!(step.contains(words), "{words:?} in {step:?}: {plan}");
    }
}

/// A learner is added that nobody will ever start.
async fn add_learner(members: &[Etcd]) {
    let url = format!("{}/v3/cluster/member/add", members[0].endpoint());
    let body = json!({"peerURLs": ["http://127.0.0.1:1"], "isLearner": true});
    let answer = http::client().post(url).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

/// Has a Node say what the node controller says of one whose kubelet is silent.
pub(crate) async fn silence_node(kubectl: &Kubectl, name: &str) {
    let patch = [
        "patch",
        "node",
        name,
        "--subresource=status",
        "--type=merge",
        "-p",
        UNREADY,
    ];
    kubectl.succeed(&patch).await.unwrap();
}

pub(crate) async fn cluster_status(kubectl: &Kubectl) -> String {
    kubeadm_config(kubectl, "jsonpath={.data.ClusterStatus}").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_is_found_and_all_that_it_leaves_behind_goes() {
    let Ok(()) = require(Component::Etcd) else { return };
    let Ok(()) = require(Component::Kubernetes) else {
        return;
    };
    let mut members = Etcd::cluster(3, None).await.unwrap();
    let kubernetes = Kubernetes::start().await.unwrap();
    let kubectl = kubernetes.kubectl().unwrap();
    kubectl.apply(&objects()).await.unwrap();
    let desk = Desk::of_kubeadm(&members, &kubernetes.admin_kubeconfig()).await;

    // What a join could trip over is said before anybody joins.
    let well = found(&desk, "expired-join-token  notice  secret bootstrap-token-abcdef").await;
    assert!(
        well.contains("from kube-apiserver: 2026-01-01T00:00:00Z"),
        "{well}"
    );
    assert!(
        well.contains("stale-certificates  degraded  secret kubeadm-certs"),
        "{well}"
    );
    let classes: Vec<_> = well.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(classes.len(), 2, "{well}");

    // A member that lives is nobody's orphan to remove.
    kubectl.succeed(&["delete", "node", "etcd-3"]).await.unwrap();
    found(&desk, "orphan-member").await;
    let refused = desk.says("alice", &["plan", "orphan-member"]).await.unwrap_err();
    assert!(refused.contains("dead-for-sure: member etcd-3"), "{refused}");
    kubectl.apply(&NODE.replace("NAME", "etcd-3")).await.unwrap();

    add_learner(&members).await;
    found(&desk, "stuck-learner  degraded  member (never started)").await;
    members[1].kill();
    silence_node(&kubectl, "etcd-2").await;
    let dead = found(&desk, "dead-node  critical  node etcd-2").await;
    assert!(!dead.contains("dead-member"), "one plugin speaks of it: {dead}");
    for vantage in [
        "kube-apiserver: Ready is Unknown",
        "gateway: ",
        "member etcd-3: ",
        "node: ",
    ] {
        assert!(dead.contains(&format!("from {vantage}")), "{vantage}: {dead}");
    }
    // A learner that never started keeps others out: none is let in until it is gone.
    let plan = planned(&desk, "dead-node").await;
    assert!(
        plan.contains("but let none join yet: there are 1 learners"),
        "{plan}"
    );
    assert_steps(
        &plan,
        &[
            "take a snapshot",
            "remove member etcd-2",
            "delete Node etcd-2",
            "etcd-etcd-2",
            "kube-apiserver-etcd-2",
            "kube-controller-manager",
            "remove etcd-2 from ClusterStatus",
        ],
    );
    repaired(&desk, &plan).await;
    let left = ["get", "nodes,pods,leases", "-A", "-o", "name"];
    let left = kubectl.succeed(&left).await.unwrap() + &cluster_status(&kubectl).await;
    for gone in ["etcd-2", "10.0.0.2", "kube-controller-manager"] {
        assert!(!left.contains(gone), "{gone}: {left}");
    }
    for kept in [
        "node/etcd-1",
        "node/etcd-3",
        "pod/etcd-etcd-3",
        "10.0.0.1",
        "10.0.0.3",
    ] {
        assert!(left.contains(kept), "{kept}: {left}");
    }

    let plan = planned(&desk, "stuck-learner").await;
    assert_steps(&plan, &["take a snapshot", "remove member"]);
    repaired(&desk, &plan).await;
    let status = desk.says("bob", &["status"]).await.unwrap();
    assert!(status.starts_with("2 of 2 voters are alive"), "{status}");
    assert!(!status.contains("learner  "), "{status}");

    let plan = planned(&desk, "missing-member").await;
    assert_steps(
        &plan,
        &[
            "upload certificates for etcd-2 to join",
            "wait until member etcd-2 votes",
            "delete the token",
        ],
    );
    let journal = desk.says("bob", &["journal"]).await.unwrap();
    let bundle = desk.says("bob", &["bundle"]).await.unwrap();
    for secret in ["0123456789abcdef", "the key of the authority", "the password of"] {
        assert!(!journal.contains(secret) && !bundle.contains(secret), "{secret}");
    }
    // What they say of themselves beside that is there.
    for known in ["stale-certificates", "bootstrap-token-abcdef", "etcd-2_0123"] {
        assert!(bundle.contains(known), "{known}: {bundle}");
    }
}
