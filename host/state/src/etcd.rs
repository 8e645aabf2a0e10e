//! The engine for several replicas: etcd, which they share.
//!
//! A space is the keys that begin with `<prefix>/<space>` and a zero byte. A value is stored as the
//! embedded engine stores it, with the time of its expiry in front, which is exact to the millisecond as
//! far as the replicas' clocks are; etcd's lease, which counts in seconds, only clears it away.

mod config;
mod leases;

use std::{
    collections::BTreeMap,
    error::Error as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use etcd_client::{
    Client, Compare, CompareOp, Error as EtcdError, GetOptions, GetResponse, KeyValue, KvClient, PutOptions,
    Txn, TxnOp, TxnOpResponse, TxnResponse, WatchOptions, WatchStream,
};
use tokio::sync::watch;
use tonic::Code;

pub use config::EtcdConfig;
use leases::Leases;

use crate::{
    Change, Changes, Error, Outcome, Pair, ScanLimit, Space, State, Transaction,
    stored::{Stored, now},
};

/// What one transaction of etcd's may have by default (`--max-txn-ops`).
const MAX_OPERATIONS: usize = 128;

/// Pairs that are read at a time.
const PAGE: usize = 64;

/// What an answer may have: a page, or a transaction's reads, of values of the size that etcd takes by
/// default (`--max-request-bytes`, 1.5 MiB).
const MAX_ANSWER: usize = 200 << 20;

/// How long is tried again while etcd has no leader or a member is away.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause before that, and before a watch that broke is begun again.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a space's size is taken for what it was, and what was added from here.
const MEASURED: Duration = Duration::from_secs(30);

/// State in etcd, which replicas share. A commit is on the disks of a majority of its members before it
/// returns, and every read sees every commit before it.
#[derive(Clone)]
pub struct Etcd {
    inner: Arc<Inner>,
}

struct Inner {
    /// As errors name it.
    place: String,
    client: Client,
    prefix: String,
    leases: Leases,
}

#[derive(Clone)]
struct EtcdSpace {
    etcd: Arc<Inner>,
    /// What the space's keys begin with.
    first: Vec<u8>,
    /// What comes after all of them.
    end: Vec<u8>,
    measured: Arc<Mutex<Measured>>,
}

/// A space's size. To find it out, everything in the space is read, and it is asked for before each commit
/// of a plugin that adds something.
#[derive(Debug, Default)]
struct Measured {
    /// When that was done.
    at: Option<Instant>,
    /// The size then, and what was put there from here since.
    bytes: u64,
}

// === impl Etcd ===

impl Etcd {
    /// Connects, and asks whether etcd is there.
    pub async fn open(config: &EtcdConfig) -> Result<Self, Error> {
        let place = config.place();
        let client = config.connect().await.map_err(|reason| Error {
            place: place.clone(),
            action: "be opened",
            reason,
        })?;
        let inner = Inner {
            place,
            client,
            prefix: config.prefix.clone(),
            leases: Leases::default(),
        };
        // A client connects when it is first used.
        let asked = inner.range(
            inner.prefix.clone().into_bytes(),
            GetOptions::new().with_count_only(),
        );
        asked.await.map_err(|error| inner.error("be opened", &error))?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }
}

impl State for Etcd {
    fn space(&self, name: &str) -> Result<Arc<dyn Space>, Error> {
        let bounded = |last| [self.inner.prefix.as_bytes(), b"/", name.as_bytes(), &[last]].concat();
        Ok(Arc::new(EtcdSpace {
            etcd: Arc::clone(&self.inner),
            first: bounded(0),
            end: bounded(1),
            measured: Arc::default(),
        }))
    }
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Etcd").field(&self.inner.place).finish()
    }
}

// === impl Inner ===

impl Inner {
    fn error(&self, action: &'static str, reason: &impl ToString) -> Error {
        Error {
            place: self.place.clone(),
            action,
            reason: reason.to_string(),
        }
    }

    fn kv(&self) -> KvClient {
        self.client.kv_client().max_decoding_message_size(MAX_ANSWER)
    }

    async fn range(&self, key: Vec<u8>, options: GetOptions) -> Result<GetResponse, EtcdError> {
        let ask = || {
            let (mut kv, key, options) = (self.kv(), key.clone(), options.clone());
            async move { kv.get(key, Some(options)).await }
        };
        patiently(ask).await
    }

    /// A transaction that only reads.
    async fn look(&self, reads: Vec<TxnOp>) -> Result<TxnResponse, EtcdError> {
        let ask = || {
            let (mut kv, reads) = (self.kv(), Txn::new().and_then(reads.clone()));
            async move { kv.txn(reads).await }
        };
        patiently(ask).await
    }
}

/// Asks what changes nothing, again and again while there is an outage that may pass.
async fn patiently<T, F>(ask: impl Fn() -> F) -> Result<T, EtcdError>
where
    F: Future<Output = Result<T, EtcdError>>,
{
    let begun = Instant::now();
    loop {
        match ask().await {
            Err(error) if passes(&error) && begun.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
            answer => return answer,
        }
    }
}

/// Whether an error is of an outage that may pass: there is no leader, this member is away, or the
/// connection broke, which is a status that the client makes of what it comes from.
fn passes(error: &EtcdError) -> bool {
    matches!(error, EtcdError::GRpcStatus(status)
        if status.code() == Code::Unavailable || status.source().is_some())
}

/// Whether etcd does not know a lease that it was told of.
fn is_lease_unknown(error: &EtcdError) -> bool {
    matches!(error, EtcdError::GRpcStatus(status) if status.code() == Code::NotFound)
}

/// What some changes put there.
fn added(changes: &[Change]) -> u64 {
    let of = |change: &Change| match change {
        Change::Put { key, value, .. } => bytes(key, value),
        Change::Delete(_) => 0,
    };
    changes.iter().map(of).sum()
}

fn bytes(key: &[u8], value: &[u8]) -> u64 {
    u64::try_from(key.len() + value.len()).unwrap_or(u64::MAX)
}

// === impl EtcdSpace ===

impl EtcdSpace {
    fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.first, key].concat()
    }

    /// What is stored at some keys, each once.
    async fn stored(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<KeyValue>>, EtcdError> {
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(MAX_OPERATIONS) {
            let reads = keys.iter().map(|key| TxnOp::get(self.key(key), None)).collect();
            for answer in self.etcd.look(reads).await?.op_responses() {
                let TxnOpResponse::Get(mut answer) = answer else {
                    continue;
                };
                found.push(answer.take_kvs().into_iter().next());
            }
        }
        Ok(found)
    }

    /// The operations that make some changes: of several to one key, which etcd refuses, the last.
    async fn operations(&self, changes: &[Change]) -> Result<Vec<TxnOp>, EtcdError> {
        let now = now();
        let mut last = BTreeMap::new();
        for change in changes {
            let key = match change {
                Change::Put { key, .. } | Change::Delete(key) => key,
            };
            last.insert(key, change);
        }
        let mut operations = Vec::with_capacity(last.len());
        for (key, change) in last {
            let key = self.key(key);
            operations.push(match change {
                Change::Put { value, lifetime, .. } => {
                    let mut options = PutOptions::new();
                    if let Some(lifetime) = lifetime {
                        let leases = &self.etcd.leases;
                        options = options.with_lease(leases.outliving(&self.etcd.client, *lifetime).await?);
                    }
                    let stored = Stored::new(value.clone(), *lifetime, now);
                    TxnOp::put(key, stored.encode(), Some(options))
                }
                Change::Delete(_) => TxnOp::delete(key, None),
            });
        }
        Ok(operations)
    }

    /// Tries a transaction once. None: somebody else wrote what it looked at in the meantime.
    async fn attempt(&self, transaction: &Transaction) -> Result<Option<Outcome>, EtcdError> {
        let keys: Vec<_> = transaction.expect.iter().map(|(key, _)| key.clone()).collect();
        let stored = self.stored(&keys).await?;
        let now = now();
        let mut conditions = Vec::with_capacity(keys.len());
        for ((key, expected), stored) in transaction.expect.iter().zip(stored) {
            let live = stored
                .as_ref()
                .and_then(|stored| Stored::live(stored.value(), now));
            if live != expected.as_deref() {
                return Ok(Some(Outcome::Conflict));
            }
            // A value that has expired may still be there.
            let revision = stored.map_or(0, |stored| stored.mod_revision());
            conditions.push(Compare::mod_revision(self.key(key), CompareOp::Equal, revision));
        }
        let operations = self.operations(&transaction.changes).await?;
        let txn = Txn::new().when(conditions).and_then(operations);
        let committed = self.etcd.kv().txn(txn).await?.succeeded();
        Ok(committed.then_some(Outcome::Committed))
    }

    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn measure(&self) -> Result<u64, Error> {
        let every = ScanLimit {
            pairs: PAGE,
            bytes: usize::MAX,
        };
        let (mut size, mut start) = (0_u64, Vec::new());
        loop {
            let page = self.scan(&start, &[], every).await?;
            let Some((last, _)) = page.last() else {
                return Ok(size);
            };
            start = [last.as_slice(), &[0]].concat();
            size += page.iter().map(|(key, value)| bytes(key, value)).sum::<u64>();
        }
    }

    async fn watched(&self) -> Result<WatchStream, EtcdError> {
        let options = WatchOptions::new().with_range(self.end.clone());
        let mut client = self.etcd.client.watch_client();
        client.watch(self.first.clone(), Some(options)).await
    }

    /// Tells of changes until nobody listens.
    async fn follow(self, changes: watch::Sender<u64>) {
        let following = async {
            loop {
                match self.watched().await {
                    // Of what came before the watch began nothing is told; a watch that etcd cancels,
                    // because it fell behind what is compacted or its member lost the leader, ends.
                    Ok(mut stream) => {
                        while let Ok(Some(answer)) = stream.message().await
                            && !answer.canceled()
                        {
                            changes.send_modify(|changes| *changes += 1);
                        }
                    }
                    Err(error) => tracing::warn!("{}: changes are not heard of: {error}", self.etcd.place),
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = following => {}
            () = changes.closed() => {}
        }
    }
}

#[async_trait::async_trait]
impl Space for EtcdSpace {
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let answer = self.etcd.range(self.key(key), GetOptions::new()).await;
        let answer = answer.map_err(|error| self.etcd.error("read a key", &error))?;
        let stored = answer.kvs().first();
        Ok(stored.and_then(|stored| Stored::live(stored.value(), now()).map(<[u8]>::to_vec)))
    }

    async fn get_many(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let stored = self.stored(&keys).await;
        let stored = stored.map_err(|error| self.etcd.error("read keys", &error))?;
        let now = now();
        let live = |stored: Option<KeyValue>| {
            stored.and_then(|stored| Stored::live(stored.value(), now).map(<[u8]>::to_vec))
        };
        Ok(stored.into_iter().map(live).collect())
    }

    async fn scan(&self, start: &[u8], end: &[u8], limit: ScanLimit) -> Result<Vec<Pair>, Error> {
        let mut start = self.key(start);
        let end = if end.is_empty() {
            self.end.clone()
        } else {
            self.key(end)
        };
        let now = now();
        let (mut found, mut bytes, mut revision) = (Vec::new(), 0, 0);
        while start < end && found.len() < limit.pairs {
            let page = PAGE.min(limit.pairs - found.len());
            let options = GetOptions::new()
                .with_range(end.clone())
                .with_limit(i64::try_from(page).unwrap_or(i64::MAX))
                .with_revision(revision);
            let answer = self.etcd.range(start.clone(), options).await;
            let mut answer = answer.map_err(|error| self.etcd.error("scan", &error))?;
            // All pages are of the moment of the first.
            revision = answer
                .header()
                .map_or(0, etcd_client::ResponseHeader::revision)
                .max(revision);
            let more = answer.more();
            for pair in answer.take_kvs() {
                let (key, stored) = pair.into_key_value();
                start.clone_from(&key);
                start.push(0);
                let Some(value) = Stored::live(&stored, now) else {
                    continue;
                };
                let key = key.get(self.first.len()..).unwrap_or_default();
                bytes += key.len() + value.len();
                if bytes > limit.bytes && !found.is_empty() {
                    return Ok(found);
                }
                found.push((key.to_vec(), value.to_vec()));
            }
            if !more {
                break;
            }
        }
        Ok(found)
    }

    async fn commit(&self, transaction: Transaction) -> Result<Outcome, Error> {
        if transaction.expect.len().max(transaction.changes.len()) > MAX_OPERATIONS {
            let reason = format!(
                "etcd takes {MAX_OPERATIONS} changes at once, and these are {}",
                transaction.changes.len()
            );
            return Err(self.etcd.error("commit", &reason));
        }
        let begun = Instant::now();
        // What an attempt whose answer was lost came to is not known.
        let mut lost = None;
        loop {
            match (self.attempt(&transaction).await, lost.take()) {
                (Ok(Some(Outcome::Conflict)), Some(error)) => {
                    let reason = format!("{error}; it may have happened all the same");
                    return Err(self.etcd.error("commit", &reason));
                }
                (Ok(Some(outcome)), _) => {
                    if outcome == Outcome::Committed {
                        self.measured().bytes += added(&transaction.changes);
                    }
                    return Ok(outcome);
                }
                (Ok(None), before) => lost = before,
                (Err(error), before) if begun.elapsed() < PATIENCE && is_lease_unknown(&error) => {
                    self.etcd.leases.forget();
                    lost = before;
                }
                (Err(error), _) if begun.elapsed() < PATIENCE && passes(&error) => {
                    lost = Some(error);
                    tokio::time::sleep(PAUSE).await;
                }
                (Err(error), _) => return Err(self.etcd.error("commit", &error)),
            }
        }
    }

    async fn size(&self) -> Result<u64, Error> {
        let known = {
            let measured = self.measured();
            let fresh = measured.at.is_some_and(|at| at.elapsed() < MEASURED);
            fresh.then_some(measured.bytes)
        };
        if let Some(bytes) = known {
            return Ok(bytes);
        }
        let at = Some(Instant::now());
        let bytes = self.measure().await?;
        *self.measured() = Measured { at, bytes };
        Ok(bytes)
    }

    fn watch(&self) -> Changes {
        let (sender, receiver) = watch::channel(0);
        tokio::spawn(self.clone().follow(sender));
        receiver
    }
}

impl std::fmt::Debug for EtcdSpace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdSpace")
            .field("etcd", &self.etcd.place)
            .field("first", &String::from_utf8_lossy(&self.first))
            .finish()
    }
}
