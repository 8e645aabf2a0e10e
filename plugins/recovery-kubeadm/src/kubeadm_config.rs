//! The ConfigMap in which kubeadm writes down what it made.

use serde_json::Value;
use witgate_sdk::recovery::{ClusterStatusEntry, Trouble};

use crate::objects::text;

/// `kube-system/kubeadm-config`.
#[derive(Debug)]
pub(crate) struct KubeadmConfig {
    uid: String,
    resource_version: String,
    /// What the cluster was made with or upgraded to last: `v1.34.2`. Empty if it does not say.
    pub(crate) version: String,
    /// etcd runs elsewhere.
    pub(crate) external_etcd: bool,
    /// The names and addresses in `ClusterStatus`, which kubeadm before 1.22 keeps.
    pub(crate) endpoints: Vec<(String, String)>,
}

impl KubeadmConfig {
    pub(crate) fn read(map: Option<&Value>) -> Result<Self, Trouble> {
        let Some(map) = map else {
            return Err(Trouble::Unavailable(
                "there is no ConfigMap kube-system/kubeadm-config: kubeadm did not make this cluster"
                    .to_owned(),
            ));
        };
        let parsed = |key: &str| match text(map, &format!("/data/{key}")) {
            "" => Ok(Value::Null),
            yaml => serde_saphyr::from_str::<Value>(yaml).map_err(|error| {
                Trouble::Unavailable(format!("{key} in kube-system/kubeadm-config is no YAML: {error}"))
            }),
        };
        let (configuration, status) = (parsed("ClusterConfiguration")?, parsed("ClusterStatus")?);
        let endpoints = status.pointer("/apiEndpoints").and_then(Value::as_object);
        let endpoint = |(name, endpoint): (&String, &Value)| {
            let port = endpoint
                .pointer("/bindPort")
                .map(Value::to_string)
                .unwrap_or_default();
            let address = format!("{}:{port}", text(endpoint, "/advertiseAddress"));
            (name.clone(), address)
        };
        Ok(Self {
            uid: text(map, "/metadata/uid").to_owned(),
            resource_version: text(map, "/metadata/resourceVersion").to_owned(),
            version: text(&configuration, "/kubernetesVersion").to_owned(),
            external_etcd: configuration.pointer("/etcd/external").is_some(),
            endpoints: endpoints.into_iter().flatten().map(endpoint).collect(),
        })
    }

    /// The entry of a node, if there is one.
    pub(crate) fn entry(&self, node: &str) -> Option<ClusterStatusEntry> {
        let listed = self.endpoints.iter().any(|(name, _)| name == node);
        listed.then(|| ClusterStatusEntry {
            uid: self.uid.clone(),
            resource_version: self.resource_version.clone(),
            node: node.to_owned(),
        })
    }
}
