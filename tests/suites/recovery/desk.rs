//! A gateway where alice and bob repair a control plane, and carol may not.

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use tokio::{io::AsyncWriteExt as _, process::Command};
use witgate_lab::{Etcd, Gateway, Port};

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

/// What kubeadm's plugin is granted and told.
fn kubeadm() -> String {
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
    config: {{nodes: [etcd-1, etcd-2, etcd-3], silenceSeconds: 1, learningSeconds: 1}}
",
        file = plugin("kubeadm").display()
    )
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
        Self::with(members, &etcd(config), "etcd", None).await
    }

    /// With both plugins, and Kubernetes.
    pub(crate) async fn of_kubeadm(members: &[Etcd], kubeconfig: &Path) -> Self {
        let plugins = etcd("silenceSeconds: 1, except: [dead-member]") + &kubeadm();
        Self::with(members, &plugins, "etcd, kubeadm", Some(kubeconfig)).await
    }

    async fn with(members: &[Etcd], plugins: &str, names: &str, kubeconfig: Option<&Path>) -> Self {
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
        let kubeconfig = kubeconfig.map(|path| format!("    kubeconfig: '{}'\n", path.display()));
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
  controlPlane:
{kubeconfig}    etcd: {{endpoints: ['{endpoint}']}}
    snapshots: {{directory: snapshots}}
    policy: {{silence: 1500ms}}
",
            address = port.address(),
            number = port.address().port(),
            kubeconfig = kubeconfig.unwrap_or_default(),
            endpoint = members[0].endpoint(),
        );
        let gateway = Gateway::start_in(directory, &config).await.unwrap();
        Self { gateway, port }
    }

    async fn run(&self, user: &str, args: &[&str]) -> Output {
        let server = format!("http://{}", self.port.address());
        let password = self.gateway.dir().join(user);
        let (command, rest) = args.split_first().unwrap();
        let mut all = vec!["recovery", command, "--server", &server, "--username", user];
        all.extend(["--password-file", password.to_str().unwrap()]);
        all.extend(rest);
        Gateway::run(&all).await.unwrap()
    }

    /// What a command prints, or why it fails.
    pub(crate) async fn says(&self, user: &str, args: &[&str]) -> Result<String, String> {
        let output = self.run(user, args).await;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() {
            Ok(text(output.stdout))
        } else {
            Err(text(output.stderr))
        }
    }
}
