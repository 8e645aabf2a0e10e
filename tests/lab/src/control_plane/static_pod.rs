//! Defines a static Pod: what kubeadm writes into a node's manifests, and a kubelet would run.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::error::Error;

/// Where kubeadm's files are on a node; here, below the node's directory.
const NODE_PATHS: [&str; 2] = ["/etc/kubernetes", "/var/lib/etcd"];

/// How etcd 3.5 spells what kubeadm writes for 3.6.
const ETCD_35: [(&str, &str); 2] = [
    (
        "--feature-gates=InitialCorruptCheck=true",
        "--experimental-initial-corrupt-check=true",
    ),
    (
        "--watch-progress-notify-interval=",
        "--experimental-watch-progress-notify-interval=",
    ),
];

/// A node, as far as its programs see it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// What it has for a root.
    pub(super) root: PathBuf,
    /// Its address.
    pub(super) address: Ipv4Addr,
}

/// A manifest of a node.
#[derive(Debug)]
pub(super) struct StaticPod {
    manifest: Value,
}

impl StaticPod {
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(Error::io(path.display().to_string()))?;
        let manifest = serde_saphyr::from_str(&text).map_err(|error| Error::Answer {
            what: "kubeadm's manifest",
            problem: format!("{}: {error}", path.display()),
        })?;
        Ok(Self { manifest })
    }

    /// The container's arguments, without the program, for a process on this machine.
    ///
    /// The nodes share a network and a file system. So what is meant for the node's loopback goes to
    /// the node's address, and the node's paths are below its directory.
    pub(super) fn arguments(&self, place: &Place) -> Vec<String> {
        let command = self.manifest.pointer("/spec/containers/0/command");
        let words = command.and_then(Value::as_array).into_iter().flatten();
        words
            .filter_map(Value::as_str)
            .skip(1)
            .map(|argument| place.translate(argument))
            .collect()
    }

    /// The same for etcd 3.5.
    pub(super) fn arguments_for_etcd35(&self, place: &Place) -> Vec<String> {
        let spelled = |argument: String| {
            ETCD_35
                .iter()
                .find_map(|(current, old)| Some(format!("{old}{}", argument.strip_prefix(current)?)))
                .unwrap_or(argument)
        };
        self.arguments(place).into_iter().map(spelled).collect()
    }

    /// The Pod that a kubelet would show of it in the API, owned by the Node with this UID.
    pub(super) fn mirror(&self, node: &str, uid: &str, address: Ipv4Addr) -> Value {
        let mut pod = self.manifest.clone();
        let name = pod.pointer("/metadata/name").and_then(Value::as_str);
        let name = format!("{}-{node}", name.unwrap_or_default());
        // A kubelet takes a hash of the manifest; anything that names the Pod will do.
        let hash = format!("{name}-{uid}");
        let overlay = json!({
            "metadata": {
                "name": name,
                "annotations": {
                    "kubernetes.io/config.hash": hash,
                    "kubernetes.io/config.mirror": hash,
                    "kubernetes.io/config.seen": "2026-01-01T00:00:00Z",
                    "kubernetes.io/config.source": "file",
                },
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid, "controller": true},
                ],
            },
            "spec": {
                "nodeName": node,
                "tolerations": [{"operator": "Exists", "effect": "NoExecute"}],
            },
            "status": {
                "phase": "Running",
                "hostIP": address,
                "podIP": address,
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        });
        merge(&mut pod, overlay);
        pod
    }
}

impl Place {
    fn translate(&self, argument: &str) -> String {
        let Some((flag, value)) = argument.split_once('=') else {
            return argument.to_owned();
        };
        if NODE_PATHS.iter().any(|path| value.starts_with(path)) {
            return format!("{flag}={}{value}", self.root.display());
        }
        let (loopback, address) = (Ipv4Addr::LOCALHOST.to_string(), self.address.to_string());
        let mut parts: Vec<_> = value
            .split(',')
            .map(|part| part.replace(&loopback, &address))
            .collect();
        // etcd would listen on both.
        parts.dedup();
        format!("{flag}={}", parts.join(","))
    }
}

/// Puts what `overlay` has over `base`, object by object.
fn merge(base: &mut Value, overlay: Value) {
    match (base, overlay) {
        (Value::Object(base), Value::Object(overlay)) => {
            for (key, value) in overlay {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, overlay) => *base = overlay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r"
apiVersion: v1
kind: Pod
metadata:
  annotations:
    kubeadm.kubernetes.io/etcd.advertise-client-urls: https://198.18.0.11:2379
  labels: {component: etcd, tier: control-plane}
  name: etcd
  namespace: kube-system
spec:
  containers:
  - command:
    - etcd
    - --data-dir=/var/lib/etcd
    - --cert-file=/etc/kubernetes/pki/etcd/server.crt
    - --feature-gates=InitialCorruptCheck=true
    - --listen-client-urls=https://127.0.0.1:2379,https://198.18.0.11:2379
    - --listen-metrics-urls=http://127.0.0.1:2381
    - --watch-progress-notify-interval=5s
";

    fn pod() -> StaticPod {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd.yaml");
        fs::write(&path, MANIFEST).unwrap();
        StaticPod::read(&path).unwrap()
    }

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 11);

    fn place() -> Place {
        Place {
            root: "/lab/cp-1".into(),
            address: ADDRESS,
        }
    }

    #[test]
    fn the_nodes_paths_and_loopback_are_its_directory_and_its_address() {
        let arguments = pod().arguments(&place());
        let expected = [
            "--data-dir=/lab/cp-1/var/lib/etcd",
            "--cert-file=/lab/cp-1/etc/kubernetes/pki/etcd/server.crt",
            "--feature-gates=InitialCorruptCheck=true",
            "--listen-client-urls=https://198.18.0.11:2379",
            "--listen-metrics-urls=http://198.18.0.11:2381",
            "--watch-progress-notify-interval=5s",
        ];
        assert_eq!(arguments, expected);
    }

    #[test]
    fn an_older_etcd_is_told_the_same_in_its_own_words() {
        let arguments = pod().arguments_for_etcd35(&place());
        assert!(arguments.contains(&"--experimental-initial-corrupt-check=true".to_owned()));
        assert!(arguments.contains(&"--experimental-watch-progress-notify-interval=5s".to_owned()));
        assert!(
            !arguments
                .iter()
                .any(|argument| argument.contains("feature-gates"))
        );
    }

    #[test]
    fn a_mirror_pod_keeps_kubeadms_annotations_and_belongs_to_its_node() {
        let mirror = pod().mirror("cp-1", "some-uid", ADDRESS);
        assert_eq!(mirror["metadata"]["name"], "etcd-cp-1");
        assert_eq!(mirror["metadata"]["ownerReferences"][0]["uid"], "some-uid");
        let annotations = &mirror["metadata"]["annotations"];
        assert_eq!(
            annotations["kubeadm.kubernetes.io/etcd.advertise-client-urls"],
            "https://198.18.0.11:2379"
        );
        assert_eq!(annotations["kubernetes.io/config.source"], "file");
    }
}
