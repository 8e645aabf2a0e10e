//! Defines how a machine joins a control plane: by kubeadm, on the line that an operator would paste.

use super::{ControlPlane, ControlPlaneNode, api::Api, register};
use crate::{error::Error, eventually::INTERVAL};

/// What `kubeadm join` does with a kubelet, which the lab stands in for.
const SKIPPED: &str = "--skip-phases=preflight,kubelet-start,kubelet-wait-bootstrap,wait-control-plane";

impl ControlPlane {
    /// What kubeadm on a surviving node prints for a new control-plane node: uploads the certificates
    /// under a new key, makes a token, and gives the line, which begins `kubeadm join`.
    ///
    /// # Errors
    /// If kubeadm fails.
    pub async fn join_line(&self, survivor: usize) -> Result<String, Error> {
        let kubeadm = self.node(survivor);
        let upload = "init phase upload-certs --upload-certs --config /kubeadm.yaml";
        let upload: Vec<_> = upload.split(' ').collect();
        let uploaded = kubeadm.kubeadm(&upload).await?;
        let key = uploaded.lines().last().unwrap_or_default().trim();
        let create = [
            "token",
            "create",
            "--print-join-command",
            "--certificate-key",
            key,
        ];
        Ok(kubeadm.kubeadm(&create).await?.trim().to_owned())
    }

    /// Runs `kubeadm join` on an empty machine, with this line's arguments, and stands in for its
    /// kubelet: registers the Node, runs the manifests, shows their Pods. Gives what kubeadm printed.
    ///
    /// The member is added as a learner and promoted by kubeadm itself.
    ///
    /// # Errors
    /// If kubeadm fails: with all that it printed.
    pub async fn join(&mut self, index: usize, line: &str) -> Result<String, Error> {
        let api = self.api.clone();
        let node = self.node_mut(index);
        let (name, address) = (node.name().to_owned(), node.address().to_string());
        let words = line.split_whitespace();
        let mut args: Vec<&str> = words.skip_while(|word| *word != "join").collect();
        args.extend(["--node-name", &name, "--apiserver-advertise-address", &address]);
        args.push(SKIPPED);
        let kubeadm = node.kubeadm_handle();
        let printed = {
            let joining = kubeadm.run(&args);
            tokio::pin!(joining);
            tokio::select! {
                // Ends by itself only if it fails before it has written etcd's manifest.
                ended = &mut joining => return ended,
                started = start_when_told(node, &api) => started?,
            }
            joining.await?
        };
        node.spawn_apiserver()?;
        node.ready().await?;
        register(&api, std::slice::from_ref(&*node)).await?;
        Ok(printed)
    }
}

/// What the kubelet of a joining node does meanwhile: it registers the Node, and starts etcd as soon
/// as kubeadm has written its manifest.
async fn start_when_told(node: &mut ControlPlaneNode, api: &Api) -> Result<(), Error> {
    let manifest = node.manifest("etcd");
    while !manifest.exists() {
        tokio::time::sleep(INTERVAL).await;
    }
    let uid = api.register(node).await?;
    node.spawn_etcd()?;
    api.mirror(node, &uid, &node.static_pod("etcd")?).await
}
