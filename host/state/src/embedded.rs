//! The embedded engine: one directory, one process, fjall inside.

use std::{
    collections::HashMap,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use tokio::sync::watch;

use super::{
    Change, Changes, Error, KeyRange, Outcome, Pair, ScanLimit, Space, State, Transaction,
    stored::{Stored, now},
};

/// Keys that expire, by the time they do: `<millis><length of the space's name><name><key>`.
const EXPIRIES: &str = "expiries";

/// Spaces are kept apart from the engine's own keyspaces by this prefix.
const SPACE: &str = "space/";

/// How many expired keys one commit clears away, so that no commit pays for all of them.
const CLEARED_PER_COMMIT: usize = 64;

/// State in a directory of this process. A commit is on disk (fsync) before it returns.
#[derive(Clone)]
pub struct Embedded {
    inner: Arc<Inner>,
}

struct Inner {
    directory: PathBuf,
    database: Database,
    expiries: Keyspace,
    /// Taken while a transaction checks its expectations and is applied, so that no other comes
    /// between. The wait for the disk happens outside.
    writing: Mutex<()>,
    /// Who is told of changes, by space.
    watched: Mutex<HashMap<Arc<str>, watch::Sender<u64>>>,
}

#[derive(Clone)]
struct EmbeddedSpace {
    state: Arc<Inner>,
    name: Arc<str>,
    keyspace: Keyspace,
}

// === impl Embedded ===

impl Embedded {
    /// Opens the store in `directory`, which is made if it isn't there. Only one process at a time
    /// can have it open.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let fail = |reason: fjall::Error| Error {
            place: directory.display().to_string(),
            action: "be opened",
            reason: match reason {
                fjall::Error::Locked => "another process has it open".to_owned(),
                other => other.to_string(),
            },
        };
        let database = Database::builder(directory).open().map_err(fail)?;
        let expiries = database
            .keyspace(EXPIRIES, KeyspaceCreateOptions::default)
            .map_err(fail)?;
        Ok(Self {
            inner: Arc::new(Inner {
                directory: directory.to_owned(),
                database,
                expiries,
                writing: Mutex::default(),
                watched: Mutex::default(),
            }),
        })
    }
}

impl State for Embedded {
    fn space(&self, name: &str) -> Result<Arc<dyn Space>, Error> {
        let keyspace = self
            .inner
            .database
            .keyspace(&format!("{SPACE}{name}"), KeyspaceCreateOptions::default)
            .map_err(|reason| self.inner.error("open a space", &reason))?;
        Ok(Arc::new(EmbeddedSpace {
            state: Arc::clone(&self.inner),
            name: name.into(),
            keyspace,
        }))
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Embedded").field(&self.inner.directory).finish()
    }
}

// === impl Inner ===

impl Inner {
    fn error(&self, action: &'static str, reason: &impl ToString) -> Error {
        Error {
            place: self.directory.display().to_string(),
            action,
            reason: reason.to_string(),
        }
    }

    /// Adds the removal of keys whose time has come to a batch.
    fn clear_expired(&self, batch: &mut fjall::OwnedWriteBatch, now: u64) -> Result<(), fjall::Error> {
        for guard in self.expiries.iter().take(CLEARED_PER_COMMIT) {
            let entry = guard.key()?;
            let Some((expires, space, key)) = split_expiry(&entry) else {
                continue;
            };
            if expires > now {
                break;
            }
            let name = format!("{SPACE}{space}");
            if self.database.keyspace_exists(&name) {
                let keyspace = self.database.keyspace(&name, KeyspaceCreateOptions::default)?;
                // The key may have been set anew since, with another expiry.
                if keyspace
                    .get(key)?
                    .is_some_and(|stored| Stored::expiry(&stored) == expires)
                {
                    batch.remove(&keyspace, key);
                }
            }
            batch.remove(&self.expiries, entry);
        }
        Ok(())
    }
}

// === impl EmbeddedSpace ===

impl EmbeddedSpace {
    /// Runs blocking work of the engine where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Self) -> Result<T, fjall::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let space = self.clone();
        let result = tokio::task::spawn_blocking(move || work(&space)).await;
        match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(reason)) => Err(self.state.error(action, &reason)),
            Err(panic) => Err(self.state.error(action, &panic)),
        }
    }

    fn watched(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, watch::Sender<u64>>> {
        self.state.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        if let Some(watched) = self.watched().get(&self.name) {
            watched.send_modify(|changes| *changes += 1);
        }
    }

    fn read(&self, key: &[u8], now: u64) -> Result<Option<Vec<u8>>, fjall::Error> {
        let stored = self.keyspace.get(key)?;
        Ok(stored.and_then(|stored| Stored::live(&stored, now).map(<[u8]>::to_vec)))
    }

    fn apply(&self, transaction: Transaction) -> Result<Outcome, fjall::Error> {
        let now = now();
        let _writing = self.state.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, expected) in &transaction.expect {
            if self.read(key, now)? != *expected {
                return Ok(Outcome::Conflict);
            }
        }
        let mut batch = self.state.database.batch();
        let mut expiring = false;
        for change in transaction.changes {
            match change {
                Change::Put { key, value, lifetime } => {
                    let stored = Stored::new(value, lifetime, now);
                    if stored.expires != 0 {
                        expiring = true;
                        let entry = join_expiry(stored.expires, &self.name, &key);
                        batch.insert(&self.state.expiries, entry, []);
                    }
                    batch.insert(&self.keyspace, key, stored.encode());
                }
                Change::Delete(key) => batch.remove(&self.keyspace, key),
            }
        }
        if expiring {
            self.state.clear_expired(&mut batch, now)?;
        }
        batch.commit()?;
        Ok(Outcome::Committed)
    }
}

#[async_trait::async_trait]
impl Space for EmbeddedSpace {
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let key = key.to_vec();
        self.blocking("read a key", move |space| space.read(&key, now()))
            .await
    }

    async fn get_many(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.blocking("read keys", move |space| {
            let now = now();
            keys.iter().map(|key| space.read(key, now)).collect()
        })
        .await
    }

    async fn scan(&self, start: &[u8], end: &[u8], limit: ScanLimit) -> Result<Vec<Pair>, Error> {
        self.scan_many(vec![(start.to_vec(), end.to_vec())], limit).await
    }

    async fn scan_many(&self, ranges: Vec<KeyRange>, limit: ScanLimit) -> Result<Vec<Pair>, Error> {
        self.blocking("scan", move |space| {
            let now = now();
            let mut bytes = 0;
            let mut found = Vec::new();
            for (start, end) in ranges {
                let (start, end) = bounds(start, end);
                if is_empty_range(&start, &end) {
                    continue;
                }
                for guard in space.keyspace.range((start, end)) {
                    if found.len() >= limit.pairs {
                        return Ok(found);
                    }
                    let (key, stored) = guard.into_inner()?;
                    let Some(value) = Stored::live(&stored, now) else {
                        continue;
                    };
                    bytes += key.len() + value.len();
                    if bytes > limit.bytes && !found.is_empty() {
                        return Ok(found);
                    }
                    found.push((key.to_vec(), value.to_vec()));
                }
            }
            Ok(found)
        })
        .await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Outcome, Error> {
        self.blocking("commit", move |space| {
            let outcome = space.apply(transaction)?;
            if outcome == Outcome::Committed {
                space.state.database.persist(PersistMode::SyncAll)?;
                space.tell();
            }
            Ok(outcome)
        })
        .await
    }

    async fn size(&self) -> Result<u64, Error> {
        self.blocking("measure a space", |space| Ok(space.keyspace.disk_space()))
            .await
    }

    fn watch(&self) -> Changes {
        let mut watched = self.watched();
        watched.entry(Arc::clone(&self.name)).or_default().subscribe()
    }
}

impl std::fmt::Debug for EmbeddedSpace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedSpace")
            .field("directory", &self.state.directory)
            .field("name", &self.name)
            .finish()
    }
}

fn bounds(start: Vec<u8>, end: Vec<u8>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let end = match end.is_empty() {
        true => Bound::Unbounded,
        false => Bound::Excluded(end),
    };
    (Bound::Included(start), end)
}

/// An inverted range, which the engine would not take.
fn is_empty_range(start: &Bound<Vec<u8>>, end: &Bound<Vec<u8>>) -> bool {
    matches!((start, end), (Bound::Included(start), Bound::Excluded(end)) if start >= end)
}

fn join_expiry(expires: u64, space: &str, key: &[u8]) -> Vec<u8> {
    let length = u16::try_from(space.len()).unwrap_or(u16::MAX);
    let mut entry = Vec::with_capacity(10 + space.len() + key.len());
    entry.extend_from_slice(&expires.to_be_bytes());
    entry.extend_from_slice(&length.to_be_bytes());
    entry.extend_from_slice(space.as_bytes());
    entry.extend_from_slice(key);
    entry
}

fn split_expiry(entry: &[u8]) -> Option<(u64, &str, &[u8])> {
    let (expires, rest) = entry.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (space, key) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some((
        u64::from_be_bytes(*expires),
        std::str::from_utf8(space).ok()?,
        key,
    ))
}
