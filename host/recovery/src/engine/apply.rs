//! Carrying a plan out.

use std::time::Duration;

use witgate_plugins::recovery::{Action, Step};

use super::{Engine, EngineError};
use crate::{
    approval, condition,
    executor::Task,
    journal::{Completion, Dossier, Event},
    lease::{Fence, LeaseError},
    observation::Observation,
    plan::PlanId,
    rules::Rule,
};

/// How often is looked whether a step's effect is there.
const LOOK: Duration = Duration::from_secs(1);

/// One run of an executor.
struct Run<'a> {
    engine: &'a Engine,
    /// None only if the rule of one executor is not asked.
    fence: &'a mut Option<Fence>,
    dossier: Dossier,
}

impl Engine {
    /// Carries a plan out from where it is, until it is done or something is not as it should be.
    /// The same call resumes one that was interrupted.
    pub async fn apply(&self, id: &PlanId, executor: &str) -> Result<(), EngineError> {
        let space = self.journal.space();
        let mut fence = match Fence::take(space, executor, self.policy.lease, self.clock.now()).await {
            Ok(fence) => Some(fence),
            Err(LeaseError::State(error)) => return Err(error.into()),
            Err(held) => {
                self.rules
                    .filter(Err(Rule::OneExecutor.broken(held.to_string())))?;
                None
            }
        };
        let outcome = match self.current(id).await {
            Ok(dossier) => {
                let mut run = Run {
                    engine: self,
                    fence: &mut fence,
                    dossier,
                };
                run.all(executor).await
            }
            Err(error) => Err(error),
        };
        if let Some(fence) = fence {
            // Whoever comes next would only have to wait for it to end.
            if let Err(error) = fence.give_back(space).await {
                tracing::warn!("the lease can't be given back: {error}");
            }
        }
        outcome
    }
}

impl Run<'_> {
    async fn all(&mut self, executor: &str) -> Result<(), EngineError> {
        let token = self.token();
        let executor = executor.to_owned();
        self.write(Event::Started { executor, token }).await?;
        while let Some(step) = self.dossier.plan.proposal.steps.get(self.dossier.next).cloned() {
            let number = self.dossier.next;
            match self.step(number, &step).await {
                Ok(()) => self.catch_up().await?,
                // That it was given up is in the journal.
                Err(error @ EngineError::Over(_)) => return Err(error),
                Err(error) => {
                    self.write_stop(number, &error).await;
                    return Err(error);
                }
            }
        }
        self.write(Event::Finished).await
    }

    async fn catch_up(&mut self) -> Result<(), EngineError> {
        self.engine.journal.catch_up(&mut self.dossier).await?;
        if self.dossier.is_over() {
            return Err(EngineError::Over(self.dossier.progress));
        }
        Ok(())
    }

    async fn step(&mut self, number: usize, step: &Step) -> Result<(), EngineError> {
        self.renew().await?;
        let seen = self.engine.observe().await?;
        self.approved()?;
        if let Action::ByHand(instruction) = &step.action {
            if self.dossier.confirmed.is_none() {
                self.engine.drift(&self.dossier, &seen, number)?;
                return Err(EngineError::ByHand {
                    step: number,
                    machine: instruction.machine.clone(),
                    text: instruction.text.clone(),
                });
            }
            return self.settle(number, step, "").await;
        }
        let engine = self.engine;
        let scene = engine.scene(&self.dossier, &seen, None);
        if engine.rules.ask(Rule::NothingTwice) && condition::already(&step.action, &scene) {
            return self
                .done(number, Completion::FoundDone, "it was the case already", None)
                .await;
        }
        let open = engine.journal.open_change(Some(&self.dossier.id)).await?;
        let scene = engine.scene(&self.dossier, &seen, open.as_deref());
        engine.drift(&self.dossier, &seen, number)?;
        engine.rules.check(&step.action, &scene)?;
        for before in &step.before {
            engine.rules.filter(condition::demand(before, &scene))?;
        }
        let performed = self.perform(number, &step.action, &seen).await;
        self.settle(number, step, &performed?).await
    }

    /// Writes the intent down, and acts. What there is to say about it.
    async fn perform(
        &mut self,
        step: usize,
        action: &Action,
        seen: &Observation,
    ) -> Result<String, EngineError> {
        let token = self.token();
        if self.engine.rules.ask(Rule::IntentFirst) {
            let action = action.clone();
            self.write(Event::Intended { step, action, token }).await?;
        }
        if matches!(action, Action::WaitForMember(_)) {
            return Ok(String::new());
        }
        let Self {
            engine,
            dossier,
            fence,
            ..
        } = self;
        let task = Task {
            plan: &dossier.id,
            step,
            token,
            action,
            seen,
        };
        let performed = held(engine, fence, engine.executor.perform(&task)).await;
        // It may have happened all the same: what is seen decides.
        Ok(performed.unwrap_or_else(|failure| failure.to_string()))
    }

    /// Looks until a step's effect is there.
    async fn settle(&mut self, number: usize, step: &Step, detail: &str) -> Result<(), EngineError> {
        let engine = self.engine;
        let patience = match &step.action {
            Action::WaitForMember(awaited) => Duration::from_secs(u64::from(awaited.timeout_seconds)),
            _ => engine.policy.settle,
        };
        let until = engine.clock.now() + crate::policy::millis(patience);
        loop {
            let missing = match engine.observe().await {
                Ok(seen) => match self.missing(step, &seen) {
                    None => {
                        // Others may have done something too while it was waited for.
                        if matches!(step.action, Action::WaitForMember(_)) {
                            engine.drift(&self.dossier, &seen, number + 1)?;
                        }
                        let unknown = matches!(step.action, Action::ByHand(_) | Action::WaitForMember(_));
                        let seen = unknown.then(|| Box::new(seen));
                        return self.done(number, Completion::Taken, detail, seen).await;
                    }
                    Some(missing) => missing,
                },
                Err(error) => error.to_string(),
            };
            if engine.clock.now() >= until {
                let said = if detail.is_empty() {
                    String::new()
                } else {
                    format!("{}; ", detail)
                };
                return Err(EngineError::NotDone {
                    step: number,
                    reason: format!("{said}after {} s {missing}", patience.as_secs()),
                });
            }
            engine.clock.sleep(LOOK).await;
            self.renew().await?;
            // Nobody comes for a plan that was given up, and others have plans that wait for the lease.
            if matches!(step.action, Action::WaitForMember(_)) {
                self.catch_up().await?;
            }
        }
    }

    /// What of a step's effect is not there.
    fn missing(&self, step: &Step, seen: &Observation) -> Option<String> {
        let scene = self.engine.scene(&self.dossier, seen, None);
        let by_hand = matches!(step.action, Action::ByHand(_));
        if !by_hand && !condition::achieved(&step.action, &scene) {
            return Some(format!("what it is for is not seen: {}", step.action));
        }
        let after = step
            .after
            .iter()
            .map(|condition| condition::demand(condition, &scene));
        after
            .filter_map(|checked| self.engine.rules.filter(checked).err())
            .map(|violation| violation.says)
            .next()
    }

    async fn done(
        &self,
        step: usize,
        how: Completion,
        detail: &str,
        seen: Option<Box<Observation>>,
    ) -> Result<(), EngineError> {
        let event = Event::Done {
            step,
            how,
            detail: detail.to_owned(),
            seen,
        };
        self.write(event).await
    }

    fn approved(&self) -> Result<(), EngineError> {
        let Engine {
            policy, clock, rules, ..
        } = self.engine;
        let Dossier { plan, approvals, .. } = &self.dossier;
        Ok(rules.filter(approval::enough(plan, policy, approvals, clock.now()))?)
    }

    async fn renew(&mut self) -> Result<(), EngineError> {
        renew(self.engine, self.fence).await
    }

    fn token(&self) -> u64 {
        self.fence.as_ref().map_or(0, Fence::token)
    }

    async fn write(&self, event: Event) -> Result<(), EngineError> {
        let Engine { journal, clock, .. } = self.engine;
        journal
            .append(clock.now(), &self.dossier.id, event, self.fence.as_ref())
            .await?;
        Ok(())
    }

    /// Writes down why it stopped, if that can be written: the reason itself is returned anyway.
    async fn write_stop(&self, step: usize, error: &EngineError) {
        let event = Event::Stopped {
            step,
            reason: error.to_string(),
            violation: error.violation().cloned(),
        };
        if let Err(unwritten) = self.write(event).await {
            tracing::warn!(plan = %self.dossier.id, "that the plan stopped can't be journalled: {unwritten}");
        }
    }
}

async fn renew(engine: &Engine, fence: &mut Option<Fence>) -> Result<(), EngineError> {
    let Some(fence) = fence else {
        return Ok(());
    };
    let space = engine.journal.space();
    if !fence.renew(space, engine.clock.now()).await? {
        let says = format!("the lease of token {} has ended or was taken over", fence.token());
        engine.rules.filter(Err(Rule::OneExecutor.broken(says)))?;
    }
    Ok(())
}

/// Keeps the lease while an action takes its time: a large snapshot, a defragmentation.
async fn held<T>(engine: &Engine, fence: &mut Option<Fence>, action: impl Future<Output = T>) -> T {
    let mut action = std::pin::pin!(action);
    // Two renewals may fail.
    let renewal = engine.policy.lease / 3;
    loop {
        tokio::select! {
            biased;
            done = &mut action => return done,
            () = engine.clock.sleep(renewal) => {}
        }
        // What has begun can't be called back; without the lease nothing that follows is written.
        if let Err(error) = renew(engine, fence).await {
            tracing::warn!("the lease was lost while a step was being taken: {error}");
        }
    }
}
