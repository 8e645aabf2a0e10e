//! Names and passwords of the configuration.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use argon2::{
    Argon2,
    password_hash::{PasswordHashString, PasswordVerifier},
};
use moka::sync::Cache;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::{
    cache::{Digest, DigestKey},
    error::{AuthError, Invalid, Unavailable},
    principal::Principal,
};

/// A check takes tens of milliseconds of CPU and 19 MiB by design, so its result is kept this long.
const KEPT: Duration = Duration::from_secs(300);

/// Results that are kept at most, of either kind.
const MAX_KEPT: u64 = 10_000;

/// Checks at a time. A flood of wrong passwords takes one CPU, not all.
const AT_A_TIME: usize = 1;

/// Checks that may wait for their turn: a second or two of them.
const WAITING: usize = 32;

/// Users by name, and what was found out about passwords lately.
pub(crate) struct BasicUsers {
    users: HashMap<String, User>,
    key: DigestKey,
    right: Cache<Digest, Arc<Principal>>,
    /// Apart from the right ones, which a flood of wrong ones must not displace.
    wrong: Cache<Digest, ()>,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
}

struct User {
    hash: PasswordHashString,
    principal: Arc<Principal>,
}

/// Counts a check among the waiting while it lives.
struct Waiting<'a>(&'a AtomicUsize);

// === impl BasicUsers ===

impl BasicUsers {
    pub(crate) fn new(users: impl IntoIterator<Item = (String, PasswordHashString, Arc<Principal>)>) -> Self {
        let kept = || Cache::builder().max_capacity(MAX_KEPT).time_to_live(KEPT);
        Self {
            users: users
                .into_iter()
                .map(|(name, hash, principal)| (name, User { hash, principal }))
                .collect(),
            key: DigestKey::random(),
            right: kept().build(),
            wrong: Cache::builder().max_capacity(MAX_KEPT).time_to_live(KEPT).build(),
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
            waiting: AtomicUsize::new(0),
        }
    }

    pub(crate) async fn verify(
        &self,
        username: &str,
        password: &SecretString,
    ) -> Result<Arc<Principal>, AuthError> {
        let digest = self.key.digest([username, password.expose_secret()]);
        if let Some(principal) = self.right.get(&digest) {
            return Ok(principal);
        }
        if self.wrong.contains_key(&digest) {
            return Err(Invalid::Password.into());
        }
        let known = self.users.get(username);
        // For an unknown name another one's hash is checked, so that both take the same time.
        let Some(user) = known.or_else(|| self.users.values().next()) else {
            return Err(Invalid::Password.into());
        };
        let fits = self.check(user.hash.clone(), password.clone()).await?;
        match known {
            Some(user) if fits => {
                self.right.insert(digest, Arc::clone(&user.principal));
                Ok(Arc::clone(&user.principal))
            }
            _ => {
                self.wrong.insert(digest, ());
                Err(Invalid::Password.into())
            }
        }
    }

    async fn check(&self, hash: PasswordHashString, password: SecretString) -> Result<bool, AuthError> {
        let waiting = Waiting::new(&self.waiting).ok_or(Unavailable::Busy)?;
        let turn = Arc::clone(&self.turns)
            .acquire_owned()
            .await
            .map_err(|_| Unavailable::Busy)?;
        drop(waiting);
        let check = tokio::task::spawn_blocking(move || {
            // Held until the work is done, even if the request that asked for it is gone.
            let _turn = turn;
            Argon2::default()
                .verify_password(password.expose_secret().as_bytes(), &hash.password_hash())
                .is_ok()
        });
        check.await.map_err(|_| Unavailable::Busy.into())
    }
}

// === impl Waiting ===

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Option<Self> {
        let waiting = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < WAITING).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
