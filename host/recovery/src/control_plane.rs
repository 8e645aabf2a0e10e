//! A real control plane: what the engine sees and acts with, and what plugins see with.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use serde_json::Value;
use tokio::sync::OnceCell;
use witgate_plugins::recovery::{
    Action, KubeResource, ObjectIdentity, Observer, Seen, Sighting, Survey, Unavailable,
};

use crate::{
    etcd::{Depth, Etcd},
    executor::{Clock, Executor, Failure, Task, World},
    join::{Admission, Escrow, EscrowError, Joining, Safe},
    kubernetes::{Kube, KubeError, text},
    observation::Observation,
    plan::PlanId,
    policy::Policy,
    silence::Silence,
    snapshots::{Record, SnapshotError, Snapshots},
};

/// How often is looked who is silent: some looks may fail before silence is no longer known to last.
const LOOK: Duration = Duration::from_secs(30);

/// A control plane that can be called: what the engine looks at and acts on. A clone is the same one.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    pub(crate) etcd: Etcd,
    /// None if only etcd is configured.
    pub(crate) kube: Option<Kube>,
    /// The hashes of the authorities that the kubeconfig trusts.
    pub(crate) authorities: Arc<[String]>,
    /// What nodes join with, of the one who applies a plan.
    pub(crate) admission: Option<Arc<Admission>>,
    pub(crate) safe: Safe,
    pub(crate) snapshots: Snapshots,
    pub(crate) silence: Silence,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) policy: Policy,
}

/// A control plane at one moment, as a plugin looks at it: every answer is kept.
#[derive(Debug)]
pub struct Moment {
    control_plane: ControlPlane,
    survey: OnceCell<Survey>,
    nodes: OnceCell<Answer>,
    answers: tokio::sync::Mutex<Vec<(Question, Answer)>>,
    /// That the cluster was waited for in vain, which is not done again for each question.
    away: OnceLock<String>,
}

/// The objects that were asked for, or why the cluster did not say.
type Answer = Result<Vec<Value>, String>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Question {
    resource: KubeResource,
    namespace: String,
    of: Of,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Of {
    Name(String),
    Selector(String),
}

impl ControlPlane {
    /// What it is like at one moment, for a plugin.
    pub fn moment(&self) -> Moment {
        Moment {
            control_plane: self.clone(),
            survey: OnceCell::new(),
            nodes: OnceCell::new(),
            answers: tokio::sync::Mutex::default(),
            away: OnceLock::new(),
        }
    }

    /// What the operator decides.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Takes a snapshot now, whether one is due or not. Returns what is known of it.
    pub async fn take_snapshot(&self) -> Result<Record, SnapshotError> {
        self.snapshots.take(&self.etcd, self.clock.now()).await
    }

    /// The snapshots that are kept, oldest first.
    pub async fn snapshots(&self) -> Result<Vec<Record>, SnapshotError> {
        self.snapshots.list().await
    }

    /// Restores the newest snapshot on trial, if that was not done; false if there is no etcdutl.
    pub async fn rehearse(&self) -> Result<bool, SnapshotError> {
        self.snapshots.rehearse_newest(&*self.clock).await
    }

    /// The same control plane, for one who applies a plan and lets nodes join with this.
    #[must_use]
    pub fn admitting(&self, admission: Admission) -> Self {
        Self {
            admission: Some(Arc::new(admission)),
            ..self.clone()
        }
    }

    /// Keeps an escrow of this control plane's authorities, in the place of an older one.
    pub async fn keep_escrow(&self, escrow: &Escrow) -> Result<(), EscrowError> {
        escrow.check()?;
        escrow.trusted(&self.authorities)?;
        self.safe.keep(escrow).await
    }

    /// The escrow that is kept.
    pub async fn escrow(&self) -> Result<Option<Escrow>, EscrowError> {
        self.safe.kept().await
    }

    /// Deletes what a plan made for a node to join with.
    pub async fn revoke(&self, plan: &PlanId) -> Result<(), Failure> {
        self.joining(plan)?.revoke().await.map_err(failed)
    }

    fn joining<'a>(&'a self, plan: &'a PlanId) -> Result<Joining<'a>, Failure> {
        Ok(Joining {
            kube: self.kube().map_err(failed)?,
            clock: &*self.clock,
            plan,
            authorities: &self.authorities,
        })
    }

    fn kube(&self) -> Result<&Kube, Unavailable> {
        let none = || Unavailable("no kubeconfig is configured for recovery".to_owned());
        self.kube.as_ref().ok_or_else(none)
    }

    async fn delete(&self, resource: KubeResource, object: &ObjectIdentity) -> Result<(), Failure> {
        let kube = self.kube().map_err(failed)?;
        kube.delete(&resource, object).await.map_err(failed)
    }

    /// Looks on for as long as it is polled: that silence is known to last takes somebody who looks;
    /// and snapshots are taken on time, and restored on trial.
    pub async fn attend(&self) {
        let looking = async {
            loop {
                let heartbeats = self.moment().heartbeats().await;
                self.survey(&heartbeats, Depth::Presence).await;
                self.clock.sleep(LOOK).await;
            }
        };
        tokio::join!(
            looking,
            self.snapshots.keep_taking(&self.etcd, &*self.clock),
            self.snapshots.keep_rehearsing(&*self.clock),
        );
    }

    /// etcd from all vantage points; `heartbeats` are the machines' names and whether they are ready.
    async fn survey(&self, heartbeats: &[(String, bool, String)], depth: Depth) -> Survey {
        let now = self.clock.now();
        let mut survey = self.etcd.survey(now, depth).await;
        for member in &survey.members {
            let found = heartbeats.iter().find(|(name, ..)| *name == member.name);
            let Some((_, ready, raw)) = found.filter(|_| !member.name.is_empty()) else {
                continue;
            };
            // While its machine lives, a member may come back.
            survey.sightings.push(Sighting {
                member: member.id,
                vantage: "node".to_owned(),
                at: now,
                seen: if *ready { Seen::Answers } else { Seen::Silent },
                raw: raw.clone(),
            });
        }
        if let Err(error) = self.silence.note(&mut survey).await {
            tracing::warn!("since when members are silent can't be kept: {error}");
        }
        survey
    }
}

#[async_trait::async_trait]
impl World for ControlPlane {
    async fn observe(&self) -> Result<Observation, Unavailable> {
        let kubernetes = match &self.kube {
            Some(kube) => kube.facts().await.inspect_err(unseen).ok(),
            None => None,
        };
        let nodes = kubernetes.iter().flat_map(|seen| &seen.nodes);
        let heartbeats: Vec<_> = nodes
            .map(|node| {
                let raw = format!("Node {} is ready: {} since {}", node.name, node.ready, node.since);
                (node.name.clone(), node.ready, raw)
            })
            .collect();
        let survey = self.survey(&heartbeats, Depth::Stores).await;
        if survey.cluster_id.is_none() && kubernetes.is_none() {
            return Err(Unavailable("neither etcd nor an apiserver answers".to_owned()));
        }
        let snapshots = self.snapshots.facts().await;
        Ok(Observation {
            at: self.clock.now(),
            survey,
            kubernetes,
            snapshots: snapshots.map_err(|error| Unavailable(error.to_string()))?,
        })
    }
}

#[async_trait::async_trait]
impl Executor for ControlPlane {
    async fn perform(&self, task: &Task<'_>) -> Result<String, Failure> {
        let etcd = &self.etcd;
        let (seen, time) = (task.seen, self.policy.step_timeout);
        match task.action {
            Action::TakeSnapshot => {
                let record = self
                    .snapshots
                    .take(etcd, self.clock.now())
                    .await
                    .map_err(failed)?;
                return Ok(record.to_string());
            }
            Action::MoveLeader(leadership) => etcd.move_leader(seen, leadership, time).await.map_err(failed),
            Action::RemoveMember(member) => etcd.remove(seen, member.id, time).await.map_err(failed),
            Action::PromoteLearner(member) => etcd.promote(seen, member.id, time).await.map_err(failed),
            Action::Defragment(member) => etcd.defragment(seen, member.id).await.map_err(failed),
            Action::Compact(revision) => etcd.compact(seen, *revision, time).await.map_err(failed),
            Action::DisarmAlarm(alarm) => etcd.disarm(seen, *alarm, time).await.map_err(failed),
            Action::DeleteNode(node) => self.delete(KubeResource::core("nodes"), node).await,
            Action::DeleteMirrorPod(pod) => self.delete(KubeResource::core("pods"), pod).await,
            Action::DeleteLease(lease) => self.delete(KubeResource::leases(), lease).await,
            Action::EditClusterStatus(entry) => {
                let kube = self.kube().map_err(failed)?;
                kube.edit_cluster_status(entry).await.map_err(failed)
            }
            Action::MintJoinMaterial(material) => {
                let joining = self.joining(task.plan)?;
                let made = joining.mint(material, self.admission.as_deref(), time).await;
                return made.map_err(failed);
            }
            Action::RevokeJoinMaterial => self.revoke(task.plan).await,
            // The engine waits itself.
            Action::WaitForMember(_) | Action::ByHand(_) => Ok(()),
        }
        .map(|()| String::new())
    }
}

fn unseen(error: &KubeError) {
    tracing::debug!("Kubernetes can't be seen: {error}");
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure(error.to_string())
}

impl Moment {
    async fn ask(&self, question: Question) -> Result<Vec<Value>, Unavailable> {
        // Held while it is asked: the second time the question is asked, the answer is there.
        let mut answers = self.answers.lock().await;
        let known = answers.iter().find(|(asked, _)| *asked == question);
        if let Some((_, answer)) = known {
            return answer.clone().map_err(Unavailable);
        }
        let Question {
            resource,
            namespace,
            of,
        } = &question;
        let kube = self.control_plane.kube()?;
        if let Some(away) = self.away.get() {
            return Err(Unavailable(away.clone()));
        }
        let answer = match of {
            Of::Name(name) => kube
                .get(resource, namespace, name)
                .await
                .map(|found| found.into_iter().collect()),
            Of::Selector(selector) => kube.list(resource, namespace, selector).await,
        };
        let answer = answer.map_err(|error| self.unanswered(&error));
        answers.push((question, answer.clone()));
        answer.map_err(Unavailable)
    }

    fn unanswered(&self, error: &KubeError) -> String {
        let text = error.to_string();
        if error.away {
            self.away.get_or_init(|| text.clone());
        }
        text
    }

    async fn heartbeats(&self) -> Vec<(String, bool, String)> {
        let nodes = self.nodes.get_or_init(async || {
            let nodes = KubeResource::core("nodes");
            let kube = self.control_plane.kube().map_err(|error| error.to_string())?;
            let listed = kube.list(&nodes, "", "").await;
            listed.map_err(|error| self.unanswered(&error))
        });
        let Ok(nodes) = nodes.await else { return Vec::new() };
        let heartbeat = |node: &Value| {
            let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
            let ready = conditions.and_then(|all| all.iter().find(|c| text(c, "/type") == "Ready"))?;
            let name = text(node, "/metadata/name").to_owned();
            Some((name, text(ready, "/status") == "True", ready.to_string()))
        };
        nodes.iter().filter_map(heartbeat).collect()
    }
}

#[async_trait::async_trait]
impl Observer for Moment {
    async fn get(
        &self,
        resource: &KubeResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, Unavailable> {
        let question = Question {
            resource: resource.clone(),
            namespace: namespace.to_owned(),
            of: Of::Name(name.to_owned()),
        };
        Ok(self.ask(question).await?.into_iter().next())
    }

    async fn list(
        &self,
        resource: &KubeResource,
        namespace: &str,
        selector: &str,
    ) -> Result<Vec<Value>, Unavailable> {
        let question = Question {
            resource: resource.clone(),
            namespace: namespace.to_owned(),
            of: Of::Selector(selector.to_owned()),
        };
        self.ask(question).await
    }

    async fn survey(&self) -> Result<Survey, Unavailable> {
        let heartbeats = self.heartbeats().await;
        let survey = self
            .survey
            .get_or_init(async || self.control_plane.survey(&heartbeats, Depth::Stores).await);
        Ok(survey.await.clone())
    }
}
