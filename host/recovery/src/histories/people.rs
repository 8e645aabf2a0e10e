//! One history: faults, plans, people who approve, executors that run at the same time and are killed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use witgate_plugins::recovery::{Action, Alarm, AlarmKind, Finding, MemberId, Mode, Proposal, Severity};

use super::{
    ground::{CLUSTER, Ground, Process},
    memory::Memory,
    proposals,
    schedule::{self, Task, finish},
    truth::Planned,
};
use crate::{
    engine::{Engine, EngineError},
    executor::World as _,
    journal::{Dossier, Event, Journal, Progress},
    observation::Snapshot,
    plan::{PlanId, Planner},
    policy::Policy,
    rules::Rule,
    silence::Silence,
};

/// Short enough that histories get to see everything end.
pub(super) fn policy() -> Policy {
    Policy {
        silence: Duration::from_secs(60),
        approvals: 1,
        settle: Duration::from_secs(3),
        approval_lifetime: Duration::from_secs(1200),
        ..Policy::default()
    }
}

/// One history.
pub(super) struct History {
    rng: fastrand::Rng,
    pub(super) ground: Arc<Mutex<Ground>>,
    memory: Memory,
    plans: Arc<Mutex<BTreeMap<PlanId, Planned>>>,
    forgotten: Option<Rule>,
    /// One fault in so many polls; none at all for 0.
    pub(super) faults: usize,
    /// One kill in so many polls.
    kills: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) finished: usize,
    pub(super) performed: usize,
    pub(super) crashed: usize,
    pub(super) polls: usize,
    pub(super) wrong: Vec<String>,
    /// The control plane at the end, in words.
    pub(super) end: String,
}

impl History {
    pub(super) fn new(seed: u64, forgotten: Option<Rule>) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let ground = Ground::new(&mut rng);
        let (faults, kills) = ([0, 0, 60, 15][rng.usize(..4)], [0, 100, 25][rng.usize(..3)]);
        Self {
            rng,
            ground: Arc::new(Mutex::new(ground)),
            memory: Memory::default(),
            plans: Arc::default(),
            forgotten,
            faults,
            kills,
        }
    }

    pub(super) fn process(&self) -> Process {
        Process {
            ground: self.ground.clone(),
            memory: self.memory.clone(),
            silence: finish(Silence::open(&self.memory)).unwrap(),
            looked: Arc::default(),
            plans: self.plans.clone(),
        }
    }

    pub(super) fn engine(&self) -> Engine {
        let process = Arc::new(self.process());
        let journal = Journal::open(&self.memory).unwrap();
        let engine = Engine::new(process.clone(), process.clone(), process, journal, policy());
        match self.forgotten {
            Some(rule) => engine.forgetting(rule),
            None => engine,
        }
    }

    pub(super) fn run(mut self) -> Outcome {
        let mut outcome = Outcome::default();
        for _ in 0..self.rng.usize(1..4) {
            fault(&mut self.ground.lock().unwrap(), &mut self.rng);
        }
        self.watch();
        let planned: Vec<_> = (0..self.rng.usize(1..3)).filter_map(|_| self.plan()).collect();
        for id in &planned {
            self.approve(id);
        }
        // Executors of both plans, or two of the same one, and what was killed is resumed.
        for _ in 0..3 {
            if planned.is_empty() {
                break;
            }
            let executors: Vec<_> = if self.rng.bool() {
                vec![&planned[self.rng.usize(..planned.len())]]
            } else {
                planned
                    .iter()
                    .chain(planned.first().filter(|_| self.rng.bool()))
                    .collect()
            };
            let (killed, polls) = self.execute(&executors, self.kills, None);
            outcome.crashed += killed;
            outcome.polls += polls;
            if killed == 0 && self.rng.bool() {
                break;
            }
            // Whoever was killed still has the lease.
            self.ground.lock().unwrap().now += 60_000;
            self.watch();
        }
        self.judge(&planned, outcome)
    }

    /// Somebody looks every now and then, so that silence is known to last.
    fn watch(&mut self) {
        let process = self.process();
        for _ in 0..self.rng.usize(1..4) {
            finish(process.observe()).unwrap();
            self.ground.lock().unwrap().now += 40_000;
        }
        finish(process.observe()).unwrap();
    }

    fn plan(&mut self) -> Option<PlanId> {
        let ground = self.ground.lock().unwrap().clone();
        let proposal = proposals::proposal(&ground, &mut self.rng);
        self.plan_as(&proposal, &ground)
    }

    /// Alice asks for a plan.
    pub(super) fn propose(&self, proposal: &Proposal) -> Result<PlanId, EngineError> {
        let finding = Finding {
            class: String::new(),
            severity: Severity::Degraded,
            subject: String::new(),
            summary: String::new(),
            evidence: Vec::new(),
        };
        let planner = Planner {
            plugin: "p".to_owned(),
            sha256: String::new(),
        };
        let engine = self.engine();
        finish(engine.plan(planner, "alice", finding, proposal.clone()))
    }

    pub(super) fn plan_as(&mut self, proposal: &Proposal, ground: &Ground) -> Option<PlanId> {
        let id = match self.propose(proposal) {
            Ok(id) => id,
            Err(error) => {
                // A refusal says which rule, and its numbers.
                let violation = error.violation().unwrap_or_else(|| panic!("{error}"));
                if !violation.says.bytes().any(|byte| byte.is_ascii_digit()) {
                    self.ground
                        .lock()
                        .unwrap()
                        .wrong
                        .push(format!("refused without a number: {violation}"));
                }
                return None;
            }
        };
        let mut wrong = Vec::new();
        let by_hand = proposal
            .steps
            .iter()
            .any(|step| matches!(step.action, Action::ByHand(_)));
        if by_hand && proposal.mode == Mode::WithQuorum {
            wrong.push("a plan with quorum has steps by hand".to_owned());
        }
        for step in &proposal.steps {
            if let Action::DeleteNode(object) = &step.action {
                let named = ground.seen.nodes.iter().find(|node| node.name == object.name);
                if named.is_some_and(|node| node.uid != object.uid) {
                    wrong.push("a plan names a Node of another uid".to_owned());
                }
            }
        }
        self.ground.lock().unwrap().wrong.extend(wrong);
        let planned = Planned::of(proposal, "alice", ground);
        self.plans.lock().unwrap().insert(id.clone(), planned);
        Some(id)
    }

    fn approve(&mut self, id: &PlanId) {
        let engine = self.engine();
        let times = [0, 1, 1, 1, 1, 2][self.rng.usize(..6)];
        for _ in 0..times {
            let by = ["alice", "bob", "bob", "carol"][self.rng.usize(..4)];
            let at = self.ground.lock().unwrap().now;
            if finish(engine.approve(id, by)).is_ok() {
                let mut ground = self.ground.lock().unwrap();
                ground.approvals.push((id.clone(), by.to_owned(), at));
            }
        }
        if self.rng.u8(..10) == 0 {
            self.ground.lock().unwrap().now += 1_300_000;
            self.watch();
        }
    }

    pub(super) fn execute(
        &mut self,
        plans: &[&PlanId],
        kills: usize,
        kill_at: Option<usize>,
    ) -> (usize, usize) {
        let engines: Vec<_> = plans.iter().map(|_| self.engine()).collect();
        let tasks = engines
            .iter()
            .zip(plans)
            .enumerate()
            .map(|(place, (engine, id))| {
                let task: Task<'_> = Box::pin(async move {
                    // Why it stopped is in the journal.
                    let _ = engine.apply(id, &format!("executor-{place}")).await;
                });
                task
            });
        let (ground, faults) = (self.ground.clone(), self.faults);
        let event = |rng: &mut fastrand::Rng, poll: usize| {
            let mut ground = ground.lock().unwrap();
            join(&mut ground, rng);
            if faults > 0 && rng.usize(..faults) == 0 {
                fault(&mut ground, rng);
            }
            kill_at == Some(poll) || (kills > 0 && rng.usize(..kills) == 0)
        };
        schedule::run(tasks.collect(), &mut self.rng, event)
    }

    pub(super) fn judge(&self, planned: &[PlanId], mut outcome: Outcome) -> Outcome {
        let journal = Journal::open(&self.memory).unwrap();
        let ground = self.ground.lock().unwrap();
        outcome.wrong.clone_from(&ground.wrong);
        outcome.performed = ground.performed;
        let entries = finish(journal.verify()).unwrap_or_else(|error| {
            outcome.wrong.push(error.to_string());
            Vec::new()
        });
        for id in planned {
            let own = entries.iter().filter(|entry| entry.plan == *id);
            let Some(dossier) = Dossier::of(own.cloned().collect()) else {
                continue;
            };
            if dossier.progress != Progress::Finished {
                continue;
            }
            outcome.finished += 1;
            let plans = self.plans.lock().unwrap();
            let plan = &plans[id];
            let alone = plans.len() == 1 && ground.faults == plan.faults;
            if alone && ground.tolerance() < plan.tolerance {
                let (was, is) = (plan.tolerance, ground.tolerance());
                outcome
                    .wrong
                    .push(format!("{was} could fail before, and {is} after"));
            }
            if ground
                .seen
                .join
                .iter()
                .flatten()
                .any(|join| join.plan == id.label())
            {
                outcome.wrong.push("join material is left".to_owned());
            }
            let mut done = std::collections::BTreeSet::new();
            for entry in &dossier.entries {
                if let Event::Done { step, .. } = entry.event
                    && !done.insert(step)
                {
                    outcome.wrong.push(format!("step {step} was done twice"));
                }
            }
        }
        let mut members = ground.members.clone();
        members.sort_by(|one, other| one.name.cmp(&other.name));
        outcome.end = format!("{members:?} {:?} {:?}", ground.seen, ground.alarms);
        outcome
    }
}

/// A node for which there is join material joins, a little at every chance.
fn join(ground: &mut Ground, rng: &mut fastrand::Rng) {
    if ground.seen.join.as_ref().is_none_or(Vec::is_empty) || !ground.can_commit() {
        return;
    }
    if let Some(learner) = ground
        .members
        .iter_mut()
        .find(|m| m.learner && m.alive && m.name.starts_with("cp-"))
    {
        learner.learner = false;
        return;
    }
    let missing = (0..5).map(|place| format!("cp-{place}"));
    let missing = missing.clone().find(|name| {
        let is_member = ground.members.iter().any(|member| member.name == *name);
        let is_node = ground.seen.nodes.iter().any(|node| node.name == *name);
        !is_member && !is_node && ground.seen.kubeadm.is_some()
    });
    if let Some(name) = missing.filter(|_| rng.bool() && ground.members.len() < 5) {
        ground.node(&name);
        ground.member(&name, true);
    }
}

/// Something happens that nobody planned.
fn fault(ground: &mut Ground, rng: &mut fastrand::Rng) {
    ground.faults += 1;
    let count = ground.members.len();
    if count == 0 {
        return;
    }
    let place = rng.usize(..count);
    let name = ground.members[place].name.clone();
    match rng.u8(..20) {
        0..=5 => {
            ground.members[place].alive = false;
            let ready = rng.u8(..4) == 0;
            let node = ground.seen.nodes.iter_mut().find(|node| node.name == name);
            node.into_iter().for_each(|node| node.ready = ready);
        }
        6 => {
            ground.members[place].alive = true;
            let node = ground.seen.nodes.iter_mut().find(|node| node.name == name);
            node.into_iter().for_each(|node| node.ready = true);
        }
        7 | 8 => ground.members[place].cut ^= true,
        9 => ground.members[place].isolated ^= true,
        10 => {
            let node = ground.seen.nodes.iter_mut().find(|node| node.name == name);
            node.into_iter().for_each(|node| node.ready ^= true);
        }
        11 => ground.members[place].behind = [0, 5_000][rng.usize(..2)],
        12 | 13 => {
            ground.members[place].hash = 9;
            let member = [ground.members[place].id, ground.members[place].id, MemberId(0)][rng.usize(..3)];
            ground.alarms.insert(Alarm {
                member,
                kind: AlarmKind::Corrupt,
            });
        }
        14 => {
            for member in &mut ground.members {
                (member.size, member.in_use) = (980, rng.u64(200..960));
            }
            let member = ground.members[place].id;
            ground.alarms.insert(Alarm {
                member,
                kind: AlarmKind::NoSpace,
            });
        }
        15 => {
            let orphan = ground.member("orphan", true);
            let alive = rng.bool();
            let found = ground.members.iter_mut().find(|member| member.id == orphan);
            found
                .into_iter()
                .for_each(|member| (member.alive, member.behind) = (alive, 5_000));
        }
        16 => drop(ground.members.swap_remove(place)),
        17 => ground.seen.nodes.retain(|node| node.name != name),
        18 => {
            let (age, own, verified) = (rng.u64(..2_000_000).min(ground.now), rng.bool(), rng.bool());
            ground.snapshots.push(Snapshot {
                file: String::new(),
                at: ground.now - age,
                cluster_id: if own { CLUSTER } else { MemberId(1) },
                revision: ground.revision - rng.i64(0..20_000),
                verified,
            });
        }
        _ => ground.now += rng.u64(..100_000),
    }
    ground.elect();
}
