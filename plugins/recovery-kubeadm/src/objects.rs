//! Kubernetes' objects, as far as they matter here.

use serde_json::Value;
use witgate_sdk::recovery::ObjectIdentity;

const MIRROR: &str = "/metadata/annotations/kubernetes.io~1config.mirror";

/// The labels of a control plane's node; the second is kubeadm's before 1.24.
const ROLES: [&str; 2] = [
    "/metadata/labels/node-role.kubernetes.io~1control-plane",
    "/metadata/labels/node-role.kubernetes.io~1master",
];

/// What kubeadm makes a node join with.
pub(crate) const TOKEN: &str = "bootstrap.kubernetes.io/token";

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) control_plane: bool,
    pub(crate) ready: bool,
    /// Since when, in milliseconds since 1970.
    pub(crate) since: u64,
    /// The Ready condition as it was.
    pub(crate) raw: String,
    pub(crate) kubelet: String,
}

/// A pod that stands for a static one.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) identity: ObjectIdentity,
    pub(crate) node: String,
    /// `etcd`, `kube-apiserver`.
    pub(crate) component: String,
    pub(crate) image: String,
    pub(crate) created: u64,
}

#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) identity: ObjectIdentity,
    pub(crate) holder: String,
    /// Until when it holds, in milliseconds since 1970.
    pub(crate) until: u64,
}

/// A Secret, of which nothing secret is seen.
#[derive(Debug)]
pub(crate) struct Secret {
    pub(crate) name: String,
    pub(crate) kind: String,
    /// Until when a bootstrap token is good, as it was and in milliseconds since 1970.
    pub(crate) expiration: Option<(String, u64)>,
    /// The names of the Secrets that it goes with.
    pub(crate) owners: Vec<String>,
}

impl Node {
    pub(crate) fn read(object: &Value) -> Self {
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let mut conditions = conditions.into_iter().flatten();
        let ready = conditions.find(|condition| text(condition, "/type") == "Ready");
        let said = |field: &str| ready.map_or("", |ready| text(ready, field));
        Self {
            name: text(object, "/metadata/name").to_owned(),
            uid: text(object, "/metadata/uid").to_owned(),
            control_plane: ROLES.iter().any(|role| object.pointer(role).is_some()),
            ready: said("/status") == "True",
            since: time(said("/lastTransitionTime")),
            raw: match ready {
                Some(_) => format!(
                    "Ready is {} ({}) since {}",
                    said("/status"),
                    said("/reason"),
                    said("/lastTransitionTime")
                ),
                None => "there is no condition Ready".to_owned(),
            },
            kubelet: text(object, "/status/nodeInfo/kubeletVersion").to_owned(),
        }
    }

    pub(crate) fn identity(&self) -> ObjectIdentity {
        ObjectIdentity {
            namespace: String::new(),
            name: self.name.clone(),
            uid: self.uid.clone(),
        }
    }
}

impl Pod {
    /// None for a pod that is no mirror of a static one.
    pub(crate) fn mirror(object: &Value) -> Option<Self> {
        object.pointer(MIRROR)?;
        Some(Self {
            identity: identity(object),
            node: text(object, "/spec/nodeName").to_owned(),
            component: text(object, "/metadata/labels/component").to_owned(),
            image: text(object, "/spec/containers/0/image").to_owned(),
            created: time(text(object, "/metadata/creationTimestamp")),
        })
    }
}

impl Lease {
    pub(crate) fn read(object: &Value) -> Self {
        let seconds = object.pointer("/spec/leaseDurationSeconds");
        let seconds = seconds.and_then(Value::as_u64).unwrap_or(0);
        Self {
            identity: identity(object),
            holder: text(object, "/spec/holderIdentity").to_owned(),
            until: time(text(object, "/spec/renewTime")).saturating_add(seconds.saturating_mul(1000)),
        }
    }
}

impl Secret {
    pub(crate) fn read(object: &Value) -> Self {
        let expiration = object.pointer("/data/expiration").and_then(Value::as_str);
        let owners = object
            .pointer("/metadata/ownerReferences")
            .and_then(Value::as_array);
        Self {
            name: text(object, "/metadata/name").to_owned(),
            kind: text(object, "/type").to_owned(),
            expiration: expiration.map(|raw| (raw.to_owned(), time(raw))),
            owners: owners
                .into_iter()
                .flatten()
                .filter(|owner| text(owner, "/kind") == "Secret")
                .map(|owner| text(owner, "/name").to_owned())
                .collect(),
        }
    }
}

fn identity(object: &Value) -> ObjectIdentity {
    ObjectIdentity {
        namespace: text(object, "/metadata/namespace").to_owned(),
        name: text(object, "/metadata/name").to_owned(),
        uid: text(object, "/metadata/uid").to_owned(),
    }
}

/// Milliseconds since 1970; 0 for what is no time.
fn time(text: &str) -> u64 {
    let time = text.parse::<jiff::Timestamp>();
    time.ok()
        .and_then(|time| u64::try_from(time.as_millisecond()).ok())
        .unwrap_or(0)
}

/// The text at a place in an object; empty if there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
