//! What was planned, approved, intended and done: on disk before it happens, in one chain.
//!
//! An entry holds the digest of the one before it, so none can be changed, left out or put between
//! afterwards without that being seen. The journal is in the gateway's state and not in the cluster
//! that is being repaired. What a plan's state is follows from its entries and nothing else.

mod chain;
mod dossier;
mod entry;

use std::sync::Arc;

use ring::digest::{SHA256, digest as hash};
use witgate_plugins::recovery::Timestamp;
use witgate_state::{Change, Outcome, Pair, ScanLimit, Space, State, Transaction};

pub use chain::Chain;
pub use dossier::{Dossier, Progress};
pub use entry::{Completion, Entry, Event};

use crate::{lease::Fence, plan::PlanId};

/// The space in the state: the journal's, the lease's, and what is known of silence.
pub(crate) const SPACE: &str = "recovery";

const HEAD: &[u8] = b"head";

/// Pairs of one scan. Entries with a plan are some ten KiB.
const PAGE: ScanLimit = ScanLimit {
    pairs: 256,
    bytes: 8 << 20,
};

/// How often an entry is tried to be added when others are added at the same time.
const TRIES: usize = 16;

/// The journal. A clone is the same journal.
#[derive(Clone, Debug)]
pub struct Journal {
    space: Arc<dyn Space>,
}

/// Why the journal could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The state.
    #[error(transparent)]
    State(#[from] witgate_state::Error),
    /// An entry that is not what the chain says.
    #[error("the journal was changed: {0}")]
    Broken(String),
    /// Somebody else is carrying out a plan now, or this executor's time is over.
    #[error("the lease is not ours any more: token {0} was given to somebody else, or has ended")]
    Fenced(u64),
    /// An entry that would follow the end of its plan.
    #[error("plan {0} was finished or abandoned meanwhile")]
    Over(PlanId),
    /// Others add entries all the time.
    #[error("{TRIES} other entries came before this one")]
    Busy,
}

/// Where the chain ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    next: u64,
    digest: String,
}

impl Journal {
    /// Opens the journal in the state.
    pub fn open(state: &dyn State) -> Result<Self, JournalError> {
        Ok(Self {
            space: state.space(SPACE)?,
        })
    }

    pub(crate) fn space(&self) -> &Arc<dyn Space> {
        &self.space
    }

    /// Adds an entry, durably. With a fence only if it still holds.
    pub(crate) async fn append(
        &self,
        at: Timestamp,
        plan: &PlanId,
        event: Event,
        fence: Option<&Fence>,
    ) -> Result<u64, JournalError> {
        for _ in 0..TRIES {
            let raw = self.space.get(HEAD).await?;
            let head = parse_head(raw.as_deref())?;
            let entry = Entry {
                number: head.next,
                at,
                plan: plan.clone(),
                previous: head.digest,
                event: event.clone(),
            };
            let bytes = to_json(&entry)?;
            let next = Head {
                next: head.next + 1,
                digest: digest(&bytes),
            };
            let mut expect = vec![(HEAD.to_vec(), raw)];
            expect.extend(fence.map(Fence::expectation));
            if !event.may_follow_the_end() {
                expect.push((over_key(plan), None));
            }
            let mut changes = vec![
                put(HEAD.to_vec(), to_json(&next)?),
                put(entry_key(head.next), bytes),
                put(plan_key(plan, head.next), Vec::new()),
            ];
            changes.extend(open_change(plan, &event));
            if event.ends_the_plan() {
                changes.push(put(over_key(plan), Vec::new()));
            }
            match self.space.commit(Transaction { expect, changes }).await? {
                Outcome::Committed => return Ok(head.next),
                Outcome::Conflict => {}
            }
            if let Some(fence) = fence
                && !fence.holds(&*self.space).await?
            {
                return Err(JournalError::Fenced(fence.token()));
            }
            if !event.may_follow_the_end() && self.space.get(&over_key(plan)).await?.is_some() {
                return Err(JournalError::Over(plan.clone()));
            }
        }
        Err(JournalError::Busy)
    }

    /// What became of a plan; none if there is no such plan.
    pub async fn dossier(&self, plan: &PlanId) -> Result<Option<Dossier>, JournalError> {
        Ok(Dossier::of(self.entries(plan, 0).await?))
    }

    /// Adds what has become of a plan since its dossier was read.
    pub(crate) async fn catch_up(&self, dossier: &mut Dossier) -> Result<(), JournalError> {
        let next = dossier.entries.last().map_or(0, |entry| entry.number + 1);
        let entries = self.entries(&dossier.id, next).await?;
        entries.into_iter().for_each(|entry| dossier.add(entry));
        Ok(())
    }

    /// A plan's entries, from a number on.
    async fn entries(&self, plan: &PlanId, from: u64) -> Result<Vec<Entry>, JournalError> {
        let prefix = plan_prefix(plan);
        let mut entries = Vec::new();
        for (key, _) in self.range(plan_key(plan, from), after(&prefix)).await? {
            let number = key
                .get(prefix.len()..)
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .and_then(|digits| u64::from_str_radix(digits, 16).ok());
            let number = number.ok_or_else(|| JournalError::Broken("an index has no number".to_owned()))?;
            entries.push(self.entry(number).await?);
        }
        Ok(entries)
    }

    /// All plans, oldest first.
    pub async fn plans(&self) -> Result<Vec<PlanId>, JournalError> {
        let mut first = std::collections::BTreeMap::new();
        for (key, _) in self.all(b"plan/").await? {
            let text = String::from_utf8_lossy(&key).into_owned();
            let mut parts = text.split('/').skip(1);
            if let (Some(plan), Some(number)) = (parts.next().and_then(PlanId::parse), parts.next()) {
                first.entry(plan).or_insert_with(|| number.to_owned());
            }
        }
        let mut plans: Vec<_> = first.into_iter().collect();
        plans.sort_by(|(_, one), (_, other)| one.cmp(other));
        Ok(plans.into_iter().map(|(plan, _)| plan).collect())
    }

    /// A change of membership whose end nobody knows, of another plan than this one.
    pub(crate) async fn open_change(&self, but: Option<&PlanId>) -> Result<Option<String>, JournalError> {
        let own = but.map(open_key);
        let found = self.all(b"open/").await?;
        let other = found.into_iter().find(|(key, _)| Some(key) != own.as_ref());
        Ok(other.map(|(_, what)| String::from_utf8_lossy(&what).into_owned()))
    }

    async fn entry(&self, number: u64) -> Result<Entry, JournalError> {
        let bytes = self.space.get(&entry_key(number)).await?;
        let bytes = bytes.ok_or_else(|| JournalError::Broken(format!("entry {number} is not there")))?;
        parse(&bytes, number)
    }

    async fn all(&self, prefix: &[u8]) -> Result<Vec<Pair>, JournalError> {
        self.range(prefix.to_vec(), after(prefix)).await
    }

    async fn range(&self, mut start: Vec<u8>, end: Vec<u8>) -> Result<Vec<Pair>, JournalError> {
        let mut found = Vec::new();
        loop {
            let page = self.space.scan(&start, &end, PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(found);
            };
            start.clone_from(last);
            start.push(0);
            found.extend(page);
        }
    }
}

/// A change of membership is open from its intent until its end is known.
fn open_change(plan: &PlanId, event: &Event) -> Option<Change> {
    match event {
        Event::Intended { step, action, .. } if action.changes_membership() => {
            let what = format!("step {} of plan {}: {action}", step + 1, plan.label());
            Some(put(open_key(plan), what.into_bytes()))
        }
        Event::Done { .. } | Event::Abandoned { .. } => Some(Change::Delete(open_key(plan))),
        _ => None,
    }
}

fn put(key: Vec<u8>, value: Vec<u8>) -> Change {
    Change::Put {
        key,
        value,
        lifetime: None,
    }
}

fn entry_key(number: u64) -> Vec<u8> {
    format!("entry/{number:016x}").into_bytes()
}

fn plan_prefix(plan: &PlanId) -> Vec<u8> {
    format!("plan/{plan}/").into_bytes()
}

fn plan_key(plan: &PlanId, number: u64) -> Vec<u8> {
    format!("plan/{plan}/{number:016x}").into_bytes()
}

/// What comes after all keys with a prefix, which ends in a slash.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

fn open_key(plan: &PlanId) -> Vec<u8> {
    format!("open/{plan}").into_bytes()
}

fn over_key(plan: &PlanId) -> Vec<u8> {
    format!("over/{plan}").into_bytes()
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(hash(&SHA256, bytes))
}

fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>, JournalError> {
    serde_json::to_vec(value).map_err(|error| JournalError::Broken(format!("it can't be written: {error}")))
}

fn parse_head(bytes: Option<&[u8]>) -> Result<Head, JournalError> {
    let Some(bytes) = bytes else {
        return Ok(Head::default());
    };
    serde_json::from_slice(bytes)
        .map_err(|error| JournalError::Broken(format!("its end can't be read: {error}")))
}

fn parse(bytes: &[u8], number: u64) -> Result<Entry, JournalError> {
    serde_json::from_slice(bytes)
        .map_err(|error| JournalError::Broken(format!("entry {number} can't be read: {error}")))
}
