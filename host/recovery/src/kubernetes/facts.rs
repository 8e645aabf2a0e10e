//! What matters of Kubernetes' objects, out of their JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use witgate_plugins::recovery::{KubeResource, Timestamp};

use super::{Kube, KubeError, text};
use crate::{
    join,
    observation::{Join, Kubeadm, Kubernetes, Lease, Node, Pod},
    rules::NAMESPACE,
};

const MIRROR: &str = "/metadata/annotations/kubernetes.io~1config.mirror";

impl Kube {
    /// All of it, as it is now.
    pub(crate) async fn facts(&self) -> Result<Kubernetes, KubeError> {
        let (maps, secrets) = (KubeResource::core("configmaps"), KubeResource::core("secrets"));
        let (nodes, pods, leases) = (
            KubeResource::core("nodes"),
            KubeResource::core("pods"),
            KubeResource::leases(),
        );
        let join = async {
            match self.list_metadata(&secrets, NAMESPACE, join::LABEL).await {
                Ok(found) => Ok(Some(join_material(&found))),
                // Who lets no node join by a plan need not let the gateway see this.
                Err(error) if error.code == Some(403) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let (nodes, pods, leases, kubeadm, join) = futures::try_join!(
            self.list(&nodes, "", ""),
            self.list(&pods, NAMESPACE, "tier=control-plane"),
            self.list(&leases, NAMESPACE, ""),
            self.get(&maps, NAMESPACE, "kubeadm-config"),
            join,
        )?;
        Ok(Kubernetes {
            nodes: nodes.iter().map(node).collect(),
            pods: pods.iter().map(pod).collect(),
            leases: leases.iter().map(lease).collect(),
            kubeadm: kubeadm.as_ref().map(kubeadm_config),
            join,
        })
    }
}

fn time(object: &Value, pointer: &str) -> Timestamp {
    let time = text(object, pointer).parse::<jiff::Timestamp>();
    time.ok()
        .and_then(|time| u64::try_from(time.as_millisecond()).ok())
        .unwrap_or(0)
}

fn node(object: &Value) -> Node {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.and_then(|all| all.iter().find(|condition| text(condition, "/type") == "Ready"));
    Node {
        name: text(object, "/metadata/name").to_owned(),
        uid: text(object, "/metadata/uid").to_owned(),
        ready: ready.is_some_and(|condition| text(condition, "/status") == "True"),
        since: ready.map_or(0, |condition| time(condition, "/lastTransitionTime")),
        kubelet: text(object, "/status/nodeInfo/kubeletVersion").to_owned(),
    }
}

fn pod(object: &Value) -> Pod {
    Pod {
        namespace: text(object, "/metadata/namespace").to_owned(),
        name: text(object, "/metadata/name").to_owned(),
        uid: text(object, "/metadata/uid").to_owned(),
        node: text(object, "/spec/nodeName").to_owned(),
        mirror: object.pointer(MIRROR).is_some(),
    }
}

fn lease(object: &Value) -> Lease {
    let seconds = object
        .pointer("/spec/leaseDurationSeconds")
        .and_then(Value::as_u64);
    Lease {
        namespace: text(object, "/metadata/namespace").to_owned(),
        name: text(object, "/metadata/name").to_owned(),
        uid: text(object, "/metadata/uid").to_owned(),
        holder: text(object, "/spec/holderIdentity").to_owned(),
        until: time(object, "/spec/renewTime").saturating_add(seconds.unwrap_or(0).saturating_mul(1000)),
    }
}

fn kubeadm_config(object: &Value) -> Kubeadm {
    let parsed = |key: &str| {
        let yaml = text(object, &format!("/data/{key}"));
        (!yaml.is_empty()).then(|| serde_saphyr::from_str::<Value>(yaml).unwrap_or_default())
    };
    let configuration = parsed("ClusterConfiguration").unwrap_or_default();
    let status = parsed("ClusterStatus");
    let nodes = |status: &Value| -> BTreeSet<String> {
        let endpoints = status.pointer("/apiEndpoints").and_then(Value::as_object);
        endpoints
            .map(|all| all.keys().cloned().collect())
            .unwrap_or_default()
    };
    Kubeadm {
        uid: text(object, "/metadata/uid").to_owned(),
        resource_version: text(object, "/metadata/resourceVersion").to_owned(),
        kubernetes_version: text(&configuration, "/kubernetesVersion").to_owned(),
        cluster_status: status.as_ref().map(nodes),
    }
}

/// What each plan made, by the metadata of its Secrets.
fn join_material(secrets: &[Value]) -> Vec<Join> {
    let mut found = BTreeMap::<&str, Join>::new();
    for secret in secrets {
        let plan = text(secret, join::LABEL_POINTER);
        let join = found.entry(plan).or_insert_with(|| Join {
            plan: plan.to_owned(),
            ..Join::default()
        });
        join.expires = time(secret, join::EXPIRES_POINTER);
        if text(secret, "/metadata/name") == join::CERTIFICATES {
            join.certificates = true;
        } else {
            join.token = true;
        }
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kubeadms_map_is_read_with_and_without_a_cluster_status() {
        let map = |status: Value| {
            let mut map = json!({
                "metadata": {"uid": "u", "resourceVersion": "7"},
                "data": {"ClusterConfiguration": "kind: ClusterConfiguration\nkubernetesVersion: v1.21.3\n"},
            });
            if let Some(status) = status.as_str() {
                map["data"]["ClusterStatus"] = json!(status);
            }
            kubeadm_config(&map)
        };
        let old = map(json!(
            "apiEndpoints:\n  cp-1: {advertiseAddress: 10.0.0.1, bindPort: 6443}\n  cp-2:\n    bindPort: 6443\n"
        ));
        assert_eq!(old.kubernetes_version, "v1.21.3");
        assert_eq!(
            old.cluster_status,
            Some(["cp-1".to_owned(), "cp-2".to_owned()].into())
        );
        assert_eq!(map(Value::Null).cluster_status, None);
    }

    #[test]
    fn join_material_is_told_apart_by_plan() {
        let secret = |name: &str, plan: &str| {
            json!({"metadata": {
                "name": name, "labels": {"witgate.dev/recovery-plan": plan},
                "annotations": {"witgate.dev/expires": "1970-01-01T00:00:07Z"},
            }})
        };
        let secrets = [
            secret("kubeadm-certs", "b"),
            secret("bootstrap-token-abcdef", "a"),
            secret("bootstrap-token-uvwxyz", "b"),
        ];
        let join = |plan: &str, certificates| Join {
            plan: plan.to_owned(),
            token: true,
            certificates,
            expires: 7000,
        };
        assert_eq!(join_material(&secrets), [join("a", false), join("b", true)]);
    }

    #[test]
    fn a_node_is_as_ready_as_its_heartbeat_says() {
        let object = |status: &str| {
            json!({
                "metadata": {"name": "cp-2", "uid": "u2"},
                "status": {"nodeInfo": {"kubeletVersion": "v1.34.1"}, "conditions": [
                    {"type": "MemoryPressure", "status": "True"},
                    {"type": "Ready", "status": status, "lastTransitionTime": "1970-01-01T00:00:02Z"},
                ]},
            })
        };
        assert!(node(&object("True")).ready);
        let silent = node(&object("Unknown"));
        assert_eq!((silent.ready, silent.since), (false, 2000));
    }
}
