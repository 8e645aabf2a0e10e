//! Makes, approves and carries out plans.
//!
//! Carrying out is one loop, the same for a plan that begins and for one that goes on after a crash:
//! look; if what the next step is for is the case, write that down; else compare with what the plan
//! expects, ask the rules, write the intent down, act, and look until the effect is there. Nothing is
//! taken over from before but what the journal says, and nothing is done because the journal says so.

mod apply;
mod error;

use std::sync::Arc;

use witgate_plugins::recovery::{Action, Finding, Proposal};

use crate::{
    approval::{self, Approval},
    drift,
    executor::{Clock, Executor, World},
    journal::{Dossier, Event, Journal},
    observation::Observation,
    plan::{Plan, PlanId, Planner},
    policy::{Policy, millis},
    rules::{Rules, Scene, Violation},
};

pub use error::EngineError;

/// Makes, approves and carries out plans. A clone is the same engine.
#[derive(Clone, Debug)]
pub struct Engine {
    world: Arc<dyn World>,
    executor: Arc<dyn Executor>,
    clock: Arc<dyn Clock>,
    journal: Journal,
    policy: Policy,
    rules: Rules,
}

impl Engine {
    /// An engine.
    pub fn new(
        world: Arc<dyn World>,
        executor: Arc<dyn Executor>,
        clock: Arc<dyn Clock>,
        journal: Journal,
        policy: Policy,
    ) -> Self {
        Self {
            world,
            executor,
            clock,
            journal,
            policy,
            rules: Rules::default(),
        }
    }

    /// An engine that forgets one rule, to show that this would be noticed.
    #[cfg(test)]
    pub(crate) fn forgetting(self, rule: crate::rules::Rule) -> Self {
        Self {
            rules: Rules::without(rule),
            ..self
        }
    }

    /// The same engine, with other hands.
    #[must_use]
    pub fn acting_with(&self, executor: Arc<dyn Executor>) -> Self {
        Self {
            executor,
            ..self.clone()
        }
    }

    /// What there is to read about plans.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// What the control plane looks like now.
    pub async fn observe(&self) -> Result<Observation, EngineError> {
        let seen = self.world.observe().await;
        seen.map_err(|error| EngineError::Blind(error.to_string()))
    }

    /// Makes a proposal a plan, if no rule has anything against it.
    pub async fn plan(
        &self,
        planner: Planner,
        requester: &str,
        finding: Finding,
        proposal: Proposal,
    ) -> Result<PlanId, EngineError> {
        let plan = Plan {
            planner,
            requester: requester.to_owned(),
            made: self.clock.now(),
            finding,
            seen: self.observe().await?,
            proposal,
        };
        let open = self.journal.open_change(None).await?;
        plan.check(self.rules, &self.policy, open.as_deref())?;
        let id = plan.id();
        if self.journal.dossier(&id).await?.is_some() {
            return Ok(id);
        }
        let plan = Box::new(plan);
        self.journal
            .append(self.clock.now(), &id, Event::Planned { plan }, None)
            .await?;
        Ok(id)
    }

    /// Records somebody's agreement to a plan that the control plane still is as expected for.
    pub async fn approve(&self, id: &PlanId, by: &str) -> Result<(), EngineError> {
        let dossier = self.current(id).await?;
        self.rules
            .filter(approval::may_approve(&dossier.plan, &self.policy, by))?;
        let seen = self.observe().await?;
        self.drift(&dossier, &seen, dossier.next)?;
        let now = self.clock.now();
        let approval = Approval {
            by: by.to_owned(),
            at: now,
            expires: now + millis(self.policy.approval_lifetime),
        };
        self.journal
            .append(now, id, Event::Approved { approval }, None)
            .await?;
        Ok(())
    }

    /// Records that the next step, which is by hand, was done.
    pub async fn confirm(&self, id: &PlanId, step: usize, by: &str) -> Result<(), EngineError> {
        let dossier = self.current(id).await?;
        let action = dossier.plan.proposal.steps.get(step).map(|step| &step.action);
        if step != dossier.next || !matches!(action, Some(Action::ByHand(_))) {
            return Err(EngineError::NotByHand {
                step,
                next: dossier.next,
            });
        }
        let by = by.to_owned();
        self.journal
            .append(self.clock.now(), id, Event::Confirmed { step, by }, None)
            .await?;
        Ok(())
    }

    /// Gives a plan up. What was done stays done.
    pub async fn abandon(&self, id: &PlanId, by: &str, reason: &str) -> Result<(), EngineError> {
        self.current(id).await?;
        let event = Event::Abandoned {
            by: by.to_owned(),
            reason: reason.to_owned(),
        };
        self.journal.append(self.clock.now(), id, event, None).await?;
        Ok(())
    }

    /// A plan that can go on.
    async fn current(&self, id: &PlanId) -> Result<Dossier, EngineError> {
        let dossier = self.journal.dossier(id).await?;
        let dossier = dossier.ok_or_else(|| EngineError::NoSuchPlan(id.clone()))?;
        if dossier.is_over() {
            return Err(EngineError::Over(dossier.progress));
        }
        Ok(dossier)
    }

    /// Whether what is seen is what is expected before the step of that number.
    fn drift(&self, dossier: &Dossier, seen: &Observation, step: usize) -> Result<(), Violation> {
        let scene = self.scene(dossier, seen, None);
        let steps = &dossier.plan.proposal.steps;
        let checked = drift::demand_none(&dossier.expected(step), &scene, steps, step);
        self.rules.filter(checked)
    }

    fn scene<'a>(&'a self, dossier: &'a Dossier, seen: &'a Observation, open: Option<&'a str>) -> Scene<'a> {
        Scene {
            seen,
            policy: &self.policy,
            plan: dossier.id.label(),
            revision: dossier.plan.seen.revision(),
            defragmented_later: dossier.plan.defragmented_after(dossier.next),
            open,
        }
    }
}
