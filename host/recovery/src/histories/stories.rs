//! Histories in which nothing is left to chance but the place at which an executor is killed.

use witgate_plugins::recovery::Proposal;

use super::{
    people::{History, Outcome},
    proposals,
    schedule::finish,
};
use crate::{executor::World as _, plan::PlanId, rules::Rule};

/// Of three members one is dead. The plan for that is carried out, killed at a place, and resumed.
pub(super) fn dead_member(kill_at: Option<usize>) -> Outcome {
    let mut history = History::of(3, &[1], None);
    let proposal = {
        let ground = history.ground.lock().unwrap();
        proposals::replace(&ground, &ground.members[1])
    };
    let id = history.approved(&proposal);
    let (crashed, polls) = history.execute(&[&id], 0, kill_at);
    if crashed > 0 {
        history.let_the_lease_end();
        history.execute(&[&id], 0, None);
    }
    let outcome = Outcome {
        crashed,
        polls,
        ..Outcome::default()
    };
    history.judge(&[id], outcome)
}

/// Of five members two are dead, and each has a plan. One is carried out and killed at a place; then
/// the other one is carried out, and then the first is resumed.
pub(super) fn two_changes(kill_at: usize, forgotten: Option<Rule>) -> Outcome {
    let mut history = History::of(5, &[1, 2], forgotten);
    let ids: Vec<_> = [1, 2]
        .map(|place| {
            let proposal = {
                let ground = history.ground.lock().unwrap();
                proposals::remove(&ground.members[place])
            };
            history.approved(&proposal)
        })
        .into();
    let (crashed, polls) = history.execute(&[&ids[0]], 0, Some(kill_at));
    history.let_the_lease_end();
    history.execute(&[&ids[1]], 0, None);
    history.execute(&[&ids[0]], 0, None);
    let outcome = Outcome {
        crashed,
        polls,
        ..Outcome::default()
    };
    history.judge(&ids, outcome)
}

impl History {
    /// So many members, of which some have been dead for a while. Nothing happens by chance.
    pub(super) fn of(count: usize, dead: &[usize], forgotten: Option<Rule>) -> Self {
        let mut history = Self::new(11, forgotten);
        history.faults = 0;
        {
            let mut ground = history.ground.lock().unwrap();
            for place in ground.members.len()..count {
                let name = format!("cp-{place}");
                ground.node(&name);
                ground.member(&name, false);
            }
            ground.members.truncate(count);
            for place in dead {
                ground.members[*place].alive = false;
                ground.seen.nodes[*place].ready = false;
            }
            ground.elect();
        }
        history.look_on(4);
        history
    }

    pub(super) fn approved(&mut self, proposal: &Proposal) -> PlanId {
        let ground = self.ground.lock().unwrap().clone();
        let id = self.plan_as(proposal, &ground).expect("a plan");
        finish(self.engine().approve(&id, "bob")).unwrap();
        let approval = (id.clone(), "bob".to_owned(), ground.now);
        self.ground.lock().unwrap().approvals.push(approval);
        id
    }

    pub(super) fn let_the_lease_end(&mut self) {
        self.look_on(3);
    }

    pub(super) fn look_on(&mut self, times: usize) {
        let process = self.process();
        for _ in 0..times {
            finish(process.observe()).unwrap();
            self.ground.lock().unwrap().now += 40_000;
        }
        finish(process.observe()).unwrap();
    }
}
