//! Since when members are silent. One look can't say; it takes somebody who looks again and again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use witgate_plugins::recovery::{MemberId, Seen, Survey, Timestamp};
use witgate_state::{Change, Error, Space, State, Transaction};

use crate::journal::SPACE;

/// Looks that are further apart than this say nothing of the time between: a member may have come
/// back and gone again. Then its silence begins anew.
const GAP: u64 = 2 * 60 * 1000;

/// How much newer than what is on disk the last look has to be to be written: a restart may cost
/// that much, and no more, of what is known.
const WRITTEN_EVERY: u64 = 30 * 1000;

const KEY: &[u8] = b"silence";

/// Who has been silent since when; kept over a restart.
#[derive(Clone, Debug)]
pub struct Silence {
    space: Arc<dyn Space>,
    known: Arc<Mutex<Known>>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    cluster: Option<MemberId>,
    looked: Timestamp,
    since: BTreeMap<MemberId, Timestamp>,
    #[serde(skip)]
    written: Timestamp,
}

impl Silence {
    /// Takes up what was known before a restart.
    pub async fn open(state: &dyn State) -> Result<Self, Error> {
        let space = state.space(SPACE)?;
        let stored = space.get(KEY).await?;
        // What can't be read is from another version; to begin anew is only slower.
        let known = stored.and_then(|stored| serde_json::from_slice(&stored).ok());
        Ok(Self {
            space,
            known: Arc::new(Mutex::new(known.unwrap_or_default())),
        })
    }

    /// Notes what a survey says, and writes into it since when who is silent.
    pub async fn note(&self, survey: &mut Survey) -> Result<(), Error> {
        let write = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.note(survey)
        };
        let Some(known) = write else { return Ok(()) };
        let transaction = Transaction {
            expect: Vec::new(),
            changes: vec![Change::Put {
                key: KEY.to_vec(),
                value: known,
                lifetime: None,
            }],
        };
        self.space.commit(transaction).await.map(drop)
    }
}

impl Known {
    /// Returns what is to be written, if that is worth it.
    fn note(&mut self, survey: &mut Survey) -> Option<Vec<u8>> {
        let now = survey.taken;
        let broken = self.cluster != survey.cluster_id || now.abs_diff(self.looked) > GAP;
        // Looks overlap, and one that was begun before another may end after it: it can contradict a
        // silence, and begins none.
        let late = !broken && now < self.looked;
        let before = if broken {
            BTreeMap::new()
        } else {
            std::mem::take(&mut self.since)
        };
        let mut since = BTreeMap::new();
        for member in &mut survey.members {
            let mut of = survey
                .sightings
                .iter()
                .filter(|sighting| sighting.member == member.id);
            let silent = of.clone().any(|sighting| sighting.seen == Seen::Silent)
                && of.all(|sighting| sighting.seen != Seen::Answers);
            if silent {
                let known = before.get(&member.id).copied();
                let Some(first) = known.or((!late).then_some(now)) else {
                    continue;
                };
                since.insert(member.id, first);
                member.silent_since = Some(first);
            }
        }
        let changed = since != before || broken;
        self.cluster = survey.cluster_id;
        self.looked = if late { self.looked } else { now };
        self.since = since;
        if !changed && now.saturating_sub(self.written) < WRITTEN_EVERY {
            return None;
        }
        self.written = now;
        serde_json::to_vec(self).ok()
    }
}

#[cfg(test)]
mod tests {
    use witgate_plugins::recovery::{Member, Sighting};

    use super::*;

    fn survey(taken: Timestamp, seen: &[Seen]) -> Survey {
        let sightings = seen.iter().enumerate().map(|(place, seen)| Sighting {
            member: MemberId(1),
            vantage: format!("v{place}"),
            at: taken,
            seen: *seen,
            raw: String::new(),
        });
        Survey {
            cluster_id: Some(MemberId(9)),
            taken,
            members: vec![Member {
                id: MemberId(1),
                ..Member::default()
            }],
            sightings: sightings.collect(),
            ..Survey::default()
        }
    }

    fn since(known: &mut Known, taken: Timestamp, seen: &[Seen]) -> Option<Timestamp> {
        let mut survey = survey(taken, seen);
        known.note(&mut survey);
        survey.members[0].silent_since
    }

    #[test]
    fn silence_lasts_while_nobody_sees_the_member_and_somebody_looks() {
        let mut known = Known::default();
        let silent = [Seen::Silent, Seen::Unknown];
        assert_eq!(since(&mut known, 1000, &silent), Some(1000));
        assert_eq!(since(&mut known, 2000, &silent), Some(1000));
        assert_eq!(since(&mut known, 3000, &[Seen::Silent, Seen::Answers]), None);
        assert_eq!(since(&mut known, 4000, &silent), Some(4000));
        assert_eq!(
            since(&mut known, 4000 + GAP + 1, &silent),
            Some(4001 + GAP),
            "nobody looked meanwhile"
        );
        assert_eq!(since(&mut known, 5000 + GAP, &[Seen::Unknown]), None);
    }

    #[test]
    fn looks_that_overlap_break_no_silence_and_one_that_is_late_begins_none() {
        let mut known = Known::default();
        let silent = [Seen::Silent];
        assert_eq!(since(&mut known, 1000, &silent), Some(1000));
        assert_eq!(since(&mut known, 5000, &silent), Some(1000));
        assert_eq!(
            since(&mut known, 4000, &silent),
            Some(1000),
            "begun before, ended after"
        );
        assert_eq!(since(&mut known, 6000, &silent), Some(1000));
        assert_eq!(since(&mut known, 5500, &[Seen::Answers]), None);
        assert_eq!(
            since(&mut known, 7000, &silent),
            Some(7000),
            "it was seen meanwhile"
        );
        assert_eq!(since(&mut known, 8000, &[Seen::Answers]), None);
        assert_eq!(since(&mut known, 7500, &silent), None, "it was seen since");
        assert_eq!(since(&mut known, 9000, &silent), Some(9000));
    }
}
