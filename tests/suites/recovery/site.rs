//! An etcd of three members, and a gateway's recovery of it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use witgate_lab::{Component, Etcd, eventually};
use witgate_plugins::recovery::{Action, Finding, Member, MemberIdentity, Mode, Proposal, Severity, Step};
use witgate_recovery::{
    ControlPlane, ControlPlaneConfig, Engine, EngineError, Journal, Observation, PlanId, Planner, Standing,
    SystemClock, World as _,
};
use witgate_state::Embedded;

/// How long a member has to be silent here.
const SILENCE_MS: u64 = 1500;

/// A busy machine elects late.
pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) struct Site {
    pub(crate) members: Vec<Etcd>,
    pub(crate) control_plane: ControlPlane,
    state: Embedded,
    folder: TempDir,
}

impl Site {
    pub(crate) async fn start(quota: Option<u64>) -> Self {
        Self::with(quota, None).await
    }

    pub(crate) async fn with(quota: Option<u64>, kubeconfig: Option<PathBuf>) -> Self {
        let members = Etcd::cluster(3, quota).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        // One member is enough to find the others by.
        let config: ControlPlaneConfig = serde_json::from_value(json!({
            "kubeconfig": kubeconfig,
            "etcd": {"endpoints": [members[0].endpoint()]},
            "snapshots": {
                "directory": folder.path().join("snapshots"),
                "keep": 2,
                "etcdutl": Component::Etcd.find("etcdutl").unwrap(),
            },
            "policy": {"silence": format!("{SILENCE_MS}ms"), "settle": "30s"},
        }))
        .unwrap();
        let state = Embedded::open(&folder.path().join("state")).unwrap();
        let control_plane = ControlPlane::open(&config, &state, Arc::new(SystemClock))
            .await
            .unwrap();
        Self {
            members,
            control_plane,
            state,
            folder,
        }
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.folder.path().join("snapshots")
    }

    pub(crate) fn engine(&self) -> Engine {
        let control_plane = Arc::new(self.control_plane.clone());
        let policy = self.control_plane.policy().clone();
        let journal = Journal::open(&self.state).unwrap();
        Engine::new(
            control_plane.clone(),
            control_plane,
            Arc::new(SystemClock),
            journal,
            policy,
        )
    }

    pub(crate) async fn observe(&self) -> Observation {
        self.control_plane.observe().await.unwrap()
    }

    /// Looks until a member stands so.
    pub(crate) async fn stands(&self, name: &str, wanted: Standing) -> Observation {
        let look = async || {
            let seen = self.observe().await;
            let standing = seen.standing(&member(&seen, name), SILENCE_MS);
            if standing == wanted {
                Ok(seen)
            } else {
                Err(format!("{standing:?}: {:#?}", seen.survey.sightings))
            }
        };
        eventually(&format!("{name} is {wanted:?}"), SOON, look)
            .await
            .unwrap()
    }

    /// Looks until all members answer and follow one leader.
    pub(crate) async fn whole(&self) -> Observation {
        let look = async || {
            let seen = self.observe().await;
            let census = seen.census();
            if census.alive == 3 {
                Ok(seen)
            } else {
                Err(format!("{census:?}"))
            }
        };
        eventually("the cluster is whole", SOON, look).await.unwrap()
    }

    pub(crate) async fn plan(&self, actions: Vec<Action>) -> Result<PlanId, EngineError> {
        plan(&self.engine(), actions).await
    }

    /// Plans, approves and carries out.
    pub(crate) async fn repair(&self, actions: Vec<Action>) {
        let id = self.plan(actions).await.unwrap();
        self.engine().approve(&id, "bob").await.unwrap();
        self.engine().apply(&id, "test").await.unwrap();
        self.engine().journal().verify().await.unwrap();
    }

    /// Calls a member as a client would.
    pub(crate) async fn etcd(&self, place: usize, method: &str, body: Value) -> Result<Value, String> {
        let url = format!("{}/v3/{method}", self.members[place].endpoint());
        let answer = witgate_lab::http::client().post(url).json(&body).send().await;
        let answer = answer.map_err(|error| error.to_string())?;
        let good = answer.status().is_success();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        if good {
            Ok(serde_json::from_str(&text).unwrap())
        } else {
            Err(text)
        }
    }
}

/// What a plugin would have proposed, as alice asked for it.
pub(crate) async fn plan(engine: &Engine, actions: Vec<Action>) -> Result<PlanId, EngineError> {
    let finding = Finding {
        class: "test".into(),
        severity: Severity::Degraded,
        subject: "etcd".into(),
        summary: "something is wrong".into(),
        evidence: Vec::new(),
    };
    let step = |action| Step {
        action,
        reason: "for the test".into(),
        before: Vec::new(),
        after: Vec::new(),
    };
    let proposal = Proposal {
        summary: "repair it".into(),
        mode: Mode::WithQuorum,
        steps: actions.into_iter().map(step).collect(),
    };
    let planner = Planner {
        plugin: "test".into(),
        sha256: "0".repeat(64),
    };
    engine.plan(planner, "alice", finding, proposal).await
}

pub(crate) fn member(seen: &Observation, name: &str) -> Member {
    let found = seen.survey.members.iter().find(|member| member.name == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {:?}", seen.survey.members))
        .clone()
}

pub(crate) fn identity(seen: &Observation, name: &str) -> MemberIdentity {
    MemberIdentity::from(&member(seen, name))
}
