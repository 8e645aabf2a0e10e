//! The rules that no step breaks, whoever planned it: pure functions over what was observed.
//!
//! Each says what it demands and, when it is violated, with which numbers. They hold for a plan when
//! it is made, on the states that its steps would lead through, and again for each step right before
//! it is taken, on the state as it is then.

mod etcd;
mod join;
mod kubernetes;
mod snapshot;
mod whole;

use std::fmt;

use serde::{Deserialize, Serialize};
use witgate_plugins::recovery::Action;

use crate::{observation::Observation, policy::Policy};

pub(crate) use etcd::DEFAULT_QUOTA;
pub(crate) use kubernetes::NAMESPACE;
pub(crate) use snapshot::fresh;
pub(crate) use whole::{secrets_revoked, tolerance_kept, well_formed};

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// No change is asked of a cluster that can't commit it.
    QuorumCommits,
    /// What is left after a removal is a quorum of what is listed then.
    QuorumSurvives,
    /// No vote is added while a voter is silent, and only one learner at a time.
    GrowsWhenWhole,
    /// One change of membership at a time, on a list that a quorum confirmed.
    OneChangeAtATime,
    /// A member is what the plan says by id, name and peer URLs.
    SameMember,
    /// Only what is dead is removed; or a learner that never started or can't catch up; or the one
    /// whose store the majority contradicts.
    DeadForSure,
    /// Leadership goes to a live voter that has nearly caught up, before a leader is removed.
    LeaderMovesFirst,
    /// What can't be undone has a fresh, verified snapshot behind it.
    SnapshotFirst,
    /// Enough people approved exactly this plan, not long ago.
    ApprovedAsIs,
    /// The control plane is as the plan expects it.
    NoDrift,
    /// What is done is not done again.
    NothingTwice,
    /// What is about to be done is on disk before it is.
    IntentFirst,
    /// One executor at a time.
    OneExecutor,
    /// Join material is short-lived, and revoked by the plan that made it.
    SecretsEnd,
    /// Only objects that recovery is for are changed.
    OnlyItsObjects,
    /// An alarm is cleared after its cause is gone.
    CauseGone,
    /// Databases are defragmented one by one, all members being well, the leader's last.
    DefragmentInTurn,
    /// An object is the one that the plan means by its UID, and a Node goes after its member.
    ExactObject,
    /// A plan leaves the cluster able to lose as many voters as before.
    ToleranceKept,
    /// The joining kubeadm is of the cluster's version.
    VersionFits,
    /// What the plugin wanted to hold, before or after a step.
    PlansCondition,
    /// A plan is made of what its mode allows.
    WellFormed,
}

/// A rule that is violated, and by what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{rule}: {says}")]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// What is so and what would have to be, with the numbers.
    pub says: String,
}

/// What the rules look at beside the action.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) seen: &'a Observation,
    pub(crate) policy: &'a Policy,
    /// The plan's id.
    pub(crate) plan: &'a str,
    /// The revision that etcd was at when the plan was made.
    pub(crate) revision: i64,
    /// Members that later steps of the plan defragment.
    pub(crate) defragmented_later: usize,
    /// A change of membership, of another plan, of which nobody knows how it ended.
    pub(crate) open: Option<&'a str>,
}

/// The rules that are asked. All of them, always; that one can be left out is there so that a test
/// can show that it would be missed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    without: Option<Rule>,
}

impl Rules {
    #[cfg(test)]
    pub(crate) fn without(rule: Rule) -> Self {
        Self { without: Some(rule) }
    }

    /// Whether a rule is asked.
    pub(crate) fn ask(self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// Lets a violation of a rule that isn't asked pass.
    pub(crate) fn filter(self, checked: Result<(), Violation>) -> Result<(), Violation> {
        match checked {
            Err(violation) if !self.ask(violation.rule) => Ok(()),
            other => other,
        }
    }

    /// Checks everything that has to hold right before an action.
    pub(crate) fn check(self, action: &Action, scene: &Scene<'_>) -> Result<(), Violation> {
        for check in CHECKS {
            self.filter(check(action, scene))?;
        }
        Ok(())
    }
}

type Check = fn(&Action, &Scene<'_>) -> Result<(), Violation>;

/// In the order in which a violation is worth knowing.
const CHECKS: [Check; 15] = [
    etcd::same_member,
    etcd::dead_for_sure,
    etcd::quorum_commits,
    etcd::quorum_survives,
    etcd::leader_moves_first,
    etcd::one_change_at_a_time,
    etcd::grows_when_whole,
    etcd::cause_gone,
    etcd::defragment_in_turn,
    kubernetes::exact_object,
    kubernetes::only_its_objects,
    join::names_a_node,
    join::version_fits,
    join::secrets_end,
    snapshot::snapshot_first,
];

impl Rule {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::QuorumCommits,
        Self::QuorumSurvives,
        Self::GrowsWhenWhole,
        Self::OneChangeAtATime,
        Self::SameMember,
        Self::DeadForSure,
        Self::LeaderMovesFirst,
        Self::SnapshotFirst,
        Self::ApprovedAsIs,
        Self::NoDrift,
        Self::NothingTwice,
        Self::IntentFirst,
        Self::OneExecutor,
        Self::SecretsEnd,
        Self::OnlyItsObjects,
        Self::CauseGone,
        Self::DefragmentInTurn,
        Self::ExactObject,
        Self::ToleranceKept,
        Self::VersionFits,
        Self::PlansCondition,
        Self::WellFormed,
    ];

    /// Its name, as refusals and the journal have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::QuorumCommits => "quorum-commits",
            Self::QuorumSurvives => "quorum-survives",
            Self::GrowsWhenWhole => "grows-when-whole",
            Self::OneChangeAtATime => "one-change-at-a-time",
            Self::SameMember => "same-member",
            Self::DeadForSure => "dead-for-sure",
            Self::LeaderMovesFirst => "leader-moves-first",
            Self::SnapshotFirst => "snapshot-first",
            Self::ApprovedAsIs => "approved-as-is",
            Self::NoDrift => "no-drift",
            Self::NothingTwice => "nothing-twice",
            Self::IntentFirst => "intent-first",
            Self::OneExecutor => "one-executor",
            Self::SecretsEnd => "secrets-end",
            Self::OnlyItsObjects => "only-its-objects",
            Self::CauseGone => "cause-gone",
            Self::DefragmentInTurn => "defragment-in-turn",
            Self::ExactObject => "exact-object",
            Self::ToleranceKept => "tolerance-kept",
            Self::VersionFits => "version-fits",
            Self::PlansCondition => "plans-condition",
            Self::WellFormed => "well-formed",
        }
    }

    /// A violation of it.
    pub(crate) fn broken(self, says: impl Into<String>) -> Violation {
        Violation {
            rule: self,
            says: says.into(),
        }
    }

    /// Demands something.
    pub(crate) fn demand(self, holds: bool, says: impl FnOnce() -> String) -> Result<(), Violation> {
        if holds { Ok(()) } else { Err(self.broken(says())) }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
