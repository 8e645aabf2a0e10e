//! Made-up clusters.

use serde_json::{Value, json};
use witgate_sdk::recovery::{Eyes, KubeResource, Member, Seen, Sighting, Status, Survey, Trouble};

/// 2026-01-01T00:00:00Z.
pub(crate) const NOW: u64 = 1_767_225_600_000;
pub(crate) const LONG_AGO: &str = "2025-12-31T12:00:00Z";
pub(crate) const SOON: &str = "2026-01-01T01:00:00Z";

const CONFIGURATION: &str = "\
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.34.2
etcd:
  local:
    dataDir: /var/lib/etcd
";

/// A cluster and all that is seen of it.
#[derive(Clone, Debug)]
pub(crate) struct Specimen {
    pub(crate) survey: Survey,
    pub(crate) nodes: Vec<Value>,
    pub(crate) pods: Vec<Value>,
    pub(crate) leases: Vec<Value>,
    pub(crate) map: Value,
    /// None if they are not granted.
    pub(crate) secrets: Option<Vec<Value>>,
}

impl Eyes for Specimen {
    fn get(&self, kind: &KubeResource, namespace: &str, name: &str) -> Result<Option<Value>, Trouble> {
        assert_eq!(
            (kind.plural.as_str(), namespace, name),
            ("configmaps", "kube-system", "kubeadm-config")
        );
        Ok((!self.map.is_null()).then(|| self.map.clone()))
    }

    fn list(&self, kind: &KubeResource, _: &str, _: &str) -> Result<Vec<Value>, Trouble> {
        match kind.plural.as_str() {
            "nodes" => Ok(self.nodes.clone()),
            "pods" => Ok(self.pods.clone()),
            "leases" => Ok(self.leases.clone()),
            _ => self
                .secrets
                .clone()
                .ok_or_else(|| Trouble::NotGranted("secrets".to_owned())),
        }
    }

    fn survey(&self) -> Result<Survey, Trouble> {
        Ok(self.survey.clone())
    }
}

fn name(id: u64) -> String {
    format!("cp-{id}")
}

fn node(id: u64) -> Value {
    json!({
        "metadata": {"name": name(id), "uid": format!("node-{id}"),
            "labels": {"node-role.kubernetes.io/control-plane": ""}},
        "status": {"nodeInfo": {"kubeletVersion": "v1.34.2"}, "conditions": [
            {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": LONG_AGO},
        ]},
    })
}

fn pod(component: &str, id: u64) -> Value {
    json!({
        "metadata": {"name": format!("{component}-cp-{id}"), "namespace": "kube-system",
            "uid": format!("{component}-{id}"), "creationTimestamp": LONG_AGO,
            "annotations": {"kubernetes.io/config.mirror": "h"}, "labels": {"component": component}},
        "spec": {"nodeName": name(id), "containers": [{"image": format!("registry:5000/{component}:v1.34.2")}]},
    })
}

/// Nodes that are well, as many as are asked for; the first leads.
pub(crate) fn well(count: u64) -> Specimen {
    let members = (1..=count).map(|id| Member {
        id,
        name: name(id),
        peer_urls: vec![format!("https://10.0.0.{id}:2380")],
        client_urls: vec![format!("https://10.0.0.{id}:2379")],
        learner: false,
        silent_since: None,
    });
    let statuses = (1..=count).map(|member| Status {
        member,
        at: NOW,
        version: "3.6.16".to_owned(),
        db_size: 1000,
        db_size_in_use: 900,
        db_quota: None,
        leader: 1,
        raft_term: 2,
        raft_index: 100_000,
        raft_applied_index: 100_000,
        revision: 50_000,
        learner: false,
        errors: Vec::new(),
        hash: None,
    });
    Specimen {
        survey: Survey {
            cluster_id: Some(9),
            taken: NOW,
            members: members.collect(),
            confirmed: true,
            sightings: Vec::new(),
            statuses: statuses.collect(),
            alarms: Vec::new(),
        },
        nodes: (1..=count).map(node).collect(),
        pods: (1..=count)
            .flat_map(|id| [pod("etcd", id), pod("kube-apiserver", id)])
            .collect(),
        leases: vec![lease("kube-scheduler", "cp-1_a", "2026-01-01T00:00:00.000000Z")],
        map: json!({
            "metadata": {"uid": "map", "resourceVersion": "7"},
            "data": {"ClusterConfiguration": CONFIGURATION},
        }),
        secrets: Some(Vec::new()),
    }
}

pub(crate) fn lease(name: &str, holder: &str, renewed: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "kube-system", "uid": format!("lease-{name}")},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed},
    })
}

impl Specimen {
    /// A member falls silent from several places, long ago.
    pub(crate) fn silence(&mut self, id: u64) {
        self.survey.statuses.retain(|status| status.member != id);
        self.member(id).silent_since = Some(0);
        for vantage in ["gateway", "member cp-1"] {
            self.sight(id, vantage, Seen::Silent);
        }
    }

    pub(crate) fn sight(&mut self, id: u64, vantage: &str, seen: Seen) {
        self.survey.sightings.push(Sighting {
            member: id,
            vantage: vantage.to_owned(),
            at: NOW,
            seen,
            raw: "connection refused".to_owned(),
        });
    }

    /// A whole machine dies.
    pub(crate) fn kill(&mut self, id: u64) {
        self.silence(id);
        self.sight(id, "node", Seen::Silent);
        for node in self
            .nodes
            .iter_mut()
            .filter(|node| node["metadata"]["name"] == name(id))
        {
            let ready = &mut node["status"]["conditions"][0];
            *ready = json!({"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
                "lastTransitionTime": LONG_AGO});
        }
    }

    pub(crate) fn member(&mut self, id: u64) -> &mut Member {
        let mut members = self.survey.members.iter_mut();
        members.find(|member| member.id == id).unwrap()
    }

    /// A member is not listed any more.
    pub(crate) fn remove(&mut self, id: u64) {
        self.survey.members.retain(|member| member.id != id);
        self.survey.statuses.retain(|status| status.member != id);
        self.survey.sightings.retain(|sighting| sighting.member != id);
    }

    /// A Node's object is deleted, with its pods.
    pub(crate) fn forget(&mut self, id: u64) {
        self.nodes.retain(|node| node["metadata"]["name"] != name(id));
        self.pods.retain(|pod| pod["spec"]["nodeName"] != name(id));
    }

    /// A member that has no vote yet.
    pub(crate) fn learn(&mut self, id: u64) {
        self.member(id).learner = true;
    }

    /// A token or certificates to join with.
    pub(crate) fn secret(&mut self, secret: Value) {
        self.secrets.get_or_insert_default().push(secret);
    }
}

pub(crate) fn token(id: &str, expiration: &str) -> Value {
    json!({"metadata": {"name": format!("bootstrap-token-{id}")}, "type": "bootstrap.kubernetes.io/token",
        "data": {"expiration": expiration, "token-secret": null}})
}

pub(crate) fn certificates(owner: Option<&str>) -> Value {
    let owners: Vec<_> = owner
        .map(|name| json!({"kind": "Secret", "name": format!("bootstrap-token-{name}")}))
        .into_iter()
        .collect();
    json!({"metadata": {"name": "kubeadm-certs", "ownerReferences": owners}, "type": "Opaque",
        "data": {"ca.key": null}})
}
