//! What a recovery plugin is to the rest of the gateway, whichever way it is implemented.

mod proposal;
mod survey;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::CallError;

pub use proposal::{
    Action, Awaited, ClusterStatusEntry, Condition, Instruction, JoinMaterial, Leadership, MemberIdentity,
    Mode, ObjectIdentity, Proposal, Step,
};
pub use survey::{Alarm, AlarmKind, Hash, Member, MemberId, Seen, Sighting, Status, Survey, Timestamp};

/// Finds out what is wrong with a control plane and proposes repairs. Implemented by components
/// (any version of `witgate:recovery`) and by native code alike.
///
/// It never acts: what it can reach is the [`Observer`] that it is given, which has no method that
/// changes anything.
#[async_trait::async_trait]
pub trait Recovery: Send + Sync + std::fmt::Debug {
    /// What is wrong at the moment.
    async fn diagnose(&self, observer: Arc<dyn Observer>) -> Result<Vec<Finding>, RecoveryError>;

    /// How to repair one of them, or why not.
    async fn plan(&self, observer: Arc<dyn Observer>, finding: &Finding) -> Result<Proposal, RecoveryError>;
}

/// What a recovery plugin sees with. One observer stands for one moment: within one call the same
/// question has the same answer.
///
/// Objects are given whole. What the operator has not granted, and what is secret in what they
/// have, is held back on the way into the plugin, not here.
#[async_trait::async_trait]
pub trait Observer: Send + Sync + std::fmt::Debug {
    /// One object; none if there is none of that name. `namespace` is empty for what is in none.
    async fn get(
        &self,
        resource: &KubeResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<serde_json::Value>, Unavailable>;

    /// The objects that a label selector selects, in a namespace or (empty) everywhere.
    async fn list(
        &self,
        resource: &KubeResource,
        namespace: &str,
        selector: &str,
    ) -> Result<Vec<serde_json::Value>, Unavailable>;

    /// The etcd cluster from all vantage points.
    async fn survey(&self) -> Result<Survey, Unavailable>;
}

/// A kind of Kubernetes object, as in its URL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct KubeResource {
    /// `""` for the core group.
    pub group: String,
    /// `v1`.
    pub version: String,
    /// `nodes`.
    pub plural: String,
}

impl KubeResource {
    /// A kind of the core group's version 1.
    pub fn core(plural: &str) -> Self {
        Self {
            group: String::new(),
            version: "v1".to_owned(),
            plural: plural.to_owned(),
        }
    }

    /// Leases, by which the control plane's components elect their leader.
    pub fn leases() -> Self {
        Self {
            group: "coordination.k8s.io".to_owned(),
            version: "v1".to_owned(),
            plural: "leases".to_owned(),
        }
    }
}

impl std::fmt::Display for KubeResource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.plural)?;
        if self.group.is_empty() {
            Ok(())
        } else {
            write!(f, ".{}", self.group)
        }
    }
}

/// Something that can't be seen at the moment.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Finding {
    /// The class: `dead-member`.
    pub class: String,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub subject: String,
    /// What is wrong, in one sentence.
    pub summary: String,
    /// What it was concluded from.
    pub evidence: Vec<Evidence>,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Worth knowing.
    Notice,
    /// The control plane works, with less left to lose.
    Degraded,
    /// The control plane does not work, or the next failure will cost it.
    Critical,
}

/// An observation that a finding rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Evidence {
    /// What was observed.
    pub what: String,
    /// Where it was seen from.
    pub vantage: String,
    /// When.
    pub at: Timestamp,
    /// The value as it was.
    pub raw: String,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[error("{rule}: {reason}. {advice}")]
pub struct Refusal {
    /// The rule that stands against it.
    pub rule: String,
    /// Why, with the numbers.
    pub reason: String,
    /// What a person can do instead.
    pub advice: String,
}

/// Why a recovery plugin has no answer.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The plugin says that it must not be repaired by steps, or can't.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The plugin could not see enough to tell.
    #[error("{0}")]
    Blind(String),
    /// The plugin could not be asked.
    #[error(transparent)]
    Failed(#[from] CallError),
}
