//! What a node joins with, as it is made and taken back: by real kubeadm, at a real control plane, with the
//! rights of `deploy/recovery-rbac.yaml` and no more.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use age::x25519::Identity;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;
use witgate_lab::{Component, ControlPlane as Lab, ControlPlaneOptions, Kubectl, eventually, require};
use witgate_plugins::recovery::{Action, Awaited, JoinMaterial, Timestamp};
use witgate_recovery::{
    Clock, ControlPlane, ControlPlaneConfig, Engine, EngineError, Event, Executor, Failure, Files,
    Invitation, Journal, PlanId, SystemClock, Task, World as _,
};
use witgate_state::Embedded;

use super::site::{SOON, plan};

const SILENCE_MS: u64 = 1500;
const LABEL: &str = "witgate.dev/recovery-plan";

/// What joining may take on a busy machine.
const JOINING: Duration = Duration::from_secs(180);

/// A control plane of three nodes, and what the gateway reaches it with.
pub(crate) struct Site {
    pub(crate) lab: Lab,
    pub(crate) kubectl: Kubectl,
    pub(crate) folder: TempDir,
    token: String,
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::with(ControlPlaneOptions::default()).await
    }

    pub(crate) async fn with(options: ControlPlaneOptions) -> Self {
        let lab = Lab::start(options).await.unwrap();
        let kubectl = lab.kubectl().unwrap();
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        let rbac = fs::read_to_string(root.join("deploy/recovery-rbac.yaml")).unwrap();
        kubectl.apply(&rbac).await.unwrap();
        let create = [
            "create",
            "token",
            "witgate-recovery",
            "--namespace",
            "kube-system",
        ];
        let token = kubectl.succeed(&create).await.unwrap().trim().to_owned();
        let folder = tempfile::tempdir().unwrap();
        let site = Self {
            lab,
            kubectl,
            folder,
            token,
        };
        site.reach_at(&site.lab.server());
        site
    }

    /// Has the gateway reach the apiserver there.
    pub(crate) fn reach_at(&self, server: &str) {
        let authority = fs::read(self.lab.pki().join("ca.crt")).unwrap();
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": {
                "server": server, "certificate-authority-data": STANDARD.encode(authority),
            }}],
            "users": [{"name": "witgate", "user": {"token": self.token}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "witgate"}}],
        });
        fs::write(self.folder.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
    }

    pub(crate) fn config(&self) -> Value {
        let pki = self.lab.pki();
        let endpoints: Vec<_> = self.lab.nodes().iter().map(|node| node.etcd_endpoint()).collect();
        json!({
            "kubeconfig": self.folder.path().join("kubeconfig"),
            "etcd": {
                "endpoints": endpoints,
                "caFile": pki.join("etcd/ca.crt"),
                "certificateFile": pki.join("apiserver-etcd-client.crt"),
                "keyFile": pki.join("apiserver-etcd-client.key"),
            },
            "snapshots": {"directory": self.folder.path().join("snapshots")},
            "policy": {"silence": format!("{SILENCE_MS}ms"), "settle": "10s", "stepTimeout": "30s"},
        })
    }

    async fn open(&self, state: &Embedded) -> Hands {
        let config: ControlPlaneConfig = serde_json::from_value(self.config()).unwrap();
        let control_plane = ControlPlane::open(&config, state, Arc::new(SystemClock))
            .await
            .unwrap();
        Hands {
            journal: Journal::open(state).unwrap(),
            control_plane,
            later: 0,
        }
    }

    /// An operator's age key: who it is for, and the file with it.
    pub(crate) fn operator(&self) -> (String, PathBuf) {
        let own = Identity::generate();
        let file = self.folder.path().join("identity");
        let text = format!("# mine\n{}\n", own.to_string().expose_secret());
        fs::write(&file, text).unwrap();
        (own.to_public().to_string(), file)
    }

    /// The Secrets that plans made, by name.
    pub(crate) async fn made(&self) -> Vec<String> {
        let get = [
            "get",
            "secrets",
            "--namespace",
            "kube-system",
            "-l",
            LABEL,
            "-o",
            "name",
        ];
        let names = self.kubectl.succeed(&get).await.unwrap();
        names
            .lines()
            .map(|name| name.trim_start_matches("secret/").to_owned())
            .collect()
    }

    async fn cluster_info(&self) -> Value {
        let get = [
            "get",
            "configmap",
            "cluster-info",
            "--namespace",
            "kube-public",
            "-o",
            "json",
        ];
        serde_json::from_str(&self.kubectl.succeed(&get).await.unwrap()).unwrap()
    }

    async fn say_in_cluster_info(&self, kubeconfig: &str) {
        let patch = json!({"data": {"kubeconfig": kubeconfig}}).to_string();
        let args = [
            "patch",
            "configmap",
            "cluster-info",
            "--namespace",
            "kube-public",
            "--patch",
            &patch,
        ];
        self.kubectl.succeed(&args).await.unwrap();
    }

    /// kubeadm's own download on a new machine, with a line that was made.
    async fn download(&self, index: usize, line: &str) -> Result<String, String> {
        let node = self.lab.node(index);
        let mut args = vec!["join", "phase", "control-plane-prepare", "download-certs"];
        let words = line.split_whitespace().skip_while(|word| *word != "join").skip(1);
        // The phase alone takes no name.
        args.extend(words.take_while(|word| *word != "--node-name"));
        node.kubeadm(&args).await.map_err(|error| error.to_string())
    }
}

/// A process that carries out plans.
#[derive(Clone)]
struct Hands {
    control_plane: ControlPlane,
    journal: Journal,
    /// How much later it is for this process than for the one before.
    later: Timestamp,
}

/// The machine's time, and some.
#[derive(Debug)]
struct Later(Timestamp);

#[async_trait::async_trait]
impl Clock for Later {
    fn now(&self) -> Timestamp {
        SystemClock.now() + self.0
    }

    async fn sleep(&self, time: Duration) {
        SystemClock.sleep(time).await;
    }
}

impl Hands {
    fn engine(&self, executor: Arc<dyn Executor>) -> Engine {
        let world = Arc::new(self.control_plane.clone());
        let policy = self.control_plane.policy().clone();
        Engine::new(
            world,
            executor,
            Arc::new(Later(self.later)),
            self.journal.clone(),
            policy,
        )
    }

    fn inviting(&self, invitation: &Invitation) -> ControlPlane {
        let admission = serde_json::from_value(invitation.admission()).unwrap();
        self.control_plane.admitting(admission)
    }

    /// Of the version that the cluster is of.
    async fn mint(&self, node: &str) -> Action {
        let seen = self.control_plane.observe().await.unwrap();
        let kubeadm = seen.kubernetes.and_then(|kubernetes| kubernetes.kubeadm);
        Action::MintJoinMaterial(JoinMaterial {
            node: node.into(),
            lifetime_seconds: 1200,
            kubernetes_version: kubeadm.unwrap().kubernetes_version,
        })
    }

    async fn planned(&self, actions: Vec<Action>) -> PlanId {
        let engine = self.engine(Arc::new(self.control_plane.clone()));
        let id = plan(&engine, actions).await.unwrap();
        engine.approve(&id, "bob").await.unwrap();
        id
    }

    async fn apply(&self, id: &PlanId, invitation: &Invitation) -> Result<(), EngineError> {
        self.engine(Arc::new(self.inviting(invitation)))
            .apply(id, "test")
            .await
    }

    /// What was written down of the step that made join material.
    async fn command(&self, id: &PlanId) -> Option<String> {
        let dossier = self.journal.dossier(id).await.unwrap().unwrap();
        dossier.entries.into_iter().find_map(|entry| match entry.event {
            Event::Done { detail, .. } if detail.contains("kubeadm join") => Some(detail),
            _ => None,
        })
    }
}

/// A process that is killed when it has acted.
#[derive(Debug)]
struct Killed {
    control_plane: ControlPlane,
    acted: Arc<Notify>,
}

#[async_trait::async_trait]
impl Executor for Killed {
    async fn perform(&self, task: &Task<'_>) -> Result<String, Failure> {
        self.control_plane.perform(task).await.unwrap();
        self.acted.notify_one();
        std::future::pending().await
    }
}

fn wait(node: &str) -> Action {
    Action::WaitForMember(Awaited {
        name: node.into(),
        timeout_seconds: u32::try_from(JOINING.as_secs()).unwrap(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn join_material_is_what_kubeadm_takes_and_is_gone_when_it_should_be() {
    let Ok(()) = require(Component::ControlPlane) else {
        return;
    };
    let mut site = Site::start().await;
    let state = Embedded::open(&site.folder.path().join("state")).unwrap();
    let mut hands = site.open(&state).await;
    let files = Files::read(&site.lab.pki()).unwrap();
    let invite = || Invitation::new(&files).unwrap();
    let id = hands
        .planned(vec![
            hands.mint("cp-4").await,
            wait("cp-4"),
            Action::RevokeJoinMaterial,
        ])
        .await;

    // Whoever writes into cluster-info would be trusted by the node that joins.
    let map = site.cluster_info().await;
    let own = map["data"]["kubeconfig"].as_str().unwrap();
    let info: Value = serde_saphyr::from_str(own).unwrap();
    let mut strange = info.clone();
    let data = &mut strange["clusters"][0]["cluster"]["certificate-authority-data"];
    let mut bundle = STANDARD.decode(data.as_str().unwrap()).unwrap();
    let other = witgate_lab::Authority::new("another").unwrap();
    bundle.extend_from_slice(other.certificate().as_bytes());
    *data = STANDARD.encode(bundle).into();
    site.say_in_cluster_info(&strange.to_string()).await;
    let refused = hands.apply(&id, &invite()).await.unwrap_err().to_string();
    assert!(refused.contains("one of them is not this cluster's"), "{refused}");
    assert_eq!(site.made().await, [""; 0]);
    site.say_in_cluster_info(own).await;

    // A process dies when it has made everything, and has not written down that it has.
    let lost = invite();
    let acted = Arc::new(Notify::new());
    let killed = Killed {
        control_plane: hands.inviting(&lost),
        acted: acted.clone(),
    };
    let engine = hands.engine(Arc::new(killed));
    let dying = tokio::spawn({
        let id = id.clone();
        async move { engine.apply(&id, "dies").await }
    });
    acted.notified().await;
    dying.abort();
    let before = site.made().await;
    assert_eq!(before.len(), 2, "{before:?}");
    assert!(before.contains(&"kubeadm-certs".to_owned()), "{before:?}");

    // The next one, once the lease of the dead one has ended, has other secrets.
    hands.later += 120_000;
    let invitation = invite();
    let applying = tokio::spawn({
        let (hands, id, admission) = (hands.clone(), id.clone(), hands.inviting(&invitation));
        async move { hands.engine(Arc::new(admission)).apply(&id, "goes on").await }
    });
    let told = async || hands.command(&id).await.ok_or("nothing is written down");
    let command = eventually("the material is made", JOINING, told).await.unwrap();
    let after = site.made().await;
    assert_eq!(after.len(), 2, "{after:?}");
    assert_ne!(after, before, "the token is another");
    assert!(
        command.contains("--token BOOTSTRAP_TOKEN --discovery-token-ca-cert-hash sha256:"),
        "{command}"
    );
    assert!(
        command.ends_with("--certificate-key CERTIFICATE_KEY --node-name cp-4"),
        "{command}"
    );
    let line = invitation.write_into(&command).unwrap();
    let new = site.lab.add_node().unwrap();
    site.download(new, line.expose_secret()).await.unwrap();
    for file in [
        "ca.key",
        "etcd/ca.key",
        "front-proxy-ca.key",
        "sa.key",
        "sa.pub",
        "ca.crt",
    ] {
        let [there, here] = [site.lab.node(new).pki(), site.lab.pki()].map(|pki| pki.join(file));
        assert_eq!(fs::read(there).unwrap(), fs::read(here).unwrap(), "{file}");
    }
    // The dead one's key opens nothing any more.
    let dead = lost.write_into(&command).unwrap();
    let [dead_key, key] = [&dead, &line].map(|line| after_flag(line.expose_secret(), "--certificate-key"));
    let mixed = line.expose_secret().replace(key, dead_key);
    let error = site.download(new, &mixed).await.unwrap_err();
    assert!(error.contains("message authentication failed"), "{error}");

    // Without the token the certificates go, as they do when it expires.
    let token = after
        .iter()
        .find(|name| name.starts_with("bootstrap-token-"))
        .unwrap();
    let delete = ["delete", "secret", token, "--namespace", "kube-system"];
    site.kubectl.succeed(&delete).await.unwrap();
    let gone = async || match site.made().await {
        made if made.is_empty() => Ok(()),
        made => Err(format!("{made:?}")),
    };
    eventually("the certificates go with their token", SOON, gone)
        .await
        .unwrap();
    applying.abort();

    // What kubeadm itself has uploaded for another node stays.
    site.lab.join_line(0).await.unwrap();
    hands.later += 120_000;
    let quick = hands
        .planned(vec![hands.mint("cp-4").await, Action::RevokeJoinMaterial])
        .await;
    let taken = hands.apply(&quick, &invite()).await.unwrap_err().to_string();
    assert!(
        taken.contains("kubeadm-certs is there, made by kubeadm"),
        "{taken}"
    );
    let delete = ["delete", "secret", "kubeadm-certs", "--namespace", "kube-system"];
    site.kubectl.succeed(&delete).await.unwrap();
    hands.apply(&quick, &invite()).await.unwrap();
    assert_eq!(site.made().await, [""; 0]);

    let written = serde_json::to_string(&hands.journal.verify().await.unwrap()).unwrap();
    demand_no_secret(&written, &[line.expose_secret(), dead.expose_secret()]);
}

/// What a command has after a flag.
fn after_flag<'a>(command: &'a str, flag: &str) -> &'a str {
    let words = command.split_whitespace();
    words.skip_while(|word| *word != flag).nth(1).unwrap()
}

/// Nothing of a command's secrets, and no key.
pub(crate) fn demand_no_secret(text: &str, commands: &[&str]) {
    assert!(!text.contains("PRIVATE KEY"));
    for command in commands {
        let (_, token) = after_flag(command, "--token").split_once('.').unwrap();
        let key = after_flag(command, "--certificate-key");
        assert_eq!((token.len(), key.len()), (16, 64));
        assert!(!text.contains(token) && !text.contains(key));
    }
}
