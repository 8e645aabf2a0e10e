//! The whole way as people go it: `witgate recovery` at a gateway with the plugin for etcd.

use std::{path::PathBuf, process::Output};

use tokio::{io::AsyncWriteExt as _, process::Command};
use witgate_lab::{Component, Etcd, Gateway, Port, eventually, require};

use super::site::SOON;

const USERS: [&str; 3] = ["alice", "bob", "carol"];

struct Desk {
    gateway: Gateway,
    port: Port,
}

fn plugin() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join("plugins/dist/recovery-etcd.wasm")
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
    async fn start(members: &[Etcd]) -> Self {
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
  etcd:
    kind: recovery
    file: '{plugin}'
    grants: {{etcd: true, kubernetes: [{{resource: nodes}}]}}
    config: {{silenceSeconds: 1}}
identity:
  publicUrl: https://localhost:{number}
  basic:
{users}recovery:
  plugins: [etcd]
  operators: {{users: [alice, bob]}}
  controlPlane:
    etcd: {{endpoints: ['{endpoint}']}}
    snapshots: {{directory: snapshots}}
    policy: {{silence: 1500ms}}
",
            address = port.address(),
            number = port.address().port(),
            plugin = plugin().display(),
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
    async fn says(&self, user: &str, args: &[&str]) -> Result<String, String> {
        let output = self.run(user, args).await;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() {
            Ok(text(output.stdout))
        } else {
            Err(text(output.stderr))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_member_is_found_planned_for_approved_and_removed() {
    let Ok(()) = require(Component::Etcd) else { return };
    let mut members = Etcd::cluster(3, None).await.unwrap();
    let mut desk = Desk::start(&members).await;
    let status = desk.says("alice", &["status"]).await.unwrap();
    assert!(
        status.starts_with("3 of 3 voters are alive, 2 are needed; 1 more may fail\n"),
        "{status}"
    );
    assert_eq!(
        desk.says("alice", &["diagnose"]).await.unwrap(),
        "nothing is wrong\n"
    );
    let outsider = desk.says("carol", &["status"]).await.unwrap_err();
    assert!(
        outsider.contains("carol may not repair the control plane"),
        "{outsider}"
    );

    members[1].kill();
    let found = async || {
        let found = desk.says("alice", &["diagnose"]).await?;
        if found.starts_with("dead-member  degraded  member etcd-2") {
            Ok(found)
        } else {
            Err(found)
        }
    };
    let found = eventually("the dead member is found", SOON, found).await.unwrap();
    assert!(
        found.contains("from member etcd-3: etcd_network_active_peers"),
        "{found}"
    );
    let planned = async || desk.says("alice", &["plan", "dead-member"]).await;
    let plan = eventually("there is a plan", SOON, planned).await.unwrap();
    let id = plan
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("plan "))
        .unwrap()
        .to_owned();
    assert!(plan.contains("take a snapshot of etcd and verify it"), "{plan}");
    assert!(plan.contains("remove member etcd-2"), "{plan}");

    let unapproved = desk.says("alice", &["apply", &id]).await.unwrap_err();
    assert!(
        unapproved.contains("approved-as-is: 0 approvals count, 1 are needed"),
        "{unapproved}"
    );
    let own = desk.says("alice", &["approve", &id]).await.unwrap_err();
    assert!(own.contains("approved-as-is: alice asked for the plan"), "{own}");
    desk.says("bob", &["approve", &id[..8]]).await.unwrap();
    let applied = desk.says("alice", &["resume", &id]).await.unwrap();
    assert!(applied.trim_end().ends_with("finished"), "{applied}");

    let status = desk.says("bob", &["status"]).await.unwrap();
    assert!(
        status.starts_with("2 of 2 voters are alive, 2 are needed; 0 more may fail\n"),
        "{status}"
    );
    assert!(
        status.contains("finished   2/2  remove member etcd-2"),
        "{status}"
    );

    // What was written down outlives the gateway.
    desk.gateway.kill();
    desk.gateway.restart().await.unwrap();
    let journal = desk.says("bob", &["journal"]).await.unwrap();
    let events = [
        "planned", "approved", "started", "stopped", "intended", "done", "finished",
    ];
    for event in events {
        assert!(
            journal.contains(&format!("\"{event}\"")),
            "no {event} in {journal}"
        );
    }
    assert!(!journal.contains("the password of"), "{journal}");
}
