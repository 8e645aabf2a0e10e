//! Defines a node of a cluster: a kubelet that serves streams and logs, and runs no containers.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    component::Component,
    error::Error,
    kubernetes::{Kubectl, Kubernetes},
    port::Port,
    process::Launch,
    service::{Readiness, Service, lifecycle},
};

/// A running kubelet, registered as a Node of its cluster.
///
/// It serves what the apiserver asks of a kubelet on behalf of `kubectl exec`, `attach`, `cp`,
/// `port-forward` and `logs`, for any Pod bound to its node: a command is a process on this machine
/// with the rights of the test, attaching meets a `cat`, a Pod's ports are those of 127.0.0.1, and
/// each container has logged the line `NAMESPACE/POD/CONTAINER started`, and logs one more a second
/// while it is followed. Commands end with the kubelet.
#[derive(Debug)]
pub struct Kubelet {
    service: Service,
    kubectl: Kubectl,
    address: Ipv4Addr,
    port: Port,
    _dir: TempDir,
}

impl Kubelet {
    /// The container that every Pod of [`pod`](Self::pod) has.
    pub const CONTAINER: &'static str = "main";

    /// Starts a kubelet and registers its Node; a cluster may have several.
    ///
    /// # Errors
    /// If a program is missing, the kubelet does not serve, or the cluster refuses the Node.
    pub async fn start(kubernetes: &Kubernetes) -> Result<Self, Error> {
        let program = Component::Kubelet.find("lab-kubelet")?;
        let dir = tempfile::tempdir().map_err(Error::io("a directory for the kubelet"))?;
        let port = Port::free()?;
        let nodes = kubernetes.nodes();
        let address = own_address();
        let names = [address.to_string()];
        let (serving, serving_key) = nodes
            .server(&names.each_ref().map(String::as_str))?
            .write(dir.path(), "serving")?;
        let launch = Launch::new("kubelet", program, dir.path())
            .flag("listen", SocketAddr::from((address, port.number())).to_string())
            .flag("tls-cert-file", serving)
            .flag("tls-private-key-file", serving_key)
            .flag("client-ca-file", kubernetes.nodes_path());
        let kubelet = Self {
            service: Service::start(launch, Readiness::Prints("serving on ")).await?,
            kubectl: kubernetes.kubectl()?,
            address,
            port,
            _dir: dir,
        };
        kubelet.register().await?;
        Ok(kubelet)
    }

    /// Where it listens. Loopback only where there is no network; then an apiserver proxies nothing
    /// to it.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The Node's name, for `spec.nodeName` of other Pods.
    #[must_use]
    pub fn node(&self) -> String {
        format!("node-{}", self.port.number())
    }

    /// Creates a Pod on this node with one container, [`CONTAINER`](Self::CONTAINER), and has it
    /// Running and Ready. Its namespace must be there.
    ///
    /// # Errors
    /// If the cluster refuses it.
    pub async fn pod(&self, namespace: &str, name: &str) -> Result<(), Error> {
        let image = "registry.example.org/image:1";
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {
                "nodeName": self.node(),
                "containers": [{"name": Self::CONTAINER, "image": image}],
                "automountServiceAccountToken": false,
                // Else a deletion waits for a kubelet that confirms it.
                "terminationGracePeriodSeconds": 0,
            },
        });
        self.kubectl.apply(&pod.to_string()).await?;
        let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
            .map(|kind| json!({"type": kind, "status": "True"}));
        let status = json!({
            "phase": "Running",
            "conditions": conditions,
            "containerStatuses": [{
                "name": Self::CONTAINER,
                "image": image,
                "imageID": image,
                "containerID": format!("lab://{namespace}/{name}"),
                "ready": true,
                "restartCount": 0,
                "state": {"running": {"startedAt": STARTED}},
            }],
            "startTime": STARTED,
        });
        self.patch_status("pod", namespace, name, &status).await
    }

    async fn register(&self) -> Result<(), Error> {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.node()}});
        self.kubectl.apply(&node.to_string()).await?;
        let status = json!({
            "addresses": [{"type": "InternalIP", "address": self.address}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.port.number()}},
            "conditions": [{"type": "Ready", "status": "True"}],
        });
        self.patch_status("node", "", &self.node(), &status).await
    }

    async fn patch_status(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        status: &Value,
    ) -> Result<(), Error> {
        let patch = json!({ "status": status }).to_string();
        let args = [
            "patch",
            kind,
            name,
            "--namespace",
            namespace,
            "--subresource=status",
            "--type=merge",
            "--patch",
            &patch,
        ];
        self.kubectl.succeed(&args).await.map(drop)
    }
}

lifecycle!(Kubelet);

/// This machine's address, since an apiserver proxies to no loopback address; on a machine without a
/// network, loopback after all. Nothing is sent to find it.
fn own_address() -> Ipv4Addr {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
    let routed = socket.and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    match routed {
        Ok(SocketAddr::V4(address)) => *address.ip(),
        Ok(SocketAddr::V6(_)) | Err(_) => Ipv4Addr::LOCALHOST,
    }
}

/// Since when the containers pretend to run; nothing depends on it.
const STARTED: &str = "2026-01-01T00:00:00Z";
