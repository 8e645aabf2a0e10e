//! What became of one plan, by its entries.

use super::{Entry, Event};
use crate::{
    approval::Approval,
    observation::Observation,
    plan::{Plan, PlanId},
};

/// One plan and everything that happened to it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dossier {
    /// Its id.
    pub id: PlanId,
    /// The plan.
    pub plan: Plan,
    /// Who approved it.
    pub approvals: Vec<Approval>,
    /// How far it has come.
    pub progress: Progress,
    /// The number of the step that comes next.
    pub next: usize,
    /// Whether that step was begun, and nobody knows how it ended.
    pub begun: bool,
    /// Who says that the next step, by hand, was done.
    pub confirmed: Option<String>,
    /// All its entries, oldest first.
    pub entries: Vec<Entry>,
    /// What is expected from here on, when it isn't what the plan was made for: the number of the
    /// first step that it holds for, and what was seen then.
    #[serde(skip)]
    pub(crate) rebased: Option<(usize, Box<Observation>)>,
}

/// How far a plan has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Progress {
    /// It waits for people.
    Proposed,
    /// It is being carried out, or whoever did is gone.
    Running,
    /// It stopped, and can go on.
    Stopped,
    /// All of it is done.
    Finished,
    /// Nobody wants it any more.
    Abandoned,
}

impl Dossier {
    /// The state that a plan's entries add up to. The first one has the plan.
    pub(crate) fn of(entries: Vec<Entry>) -> Option<Self> {
        let Some(Event::Planned { plan }) = entries.first().map(|entry| &entry.event) else {
            return None;
        };
        let mut dossier = Self {
            id: entries.first()?.plan.clone(),
            plan: (**plan).clone(),
            approvals: Vec::new(),
            progress: Progress::Proposed,
            next: 0,
            begun: false,
            confirmed: None,
            entries: Vec::new(),
            rebased: None,
        };
        entries.into_iter().for_each(|entry| dossier.add(entry));
        Some(dossier)
    }

    /// Adds the entry that follows.
    pub(super) fn add(&mut self, entry: Entry) {
        match &entry.event {
            Event::Planned { .. } => {}
            Event::Approved { approval } => self.approvals.push(approval.clone()),
            Event::Started { .. } => self.progress = Progress::Running,
            Event::Intended { step, .. } => {
                self.next = *step;
                self.begun = true;
            }
            Event::Confirmed { step, by } => {
                if *step == self.next {
                    self.confirmed = Some(by.clone());
                }
            }
            Event::Done { step, seen, .. } => {
                self.next = step + 1;
                self.begun = false;
                self.confirmed = None;
                if let Some(seen) = seen {
                    self.rebased = Some((self.next, seen.clone()));
                }
            }
            Event::Stopped { .. } => {
                if !self.is_over() {
                    self.progress = Progress::Stopped;
                }
            }
            Event::Finished => self.progress = Progress::Finished,
            Event::Abandoned { .. } => self.progress = Progress::Abandoned,
        }
        self.entries.push(entry);
    }

    /// Whether it can't go on any more.
    pub fn is_over(&self) -> bool {
        matches!(self.progress, Progress::Finished | Progress::Abandoned)
    }

    /// What is expected before the step of that number.
    pub(crate) fn expected(&self, step: usize) -> Observation {
        match &self.rebased {
            Some((from, seen)) => self.plan.expected(&self.id, seen, *from, step),
            None => self.plan.expected(&self.id, &self.plan.seen, 0, step),
        }
    }
}
