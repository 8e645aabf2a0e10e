//! Logins under way: each can be completed once, soon, and in the browser that began it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use witgate_state::{Change, Outcome, Space, Transaction};

use crate::{error::Unavailable, hash::sha256};

/// Long enough to find one's second factor.
pub(super) const LIFETIME: Duration = Duration::from_secs(600);

/// Logins under way at most, for each process. When there are more, the oldest give way: whoever
/// begins logins and never completes them can't fill the state.
const SLOTS: u32 = 10_000;

/// Logins under way, in the state.
pub(crate) struct Attempts {
    space: Arc<dyn Space>,
    /// Tells this process's slots from other ones'.
    process: [u8; 8],
    next: AtomicU32,
}

/// A login under way.
#[derive(Serialize, Deserialize)]
pub(super) struct Attempt {
    /// The issuer's name in the configuration.
    pub(super) issuer: String,
    pub(super) issuer_url: String,
    /// SHA-256 of the cookie that the browser has for it.
    pub(super) browser: [u8; 32],
    pub(super) nonce: String,
    /// PKCE (RFC 7636).
    pub(super) verifier: String,
    /// Where to go afterwards.
    pub(super) return_to: String,
}

/// What is in a slot.
#[derive(Serialize, Deserialize)]
struct Slot {
    /// SHA-256 of the state.
    state: [u8; 32],
    attempt: Attempt,
}

/// The parameter `state`: which slot, and 256 random bits.
struct StateParameter {
    key: [u8; 12],
    secret: [u8; 32],
}

// === impl Attempts ===

impl Attempts {
    pub(crate) fn new(space: Arc<dyn Space>) -> Self {
        Self {
            space,
            process: rand::random(),
            next: AtomicU32::new(0),
        }
    }

    /// Keeps an attempt, and returns the `state` that leads back to it.
    pub(super) async fn begin(&self, attempt: Attempt) -> Result<String, Unavailable> {
        let slot = self.next.fetch_add(1, Ordering::Relaxed) % SLOTS;
        let mut key = [0; 12];
        for (to, from) in key.iter_mut().zip(self.process.iter().chain(&slot.to_be_bytes())) {
            *to = *from;
        }
        let state = StateParameter {
            key,
            secret: rand::random(),
        }
        .encode();
        let slot = Slot {
            state: sha256(&state),
            attempt,
        };
        let value = serde_json::to_vec(&slot).map_err(|error| failed(&error))?;
        let put = Change::Put {
            key: key.to_vec(),
            value,
            lifetime: Some(LIFETIME),
        };
        let transaction = Transaction {
            expect: Vec::new(),
            changes: vec![put],
        };
        match self.space.commit(transaction).await {
            Ok(Outcome::Committed) => Ok(state),
            Ok(Outcome::Conflict) => Err(failed(&"a conflict, though nothing was expected")),
            Err(error) => Err(failed(&error)),
        }
    }

    /// The attempt that a `state` belongs to. It is gone then: the next one who asks gets nothing,
    /// also at the same moment and at another replica.
    pub(super) async fn take(&self, state: &str) -> Result<Option<Attempt>, Unavailable> {
        let Some(StateParameter { key, .. }) = StateParameter::decode(state) else {
            return Ok(None);
        };
        let Some(value) = self.space.get(&key).await.map_err(|error| failed(&error))? else {
            return Ok(None);
        };
        let slot: Slot = serde_json::from_slice(&value).map_err(|error| failed(&error))?;
        if !bool::from(slot.state.ct_eq(&sha256(state))) {
            return Ok(None);
        }
        let transaction = Transaction {
            expect: vec![(key.to_vec(), Some(value))],
            changes: vec![Change::Delete(key.to_vec())],
        };
        match self.space.commit(transaction).await {
            Ok(Outcome::Committed) => Ok(Some(slot.attempt)),
            Ok(Outcome::Conflict) => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }
}

// === impl Attempt ===

impl Attempt {
    /// Whether it was begun in the browser with this cookie.
    pub(super) fn is_of(&self, browser: &str) -> bool {
        self.browser.ct_eq(&sha256(browser)).into()
    }
}

// === impl StateParameter ===

impl StateParameter {
    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode([self.key.as_slice(), &self.secret].concat())
    }

    fn decode(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (key, secret) = bytes.split_first_chunk()?;
        Some(Self {
            key: *key,
            secret: secret.try_into().ok()?,
        })
    }
}

fn failed(error: &dyn std::fmt::Display) -> Unavailable {
    tracing::error!(%error, "logins can't be kept");
    Unavailable::State
}
