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
    root.join(format!("plugins/dist/{name}.wasm"))
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
        file = plugin("recovery-etcd").display()
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
        file = plugin("recovery-kubeadm").display()
    )
}

/// Proposes what must not be done.
fn misbehave() -> String {
    format!(
        "  misbehave:
    kind: recovery
    file: '{file}'
    grants: {{etcd: true, kubernetes: [{{resource: nodes}}]}}
",
        file = plugin("guests/recovery-misbehave").display()
    )
}

/// One member is enough to find the others by.
pub(crate) fn endpoint(members: &[Etcd]) -> Value {
    json!({"endpoints": [members[0].endpoint()]})
}

/// etcd of a control plane that kubeadm made: over TLS, with a certificate of its authority.
pub(crate) fn stacked(control_plane: &ControlPlane) -> Value {
    let pki = control_plane.pki().join("etcd");
    json!({
        "endpoints": [control_plane.node(0).etcd_endpoint()],
        "caFile": pki.join("ca.crt"),
        "certificateFile": pki.join("healthcheck-client.crt"),
        "keyFile": pki.join("healthcheck-client.key"),
    })
}

fn control_plane(etcd: &Value, kubeconfig: Option<&Path>, mut policy: Value) -> Value {
    policy["silence"] = "1500ms".into();
    json!({
        "kubeconfig": kubeconfig,
        "etcd": etcd,
        "snapshots": {"directory": "snapshots"},
        "policy": policy,
    })
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

    /// At a control plane that kubeadm made, with both plugins.
    pub(crate) async fn at(control_plane: &ControlPlane) -> Self {
        let kubeconfig = control_plane.admin_kubeconfig();
        let plugins = etcd("silenceSeconds: 1") + &kubeadm("");
        let at = stacked(control_plane);
        Self::with(&at, &plugins, "etcd, kubeadm", Some(&kubeconfig)).await
    }

    /// With the plugin for etcd, and one that proposes what must not be done. `policy` is what the operator
    /// decides beyond what is decided for all of these gateways.
    pub(crate) async fn misled(at: &Value, kubeconfig: Option<&Path>, policy: Value) -> Self {
        let plugins = etcd("silenceSeconds: 1") + &misbehave();
        let control_plane = control_plane(at, kubeconfig, policy);
        Self::repairing(&plugins, "etcd, misbehave", &control_plane).await
    }

    /// With kubeadm's plugin, and a control plane of these nodes that is reached so.
    pub(crate) async fn of_nodes(nodes: &str, control_plane: &Value) -> Self {
        let plugins = kubeadm(&format!("nodes: [{nodes}], "));
        Self::repairing(&plugins, "kubeadm", control_plane).await
    }

    async fn with(etcd: &Value, plugins: &str, names: &str, kubeconfig: Option<&Path>) -> Self {
        let control_plane = control_plane(etcd, kubeconfig, json!({}));
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

    /// Has alice ask for a plan about a member or a Node until it is refused with these words. That there is
    /// one is wrong at any time.
    pub(crate) async fn refuses(&self, class: &str, subject: &str, words: &str) -> String {
        let refused = async || {
            let asked = ["plan", class, "--subject", subject];
            let refused = self.says("alice", &asked).await.unwrap_err();
            if refused.contains(words) {
                Ok(refused)
            } else {
                Err(refused)
            }
        };
        eventually(&format!("{class} {subject}: {words:?}"), SOON, refused)
            .await
            .unwrap()
    }

    /// Has alice ask for a plan, and gives its id.
    pub(crate) async fn planned(&self, class: &str) -> String {
        let planned = async || self.says("alice", &["plan", class]).await;
        let plan = eventually("there is a plan", SOON, planned).await.unwrap();
        let id = plan.lines().next().and_then(|line| line.strip_prefix("plan "));
        id.unwrap().to_owned()
    }
}
