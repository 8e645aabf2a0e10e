//! What the host itself sees of a control plane before it takes a step, and what it makes of it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use witgate_plugins::recovery::{Member, MemberId, Seen, Status, Survey, Timestamp};

/// A control plane at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Observation {
    /// When it was looked at.
    pub at: Timestamp,
    /// etcd.
    pub survey: Survey,
    /// Kubernetes; none if no apiserver answers.
    pub kubernetes: Option<Kubernetes>,
    /// The snapshots that are kept, oldest first.
    pub snapshots: Vec<Snapshot>,
}

/// What matters of Kubernetes' objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Kubernetes {
    /// All Nodes.
    pub nodes: Vec<Node>,
    /// The control plane's pods in kube-system.
    pub pods: Vec<Pod>,
    /// The Leases in kube-system.
    pub leases: Vec<Lease>,
    /// kubeadm's ConfigMap.
    pub kubeadm: Option<Kubeadm>,
    /// What plans of this gateway made for joining; none if the gateway may not see that.
    pub join: Option<Vec<Join>>,
}

/// A Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its kubelet's heartbeat says that it is ready.
    pub ready: bool,
    /// Since when that is so.
    pub since: Timestamp,
    /// Its kubelet's version.
    pub kubelet: String,
}

/// A pod of the control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The Node that it is on.
    pub node: String,
    /// It stands for a static pod (annotation `kubernetes.io/config.mirror`).
    pub mirror: bool,
}

/// A Lease for leader election.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Lease {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Who holds it.
    pub holder: String,
    /// Until when it holds.
    pub until: Timestamp,
}

/// `kube-system/kubeadm-config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Kubeadm {
    /// Its UID.
    pub uid: String,
    /// Its version.
    pub resource_version: String,
    /// `kubernetesVersion` of `ClusterConfiguration`.
    pub kubernetes_version: String,
    /// The keys of `apiEndpoints` in `ClusterStatus`; none if there is no such key.
    pub cluster_status: Option<BTreeSet<String>>,
}

/// What a plan made for joining, without what is secret in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Join {
    /// The plan's id, as far as a label takes it.
    pub plan: String,
    /// The bootstrap token's Secret is there.
    pub token: bool,
    /// The certificates' Secret is there.
    pub certificates: bool,
    /// Until when.
    pub expires: Timestamp,
}

/// A snapshot that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Snapshot {
    /// Its file's name.
    pub file: String,
    /// When it was taken.
    pub at: Timestamp,
    /// Of which cluster.
    pub cluster_id: MemberId,
    /// The revision that it holds at least.
    pub revision: i64,
    /// Its digest was compared with what etcd appended.
    pub verified: bool,
}

/// What can be said of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// The gateway gets answers from it.
    Alive,
    /// Several vantage points find it silent, none doesn't, and that has lasted.
    Dead,
    /// Anything else. Counts as dead where it is needed, and as alive where it would be removed.
    Unknown,
}

/// The numbers that quorum is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Members with a vote.
    pub voters: usize,
    /// Of those, the ones that answer and follow the same leader.
    pub alive: usize,
    /// Members without a vote.
    pub learners: usize,
}

/// How many of so many voters are a quorum.
pub(crate) fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

/// Vantage points that have to agree before a member counts as dead.
pub(crate) const VANTAGE_POINTS: usize = 2;

impl Observation {
    /// What can be said of a member, when it has to be silent for `dwell` milliseconds to be dead.
    pub fn standing(&self, member: &Member, dwell: u64) -> Standing {
        if self.survey.status(member.id).is_some() {
            return Standing::Alive;
        }
        let sightings = || {
            self.survey
                .sightings
                .iter()
                .filter(|sighting| sighting.member == member.id)
        };
        let silent: BTreeSet<&str> = sightings()
            .filter(|sighting| sighting.seen == Seen::Silent)
            .map(|sighting| sighting.vantage.as_str())
            .collect();
        let seen = sightings().any(|sighting| sighting.seen == Seen::Answers);
        let lasted = member
            .silent_since
            .is_some_and(|since| since.saturating_add(dwell) <= self.at);
        if !seen && lasted && silent.len() >= VANTAGE_POINTS {
            Standing::Dead
        } else {
            Standing::Unknown
        }
    }

    /// Who leads, by the voter of the highest term that knows.
    pub fn leader(&self) -> Option<MemberId> {
        self.survey
            .statuses
            .iter()
            .filter(|status| status.leader != MemberId(0))
            .max_by_key(|status| status.raft_term)
            .map(|status| status.leader)
    }

    /// Members with a vote.
    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.survey.members.iter().filter(|member| !member.learner)
    }

    /// Whether a voter answers and follows the leader that the others follow.
    pub fn agrees(&self, member: &Member) -> bool {
        let leader = self.leader();
        self.survey
            .status(member.id)
            .is_some_and(|status| leader == Some(status.leader))
    }

    /// The numbers that quorum is about.
    pub fn census(&self) -> Census {
        Census {
            voters: self.voters().count(),
            alive: self.voters().filter(|voter| self.agrees(voter)).count(),
            learners: self.survey.members.iter().filter(|member| member.learner).count(),
        }
    }

    /// How many entries of the log a member has not applied yet that the leader has.
    pub fn lag(&self, member: MemberId) -> Option<u64> {
        let leader = self.survey.status(self.leader()?)?;
        let status = self.survey.status(member)?;
        Some(leader.raft_index.saturating_sub(status.raft_applied_index))
    }

    /// The newest revision that any member is at.
    pub fn revision(&self) -> i64 {
        self.survey
            .statuses
            .iter()
            .map(|status| status.revision)
            .max()
            .unwrap_or(0)
    }

    /// The revision that all members' hashes were taken at, if they were all taken and at the same.
    pub fn hashes(&self) -> Hashes {
        let members = self.survey.members.len();
        let hashes: Vec<_> = self
            .survey
            .statuses
            .iter()
            .filter(|status| self.survey.member(status.member).is_some())
            .filter_map(|status| status.hash.map(|hash| (status.member, hash)))
            .collect();
        let places: BTreeSet<_> = hashes
            .iter()
            .map(|(_, hash)| (hash.revision, hash.compact_revision))
            .collect();
        if hashes.len() < members || places.len() != 1 {
            return Hashes::Incomparable {
                taken: hashes.len(),
                members,
                revisions: places.len(),
            };
        }
        let same = |value: u32| hashes.iter().filter(|(_, hash)| hash.hash == value).count();
        let best = hashes
            .iter()
            .map(|(_, hash)| (same(hash.hash), hash.hash))
            .max()
            .unwrap_or((0, 0));
        let others = hashes.iter().filter(|(_, hash)| hash.hash != best.1);
        let others: Vec<_> = others.map(|(member, _)| *member).collect();
        if others.is_empty() {
            Hashes::Agree
        } else {
            Hashes::Differ {
                majority: best.0,
                of: hashes.len(),
                others,
            }
        }
    }

    /// How many more voters may fail before the cluster can't commit; negative when it can't.
    pub fn tolerance(&self) -> i64 {
        let census = self.census();
        let signed = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        signed(census.alive) - signed(quorum(census.voters))
    }

    /// The Node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.kubernetes
            .as_ref()?
            .nodes
            .iter()
            .find(|node| node.name == name)
    }
}

/// What the members' hashes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hashes {
    /// All are the same.
    Agree,
    /// Some differ from the most frequent one.
    Differ {
        /// How many members have that.
        majority: usize,
        /// Of how many.
        of: usize,
        /// Who has another.
        others: Vec<MemberId>,
    },
    /// They can't be compared.
    Incomparable {
        /// How many members' hashes there are.
        taken: usize,
        /// How many members there are.
        members: usize,
        /// At how many different revisions.
        revisions: usize,
    },
}

impl Census {
    /// How many voters are a quorum.
    pub fn quorum(&self) -> usize {
        quorum(self.voters)
    }
}

impl Standing {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
        }
    }
}

/// How much of a member's database is free pages, in percent.
pub(crate) fn fragmentation(status: &Status) -> u64 {
    let free = status.db_size.saturating_sub(status.db_size_in_use);
    free.saturating_mul(100).checked_div(status.db_size).unwrap_or(0)
}
