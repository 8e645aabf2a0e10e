//! Lets a node join.

use witgate_sdk::recovery::{Action, AwaitedMember, JoinMaterial, Step};

use crate::{Config, cluster::Cluster};

/// Makes what a node of that name joins with, waits for its member, and ends what was made.
pub(crate) fn steps(cluster: &Cluster, config: &Config, node: &str) -> Vec<Step> {
    let version = &cluster.kubeadm.version;
    vec![
        Step::new(
            Action::MintJoinMaterial(JoinMaterial {
                node: node.to_owned(),
                lifetime_seconds: config.join_seconds,
                kubernetes_version: version.clone(),
            }),
            format!("whoever applies the plan types it on the machine, which has to have kubeadm {version}"),
        ),
        Step::new(
            Action::WaitForMember(AwaitedMember {
                name: node.to_owned(),
                timeout_seconds: config.join_seconds,
            }),
            "it learns first, and kubeadm gives it its vote",
        ),
        Step::new(
            Action::RevokeJoinMaterial,
            "who holds it could join a machine, or read the certificate authorities' keys",
        ),
    ]
}
