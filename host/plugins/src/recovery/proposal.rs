//! What a recovery plugin proposes: steps, as data.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Alarm, KubeResource, Member, MemberId};

/// Steps that would repair a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Proposal {
    /// What it achieves.
    pub summary: String,
    /// Which rules hold for it.
    pub mode: Mode,
    /// In order.
    pub steps: Vec<Step>,
}

/// Which rules hold for a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// The cluster can commit, and goes on being able to.
    WithQuorum,
    /// Quorum is lost: people restore it by hand.
    QuorumLost,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// Why.
    pub reason: String,
    /// What has to hold before, beyond what the host demands.
    pub before: Vec<Condition>,
    /// What has to hold after, beyond what the action is for.
    pub after: Vec<Condition>,
}

/// A member by everything that names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MemberIdentity {
    /// Its id.
    pub id: MemberId,
    /// Its name.
    pub name: String,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
}

/// A Kubernetes object by everything that names it, but its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ObjectIdentity {
    /// Empty for what is in none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID, which is never used twice.
    pub uid: String,
}

/// What the host can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum Action {
    /// Take and verify a snapshot of etcd.
    TakeSnapshot,
    /// Hand leadership over.
    MoveLeader(Leadership),
    /// Remove a member.
    RemoveMember(MemberIdentity),
    /// Make a learner a voter.
    PromoteLearner(MemberIdentity),
    /// Delete a Node.
    DeleteNode(ObjectIdentity),
    /// Delete a static pod's mirror.
    DeleteMirrorPod(ObjectIdentity),
    /// Delete a leader-election Lease.
    DeleteLease(ObjectIdentity),
    /// Remove an entry from `ClusterStatus`.
    EditClusterStatus(ClusterStatusEntry),
    /// Make a bootstrap token and upload the certificates.
    MintJoinMaterial(JoinMaterial),
    /// Wait until a member is in the cluster.
    WaitForMember(Awaited),
    /// Delete what `MintJoinMaterial` made.
    RevokeJoinMaterial,
    /// Defragment a member's database.
    Defragment(MemberIdentity),
    /// Compact the store up to a revision.
    Compact(i64),
    /// Clear an alarm.
    DisarmAlarm(Alarm),
    /// Something that a person does.
    ByHand(Instruction),
}

/// Who leads and who will.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Leadership {
    /// Who leads.
    pub from: MemberIdentity,
    /// Who will.
    pub to: MemberIdentity,
}

/// An entry of `ClusterStatus`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ClusterStatusEntry {
    /// The ConfigMap's UID.
    pub uid: String,
    /// The ConfigMap's version.
    pub resource_version: String,
    /// The key under `apiEndpoints`.
    pub node: String,
}

/// What a node needs to join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct JoinMaterial {
    /// The name of the node.
    pub node: String,
    /// How long it is good for.
    pub lifetime_seconds: u32,
    /// The version of the joining kubeadm.
    pub kubernetes_version: String,
}

/// A member that is expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Awaited {
    /// Its name.
    pub name: String,
    /// How long to wait.
    pub timeout_seconds: u32,
}

/// What a person is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Instruction {
    /// On which machine.
    pub machine: String,
    /// What, and how one sees that it is done.
    pub text: String,
    /// What to type.
    pub commands: Vec<String>,
}

/// Something that can be checked by looking. The order of the variants is the contract's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum Condition {
    /// Live voters are a quorum.
    Quorum,
    /// There are so many voters.
    Voters(u32),
    /// All members answer.
    AllAnswer,
    /// All members have the same hash at the same revision.
    HashesAgree,
    /// There is no learner.
    NoLearner,
    /// The member is listed.
    Listed(MemberIdentity),
    /// No such member is listed.
    NotListed(MemberId),
    /// The member is dead.
    Dead(MemberIdentity),
    /// The member answers the gateway.
    Answers(MemberIdentity),
    /// The member leads.
    Leads(MemberId),
    /// The member does not lead.
    DoesNotLead(MemberId),
    /// The alarm is raised.
    Raised(Alarm),
    /// The alarm is not raised.
    NotRaised(Alarm),
    /// The database takes less than so many percent of its quota.
    BelowQuota(MemberIdentity, u8),
    /// Less than so many percent of the database are free.
    FragmentedLessThan(MemberIdentity, u8),
    /// The object is there.
    Present(KubeResource, ObjectIdentity),
    /// The object is not there.
    Absent(KubeResource, ObjectIdentity),
    /// The Node is there and not ready.
    NotReady(ObjectIdentity),
    /// `ClusterStatus` has no such node.
    NoClusterStatusOf(String),
    /// A snapshot, verified and fresh enough, is kept.
    SnapshotFresh,
    /// What this plan made for joining is there.
    JoinMaterialThere,
    /// It is not.
    JoinMaterialGone,
}

impl MemberIdentity {
    /// Whether that is this member.
    pub fn is(&self, member: &Member) -> bool {
        self.id == member.id && self.name == member.name && self.peer_urls == member.peer_urls
    }
}

impl From<&Member> for MemberIdentity {
    fn from(member: &Member) -> Self {
        Self {
            id: member.id,
            name: member.name.clone(),
            peer_urls: member.peer_urls.clone(),
        }
    }
}

impl Action {
    /// Whether it changes who is a member, or who votes.
    pub fn changes_membership(&self) -> bool {
        matches!(self, Self::RemoveMember(_) | Self::PromoteLearner(_))
    }
}

impl fmt::Display for MemberIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() {
            "(never started)"
        } else {
            &self.name
        };
        write!(f, "{name} ({})", self.id)
    }
}

impl fmt::Display for ObjectIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        write!(f, "{} (uid {})", self.name, self.uid)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TakeSnapshot => f.write_str("take a snapshot of etcd and verify it"),
            Self::MoveLeader(Leadership { from, to }) => {
                write!(f, "hand leadership from member {from} to member {to}")
            }
            Self::RemoveMember(member) => write!(f, "remove member {member}"),
            Self::PromoteLearner(member) => write!(f, "make learner {member} a voter"),
            Self::DeleteNode(node) => write!(f, "delete Node {node}"),
            Self::DeleteMirrorPod(pod) => write!(f, "delete mirror pod {pod}"),
            Self::DeleteLease(lease) => write!(f, "delete Lease {lease}"),
            Self::EditClusterStatus(entry) => write!(
                f,
                "remove {} from ClusterStatus in kube-system/kubeadm-config",
                entry.node
            ),
            Self::MintJoinMaterial(material) => write!(
                f,
                "make a token and upload certificates for {} to join, good for {} s",
                material.node, material.lifetime_seconds
            ),
            Self::WaitForMember(awaited) => {
                write!(
                    f,
                    "wait until member {} votes, at most {} s",
                    awaited.name, awaited.timeout_seconds
                )
            }
            Self::RevokeJoinMaterial => f.write_str("delete the token and the uploaded certificates"),
            Self::Defragment(member) => write!(f, "defragment member {member}"),
            Self::Compact(revision) => write!(f, "compact etcd to revision {revision}"),
            Self::DisarmAlarm(alarm) => write!(f, "clear the alarm {alarm}"),
            Self::ByHand(instruction) => {
                write!(f, "by hand on {}: {}", instruction.machine, instruction.text)
            }
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quorum => f.write_str("live voters are a quorum"),
            Self::Voters(count) => write!(f, "there are {count} voters"),
            Self::AllAnswer => f.write_str("all members answer"),
            Self::HashesAgree => f.write_str("all members have the same hash"),
            Self::NoLearner => f.write_str("there is no learner"),
            Self::Listed(member) => write!(f, "member {member} is listed"),
            Self::NotListed(id) => write!(f, "no member {id} is listed"),
            Self::Dead(member) => write!(f, "member {member} is dead"),
            Self::Answers(member) => write!(f, "member {member} answers"),
            Self::Leads(id) => write!(f, "member {id} leads"),
            Self::DoesNotLead(id) => write!(f, "member {id} does not lead"),
            Self::Raised(alarm) => write!(f, "the alarm {alarm} is raised"),
            Self::NotRaised(alarm) => write!(f, "the alarm {alarm} is not raised"),
            Self::BelowQuota(member, percent) => {
                write!(
                    f,
                    "the database of member {member} is below {percent} % of its quota"
                )
            }
            Self::FragmentedLessThan(member, percent) => {
                write!(
                    f,
                    "less than {percent} % of the database of member {member} is free"
                )
            }
            Self::Present(resource, object) => write!(f, "{resource} {object} is there"),
            Self::Absent(resource, object) => write!(f, "{resource} {object} is not there"),
            Self::NotReady(node) => write!(f, "Node {node} is not ready"),
            Self::NoClusterStatusOf(node) => write!(f, "ClusterStatus has no {node}"),
            Self::SnapshotFresh => f.write_str("a fresh, verified snapshot is kept"),
            Self::JoinMaterialThere => f.write_str("the token and the certificates are there"),
            Self::JoinMaterialGone => f.write_str("the token and the certificates are gone"),
        }
    }
}
