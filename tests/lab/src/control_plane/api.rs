//! Defines what a kubelet and the node controller would tell the API of a node.

use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use super::{ControlPlaneNode, static_pod::StaticPod};
use crate::{component::Component, error::Error, eventually, http};

const NODES: &str = "/api/v1/nodes";
const SYSTEM_PODS: &str = "/api/v1/namespaces/kube-system/pods";

/// What a node's manifests make visible as mirror Pods.
pub(super) const STATIC_PODS: [&str; 2] = ["etcd", "kube-apiserver"];

/// How long etcd may take to elect a leader on a busy machine.
const ELECTION: Duration = Duration::from_secs(60);

/// The API, as an administrator.
#[derive(Debug, Clone)]
pub(super) struct Api {
    client: Client,
    server: String,
}

impl Api {
    /// Through the apiserver or load balancer at `server`, as whoever a kubeconfig of kubeadm's names.
    pub(super) fn new(server: String, kubeconfig: &str) -> Result<Self, Error> {
        let (authority, identity) = credentials(kubeconfig)?;
        Ok(Self {
            client: http::client_identified(&authority, &identity)?,
            server,
        })
    }

    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Registers a Node that is Ready, as its kubelet does and kubeadm marks it; gives its UID. One
    /// that is there already becomes Ready.
    pub(super) async fn register(&self, node: &ControlPlaneNode) -> Result<String, Error> {
        let name = node.name();
        let object = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": {
                    "kubernetes.io/hostname": name,
                    "kubernetes.io/os": "linux",
                    "node-role.kubernetes.io/control-plane": "",
                    "node.kubernetes.io/exclude-from-external-load-balancers": "",
                },
            },
            "status": {
                "addresses": [
                    {"type": "InternalIP", "address": node.address()},
                    {"type": "Hostname", "address": name},
                ],
                "nodeInfo": node_info(),
            },
        });
        if let Err(error) = self.send(Method::POST, NODES, Some(&object)).await
            && !has_status(&error, StatusCode::CONFLICT)
        {
            return Err(error);
        }
        self.set_ready(name, true).await?;
        self.uid(name).await
    }

    pub(super) async fn uid(&self, node: &str) -> Result<String, Error> {
        let node = self.send(Method::GET, &format!("{NODES}/{node}"), None).await?;
        let uid = node.pointer("/metadata/uid").and_then(Value::as_str);
        Ok(uid.unwrap_or_default().to_owned())
    }

    /// Sets the Node's condition and taints, and its Pods' condition, as the node controller does
    /// when a kubelet's heartbeats stop or come again.
    pub(super) async fn set_ready(&self, node: &str, ready: bool) -> Result<(), Error> {
        let condition = if ready {
            json!({
                "type": "Ready", "status": "True", "reason": "KubeletReady",
                "message": "kubelet is posting ready status",
            })
        } else {
            json!({
                "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status.",
            })
        };
        let path = format!("{NODES}/{node}");
        let status = json!({"status": {"conditions": [dated(condition)]}});
        self.patch(&format!("{path}/status"), &status).await?;
        let mut taints =
            vec![json!({"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"})];
        if !ready {
            let unreachable = |effect| json!({"key": "node.kubernetes.io/unreachable", "effect": effect});
            taints.extend([unreachable("NoSchedule"), unreachable("NoExecute")]);
        }
        // A strategic merge would keep the taints that have gone.
        let taints = json!([{"op": "add", "path": "/spec/taints", "value": taints}]);
        self.patch_as("application/json-patch+json", &path, &taints)
            .await?;
        for pod in STATIC_PODS {
            self.set_pod_ready(&format!("{pod}-{node}"), ready).await?;
        }
        Ok(())
    }

    /// Shows a static Pod of the node, in place of what was shown of it before.
    pub(super) async fn mirror(
        &self,
        node: &ControlPlaneNode,
        uid: &str,
        pod: &StaticPod,
    ) -> Result<(), Error> {
        let pod = pod.mirror(node.name(), uid, node.address());
        let name = pod.pointer("/metadata/name").and_then(Value::as_str);
        let path = format!("{SYSTEM_PODS}/{}", name.unwrap_or_default());
        let now = json!({"gracePeriodSeconds": 0});
        if let Err(error) = self.send(Method::DELETE, &path, Some(&now)).await
            && !has_status(&error, StatusCode::NOT_FOUND)
        {
            return Err(error);
        }
        self.send(Method::POST, SYSTEM_PODS, Some(&pod)).await?;
        let status = json!({"status": pod.get("status")});
        self.patch(&format!("{path}/status"), &status).await
    }

    /// Adds to a ConfigMap's data.
    pub(super) async fn add_to_config_map(&self, name: &str, key: &str, text: &str) -> Result<(), Error> {
        let path = format!("/api/v1/namespaces/kube-system/configmaps/{name}");
        self.patch(&path, &json!({"data": {key: text}})).await
    }

    async fn set_pod_ready(&self, pod: &str, ready: bool) -> Result<(), Error> {
        let condition = json!({"type": "Ready", "status": if ready { "True" } else { "False" }});
        let status = json!({"status": {"conditions": [dated(condition)]}});
        match self.patch(&format!("{SYSTEM_PODS}/{pod}/status"), &status).await {
            Err(error) if !has_status(&error, StatusCode::NOT_FOUND) => Err(error),
            _ => Ok(()),
        }
    }

    async fn patch(&self, path: &str, patch: &Value) -> Result<(), Error> {
        self.patch_as("application/strategic-merge-patch+json", path, patch)
            .await
    }

    /// Again and again while there is no leader of etcd's to take it: a patch done twice is as good.
    async fn patch_as(&self, kind: &'static str, path: &str, patch: &Value) -> Result<(), Error> {
        let patched = async || {
            let request = self
                .client
                .patch(format!("{}{path}", self.server))
                .header("content-type", kind)
                .body(patch.to_string());
            match http::json(request).await {
                Err(outage @ (Error::Http { .. } | Error::Refused { status: 500.., .. })) => Err(outage),
                outcome => Ok(outcome.map(drop)),
            }
        };
        eventually(&format!("{path} is patched"), ELECTION, patched).await?
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        let mut request = self.client.request(method, format!("{}{path}", self.server));
        if let Some(body) = body {
            request = request.json(body);
        }
        http::json(request).await
    }
}

/// The authority of a kubeconfig's server, and its user's certificate with its key, PEM.
pub(super) fn credentials(kubeconfig: &str) -> Result<(String, String), Error> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    let malformed = |problem: String| Error::Answer {
        what: "kubeadm's kubeconfig",
        problem,
    };
    let config: Value = serde_saphyr::from_str(kubeconfig).map_err(|error| malformed(error.to_string()))?;
    let data = |pointer: &str| {
        let text = config.pointer(pointer).and_then(Value::as_str);
        let bytes = STANDARD.decode(text.unwrap_or_default()).ok();
        bytes
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| malformed(format!("nothing at {pointer}")))
    };
    let authority = data("/clusters/0/cluster/certificate-authority-data")?;
    let certificate = data("/users/0/user/client-certificate-data")?;
    let key = data("/users/0/user/client-key-data")?;
    Ok((authority, certificate + &key))
}

fn has_status(error: &Error, expected: StatusCode) -> bool {
    matches!(error, Error::Refused { status, .. } if *status == expected.as_u16())
}

fn node_info() -> Value {
    let version = Component::ControlPlane.version().unwrap_or_default();
    json!({
        "kubeletVersion": version,
        "kubeProxyVersion": "",
        "architecture": "amd64",
        "operatingSystem": "linux",
        "osImage": "lab",
        "kernelVersion": "lab",
        "containerRuntimeVersion": "lab://0",
        "bootID": "", "machineID": "", "systemUUID": "",
    })
}

/// A condition that begins now.
fn dated(mut condition: Value) -> Value {
    let now = json!(humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string());
    if let Some(condition) = condition.as_object_mut() {
        condition.insert("lastTransitionTime".to_owned(), now);
    }
    condition
}
