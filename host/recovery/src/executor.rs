//! What steps are carried out by and seen with: traits, so that the rules, the engine and the journal
//! can be tried on a model as well as on a cluster.

use std::time::Duration;

use secrecy::SecretString;
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
    async fn perform(&self, task: &Task<'_>) -> Result<Performed, Failure>;
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

/// What was carried out.
#[derive(Debug, Default)]
pub struct Performed {
    /// What to say about it, in the journal and to people.
    pub detail: String,
    /// What only the person who carries out the plan may see, once.
    pub secret: Option<SecretString>,
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

/// Who watches a plan being carried out.
pub trait Audience: Send + Sync {
    /// A step begins, ends or waits.
    fn tell(&self, news: News<'_>);

    /// Something that is shown to this person once and kept nowhere.
    fn reveal(&self, secret: &SecretString);
}

/// What is told while a plan is carried out.
#[derive(Clone, Copy, Debug)]
pub enum News<'a> {
    /// A step is about to be taken.
    Begins {
        /// Which one, from 0.
        step: usize,
        /// What it does.
        action: &'a Action,
    },
    /// It was taken; what it is for is being looked for.
    Settling {
        /// Which one.
        step: usize,
    },
    /// It is done.
    Done {
        /// Which one.
        step: usize,
        /// What there is to say about it.
        detail: &'a str,
    },
}

/// Nobody watches.
impl Audience for () {
    fn tell(&self, _: News<'_>) {}

    fn reveal(&self, _: &SecretString) {}
}
