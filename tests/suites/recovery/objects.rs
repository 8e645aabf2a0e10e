//! Kubernetes' objects that a dead node leaves behind: removed as exactly those that the plan means, by a
//! real kube-apiserver.

use serde_json::Value;
use witgate_lab::{Component, Kubectl, Kubernetes, require};
use witgate_plugins::recovery::{Action, ClusterStatusEntry, KubeResource, ObjectIdentity, Observer as _};
use witgate_recovery::Rule;

use super::site::Site;

const LEFT_BEHIND: &str = r#"
apiVersion: v1
kind: Node
metadata: {name: cp-8}
status: {conditions: [{type: Ready, status: "True", lastTransitionTime: "2026-01-01T00:00:00Z"}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kubeadm-config, namespace: kube-system}
data:
  ClusterConfiguration: "kind: ClusterConfiguration\nkubernetesVersion: v1.21.3\n"
  ClusterStatus: |
    apiVersion: kubeadm.k8s.io/v1beta2
    kind: ClusterStatus
    apiEndpoints:
      cp-8: {advertiseAddress: 10.0.0.8, bindPort: 6443}
      cp-9: {advertiseAddress: 10.0.0.9, bindPort: 6443}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: kube-scheduler, namespace: kube-system}
spec: {holderIdentity: cp-9_1, leaseDurationSeconds: 15, renewTime: "2026-01-01T00:00:00.000000Z"}
---
apiVersion: v1
kind: Pod
metadata:
  name: etcd-cp-9
  namespace: kube-system
  labels: {component: etcd, tier: control-plane}
  annotations: {kubernetes.io/config.mirror: abc}
spec:
  nodeName: cp-9
  containers: [{name: etcd, image: etcd}]
"#;

/// A Node that died.
pub(crate) const DEAD: &str = r#"
apiVersion: v1
kind: Node
metadata: {name: cp-9}
status: {conditions: [{type: Ready, status: Unknown, lastTransitionTime: "2026-01-01T00:00:00Z"}]}
"#;

/// ConfigMap kubeadm-config, as kubectl prints it with this `-o`.
pub(crate) async fn kubeadm_config(kubectl: &Kubectl, output: &str) -> String {
    let args = [
        "get",
        "configmap",
        "kubeadm-config",
        "-n",
        "kube-system",
        "-o",
        output,
    ];
    kubectl.succeed(&args).await.unwrap()
}

async fn metadata(kubectl: &Kubectl, kind: &str, name: &str, field: &str) -> String {
    let path = format!("jsonpath={{.metadata.{field}}}");
    let args = ["get", kind, name, "--namespace", "kube-system", "-o", &path];
    kubectl.succeed(&args).await.unwrap().trim().to_owned()
}

async fn object(kubectl: &Kubectl, kind: &str, name: &str, namespace: &str) -> ObjectIdentity {
    ObjectIdentity {
        namespace: namespace.into(),
        name: name.into(),
        uid: metadata(kubectl, kind, name, "uid").await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_node_leaves_behind_is_removed_and_nothing_else() {
    let Ok(()) = require(Component::Kubernetes) else {
        return;
    };
    let kubernetes = Kubernetes::start().await.unwrap();
    let kubectl = kubernetes.kubectl().unwrap();
    kubectl.apply(DEAD).await.unwrap();
    kubectl.apply(LEFT_BEHIND).await.unwrap();
    let site = Site::with(None, Some(kubernetes.admin_kubeconfig())).await;
    let seen = site.whole().await.kubernetes.expect("the apiserver answers");
    let ready: Vec<_> = seen
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.ready))
        .collect();
    assert_eq!(ready, [("cp-8", true), ("cp-9", false)]);
    assert_eq!(seen.kubeadm.unwrap().kubernetes_version, "v1.21.3");
    let nodes = site
        .control_plane
        .moment()
        .list(&KubeResource::core("nodes"), "", "")
        .await
        .unwrap();
    assert_eq!(nodes.len(), 2);

    let delete_node = async || Action::DeleteNode(object(&kubectl, "node", "cp-9", "").await);
    let stale = site
        .plan(vec![Action::TakeSnapshot, delete_node().await])
        .await
        .unwrap();
    site.engine().approve(&stale, "bob").await.unwrap();
    // The machine is installed anew under its old name.
    kubectl.succeed(&["delete", "node", "cp-9"]).await.unwrap();
    kubectl.apply(DEAD).await.unwrap();
    // The Node that the plan means is gone, which is what the step is for; the new one stays.
    site.engine().apply(&stale, "test").await.unwrap();
    metadata(&kubectl, "node", "cp-9", "uid").await;
    let ready_one = Action::DeleteNode(object(&kubectl, "node", "cp-8", "").await);
    let refused = site
        .plan(vec![Action::TakeSnapshot, ready_one])
        .await
        .unwrap_err();
    assert_eq!(refused.violation().unwrap().rule, Rule::ExactObject, "{refused}");

    let entry = ClusterStatusEntry {
        uid: metadata(&kubectl, "configmap", "kubeadm-config", "uid").await,
        resource_version: metadata(&kubectl, "configmap", "kubeadm-config", "resourceVersion").await,
        node: "cp-9".into(),
    };
    site.repair(vec![
        Action::TakeSnapshot,
        delete_node().await,
        Action::DeleteMirrorPod(object(&kubectl, "pod", "etcd-cp-9", "kube-system").await),
        Action::EditClusterStatus(entry),
        Action::DeleteLease(object(&kubectl, "lease", "kube-scheduler", "kube-system").await),
    ])
    .await;
    let left = kubectl
        .succeed(&["get", "nodes,pods,leases", "-A", "-o", "name"])
        .await
        .unwrap();
    assert!(left.contains("node/cp-8"), "{left}");
    for gone in ["cp-9", "kube-scheduler"] {
        assert!(!left.contains(gone), "{left}");
    }
    let map = kubeadm_config(&kubectl, "json").await;
    let map: Value = serde_json::from_str(&map).unwrap();
    let status = map["data"]["ClusterStatus"].as_str().unwrap();
    assert!(
        status.contains("10.0.0.8") && !status.contains("cp-9"),
        "{status}"
    );
}
