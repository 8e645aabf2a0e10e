//! What no longer holds although it has not expired: sessions, tokens, users, everything before a
//! time.
//!
//! Revocations are in the state, so that they survive, and in memory, so that asking for each request
//! costs next to nothing. Whoever holds a stream open is told of every new one.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use witgate_state::{Change, ScanLimit, Space, Transaction};

use crate::{
    error::Unavailable,
    hash::{now, sha256},
    principal::{Principal, SessionId, Subject, TokenDigest},
};

/// How much of the space is read at a time.
const PAGE: ScanLimit = ScanLimit {
    pairs: 1000,
    bytes: 4 << 20,
};

/// When it is tried again to read what others revoked.
const AGAIN: Duration = Duration::from_millis(500);

/// The time of what does not end by itself.
const FOR_EVER: u64 = u64::MAX;

/// What is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", deny_unknown_fields)]
pub enum Revoked {
    /// One session of this gateway's.
    Session {
        /// Which.
        id: SessionId,
    },
    /// One bearer token.
    Token {
        /// Its digest.
        sha256: TokenDigest,
    },
    /// Everything of the user who has this name for the gateway.
    User {
        /// The name, as the claims plugin gives it.
        name: String,
    },
    /// Everything of the user who has this name for the issuer.
    Subject {
        /// Who.
        #[serde(flatten)]
        subject: Subject,
    },
    /// Everything of one session at the issuer.
    IssuerSession {
        /// The issuer's URL.
        issuer: String,
        /// The claim `sid`.
        sid: String,
    },
    /// Everything of everybody.
    Everything,
}

/// A revocation, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// What is revoked.
    pub revoked: Revoked,
    /// What was given out until this time is meant, in seconds since 1970. `None`: whatever is given
    /// out, until the revocation is lifted.
    pub until: Option<u64>,
    /// Who said so.
    pub by: String,
    /// When it was said, in seconds since 1970.
    pub at: u64,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it means nothing any more, because what it is about has expired, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

/// All revocations in force.
pub struct Revocations {
    space: Arc<dyn Space>,
    index: ArcSwap<Index>,
    generation: watch::Sender<u64>,
    /// Taken while the state and the index are changed together. What it holds is in force here and could
    /// not be written into the state.
    changing: tokio::sync::Mutex<Vec<Revocation>>,
}

/// Revocations by what is asked about. Times: what was given out then or before does not hold.
#[derive(Clone, Default)]
struct Index {
    everything: Option<u64>,
    users: HashMap<String, u64>,
    subjects: HashMap<Subject, u64>,
    /// With when that means nothing any more.
    issuer_sessions: HashMap<(String, String), u64>,
    sessions: HashMap<SessionId, u64>,
    tokens: HashMap<TokenDigest, u64>,
}

// === impl Revocations ===

impl Revocations {
    /// Reads what is in force.
    pub(crate) async fn load(space: Arc<dyn Space>) -> Result<Self, Unavailable> {
        let this = Self {
            space,
            index: ArcSwap::default(),
            generation: watch::Sender::new(0),
            changing: tokio::sync::Mutex::default(),
        };
        this.read(&[]).await?;
        Ok(this)
    }

    /// Keeps up with what others revoke and lift in the same state, for ever.
    pub async fn follow(&self) {
        let mut changes = self.space.watch();
        while changes.changed().await.is_ok() {
            while let Err(error) = self.catch_up().await {
                tracing::warn!("what others revoke is not known at the moment: {error}");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    async fn catch_up(&self) -> Result<(), Unavailable> {
        let unwritten = self.changing.lock().await;
        self.read(&unwritten).await?;
        self.generation.send_modify(|generation| *generation += 1);
        Ok(())
    }

    /// Makes the index anew.
    async fn read(&self, unwritten: &[Revocation]) -> Result<(), Unavailable> {
        let mut index = Index::default();
        for revocation in self.list().await?.iter().chain(unwritten) {
            index.add(revocation);
        }
        self.index.store(Arc::new(index));
        Ok(())
    }

    /// Puts a revocation in force: for every request from now on, and durably before this returns.
    pub(crate) async fn add(&self, revocation: &Revocation) -> Result<(), Unavailable> {
        let mut unwritten = self.changing.lock().await;
        // In force first: an attacker must not gain from a store that is slow or away.
        let mut index = Index::clone(&self.index.load());
        index.add(revocation);
        self.index.store(Arc::new(index));
        self.generation.send_modify(|generation| *generation += 1);
        let put = Change::Put {
            key: revocation.revoked.key(),
            value: serde_json::to_vec(revocation).map_err(|error| failed(&error))?,
            lifetime: revocation
                .expires
                .map(|expires| Duration::from_secs(expires.saturating_sub(now()).max(1))),
        };
        let written = self.commit(put).await;
        unwritten.retain(|other| other.revoked != revocation.revoked);
        if written.is_err() {
            unwritten.push(revocation.clone());
        }
        written
    }

    /// Lifts a revocation. What it was about holds again, if nothing else is against it.
    pub async fn lift(&self, revoked: &Revoked) -> Result<(), Unavailable> {
        let mut unwritten = self.changing.lock().await;
        self.commit(Change::Delete(revoked.key())).await?;
        unwritten.retain(|revocation| revocation.revoked != *revoked);
        let mut index = Index::clone(&self.index.load());
        index.remove(revoked);
        self.index.store(Arc::new(index));
        Ok(())
    }

    /// All of them.
    pub async fn list(&self) -> Result<Vec<Revocation>, Unavailable> {
        let mut found = Vec::new();
        let mut start = Vec::new();
        loop {
            let page = self
                .space
                .scan(&start, &[], PAGE)
                .await
                .map_err(|error| failed(&error))?;
            let Some((last, _)) = page.last() else {
                return Ok(found);
            };
            start = [last.as_slice(), &[0]].concat();
            for (_, value) in &page {
                found.push(serde_json::from_slice(value).map_err(|error| failed(&error))?);
            }
        }
    }

    /// Why a principal's credential does not hold any more, if it doesn't.
    pub(crate) fn against(&self, principal: &Principal) -> Option<&'static str> {
        self.index.load().against(principal)
    }

    /// Tells of every new revocation.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    async fn commit(&self, change: Change) -> Result<(), Unavailable> {
        let transaction = Transaction {
            expect: Vec::new(),
            changes: vec![change],
        };
        let committed = self.space.commit(transaction).await;
        committed.map(drop).map_err(|error| failed(&error))
    }
}

impl std::fmt::Debug for Revocations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revocations").finish_non_exhaustive()
    }
}

// === impl Revocation ===

impl Revocation {
    /// A revocation of what was given out until now.
    pub fn now(revoked: Revoked, by: impl Into<String>) -> Self {
        let now = now();
        Self {
            revoked,
            until: Some(now),
            by: by.into(),
            at: now,
            reason: None,
            expires: None,
        }
    }

    /// The same, with why.
    pub(crate) fn because(self, reason: impl Into<String>) -> Self {
        Self {
            reason: Some(reason.into()),
            ..self
        }
    }

    /// The same, of something that expires by itself.
    pub(crate) fn expiring(self, expires: Option<u64>) -> Self {
        Self { expires, ..self }
    }
}

// === impl Revoked ===

impl Revoked {
    fn key(&self) -> Vec<u8> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        sha256(text).to_vec()
    }
}

// === impl Index ===

impl Index {
    fn add(&mut self, revocation: &Revocation) {
        let now = now();
        self.sessions.retain(|_, expires| *expires > now);
        self.tokens.retain(|_, expires| *expires > now);
        self.issuer_sessions.retain(|_, expires| *expires > now);
        let until = revocation.until.unwrap_or(FOR_EVER);
        let expires = revocation.expires.unwrap_or(FOR_EVER);
        // A later revocation never makes an earlier one weaker in memory; what the state holds is
        // the last that was said.
        let later = |known: &mut u64| *known = (*known).max(until);
        match revocation.revoked.clone() {
            Revoked::Session { id } => {
                self.sessions.insert(id, expires);
            }
            Revoked::Token { sha256 } => {
                self.tokens.insert(sha256, expires);
            }
            Revoked::IssuerSession { issuer, sid } => {
                self.issuer_sessions.insert((issuer, sid), expires);
            }
            Revoked::User { name } => later(self.users.entry(name).or_default()),
            Revoked::Subject { subject } => later(self.subjects.entry(subject).or_default()),
            Revoked::Everything => later(self.everything.get_or_insert_default()),
        }
    }

    fn remove(&mut self, revoked: &Revoked) {
        match revoked {
            Revoked::Session { id } => {
                self.sessions.remove(id);
            }
            Revoked::Token { sha256 } => {
                self.tokens.remove(sha256);
            }
            Revoked::IssuerSession { issuer, sid } => {
                self.issuer_sessions.remove(&(issuer.clone(), sid.clone()));
            }
            Revoked::User { name } => {
                self.users.remove(name);
            }
            Revoked::Subject { subject } => {
                self.subjects.remove(subject);
            }
            Revoked::Everything => self.everything = None,
        }
    }

    fn against(&self, principal: &Principal) -> Option<&'static str> {
        let proof = &principal.proof;
        let is_older = |until: &u64| proof.issued.is_none_or(|issued| is_older(issued, *until));
        if self.everything.as_ref().is_some_and(is_older) {
            return Some("everything given out until then was revoked");
        }
        if self.users.get(&principal.user).is_some_and(is_older) {
            return Some("the user was revoked");
        }
        if let Some(session) = &proof.session
            && self.sessions.contains_key(session)
        {
            return Some("the session was ended");
        }
        if let Some(token) = &proof.token
            && self.tokens.contains_key(token)
        {
            return Some("the token was revoked");
        }
        let subject = proof.subject.as_ref()?;
        if self.subjects.get(subject).is_some_and(is_older) {
            return Some("the issuer logged the user out");
        }
        let issuer_session = proof.issuer_session.as_ref()?;
        let ended = !self.issuer_sessions.is_empty()
            && self
                .issuer_sessions
                .contains_key(&(subject.issuer.clone(), issuer_session.clone()));
        ended.then_some("the session at the issuer was ended")
    }
}

/// Whether something was given out until a time. What seems to be of the future was given out before
/// the clock was set back, so it is older than anything that was revoked since.
pub(crate) fn is_older(issued: u64, until: u64) -> bool {
    issued <= until || issued.min(now()) <= until
}

fn failed(error: &dyn std::fmt::Display) -> Unavailable {
    tracing::error!(%error, "revocations can't be kept");
    Unavailable::State
}
