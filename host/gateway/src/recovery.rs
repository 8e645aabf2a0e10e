//! The control plane that the gateway can repair: its plugins, who may have it repaired, and the plans.

mod bundle;

pub(crate) use bundle::Bundle;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, task::AbortHandle};
use witgate_plugins::{
    Plugins, Recovery as Plugin,
    recovery::{Action, Finding, RecoveryError},
};
use witgate_recovery::{
    Admission, ControlPlane, ControlPlaneConfig, Dossier, Engine, EngineError, Entry, Escrow, EscrowError,
    Journal, Observation, OpenError, PlanId, Planner, Policy, Progress, Record, SnapshotError, Standing,
    SystemClock,
};
use witgate_state::State;

use crate::config::MembersConfig;

/// How long somebody who has a plan carried out waits to hear that it can't be begun.
const REFUSAL: Duration = Duration::from_secs(3);

/// The repair of a control plane.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RecoveryConfig {
    /// The recovery plugins, by their names under `plugins`.
    pub(crate) plugins: Vec<String>,
    /// Who may see what is wrong, ask for plans, approve them and have them carried out.
    pub(crate) operators: MembersConfig,
    /// How the control plane is reached, and what is allowed.
    pub(crate) control_plane: ControlPlaneConfig,
}

/// A control plane with its plugins and plans.
#[derive(Debug)]
pub(crate) struct Recovery {
    control_plane: ControlPlane,
    engine: Engine,
    plugins: Vec<(Planner, Arc<dyn Plugin>)>,
    files: Vec<PathBuf>,
    attending: Mutex<Option<AbortHandle>>,
}

/// Why the section can't be put in service.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoveryConfigError {
    #[error("plugins: {0:?} is no recovery plugin under `plugins`")]
    NoPlugin(String),
    #[error("controlPlane: {0}")]
    ControlPlane(#[from] OpenError),
    #[error("{0}")]
    Journal(#[from] witgate_recovery::JournalError),
}

/// What there is to see.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) members: Vec<MemberStatus>,
    /// What has to be alive of them, and is.
    pub(crate) voters: usize,
    pub(crate) alive: usize,
    pub(crate) quorum: usize,
    /// How many more voters may fail; negative when nothing can be committed.
    pub(crate) tolerance: i64,
    pub(crate) plans: Vec<PlanStatus>,
    pub(crate) newest_snapshot: Option<Record>,
    pub(crate) escrow: Option<EscrowStatus>,
    pub(crate) observation: Observation,
}

/// A member, in short.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberStatus {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) learner: bool,
    pub(crate) leads: bool,
    pub(crate) standing: Standing,
}

/// A plan, in short.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlanStatus {
    pub(crate) id: PlanId,
    pub(crate) summary: String,
    pub(crate) requester: String,
    pub(crate) progress: witgate_recovery::Progress,
    pub(crate) done: usize,
    pub(crate) steps: usize,
}

/// The authorities' files that are put aside, without them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EscrowStatus {
    pub(crate) node: String,
    pub(crate) at: u64,
    pub(crate) recipients: Vec<String>,
}

/// What one plugin says is wrong.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Diagnosis {
    pub(crate) plugin: String,
    pub(crate) findings: Vec<Finding>,
    /// Why the plugin can't tell.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) trouble: Option<String>,
}

/// Which finding a plan is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PlanRequest {
    /// The finding's class.
    pub(crate) class: String,
    /// What it is about; needless if only one finding is of the class.
    #[serde(default)]
    pub(crate) subject: Option<String>,
}

/// Why there is no plan, or it does not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RepairError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Plugin(#[from] RecoveryError),
    #[error(transparent)]
    Escrow(#[from] EscrowError),
    #[error(transparent)]
    Snapshots(#[from] SnapshotError),
    #[error(
        "step {} lets a node join, which takes the authorities' files: `witgate recovery apply --identity FILE` \
         opens the escrow", .0 + 1
    )]
    NoAdmission(usize),
    #[error("{0}")]
    NotFound(String),
}

impl Recovery {
    /// Builds what the configuration describes. Nothing is called.
    pub(crate) async fn new(
        config: &RecoveryConfig,
        base: &std::path::Path,
        loaded: &Plugins,
        state: &dyn State,
    ) -> Result<Self, RecoveryConfigError> {
        let mut plugins = Vec::new();
        for name in &config.plugins {
            let plugin = loaded.recovery(name);
            let info = loaded.list().find(|info| info.name == *name);
            let (Some(plugin), Some(info)) = (plugin, info) else {
                return Err(RecoveryConfigError::NoPlugin(name.clone()));
            };
            let planner = Planner {
                plugin: name.clone(),
                sha256: info.sha256,
            };
            plugins.push((planner, plugin));
        }
        let config = config.control_plane.relative_to(base);
        let clock = Arc::new(SystemClock);
        let control_plane = ControlPlane::open(&config, state, clock.clone()).await?;
        let shared = Arc::new(control_plane.clone());
        let journal = Journal::open(state)?;
        let engine = Engine::new(shared.clone(), shared, clock, journal, config.policy.clone());
        Ok(Self {
            control_plane,
            engine,
            plugins,
            files: config.files().cloned().collect(),
            attending: Mutex::default(),
        })
    }

    /// The files that it was made from.
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Looks on, and takes snapshots on time, until this is dropped.
    pub(crate) fn attend(&self) {
        let control_plane = self.control_plane.clone();
        let task = tokio::spawn(async move { control_plane.attend().await });
        let mut attending = self.attending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = attending.replace(task.abort_handle()) {
            before.abort();
        }
    }

    /// What the control plane is like, and how far plans have come.
    pub(crate) async fn status(&self) -> Result<Status, RepairError> {
        let observation = self.engine.observe().await?;
        let silence = self.control_plane.policy().silence;
        let leader = observation.leader();
        let members = observation.survey.members.iter().map(|member| MemberStatus {
            id: member.id.to_string(),
            name: member.name.clone(),
            learner: member.learner,
            leads: leader == Some(member.id),
            standing: observation.standing(member, u64::try_from(silence.as_millis()).unwrap_or(u64::MAX)),
        });
        let census = observation.census();
        // That it can't be read is no reason to show nothing of the control plane; who applies is told.
        let escrow = self.control_plane.escrow().await.unwrap_or_else(|error| {
            tracing::error!("{error}");
            None
        });
        Ok(Status {
            members: members.collect(),
            voters: census.voters,
            alive: census.alive,
            quorum: census.quorum(),
            tolerance: observation.tolerance(),
            plans: self.plans().await?,
            newest_snapshot: self.control_plane.snapshots().await?.pop(),
            escrow: escrow.map(|escrow| EscrowStatus {
                node: escrow.node,
                at: escrow.at,
                recipients: escrow.recipients,
            }),
            observation,
        })
    }

    /// What the operator decides.
    pub(crate) fn policy(&self) -> &Policy {
        self.control_plane.policy()
    }

    /// The plans, oldest first.
    pub(crate) async fn plans(&self) -> Result<Vec<PlanStatus>, RepairError> {
        let mut plans = Vec::new();
        for id in self.engine.journal().plans().await.map_err(EngineError::from)? {
            let dossier = self.dossier(&id).await?;
            plans.push(PlanStatus {
                summary: dossier.plan.proposal.summary.clone(),
                requester: dossier.plan.requester.clone(),
                progress: dossier.progress,
                done: dossier.next,
                steps: dossier.plan.proposal.steps.len(),
                id,
            });
        }
        Ok(plans)
    }

    /// What all plugins find, in their order.
    pub(crate) async fn diagnose(&self) -> Vec<Diagnosis> {
        let mut all = Vec::new();
        for (planner, plugin) in &self.plugins {
            let moment = Arc::new(self.control_plane.moment());
            let (findings, trouble) = match plugin.diagnose(moment).await {
                Ok(findings) => (findings, None),
                Err(error) => (Vec::new(), Some(error.to_string())),
            };
            all.push(Diagnosis {
                plugin: planner.plugin.clone(),
                findings,
                trouble,
            });
        }
        all
    }

    /// Has a plan made for a finding, which is looked for again.
    pub(crate) async fn plan(&self, asked: &PlanRequest, requester: &str) -> Result<Dossier, RepairError> {
        let meant = |finding: &Finding| {
            finding.class == asked.class
                && asked
                    .subject
                    .as_ref()
                    .is_none_or(|subject| *subject == finding.subject)
        };
        let (mut found, mut troubles) = (Vec::new(), String::new());
        for ((planner, plugin), diagnosis) in self.plugins.iter().zip(self.diagnose().await) {
            if let Some(trouble) = diagnosis.trouble {
                troubles = format!("{troubles}; {} can't tell: {trouble}", planner.plugin);
            }
            let meant = diagnosis.findings.into_iter().filter(meant);
            found.extend(meant.map(|finding| (planner, plugin, finding)));
        }
        let (planner, plugin, finding) = match found.len() {
            1 => found.remove(0),
            0 => {
                return Err(RepairError::NotFound(format!(
                    "nothing of the class {:?} is found now{troubles}",
                    asked.class
                )));
            }
            _ => {
                let subjects: Vec<_> = found
                    .iter()
                    .map(|(_, _, finding)| finding.subject.as_str())
                    .collect();
                return Err(RepairError::NotFound(format!(
                    "{:?} is found of several, say of which: {}",
                    asked.class,
                    subjects.join("; ")
                )));
            }
        };
        let moment = Arc::new(self.control_plane.moment());
        let proposal = plugin.plan(moment, &finding).await?;
        let id = self
            .engine
            .plan(planner.clone(), requester, finding, proposal)
            .await?;
        self.dossier(&id).await
    }

    /// The plan whose id begins so.
    pub(crate) async fn find(&self, beginning: &str) -> Result<PlanId, RepairError> {
        let plans = self.engine.journal().plans().await.map_err(EngineError::from)?;
        let mut found = plans.into_iter().filter(|id| id.as_str().starts_with(beginning));
        match (found.next(), found.next()) {
            (Some(id), None) if beginning.len() >= 8 => Ok(id),
            (Some(_), _) => Err(RepairError::NotFound(format!(
                "{beginning:?} is too short for a plan's id: give 8 digits, or as many as tell it apart"
            ))),
            (None, _) => Err(RepairError::NotFound(format!("there is no plan {beginning:?}"))),
        }
    }

    /// Everything about a plan.
    pub(crate) async fn dossier(&self, id: &PlanId) -> Result<Dossier, RepairError> {
        let dossier = self
            .engine
            .journal()
            .dossier(id)
            .await
            .map_err(EngineError::from)?;
        dossier.ok_or_else(|| EngineError::NoSuchPlan(id.clone()).into())
    }

    /// Records somebody's approval.
    pub(crate) async fn approve(&self, id: &PlanId, by: &str) -> Result<(), RepairError> {
        Ok(self.engine.approve(id, by).await?)
    }

    /// Records that a step by hand was done.
    pub(crate) async fn confirm(&self, id: &PlanId, step: usize, by: &str) -> Result<(), RepairError> {
        Ok(self.engine.confirm(id, step, by).await?)
    }

    /// Gives a plan up.
    pub(crate) async fn abandon(&self, id: &PlanId, by: &str, reason: &str) -> Result<(), RepairError> {
        self.engine.abandon(id, by, reason).await?;
        let dossier = self.dossier(id).await?;
        if minting(&dossier).any(|step| step < dossier.next) {
            revoke(&self.control_plane, id).await;
        }
        Ok(())
    }

    /// Has a plan carried out, or gone on with. Returns when it is refused, is done, or is under way:
    /// it goes on whether or not anybody waits.
    pub(crate) async fn apply(
        &self,
        id: PlanId,
        by: &str,
        admission: Option<Admission>,
    ) -> Result<(), RepairError> {
        let dossier = self.dossier(&id).await?;
        // Before anything is done, and not when it comes to that step.
        let step = minting(&dossier).find(|step| *step >= dossier.next && !dossier.is_over());
        if let Some(step) = step.filter(|_| admission.is_none()) {
            return Err(RepairError::NoAdmission(step));
        }
        let control_plane = match admission {
            Some(admission) => self.control_plane.admitting(admission),
            None => self.control_plane.clone(),
        };
        let engine = self.engine.acting_with(Arc::new(control_plane.clone()));
        let executor = by.to_owned();
        let (tell, told) = oneshot::channel();
        tokio::spawn(async move {
            let applied = engine.apply(&id, &executor).await;
            if matches!(applied, Err(EngineError::Over(Progress::Abandoned))) && step.is_some() {
                revoke(&control_plane, &id).await;
            }
            match &applied {
                Ok(()) => tracing::info!(plan = %id, "the plan is carried out"),
                Err(error) => tracing::warn!(plan = %id, "the plan stopped: {error}"),
            }
            // Whoever asked may have gone.
            let _ = tell.send(applied);
        });
        match tokio::time::timeout(REFUSAL, told).await {
            Ok(Ok(applied)) => Ok(applied?),
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }

    /// Puts the authorities' files aside, sealed, in the place of those before.
    pub(crate) async fn keep_escrow(&self, escrow: &Escrow, by: &str) -> Result<(), RepairError> {
        self.control_plane.keep_escrow(escrow).await?;
        let Escrow { node, recipients, .. } = escrow;
        tracing::info!(node, ?recipients, by, "the authorities' files are in escrow");
        Ok(())
    }

    /// What was put aside.
    pub(crate) async fn escrow(&self) -> Result<Escrow, RepairError> {
        let none = || {
            RepairError::NotFound(
                "nothing is in escrow: run `witgate recovery escrow` on a control-plane node".to_owned(),
            )
        };
        self.control_plane.escrow().await?.ok_or_else(none)
    }

    /// The whole journal, checked.
    pub(crate) async fn journal(&self) -> Result<Vec<Entry>, RepairError> {
        Ok(self.engine.journal().verify().await.map_err(EngineError::from)?)
    }
}

/// The steps that make join material.
fn minting(dossier: &Dossier) -> impl Iterator<Item = usize> {
    let steps = dossier.plan.proposal.steps.iter().enumerate();
    let minting = steps.filter(|(_, step)| matches!(step.action, Action::MintJoinMaterial(_)));
    minting.map(|(number, _)| number)
}

/// Nobody waits any more for the node that was to join.
async fn revoke(control_plane: &ControlPlane, id: &PlanId) {
    if let Err(error) = control_plane.revoke(id).await {
        tracing::warn!(plan = %id, "join material of a plan that was given up is left, and expires: {error}");
    }
}

impl Drop for Recovery {
    fn drop(&mut self) {
        let attending = self.attending.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(attending) = attending.take() {
            attending.abort();
        }
    }
}
