//! What a recovery plugin sees of Kubernetes: the granted objects, without what is secret in them.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use crate::{
    config::KubernetesGrant,
    denials::{grant_lines, printable},
    recovery::KubeResource,
};

/// Repeats the whole object, of a Secret with its values.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A bootstrap token's Secret says until when it is good beside the token itself.
const BOOTSTRAP_TOKEN: &str = "bootstrap.kubernetes.io/token";
const EXPIRATION: &str = "expiration";

/// Which objects one plugin may read.
#[derive(Clone, Debug)]
pub(crate) struct KubernetesPolicy {
    plugin: String,
    grants: Vec<KubernetesGrant>,
}

impl KubernetesPolicy {
    pub(crate) fn new(plugin: &str, grants: &[KubernetesGrant]) -> Self {
        Self {
            plugin: plugin.to_owned(),
            grants: grants.to_vec(),
        }
    }

    /// Whether one object (or with `None` all) of a kind may be read in a namespace (empty: in none,
    /// or in all of them). The error says which lines would allow it.
    pub(crate) fn check(
        &self,
        resource: &KubeResource,
        namespace: &str,
        name: Option<&str>,
    ) -> Result<(), String> {
        let allows = |grant: &KubernetesGrant| {
            let kind = grant.group == resource.group
                && grant.version == resource.version
                && grant.resource == resource.plural;
            let place = grant
                .namespace
                .as_ref()
                .is_none_or(|granted| granted == namespace);
            let named = grant.names.is_empty()
                || name.is_some_and(|name| grant.names.iter().any(|granted| granted == name));
            kind && place && named
        };
        if self.grants.iter().any(allows) {
            return Ok(());
        }
        Err(self.missing(resource, namespace, name))
    }

    fn missing(&self, resource: &KubeResource, namespace: &str, name: Option<&str>) -> String {
        let line = |key: &str, value: &str| format!("    {key}: {}", printable(value));
        let mut lines = vec![
            "kubernetes:".to_owned(),
            format!("  - resource: {}", printable(&resource.plural)),
        ];
        if !resource.group.is_empty() {
            lines.push(line("group", &resource.group));
        }
        if resource.version != "v1" {
            lines.push(line("version", &resource.version));
        }
        if !namespace.is_empty() {
            lines.push(line("namespace", namespace));
        }
        if let Some(name) = name {
            lines.push(format!("    names: [{}]", printable(name)));
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let what = printable(&resource.plural);
        let lines = grant_lines(&self.plugin, &lines);
        format!("it reads {what} that are not granted. To allow it, add\n{lines}")
    }
}

/// An object as a plugin sees it.
pub(crate) fn without_secrets(resource: &KubeResource, mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
    }
    // By the URL and by what the object says of itself: one of them is enough.
    let is_secret = resource.plural == "secrets" || object.get("kind").is_some_and(|kind| kind == "Secret");
    if is_secret {
        strip(&mut object);
    }
    object
}

/// Takes all values out of a Secret, and leaves their names.
fn strip(object: &mut Value) {
    let is_token = object.get("type").is_some_and(|ty| ty == BOOTSTRAP_TOKEN);
    let Some(fields) = object.as_object_mut() else {
        *object = Value::Null;
        return;
    };
    let names = |data: Map<String, Value>| -> BTreeMap<String, Value> {
        let shown = |name: &str, value: &Value| {
            let expiration = is_token && name == EXPIRATION;
            let text = value.as_str().filter(|_| expiration)?;
            let decoded = STANDARD.decode(text).ok()?;
            String::from_utf8(decoded).ok().map(Value::String)
        };
        data.into_iter()
            .map(|(name, value)| {
                let value = shown(&name, &value).unwrap_or(Value::Null);
                (name, value)
            })
            .collect()
    };
    let data = match fields.remove("data") {
        Some(Value::Object(data)) => names(data),
        _ => BTreeMap::new(),
    };
    // A field that this gateway doesn't know could hold a copy: what is kept is listed.
    fields.retain(|field, _| {
        matches!(
            field.as_str(),
            "apiVersion" | "kind" | "metadata" | "type" | "immutable"
        )
    });
    fields.insert("data".to_owned(), Value::Object(data.into_iter().collect()));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy() -> KubernetesPolicy {
        let grants: Vec<KubernetesGrant> = serde_json::from_value(json!([
            {"resource": "nodes"},
            {"resource": "configmaps", "namespace": "kube-system", "names": ["kubeadm-config"]},
        ]))
        .unwrap();
        KubernetesPolicy::new("kubeadm", &grants)
    }

    #[test]
    fn only_what_is_granted_is_seen() {
        let policy = policy();
        let (nodes, maps) = (KubeResource::core("nodes"), KubeResource::core("configmaps"));
        for (resource, namespace, name, allowed) in [
            (&nodes, "", Some("cp-1"), true),
            (&nodes, "", None, true),
            (&maps, "kube-system", Some("kubeadm-config"), true),
            (&maps, "kube-system", Some("other"), false),
            (&maps, "kube-system", None, false),
            (&maps, "", None, false),
            (&maps, "default", Some("kubeadm-config"), false),
            (&KubeResource::core("secrets"), "kube-system", None, false),
            (&KubeResource::leases(), "kube-system", None, false),
        ] {
            assert_eq!(
                policy.check(resource, namespace, name).is_ok(),
                allowed,
                "{resource} {namespace}/{name:?}"
            );
        }
    }

    #[test]
    fn what_is_missing_is_printed_as_lines_to_add() {
        let words = policy()
            .check(&KubeResource::leases(), "kube-system", Some("kube-scheduler"))
            .unwrap_err();
        let lines = "plugins:\n    kubeadm:\n      grants:\n        kubernetes:\n          - resource: leases\n            \
                     group: coordination.k8s.io\n            namespace: kube-system\n            names: [kube-scheduler]";
        assert!(words.contains(lines), "{words}");
    }

    #[test]
    fn no_value_of_a_secret_is_left() {
        let secret = json!({
            "kind": "Secret", "type": BOOTSTRAP_TOKEN, "stringData": {"token-secret": "0123456789abcdef"},
            "metadata": {"name": "bootstrap-token-abcdef", "managedFields": [{}],
                "annotations": {LAST_APPLIED: "0123456789abcdef", "kept": "yes"}},
            "data": {"token-secret": "MDEyMzQ1Njc4OWFiY2RlZg==", "expiration": "MjAyNi0xMS0yNFQyMDowMDowMFo="},
            "else": "0123456789abcdef",
        });
        let seen = without_secrets(&KubeResource::core("things"), secret);
        assert_eq!(
            seen,
            json!({
                "kind": "Secret", "type": BOOTSTRAP_TOKEN,
                "metadata": {"name": "bootstrap-token-abcdef", "annotations": {"kept": "yes"}},
                "data": {"token-secret": null, "expiration": "2026-11-24T20:00:00Z"},
            })
        );
        let other = json!({"type": "Opaque", "data": {"expiration": "c2VjcmV0", "ca.key": "c2VjcmV0"}});
        let seen = without_secrets(&KubeResource::core("secrets"), other);
        assert_eq!(seen["data"], json!({"expiration": null, "ca.key": null}));
    }
}
