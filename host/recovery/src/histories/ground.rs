//! The model: a control plane as it really is, what can be seen of it, and what acting does to it.
//!
//! It does what it is told: no rule of etcd's or of Kubernetes' own stands between a wrong step and
//! its effect, so that only the engine's rules do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use witgate_plugins::recovery::{
    Action, Alarm, Hash, Member, MemberId, Seen, Sighting, Status, Survey, Timestamp, Unavailable,
};

use super::{memory::Memory, schedule::pause, truth};
use crate::{
    executor::{Clock, Executor, Failure, Task, World},
    observation::{Join, Kubeadm, Kubernetes, Lease, Node, Observation, Pod, Snapshot, quorum},
    plan::PlanId,
    silence::Silence,
};

/// The cluster's id.
pub(super) const CLUSTER: MemberId = MemberId(0xc1);

/// A quota that is easily reached.
pub(super) const QUOTA: u64 = 1000;

/// A member as it really is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Real {
    pub(super) id: MemberId,
    pub(super) name: String,
    pub(super) peer: String,
    pub(super) learner: bool,
    pub(super) alive: bool,
    /// The gateway does not reach it.
    pub(super) cut: bool,
    /// The other members don't reach it, nor it them.
    pub(super) isolated: bool,
    pub(super) behind: u64,
    pub(super) hash: u32,
    pub(super) size: u64,
    pub(super) in_use: u64,
}

/// A control plane as it really is.
#[derive(Clone, Debug, Default)]
pub(super) struct Ground {
    pub(super) now: Timestamp,
    pub(super) members: Vec<Real>,
    pub(super) leader: Option<MemberId>,
    pub(super) compacted: i64,
    pub(super) revision: i64,
    pub(super) alarms: BTreeSet<Alarm>,
    pub(super) seen: Kubernetes,
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) next_id: u64,
    /// How often something happened that nobody planned.
    pub(super) faults: usize,
    /// Who agreed to what when, whether that counted or not.
    pub(super) approvals: Vec<(PlanId, String, Timestamp)>,
    /// What was wrong with what was done.
    pub(super) wrong: Vec<String>,
    pub(super) performed: usize,
}

/// What one process sees and acts with.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) ground: Arc<Mutex<Ground>>,
    pub(super) memory: Memory,
    pub(super) silence: Silence,
    /// How things really were when this process looked last, and what it saw.
    pub(super) looked: Arc<Mutex<Option<(Ground, Observation)>>>,
    pub(super) plans: Arc<Mutex<BTreeMap<PlanId, truth::Planned>>>,
}

impl Ground {
    pub(super) fn new(rng: &mut fastrand::Rng) -> Self {
        let count = [1, 2, 3, 3, 3, 3, 4, 5, 5, 5][rng.usize(..10)];
        let mut ground = Self {
            now: 1_000_000,
            revision: 50_000,
            next_id: 0xa1,
            ..Self::default()
        };
        ground.seen.join = Some(Vec::new());
        ground.seen.kubeadm = Some(Kubeadm {
            uid: "map".to_owned(),
            resource_version: "1".to_owned(),
            kubernetes_version: "v1.34.2".to_owned(),
            cluster_status: rng.bool().then(BTreeSet::new),
        });
        for place in 0..count {
            let name = format!("cp-{place}");
            ground.node(&name);
            ground.member(&name, false);
        }
        for (name, until) in [
            ("kube-scheduler", 500_000),
            ("kube-controller-manager", u64::MAX),
            ("other", 500_000),
        ] {
            ground.seen.leases.push(Lease {
                namespace: "kube-system".to_owned(),
                name: name.to_owned(),
                uid: format!("uid-{name}"),
                holder: "cp-0".to_owned(),
                until,
            });
        }
        ground.elect();
        ground
    }

    pub(super) fn node(&mut self, name: &str) {
        let uid = format!("uid-{}", self.next_id);
        self.seen.nodes.push(Node {
            name: name.to_owned(),
            uid,
            ready: true,
            since: 0,
            kubelet: "v1.34.2".to_owned(),
        });
        // One pod that is no mirror is enough to go wrong with.
        let proxy = self.seen.pods.is_empty().then_some(("proxy", false));
        for (pod, mirror) in std::iter::once(("etcd", true)).chain(proxy) {
            self.seen.pods.push(Pod {
                namespace: "kube-system".to_owned(),
                name: format!("{pod}-{name}"),
                uid: format!("uid-{pod}-{}", self.next_id),
                node: name.to_owned(),
                mirror,
            });
        }
        if let Some(nodes) = self
            .seen
            .kubeadm
            .as_mut()
            .and_then(|map| map.cluster_status.as_mut())
        {
            nodes.insert(name.to_owned());
        }
    }

    pub(super) fn member(&mut self, name: &str, learner: bool) -> MemberId {
        let id = MemberId(self.next_id);
        self.next_id += 1;
        self.members.push(Real {
            id,
            name: name.to_owned(),
            peer: format!("https://{name}:2380"),
            learner,
            alive: true,
            cut: false,
            isolated: false,
            behind: 0,
            hash: 7,
            size: 400,
            in_use: 400,
        });
        id
    }

    pub(super) fn find(&self, id: MemberId) -> Option<&Real> {
        self.members.iter().find(|member| member.id == id)
    }

    pub(super) fn voters(&self) -> impl Iterator<Item = &Real> {
        self.members.iter().filter(|member| !member.learner)
    }

    /// Voters that can commit together.
    pub(super) fn live(&self) -> usize {
        self.voters()
            .filter(|voter| voter.alive && !voter.isolated)
            .count()
    }

    pub(super) fn can_commit(&self) -> bool {
        self.live() >= quorum(self.voters().count())
    }

    pub(super) fn tolerance(&self) -> i64 {
        self.live() as i64 - quorum(self.voters().count()) as i64
    }

    /// A leader is elected where there is none that leads a quorum.
    pub(super) fn elect(&mut self) {
        let fit = |voter: &&Real| voter.alive && !voter.isolated;
        let stays = self
            .voters()
            .filter(fit)
            .any(|voter| Some(voter.id) == self.leader);
        if !self.can_commit() {
            self.leader = None;
        } else if !stays {
            let elected = self.voters().find(fit).map(|voter| voter.id);
            self.leader = elected;
        }
    }

    /// What a gateway sees.
    fn observe(&self) -> Observation {
        let reached = |member: &&Real| member.alive && !member.cut;
        let view = |member: &Real| if member.isolated { None } else { self.leader };
        let statuses = self.members.iter().filter(reached).map(|member| Status {
            member: member.id,
            at: self.now,
            version: "3.5.21".to_owned(),
            db_size: member.size,
            db_size_in_use: member.in_use,
            db_quota: Some(QUOTA),
            leader: view(member).unwrap_or_default(),
            raft_term: if member.isolated { 1 } else { 2 },
            raft_index: 100_000,
            raft_applied_index: 100_000 - member.behind,
            revision: self.revision,
            learner: member.learner,
            errors: Vec::new(),
            hash: Some(Hash {
                hash: member.hash,
                revision: self.revision,
                compact_revision: self.compacted,
            }),
        });
        let confirmed = self.can_commit() && self.voters().any(|voter| reached(&voter) && !voter.isolated);
        let members = self.members.iter().map(|member| Member {
            id: member.id,
            name: member.name.clone(),
            peer_urls: vec![member.peer.clone()],
            client_urls: vec![format!("https://{}:2379", member.name)],
            learner: member.learner,
            silent_since: None,
        });
        Observation {
            at: self.now,
            survey: Survey {
                cluster_id: Some(CLUSTER),
                taken: self.now,
                members: members.collect(),
                confirmed,
                sightings: self
                    .members
                    .iter()
                    .flat_map(|member| self.sightings(member))
                    .collect(),
                statuses: statuses.collect(),
                alarms: self.alarms.iter().copied().collect(),
            },
            kubernetes: self.can_commit().then(|| self.seen.clone()),
            snapshots: self.snapshots.clone(),
        }
    }

    fn sightings(&self, member: &Real) -> Vec<Sighting> {
        let sighting = |vantage: String, seen| Sighting {
            member: member.id,
            vantage,
            at: self.now,
            seen,
            raw: String::new(),
        };
        let of = |holds| if holds { Seen::Answers } else { Seen::Silent };
        let mut all = vec![sighting("gateway".to_owned(), of(member.alive && !member.cut))];
        let others = self.members.iter().filter(|other| other.id != member.id);
        for other in others.filter(|other| other.alive && !other.cut) {
            let connected = member.alive && !member.isolated && !other.isolated;
            all.push(sighting(format!("member {}", other.name), of(connected)));
        }
        if let Some(node) = self.seen.nodes.iter().find(|node| node.name == member.name) {
            all.push(sighting("node".to_owned(), of(node.ready)));
        }
        all
    }

    /// Does what it is told.
    fn act(&mut self, action: &Action, plan: &PlanId) {
        match action {
            Action::TakeSnapshot => self.snapshots.push(Snapshot {
                file: String::new(),
                at: self.now,
                cluster_id: CLUSTER,
                revision: self.revision,
                verified: true,
            }),
            Action::MoveLeader(leadership) => self.leader = Some(leadership.to.id),
            Action::RemoveMember(member) => {
                self.members.retain(|real| real.id != member.id);
                self.alarms.retain(|alarm| alarm.member != member.id);
            }
            Action::PromoteLearner(member) => {
                let found = self.members.iter_mut().find(|real| real.id == member.id);
                found.into_iter().for_each(|real| real.learner = false);
            }
            Action::Defragment(member) => {
                let found = self.members.iter_mut().find(|real| real.id == member.id);
                found.into_iter().for_each(|real| real.size = real.in_use);
            }
            Action::Compact(revision) => {
                self.compacted = *revision;
                self.members
                    .iter_mut()
                    .for_each(|real| real.in_use = real.in_use.min(300));
            }
            Action::DisarmAlarm(alarm) => drop(self.alarms.remove(alarm)),
            // By name: what a client without preconditions would do.
            Action::DeleteNode(node) => self.seen.nodes.retain(|real| real.name != node.name),
            Action::DeleteMirrorPod(pod) => self.seen.pods.retain(|real| real.name != pod.name),
            Action::DeleteLease(lease) => self.seen.leases.retain(|real| real.name != lease.name),
            Action::EditClusterStatus(entry) => {
                let map = self.seen.kubeadm.as_mut().unwrap();
                if let Some(nodes) = &mut map.cluster_status {
                    nodes.remove(&entry.node);
                }
                map.resource_version.push('+');
            }
            Action::MintJoinMaterial(material) => {
                let made = self.seen.join.get_or_insert_default();
                made.retain(|join| join.plan != plan.label());
                made.push(Join {
                    plan: plan.label().to_owned(),
                    token: true,
                    certificates: true,
                    expires: self.now + u64::from(material.lifetime_seconds) * 1000,
                });
            }
            Action::RevokeJoinMaterial => {
                let made = self.seen.join.get_or_insert_default();
                made.retain(|join| join.plan != plan.label());
            }
            Action::WaitForMember(_) | Action::ByHand(_) => {}
        }
        self.elect();
    }
}

#[async_trait::async_trait]
impl World for Process {
    async fn observe(&self) -> Result<Observation, Unavailable> {
        pause().await;
        let (mut seen, truth) = {
            let ground = self.ground.lock().unwrap();
            (ground.observe(), ground.clone())
        };
        self.silence.note(&mut seen.survey).await.unwrap();
        *self.looked.lock().unwrap() = Some((truth, seen.clone()));
        Ok(seen)
    }
}

#[async_trait::async_trait]
impl Executor for Process {
    async fn perform(&self, task: &Task<'_>) -> Result<String, Failure> {
        pause().await;
        {
            let mut ground = self.ground.lock().unwrap();
            let wrong = truth::judge(self, task);
            ground.wrong.extend(wrong);
            ground.performed += 1;
            ground.act(task.action, task.plan);
        }
        pause().await;
        Ok(String::new())
    }
}

#[async_trait::async_trait]
impl Clock for Process {
    fn now(&self) -> Timestamp {
        self.ground.lock().unwrap().now
    }

    async fn sleep(&self, time: Duration) {
        self.ground.lock().unwrap().now += crate::policy::millis(time);
        pause().await;
    }
}
