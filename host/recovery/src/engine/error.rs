//! Why a plan is not made, approved or carried out.

use crate::{
    journal::{JournalError, Progress},
    plan::PlanId,
    rules::Violation,
};

/// Why a plan is not made, approved or carried out any further.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A rule, or one of the plan's own conditions.
    #[error(transparent)]
    Violated(#[from] Violation),
    /// The control plane could not be looked at.
    #[error("the control plane can't be seen: {0}")]
    Blind(String),
    /// The journal can't be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There is no plan of that id.
    #[error("there is no plan {0}")]
    NoSuchPlan(PlanId),
    /// It has ended.
    #[error("the plan is over: {0:?}. Make a new one")]
    Over(Progress),
    /// A person has to do something first.
    #[error("step {} is done by hand on {machine}: {text} When it is done, confirm it", .step + 1)]
    ByHand {
        /// Which step, from 0.
        step: usize,
        /// Where.
        machine: String,
        /// What.
        text: String,
    },
    /// A confirmation of something else than the next step.
    #[error("step {} can't be confirmed: it is not by hand, or step {} comes first", .step + 1, .next + 1)]
    NotByHand {
        /// Which step was meant.
        step: usize,
        /// Which one comes next.
        next: usize,
    },
    /// A step was tried, and its effect is not there.
    #[error("step {} was not done: {reason}. Nothing after it was tried; resume when that is put right", .step + 1)]
    NotDone {
        /// Which step, from 0.
        step: usize,
        /// What the executor and the look afterwards said.
        reason: String,
    },
}

impl EngineError {
    /// The rule that was violated, if it was one.
    pub fn violation(&self) -> Option<&Violation> {
        match self {
            Self::Violated(violation) => Some(violation),
            _ => None,
        }
    }
}

impl From<witgate_state::Error> for EngineError {
    fn from(error: witgate_state::Error) -> Self {
        Self::Journal(error.into())
    }
}
