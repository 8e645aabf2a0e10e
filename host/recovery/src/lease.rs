//! Who may carry out plans: one executor at a time, with a token that only ever grows.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use witgate_plugins::recovery::Timestamp;
use witgate_state::{Change, Error, Outcome, Space, Transaction};

use crate::policy::millis;

const KEY: &[u8] = b"lease";

/// The lease as it is stored. It stays when it has ended, so that its token is not given again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    holder: String,
    token: u64,
    /// 0: it was given back.
    expires: Timestamp,
}

/// Proof of the lease, by which everything that is written is fenced.
#[derive(Clone, Debug)]
pub(crate) struct Fence {
    record: Record,
    raw: Vec<u8>,
    lifetime: Duration,
}

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaseError {
    #[error(transparent)]
    State(#[from] Error),
    #[error("{holder} carries out plans at the moment, for {left} s at least (token {token})")]
    Held { holder: String, token: u64, left: u64 },
}

impl Fence {
    /// Takes the lease, if nobody has it, for so long unless it is renewed.
    pub(crate) async fn take(
        space: &Arc<dyn Space>,
        holder: &str,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Self, LeaseError> {
        loop {
            let raw = space.get(KEY).await?;
            let found: Option<Record> = raw.as_deref().and_then(|raw| serde_json::from_slice(raw).ok());
            if let Some(found) = found.as_ref().filter(|found| found.expires > now) {
                return Err(LeaseError::Held {
                    holder: found.holder.clone(),
                    token: found.token,
                    left: found.expires.saturating_sub(now).div_ceil(1000),
                });
            }
            let token = found.map_or(0, |found| found.token) + 1;
            let record = Record {
                holder: holder.to_owned(),
                token,
                expires: now + millis(lifetime),
            };
            if let Some(raw) = swap(space, raw, &record).await? {
                return Ok(Self {
                    record,
                    raw,
                    lifetime,
                });
            }
        }
    }

    /// Makes it last; false if somebody else has it now, or it has ended.
    pub(crate) async fn renew(&mut self, space: &Arc<dyn Space>, now: Timestamp) -> Result<bool, Error> {
        if self.record.expires <= now {
            return Ok(false);
        }
        let record = Record {
            expires: now + millis(self.lifetime),
            ..self.record.clone()
        };
        let Some(raw) = swap(space, Some(self.raw.clone()), &record).await? else {
            return Ok(false);
        };
        (self.record, self.raw) = (record, raw);
        Ok(true)
    }

    /// Gives it back.
    pub(crate) async fn give_back(self, space: &Arc<dyn Space>) -> Result<(), Error> {
        let record = Record {
            expires: 0,
            ..self.record
        };
        swap(space, Some(self.raw), &record).await.map(drop)
    }

    /// Its token.
    pub(crate) fn token(&self) -> u64 {
        self.record.token
    }

    /// What has to be so for a transaction to be this executor's.
    pub(crate) fn expectation(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        (KEY.to_vec(), Some(self.raw.clone()))
    }

    /// Whether it is as it was given.
    pub(crate) async fn holds(&self, space: &dyn Space) -> Result<bool, Error> {
        Ok(space.get(KEY).await? == Some(self.raw.clone()))
    }
}

/// Stores a lease in place of what is expected there, and gives it as it is stored.
async fn swap(space: &Arc<dyn Space>, from: Option<Vec<u8>>, to: &Record) -> Result<Option<Vec<u8>>, Error> {
    let raw = serde_json::to_vec(to).unwrap_or_default();
    let transaction = Transaction {
        expect: vec![(KEY.to_vec(), from)],
        changes: vec![Change::Put {
            key: KEY.to_vec(),
            value: raw.clone(),
            lifetime: None,
        }],
    };
    let outcome = space.commit(transaction).await?;
    Ok((outcome == Outcome::Committed).then_some(raw))
}
