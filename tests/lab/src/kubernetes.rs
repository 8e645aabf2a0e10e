//! Defines a Kubernetes control plane: kube-apiserver on etcd, with PKI and RBAC, without controllers.

mod kubeconfig;
pub(crate) mod kubectl;

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::KeyPair;
use tempfile::TempDir;

use self::kubeconfig::Credentials;
pub use self::kubectl::{Kubectl, KubectlOutput};
use crate::{
    component::Component,
    error::Error,
    etcd::Etcd,
    http,
    pki::Authority,
    port::Port,
    process::Launch,
    service::{Readiness, Service, lifecycle},
};

/// What a gateway in impersonation mode may do, and no more. `authentication.k8s.io` has to be given
/// whole: extras are subresources (`userextras/KEY`), for which RBAC has no wildcard of their own.
const GATEWAY_ROLE: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: witgate}
rules:
- {apiGroups: [""], resources: [users, groups, serviceaccounts], verbs: [impersonate]}
- {apiGroups: [authentication.k8s.io], resources: ["*"], verbs: [impersonate]}
- {apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]}
- {apiGroups: [authorization.k8s.io], resources: [subjectaccessreviews, selfsubjectaccessreviews], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: witgate}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: witgate}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: witgate}
"#;

/// A running control plane of one kube-apiserver.
///
/// No controllers run: namespaces are made by the apiserver's own start, but a Deployment gets no
/// Pods, and a namespace no default ServiceAccount (whose admission plugin is therefore off, so that
/// Pods can be created). No nodes are there but those of a [`Kubelet`](crate::Kubelet).
#[derive(Debug)]
pub struct Kubernetes {
    service: Service,
    etcd: Etcd,
    authority: Authority,
    nodes: Authority,
    port: Port,
    dir: TempDir,
}

impl Kubernetes {
    /// Starts an empty cluster that authorizes by `Node,RBAC`.
    ///
    /// # Errors
    /// If a program is missing, or kube-apiserver does not become ready.
    pub async fn start() -> Result<Self, Error> {
        Self::start_with(&[]).await
    }

    /// Starts a cluster with more flags for kube-apiserver, such as `--oidc-issuer-url=…`; they come
    /// last, and so win over the lab's own.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(apiserver_args: &[&str]) -> Result<Self, Error> {
        let program = Component::Kubernetes.find("kube-apiserver")?;
        let etcd = Etcd::start().await?;
        let dir = tempfile::tempdir().map_err(Error::io("a directory for kube-apiserver"))?;
        let port = Port::free()?;
        let authority = Authority::new("kubernetes")?;
        let names = [
            "127.0.0.1",
            "localhost",
            "kubernetes",
            "kubernetes.default.svc",
            "10.0.0.1",
        ];
        let (serving, serving_key) = authority.server(&names)?.write(dir.path(), "apiserver")?;
        let authority_path = write(dir.path(), "ca.crt", authority.certificate())?;
        // Not the clients' authority: what it certifies to a user must not open a kubelet.
        let nodes = Authority::new("kubernetes-nodes")?;
        let nodes_path = write(dir.path(), "nodes.crt", nodes.certificate())?;
        let (kubelet_client, kubelet_client_key) = nodes
            .client("kube-apiserver", None)?
            .write(dir.path(), "kubelet-client")?;
        let (account_key, account_public_key) = service_account_keys(dir.path())?;
        let launch = Launch::new("kube-apiserver", program, dir.path())
            .flag("etcd-servers", etcd.endpoint())
            .flag("bind-address", "127.0.0.1")
            .flag("secure-port", port.number().to_string())
            .flag("tls-cert-file", serving)
            .flag("tls-private-key-file", serving_key)
            .flag("client-ca-file", authority_path)
            .flag("kubelet-certificate-authority", nodes_path)
            .flag("kubelet-client-certificate", kubelet_client)
            .flag("kubelet-client-key", kubelet_client_key)
            .flag(
                "service-account-issuer",
                "https://kubernetes.default.svc.cluster.local",
            )
            .flag("service-account-signing-key-file", account_key)
            .flag("service-account-key-file", account_public_key)
            .flag("service-cluster-ip-range", "10.0.0.0/24")
            .flag("authorization-mode", "Node,RBAC")
            .flag("disable-admission-plugins", "ServiceAccount")
            // Loopback is not an address that the `kubernetes` Service may point to.
            .flag("endpoint-reconciler-type", "none")
            .args(apiserver_args);
        let readiness = Readiness::Http {
            client: http::client_trusting(authority.certificate())?,
            url: format!("https://{}/readyz", port.address()),
        };
        let service = Service::start(launch, readiness).await?;
        let cluster = Self {
            service,
            etcd,
            authority,
            nodes,
            port,
            dir,
        };
        let admin = cluster.authority.client("admin", Some("system:masters"))?;
        cluster.write_kubeconfig("admin", &Credentials::Certificate(admin))?;
        Ok(cluster)
    }

    /// The apiserver's URL, `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn server(&self) -> String {
        format!("https://{}", self.port.address())
    }

    /// The authority of the serving certificate and of the clients' certificates.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The authority's certificate, in a file.
    #[must_use]
    pub fn authority_path(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    /// The authority of kubelets, and of the certificate that the apiserver shows them.
    pub(crate) fn nodes(&self) -> &Authority {
        &self.nodes
    }

    /// The certificate of the kubelets' authority, in a file.
    pub(crate) fn nodes_path(&self) -> PathBuf {
        self.dir.path().join("nodes.crt")
    }

    /// The etcd behind the apiserver, to stop it or to look into it.
    #[must_use]
    pub fn etcd(&mut self) -> &mut Etcd {
        &mut self.etcd
    }

    /// A kubeconfig for the group `system:masters`, which may do everything.
    #[must_use]
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.dir.path().join("admin.kubeconfig")
    }

    /// kubectl as the administrator.
    ///
    /// # Errors
    /// If kubectl is missing.
    pub fn kubectl(&self) -> Result<Kubectl, Error> {
        Kubectl::with_kubeconfig(&self.admin_kubeconfig())
    }

    /// Writes a kubeconfig for a user known by certificate, without any rights of its own.
    ///
    /// # Errors
    /// If the certificate or the file cannot be made.
    pub fn user_kubeconfig(&self, user: &str, group: Option<&str>) -> Result<PathBuf, Error> {
        let certificate = self.authority.client(user, group)?;
        self.write_kubeconfig(user, &Credentials::Certificate(certificate))
    }

    /// Writes a kubeconfig for the user `witgate`, who may impersonate, and review access and tokens,
    /// and nothing else.
    ///
    /// # Errors
    /// If its ClusterRole cannot be applied.
    pub async fn gateway_kubeconfig(&self) -> Result<PathBuf, Error> {
        self.kubectl()?.apply(GATEWAY_ROLE).await?;
        self.user_kubeconfig("witgate", None)
    }

    /// A token for a ServiceAccount, which is created if need be, valid for an hour.
    ///
    /// # Errors
    /// If kubectl fails.
    pub async fn service_account_token(&self, namespace: &str, name: &str) -> Result<String, Error> {
        let account = serde_json::json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace},
        });
        let kubectl = self.kubectl()?;
        kubectl.apply(&account.to_string()).await?;
        let token = kubectl
            .succeed(&["create", "token", name, "--namespace", namespace])
            .await?;
        Ok(token.trim().to_owned())
    }

    /// Writes a kubeconfig that authenticates with a bearer token.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn token_kubeconfig(&self, name: &str, token: &str) -> Result<PathBuf, Error> {
        self.write_kubeconfig(name, &Credentials::Token(token.to_owned()))
    }

    fn write_kubeconfig(&self, name: &str, credentials: &Credentials) -> Result<PathBuf, Error> {
        let text = kubeconfig::render(&self.server(), self.authority.certificate(), name, credentials);
        write(self.dir.path(), &format!("{name}.kubeconfig"), &text)
    }
}

lifecycle!(Kubernetes);

/// The keys that sign and verify ServiceAccount tokens: paths of the private and the public one.
fn service_account_keys(dir: &Path) -> Result<(PathBuf, PathBuf), Error> {
    let failed = |source| Error::Certificate {
        subject: "service accounts".to_owned(),
        source,
    };
    let key = KeyPair::generate().map_err(failed)?;
    Ok((
        write(dir, "sa.key", &key.serialize_pem())?,
        write(dir, "sa.pub", &key.public_key_pem())?,
    ))
}

fn write(dir: &Path, name: &str, text: &str) -> Result<PathBuf, Error> {
    let path = dir.join(name);
    fs::write(&path, text).map_err(Error::io(path.display().to_string()))?;
    Ok(path)
}
