//! What is seen of a cluster at one moment.

use witgate_sdk::recovery::{Eyes, KubeResource, Member, Survey, Trouble};

use crate::{
    kubeadm_config::KubeadmConfig,
    objects::{Lease, Node, Pod, Secret},
};

/// Where the control plane's objects are.
pub(crate) const NAMESPACE: &str = "kube-system";

/// A cluster at one moment.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) survey: Survey,
    pub(crate) nodes: Vec<Node>,
    /// The control plane's mirror pods.
    pub(crate) pods: Vec<Pod>,
    pub(crate) leases: Vec<Lease>,
    pub(crate) kubeadm: KubeadmConfig,
    /// None if the operator does not grant them.
    pub(crate) secrets: Option<Vec<Secret>>,
}

impl Cluster {
    pub(crate) fn look(eyes: &dyn Eyes) -> Result<Self, Trouble> {
        let survey = eyes.survey()?;
        if survey.cluster_id.is_none() {
            return Err(Trouble::Unavailable("no member of etcd answers".to_owned()));
        }
        let nodes = eyes.list(&KubeResource::core("nodes"), "", "")?;
        let pods = eyes.list(&KubeResource::core("pods"), NAMESPACE, "tier=control-plane")?;
        let leases = KubeResource::of("coordination.k8s.io", "leases");
        let leases = eyes.list(&leases, NAMESPACE, "")?;
        let map = eyes.get(&KubeResource::core("configmaps"), NAMESPACE, "kubeadm-config")?;
        let secrets = match eyes.list(&KubeResource::core("secrets"), NAMESPACE, "") {
            Ok(secrets) => Some(secrets.iter().map(Secret::read).collect()),
            // Not everybody wants a gateway that may list Secrets.
            Err(Trouble::NotGranted(_)) => None,
            Err(trouble) => return Err(trouble),
        };
        Ok(Self {
            survey,
            nodes: nodes.iter().map(Node::read).collect(),
            pods: pods.iter().filter_map(Pod::mirror).collect(),
            leases: leases.iter().map(Lease::read).collect(),
            kubeadm: KubeadmConfig::read(map.as_ref())?,
            secrets,
        })
    }

    /// Milliseconds since 1970, by the gateway's clock.
    pub(crate) fn now(&self) -> u64 {
        self.survey.taken
    }

    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The members, if etcd runs on the control plane's nodes: then each is named as its node.
    pub(crate) fn stacked(&self) -> &[Member] {
        let members = &self.survey.members;
        let on_node = members.iter().any(|member| self.node(&member.name).is_some());
        if on_node && !self.kubeadm.external_etcd {
            members
        } else {
            &[]
        }
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Member> {
        self.survey
            .members
            .iter()
            .find(|member| !member.name.is_empty() && member.name == name)
    }

    /// For how many milliseconds every vantage point has found a member silent.
    pub(crate) fn silence(&self, member: &Member) -> Option<u64> {
        Some(self.now().saturating_sub(member.silent_since?))
    }
}
