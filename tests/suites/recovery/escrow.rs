//! The authorities' keys are put aside before anything breaks; then a node is lost, and another joins with
//! what the operator's command line makes of them: as people go it, at a real control plane, with real kubeadm.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout},
};
use witgate_lab::{Component, ControlPlaneOptions, Gateway, eventually, require};

use super::{
    control_plane::{follow, lead},
    desk::Desk,
    joining::{Site, demand_no_secret},
    kubeadm::cluster_status,
    site::SOON,
    traffic::Traffic,
};

/// The node that is lost.
const LOST: usize = 1;

/// A control plane whose authorities are in escrow, and a gateway.
struct Office {
    site: Site,
    desk: Desk,
    /// The file with the operator's secret key.
    identity: PathBuf,
}

impl Office {
    async fn open(options: ControlPlaneOptions) -> Self {
        let site = Site::with(options).await;
        let (recipient, identity) = site.operator();
        let desk = Desk::of_nodes("cp-1, cp-2, cp-3", &site.config()).await;
        let pki = site.lab.node(0).pki();
        let escrow = escrow(&recipient, &pki);
        let kept = desk.says("alice", &escrow).await.unwrap();
        assert!(
            kept.starts_with("the authorities of cp-1 are in escrow"),
            "{kept}"
        );
        let status = desk.says("bob", &["status"]).await.unwrap();
        assert!(status.contains(&format!(", for {recipient}\n")), "{status}");
        let outsider = desk.says("carol", &escrow).await.unwrap_err();
        assert!(
            outsider.contains("carol may not repair the control plane"),
            "{outsider}"
        );
        demand_a_job_is_valid(&site, &recipient).await;
        Self { site, desk, identity }
    }

    /// alice has a plan carried out: `apply` or `resume`.
    fn applying(&self, how: &str, id: &str) -> Applying {
        let mut command = self.desk.command("alice", &[how, id]);
        command
            .args(["--identity", self.identity.to_str().unwrap()])
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        Applying {
            printed: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
        }
    }
}

/// A plan that is carried out, as its operator sees it.
struct Applying {
    child: Child,
    printed: Lines<BufReader<ChildStdout>>,
}

impl Applying {
    async fn line(&mut self) -> Option<String> {
        let line = self.printed.next_line().await.unwrap();
        line.iter().for_each(|line| println!("{line}"));
        line
    }

    /// The command for the new node, when it is printed.
    async fn join_line(&mut self) -> String {
        loop {
            let line = self.line().await.expect("a command for the new node");
            if let Some(start) = line.find("kubeadm join") {
                return line[start..].to_owned();
            }
        }
    }

    /// Whether it ends well, and the last line before that.
    async fn end(mut self) -> (bool, String) {
        let mut last = String::new();
        while let Some(line) = self.line().await {
            last = line;
        }
        (self.child.wait().await.unwrap().success(), last)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_node_that_led_is_replaced_by_one_that_the_escrow_lets_in() {
    let Ok(()) = require(Component::ControlPlane) else {
        return;
    };
    let mut office = Office::open(ControlPlaneOptions::default()).await;
    lead(&office.site.lab, LOST).await;
    let traffic = Traffic::start(&office.site.lab).await;
    office.site.lab.lose(LOST).await.unwrap();
    // What is asked during the election fails for some seconds, and no longer.
    let before = traffic.written();
    let served = async || match traffic.written() {
        written if written > before => Ok(()),
        written => Err(written),
    };
    eventually("another leads, and writes are taken", SOON, served)
        .await
        .unwrap();
    traffic.stop().await;
    let delete = ["delete", "configmap", "traffic"];
    office.site.kubectl.succeed(&delete).await.unwrap();

    let traffic = Traffic::start(&office.site.lab).await;
    replace(&mut office).await;
    for served in traffic.stop().await {
        assert!(served.failures.is_empty(), "{:#?}", served.failures);
        assert!(served.well > 10, "{}", served.well);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_one_of_an_older_cluster() {
    let Ok(()) = require(Component::ControlPlane) else {
        return;
    };
    let Ok(()) = require(Component::Etcd35) else {
        return;
    };
    let mut office = Office::open(ControlPlaneOptions::OLDER).await;
    follow(&office.site.lab, LOST).await;
    office.site.lab.lose(LOST).await.unwrap();
    replace(&mut office).await;
    let nodes = cluster_status(&office.site.kubectl).await;
    assert!(nodes.contains("cp-1") && !nodes.contains("cp-2"), "{nodes}");
}

/// From the dead node to the one that has joined in its place.
async fn replace(office: &mut Office) {
    let id = planned(&office.desk).await;
    let without = office.desk.says("alice", &["apply", &id]).await.unwrap_err();
    assert!(
        without.contains("lets a node join: name the file with your age secret key"),
        "{without}"
    );
    let mut applying = office.applying("apply", &id);
    let join = applying.join_line().await;
    office.site.lab.join(LOST, &join).await.unwrap();
    let (well, last) = applying.end().await;
    assert!(well && last.ends_with("finished"), "{last}");

    let Office { site, desk, .. } = office;
    let status = desk.says("bob", &["status"]).await.unwrap();
    let whole = "3 of 3 voters are alive, 2 are needed; 1 more may fail\n";
    assert!(
        status.starts_with(whole) && status.contains("  cp-2  "),
        "{status}"
    );
    assert_eq!(site.made().await, [""; 0]);
    let get = ["get", "nodes", "-o", "name"];
    assert_eq!(
        site.kubectl.succeed(&get).await.unwrap(),
        "node/cp-1\nnode/cp-2\nnode/cp-3\n"
    );

    // Whoever else looks finds no secret, wherever they look.
    let show = desk.says("bob", &["show", &id]).await.unwrap();
    let journal = desk.says("bob", &["journal"]).await.unwrap();
    assert!(journal.contains("--token BOOTSTRAP_TOKEN"), "{journal}");
    for text in [&show, &journal] {
        demand_no_secret(text, &[&join]);
    }
    demand_no_secret_in(desk.gateway.dir(), &join);
    let get = ["get", "events", "--all-namespaces", "-o", "json"];
    demand_no_secret(&site.kubectl.succeed(&get).await.unwrap(), &[&join]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_for_a_node_that_does_not_join_is_gone() {
    let Ok(()) = require(Component::ControlPlane) else {
        return;
    };
    let mut office = Office::open(ControlPlaneOptions::default()).await;
    follow(&office.site.lab, LOST).await;
    office.site.lab.lose(LOST).await.unwrap();
    let id = planned(&office.desk).await;
    let before = secrets(&office.site).await;

    // Nobody signs, and so nobody who joins could know whom to trust.
    office.site.lab.kill_controllers();
    let killed = holder(&office.site).await;
    let (well, last) = office.applying("apply", &id).end().await;
    assert!(!well, "{last}");
    for words in [
        "kube-controller-manager has not signed kube-public/cluster-info for token ",
        " within 30 s: see whether it runs, with its controllers bootstrap-signer-controller and \
         token-cleaner-controller",
        "resume when that is put right",
    ] {
        assert!(last.contains(words), "no {words:?} in {last}");
    }
    assert_eq!(secrets(&office.site).await, before);

    office.site.lab.restart_controllers().await.unwrap();
    let works = async || match holder(&office.site).await {
        other if other != killed => Ok(()),
        same => Err(same),
    };
    eventually("controller-manager has its lease again", SOON, works)
        .await
        .unwrap();
    let mut applying = office.applying("resume", &id);
    let join = applying.join_line().await;
    assert_eq!(office.site.made().await.len(), 2);

    // The machine is not repaired after all.
    let why = ["abandon", &id, "--reason", "the machine can't be repaired"];
    office.desk.says("bob", &why).await.unwrap();
    assert_eq!(secrets(&office.site).await, before);
    let (well, last) = applying.end().await;
    assert!(!well, "{last}");
    demand_no_secret_in(office.desk.gateway.dir(), &join);
    let status = office.desk.says("bob", &["status"]).await.unwrap();
    assert!(status.starts_with("2 of 2 voters are alive"), "{status}");
}

/// The names of kube-system's Secrets.
async fn secrets(site: &Site) -> String {
    let get = ["get", "secrets", "--namespace", "kube-system", "-o", "name"];
    site.kubectl.succeed(&get).await.unwrap()
}

/// Who has controller-manager's lease.
async fn holder(site: &Site) -> String {
    let get = [
        "get",
        "lease",
        "kube-controller-manager",
        "--namespace",
        "kube-system",
        "-o",
        "jsonpath={.spec.holderIdentity}",
    ];
    site.kubectl.succeed(&get).await.unwrap()
}

/// What keeps the authorities of cp-1 for an operator.
pub(crate) fn escrow<'a>(recipient: &'a str, pki: &'a Path) -> [&'a str; 7] {
    let pki = pki.to_str().unwrap();
    ["escrow", "--node", "cp-1", "--recipient", recipient, "--pki", pki]
}

/// What kubeadm's plugin proposes, as alice asks for it and bob approves it.
pub(crate) async fn planned(desk: &Desk) -> String {
    let planned = async || desk.says("alice", &["plan", "dead-node"]).await;
    let plan = eventually("there is a plan", SOON, planned).await.unwrap();
    println!("{plan}");
    let id = plan.lines().next().and_then(|line| line.strip_prefix("plan "));
    let id = id.unwrap().to_owned();
    desk.says("bob", &["approve", &id]).await.unwrap();
    id
}

/// What is printed for a node without a shell is taken by the apiserver, and asks for no more than it needs.
async fn demand_a_job_is_valid(site: &Site, recipient: &str) {
    let args = [
        "recovery",
        "escrow",
        "--recipient",
        recipient,
        "--job",
        "cp-1",
        "--image",
        "witgate:test",
    ];
    let printed = Gateway::run(&args).await.unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let job = String::from_utf8(printed.stdout).unwrap();
    let create = [
        "create",
        "--dry-run=server",
        "--validate=strict",
        "-o",
        "json",
        "--filename",
        "-",
    ];
    let created = site.kubectl.run_with_input(&create, &job).await.unwrap();
    assert!(created.status.success(), "{}\n{job}", created.stderr);
    let created: Value = serde_json::from_str(&created.stdout).unwrap();
    let pod = &created["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["volumeMounts"][0]["readOnly"], true);
    assert_eq!(
        pod["containers"][0]["securityContext"]["capabilities"]["drop"],
        json!(["ALL"])
    );
    assert_eq!(pod["nodeSelector"]["kubernetes.io/hostname"], "cp-1");
}

fn demand_no_secret_in(directory: &Path, command: &str) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            demand_no_secret_in(&path, command);
        } else {
            demand_no_secret(&String::from_utf8_lossy(&fs::read(&path).unwrap()), &[command]);
        }
    }
}
