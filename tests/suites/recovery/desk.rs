//! A gateway where alice and bob repair a control plane, and carol may not.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, process::Command};
use witgate_lab::{ControlPlane, Etcd, Gateway, Port, eventually};

use super::site::SOON;

const USERS: [&str; 3] = ["alice", "bob", "carol"];

pub(crate) struct Desk {
    pub(crate) gateway: Gateway,
    pub(crate) port: Port,
}

fn plugin(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join(format!("plugins/dist/recovery-{name}.wasm"))
}

/// `config` is what the plugin for etcd is told.
fn etcd(config: &str) -> String {
    format!(
        "  etcd:
    kind: recovery
    file: '{file}'
    grants: {{etcd: true, kubernetes: [{{resource: nodes}}]}}
    config: {{{config}}}
",
        file = plugin("etcd").display()
    )
}

/// `config` is what the plugin for kubeadm is told besides.
fn kubeadm(config: &str) -> String {
    format!(
        "  kubeadm:
    kind: recovery
    file: '{file}'
    grants:
      etcd: true
      kubernetes:
        - {{resource: nodes}}
        - {{resource: pods, namespace: kube-system}}
        - {{resource: configmaps, namespace: kube-system, names: [kubeadm-config]}}
        - {{resource: leases, group: coordination.k8s.io, namespace: kube-system}}
        - {{resource: secrets, namespace: kube-system}}
    config: {{{config}silenceSeconds: 1, learningSeconds: 1}}
",
        file = plugin("kubeadm").display()
    )
}

/// One member is enough to find the others by.
fn endpoint(members: &[Etcd]) -> Value {
    json!({"endpoints": [members[0].endpoint()]})
}

async fn hash(password: &str) -> String {
    let mut command = Command::new(Gateway::binary().unwrap());
    command.args(["hash", "password"]);
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(password.as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Desk {
    /// With the plugin for etcd, which is told `config`.
    pub(crate) async fn start(members: &[Etcd], config: &str) -> Self {
        Self::with(&endpoint(members), &etcd(config), "etcd", None).await
    }

    /// With both plugins, and Kubernetes.
    pub(crate) async fn of_kubeadm(members: &[Etcd], kubeconfig: &Path) -> Self {
        let plugins =
            etcd("silenceSeconds: 1, except: [dead-member]") + &kubeadm("nodes: [etcd-1, etcd-2, etcd-3], ");
        Self::with(&endpoint(members), &plugins, "etcd, kubeadm", Some(kubeconfig)).await
    }

    /// At a control plane that kubeadm made, with both plugins: over TLS, and to etcd with a certificate of its authority.
    pub(crate) async fn at(control_plane: &ControlPlane) -> Self {
        let pki = control_plane.pki().join("etcd");
        let at = json!({
            "endpoints": [control_plane.node(0).etcd_endpoint()],
            "caFile": pki.join("ca.crt"),
            "certificateFile": pki.join("healthcheck-client.crt"),
            "keyFile": pki.join("healthcheck-client.key"),
        });
        let kubeconfig = control_plane.admin_kubeconfig();
        let plugins = etcd("silenceSeconds: 1") + &kubeadm("");
        Self::with(&at, &plugins, "etcd, kubeadm", Some(&kubeconfig)).await
    }

    /// With kubeadm's plugin, and a control plane of these nodes that is reached so.
    pub(crate) async fn of_nodes(nodes: &str, control_plane: &Value) -> Self {
        let plugins = kubeadm(&format!("nodes: [{nodes}], "));
        Self::repairing(&plugins, "kubeadm", control_plane).await
    }

    async fn with(etcd: &Value, plugins: &str, names: &str, kubeconfig: Option<&Path>) -> Self {
        let control_plane = json!({
            "kubeconfig": kubeconfig,
            "etcd": etcd,
            "snapshots": {"directory": "snapshots"},
            "policy": {"silence": "1500ms"},
        });
        Self::repairing(plugins, names, &control_plane).await
    }

    async fn repairing(plugins: &str, names: &str, control_plane: &Value) -> Self {
        let port = Port::free().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut users = String::new();
        for user in USERS {
            let password = format!("the password of {user}");
            users += &format!(
                "  - {{username: {user}, passwordHash: '{}'}}\n",
                hash(&password).await
            );
            std::fs::write(directory.path().join(user), password).unwrap();
        }
        let config = format!(
            "listeners: [{{address: '{address}'}}]
state: {{directory: state}}
audit: {{file: audit.jsonl}}
plugins:
{plugins}identity:
  publicUrl: https://localhost:{number}
  basic:
{users}recovery:
  plugins: [{names}]
  operators: {{users: [alice, bob]}}
  controlPlane: {control_plane}
",
            address = port.address(),
            number = port.address().port(),
        );
        let gateway = Gateway::start_in(directory, &config).await.unwrap();
        Self { gateway, port }
    }

    /// `witgate recovery` as somebody.
    pub(crate) fn command(&self, user: &str, args: &[&str]) -> Command {
        let (name, rest) = args.split_first().unwrap();
        let mut command = Command::new(Gateway::binary().unwrap());
        command.args(["recovery", name, "--username", user]);
        command
            .arg("--server")
            .arg(format!("http://{}", self.port.address()));
        command.arg("--password-file").arg(self.gateway.dir().join(user));
        command.args(rest).kill_on_drop(true);
        command
    }

    /// What a command prints, or why it fails.
    pub(crate) async fn says(&self, user: &str, args: &[&str]) -> Result<String, String> {
        let output = self.command(user, args).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() {
            Ok(text(output.stdout))
        } else {
            Err(text(output.stderr))
        }
    }

    /// Looks until something like this is diagnosed.
    pub(crate) async fn finds(&self, words: &str) {
        self.until("diagnose", words).await;
    }

    /// Looks until the status says so.
    pub(crate) async fn sees(&self, words: &str) {
        self.until("status", words).await;
    }

    async fn until(&self, command: &str, words: &str) {
        let look = async || {
            let said = self.says("alice", &[command]).await?;
            if said.contains(words) { Ok(()) } else { Err(said) }
        };
        eventually(&format!("{command} says {words:?}"), SOON, look)
            .await
            .unwrap();
    }

    /// Has alice ask for a plan, and gives its id.
    pub(crate) async fn planned(&self, class: &str) -> String {
        let planned = async || self.says("alice", &["plan", class]).await;
        let plan = eventually("there is a plan", SOON, planned).await.unwrap();
        let id = plan.lines().next().and_then(|line| line.strip_prefix("plan "));
        id.unwrap().to_owned()
    }
}
