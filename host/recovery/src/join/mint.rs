//! Makes what a node joins with, and takes it back.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use witgate_plugins::recovery::{JoinMaterial, KubeResource, ObjectIdentity, Timestamp};

use super::{
    Admission, CERTIFICATES, EXPIRES, KEY, LABEL, LABEL_POINTER, TOKEN, Token,
    cluster_info::{ClusterInfo, is_signed},
};
use crate::{
    executor::Clock,
    kubernetes::{Kube, KubeError, text},
    plan::PlanId,
    rules::NAMESPACE,
};

/// Who a bootstrap token makes somebody: kubeadm's own bindings are for this group.
const GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";

/// kubeadm's Role and RoleBinding by which that group reads the certificates (copycerts.go).
const READS_CERTIFICATES: &str = "kubeadm:kubeadm-certs";

const RBAC: &str = "rbac.authorization.k8s.io";

/// How often is looked whether controller-manager has signed.
const LOOK: Duration = Duration::from_millis(500);

/// Makes and takes back join material of one plan.
#[derive(Debug)]
pub(crate) struct Joining<'a> {
    pub(crate) kube: &'a Kube,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) plan: &'a PlanId,
    /// The hashes of the authorities that the gateway itself trusts.
    pub(crate) authorities: &'a [String],
}

/// Why there is no join material.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MintError {
    #[error(transparent)]
    Kube(#[from] KubeError),
    #[error(transparent)]
    Files(#[from] super::FilesError),
    #[error("whoever applies the plan gave no certificates: witgate recovery resume --identity FILE")]
    NoAdmission,
    #[error(
        "kube-system/kubeadm-certs is there, made by {0}: somebody lets another node join. Wait until it expires, \
         or delete its bootstrap token"
    )]
    Taken(String),
    #[error("kube-public/cluster-info: {0}")]
    ClusterInfo(String),
    #[error(
        "kube-public/cluster-info has the authority {found}, and the gateway trusts {trusted}: one of them is \
         not this cluster's"
    )]
    Authority { found: String, trusted: String },
    #[error(
        "kube-controller-manager has not signed kube-public/cluster-info for token {token} within {seconds} s: \
         see whether it runs, with its controllers bootstrap-signer-controller and token-cleaner-controller"
    )]
    Unsigned { token: String, seconds: u64 },
}

impl Joining<'_> {
    /// Makes a token and uploads the certificates; returns the command for the new node, with
    /// placeholders for its secrets. What an earlier try of this plan left is taken back first: its
    /// secrets are lost. The certificates come last, so that both are there only when all is done.
    pub(crate) async fn mint(
        &self,
        material: &JoinMaterial,
        admission: Option<&Admission>,
        patience: Duration,
    ) -> Result<String, MintError> {
        let Admission { token, certificates } = admission.ok_or(MintError::NoAdmission)?;
        let certificates = certificates.data()?;
        let (info, authority) = self.cluster_info().await?;
        self.revoke().await?;
        let secrets = KubeResource::core("secrets");
        if let Some(other) = self.kube.metadata(&secrets, NAMESPACE, CERTIFICATES).await? {
            let maker = text(&other, LABEL_POINTER);
            return Err(MintError::Taken(match maker {
                "" => "kubeadm".to_owned(),
                plan => format!("plan {plan}"),
            }));
        }
        let expires = self.clock.now() + u64::from(material.lifetime_seconds) * 1000;
        let made = self.upload(token, &material.node, expires, certificates, patience);
        if let Err(error) = made.await {
            if let Err(left) = self.revoke().await {
                tracing::warn!(plan = %self.plan, "join material can't be taken back, and expires: {left}");
            }
            return Err(error);
        }
        Ok(format!(
            "for {node}, until {until}: kubeadm join {endpoint} --token {TOKEN} --discovery-token-ca-cert-hash \
             {authority} --control-plane --certificate-key {KEY} --node-name {node}",
            node = material.node,
            until = rfc3339(expires),
            endpoint = info.endpoint,
        ))
    }

    async fn upload(
        &self,
        token: &Token,
        node: &str,
        expires: Timestamp,
        certificates: &BTreeMap<String, String>,
        patience: Duration,
    ) -> Result<(), MintError> {
        let secrets = KubeResource::core("secrets");
        let made = self.token_secret(token, node, expires);
        let made = self.kube.create(&secrets, NAMESPACE, &made).await?;
        self.signed(token, patience).await?;
        self.let_read().await?;
        // The token's Secret owns the certificates': when it is deleted, or expires and is cleaned up,
        // the certificates go with it.
        let owner = json!({
            "apiVersion": "v1", "kind": "Secret", "controller": true,
            "name": text(&made, "/metadata/name"), "uid": text(&made, "/metadata/uid"),
        });
        let metadata = self.metadata(CERTIFICATES, expires, &[owner]);
        let certificates = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": certificates,
        });
        self.kube.create(&secrets, NAMESPACE, &certificates).await?;
        Ok(())
    }

    /// Deletes everything that this plan made.
    pub(crate) async fn revoke(&self) -> Result<(), KubeError> {
        let selector = format!("{LABEL}={}", self.plan.label());
        let secrets = KubeResource::core("secrets");
        for object in self.kube.list_metadata(&secrets, NAMESPACE, &selector).await? {
            let identity = ObjectIdentity {
                namespace: NAMESPACE.to_owned(),
                name: text(&object, "/metadata/name").to_owned(),
                uid: text(&object, "/metadata/uid").to_owned(),
            };
            self.kube.delete(&secrets, &identity).await?;
        }
        Ok(())
    }

    /// What the map says, and which authority of it to pin. That it names none that the gateway doesn't
    /// trust has to be seen here: kubeadm pins one, and trusts all that stand beside it.
    async fn cluster_info(&self) -> Result<(ClusterInfo, String), MintError> {
        let info = ClusterInfo::read(&self.cluster_info_map().await?).map_err(MintError::ClusterInfo)?;
        let strange = info
            .authorities
            .iter()
            .find(|found| !self.authorities.contains(found));
        if let Some(found) = strange {
            let trusted = match self.authorities {
                [] => "none by its kubeconfig".to_owned(),
                some => some.join(", "),
            };
            return Err(MintError::Authority {
                found: found.clone(),
                trusted,
            });
        }
        let first = info.authorities.first().cloned();
        let first = first.ok_or_else(|| MintError::ClusterInfo("it has no authority".to_owned()))?;
        Ok((info, first))
    }

    async fn cluster_info_map(&self) -> Result<Value, MintError> {
        let maps = KubeResource::core("configmaps");
        let map = self.kube.get(&maps, "kube-public", "cluster-info").await?;
        map.ok_or_else(|| {
            MintError::ClusterInfo(
                "it is not there: `kubeadm init phase bootstrap-token` makes it".to_owned(),
            )
        })
    }

    /// Waits until controller-manager has signed: before, a joining kubeadm finds nothing to trust.
    async fn signed(&self, token: &Token, patience: Duration) -> Result<(), MintError> {
        let until = self.clock.now() + crate::policy::millis(patience);
        while !is_signed(&self.cluster_info_map().await?, &token.id) {
            if self.clock.now() >= until {
                return Err(MintError::Unsigned {
                    token: token.id.clone(),
                    seconds: patience.as_secs(),
                });
            }
            self.clock.sleep(LOOK).await;
        }
        Ok(())
    }

    fn token_secret(&self, token: &Token, node: &str, expires: Timestamp) -> Value {
        let field = |text: &str| STANDARD.encode(text);
        let description = format!("for {node} to join, by recovery plan {}", self.plan.label());
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
            "metadata": self.metadata(&format!("bootstrap-token-{}", token.id), expires, &[]),
            "data": {
                "token-id": field(&token.id),
                "token-secret": field(token.secret.expose_secret()),
                "expiration": field(&rfc3339(expires)),
                "usage-bootstrap-authentication": field("true"),
                "usage-bootstrap-signing": field("true"),
                "auth-extra-groups": field(GROUP),
                "description": field(&description),
            },
        })
    }

    fn metadata(&self, name: &str, expires: Timestamp, owners: &[Value]) -> Value {
        json!({
            "name": name, "namespace": NAMESPACE, "labels": {LABEL: self.plan.label()},
            "annotations": {EXPIRES: rfc3339(expires)}, "ownerReferences": owners,
        })
    }

    /// Lets who joins read the certificates, as `kubeadm init phase upload-certs` does. The Role
    /// stays: it is kubeadm's, and names one Secret.
    async fn let_read(&self) -> Result<(), KubeError> {
        let metadata = json!({"name": READS_CERTIFICATES, "namespace": NAMESPACE});
        let role = json!({
            "apiVersion": format!("{RBAC}/v1"), "kind": "Role", "metadata": metadata,
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [CERTIFICATES], "verbs": ["get"]}],
        });
        let binding = json!({
            "apiVersion": format!("{RBAC}/v1"), "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": READS_CERTIFICATES},
            "subjects": [{"apiGroup": RBAC, "kind": "Group", "name": GROUP}],
        });
        for (plural, object) in [("roles", role), ("rolebindings", binding)] {
            let resource = KubeResource {
                group: RBAC.to_owned(),
                version: "v1".to_owned(),
                plural: plural.to_owned(),
            };
            // It needs less to see that it is there than to make it.
            if self
                .kube
                .get(&resource, NAMESPACE, READS_CERTIFICATES)
                .await?
                .is_none()
            {
                self.kube.create(&resource, NAMESPACE, &object).await?;
            }
        }
        Ok(())
    }
}

fn rfc3339(at: Timestamp) -> String {
    let millis = i64::try_from(at).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    // Kubernetes' own tools write whole seconds.
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
