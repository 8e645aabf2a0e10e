//! What steps are carried out by and seen with: traits, so that the rules, the engine and the journal
//! can be tried on a model as well as on a cluster.

use std::time::Duration;

use witgate_plugins::recovery::{Action, Timestamp, Unavailable};

use crate::{observation::Observation, plan::PlanId};

/// Looks at the control plane.
#[async_trait::async_trait]
pub trait World: Send + Sync + std::fmt::Debug {
    /// What it is like now, from all vantage points.
    async fn observe(&self) -> Result<Observation, Unavailable>;
}

/// Carries out actions. Each call is one change, and says whether it is known to have happened;
/// whether it really has is looked at afterwards.
#[async_trait::async_trait]
pub trait Executor: Send + Sync + std::fmt::Debug {
    /// Carries out the action of a task. Called after the intent is on disk, with the rules checked.
    /// Returns what the journal is to say about it, which may be nothing.
    async fn perform(&self, task: &Task<'_>) -> Result<String, Failure>;
}

/// One action to be carried out.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// The plan that it belongs to.
    pub plan: &'a PlanId,
    /// Its number in the plan, from 0.
    pub step: usize,
    /// The fencing token of the executor.
    pub token: u64,
    /// What to do.
    pub action: &'a Action,
    /// The control plane as it was a moment ago, when the rules were checked.
    pub seen: &'a Observation,
}

/// Why it was not, or may not have been.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// Time, as the engine has it.
#[async_trait::async_trait]
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Now.
    fn now(&self) -> Timestamp;

    /// Waits.
    async fn sleep(&self, time: Duration);
}

/// The machine's time.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait::async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        crate::policy::millis(now.unwrap_or_default())
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}
