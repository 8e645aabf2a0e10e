//! What changes Kubernetes' objects for a plan, each with the UID or version that the plan names.

use http::Method;
use serde_json::{Value, json};
use witgate_plugins::recovery::{ClusterStatusEntry, KubeResource, ObjectIdentity};

use super::{Kube, KubeError, path, text};
use crate::rules::NAMESPACE;

impl Kube {
    /// Makes an object, and gives it as it was made.
    pub(crate) async fn create(
        &self,
        resource: &KubeResource,
        namespace: &str,
        object: &Value,
    ) -> Result<Value, KubeError> {
        self.write(Method::POST, &path(resource, namespace), object).await
    }

    /// Deletes the object of that name if it has that UID. That it is gone already is as good.
    pub(crate) async fn delete(
        &self,
        resource: &KubeResource,
        object: &ObjectIdentity,
    ) -> Result<(), KubeError> {
        let path = format!("{}/{}", path(resource, &object.namespace), object.name);
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
            "preconditions": {"uid": object.uid},
        });
        match self.write(Method::DELETE, &path, &options).await {
            Err(error) if error.code == Some(404) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Removes a node from `ClusterStatus`, if the ConfigMap is still of that version.
    pub(crate) async fn edit_cluster_status(&self, entry: &ClusterStatusEntry) -> Result<(), KubeError> {
        let maps = KubeResource::core("configmaps");
        let name = "kubeadm-config";
        let Some(map) = self.get(&maps, NAMESPACE, name).await? else {
            return Ok(());
        };
        let Some(status) = without_node(text(&map, "/data/ClusterStatus"), &entry.node) else {
            return Ok(());
        };
        // The API refuses a patch whose uid or version is not the object's.
        let patch = json!({
            "metadata": {"uid": entry.uid, "resourceVersion": entry.resource_version},
            "data": {"ClusterStatus": status},
        });
        let path = format!("{}/{name}", path(&maps, NAMESPACE));
        self.write(Method::PATCH, &path, &patch).await.map(drop)
    }
}

/// The text without that node; none if it isn't in there.
fn without_node(yaml: &str, node: &str) -> Option<String> {
    let mut status: Value = serde_saphyr::from_str(yaml).ok()?;
    let endpoints = status
        .pointer_mut("/apiEndpoints")
        .and_then(Value::as_object_mut)?;
    endpoints.remove(node)?;
    serde_saphyr::to_string(&status).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_entry_goes_and_the_rest_stays() {
        let yaml = "apiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterStatus\napiEndpoints:\n  cp-1:\n    \
                    advertiseAddress: 10.0.0.1\n    bindPort: 6443\n  cp-2:\n    advertiseAddress: 10.0.0.2\n    \
                    bindPort: 6443\n";
        let left: Value = serde_saphyr::from_str(&without_node(yaml, "cp-2").unwrap()).unwrap();
        assert_eq!(
            left,
            json!({"apiVersion": "kubeadm.k8s.io/v1beta2", "kind": "ClusterStatus",
                "apiEndpoints": {"cp-1": {"advertiseAddress": "10.0.0.1", "bindPort": 6443}}})
        );
        assert_eq!(without_node(yaml, "cp-3"), None);
        assert_eq!(without_node("", "cp-1"), None);
    }
}
