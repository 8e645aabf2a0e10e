//! One entry of the journal.

use serde::{Deserialize, Serialize};
use witgate_plugins::recovery::{Action, Timestamp};

use crate::{
    approval::Approval,
    observation::Observation,
    plan::{Plan, PlanId},
    rules::Violation,
};

/// One entry. What is secret is never in one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Entry {
    /// Its place in the journal, from 0.
    pub number: u64,
    /// When it was written.
    pub at: Timestamp,
    /// Which plan it is about.
    pub plan: PlanId,
    /// The digest of the entry before; empty for the first.
    pub previous: String,
    /// What happened, or is about to.
    pub event: Event,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Event {
    /// The plan was made.
    Planned {
        /// All of it.
        plan: Box<Plan>,
    },
    /// Somebody approved it.
    Approved {
        /// Who, and for how long.
        approval: Approval,
    },
    /// An executor began, or began again.
    Started {
        /// Which process or person.
        executor: String,
        /// Its fencing token.
        token: u64,
    },
    /// A step is about to be taken.
    Intended {
        /// Which one, from 0.
        step: usize,
        /// What it does.
        action: Action,
        /// The fencing token of the one who does it.
        token: u64,
    },
    /// Somebody says that a step by hand was done.
    Confirmed {
        /// Which one.
        step: usize,
        /// Who.
        by: String,
    },
    /// A step is done, and what it is for was seen.
    Done {
        /// Which one.
        step: usize,
        /// How it came to be.
        how: Completion,
        /// What the executor says about it.
        detail: String,
        /// What was seen, after a step whose result can't be known in advance.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        seen: Option<Box<Observation>>,
    },
    /// The executor stopped before or in a step.
    Stopped {
        /// Which one.
        step: usize,
        /// Why.
        reason: String,
        /// The rule that stopped it, if it was one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        violation: Option<Violation>,
    },
    /// All steps are done.
    Finished,
    /// Somebody gave the plan up.
    Abandoned {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
}

impl Event {
    pub(super) fn ends_the_plan(&self) -> bool {
        matches!(self, Self::Finished | Self::Abandoned { .. })
    }

    /// A plan may be given up while a step of it is being taken: how that step ended is still written
    /// down, and nothing else is begun.
    pub(super) fn may_follow_the_end(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Stopped { .. })
    }
}

/// How a step came to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Completion {
    /// It was taken.
    Taken,
    /// What it is for was the case already.
    FoundDone,
}
