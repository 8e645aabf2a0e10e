//! Pairs of Prometheus servers that scrape the same and both write: of each cluster one replica's
//! series are stored, and the other one's are not until it has been silent for a while.
//!
//! Which one that is is decided here and kept in the state, so that a restart does not change it, and
//! other gateways on the same state come to the same decision.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use witgate_state::{Change, Outcome, Space, Transaction};

use crate::config::ReplicasConfig;

/// How much longer than its use a decision is kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// How often a decision is tried again when another gateway has just made one.
const TRIES: usize = 4;

/// The decisions for one tenant's clusters.
#[derive(Debug)]
pub(crate) struct Replicas {
    tenant: String,
    pub(crate) cluster_label: String,
    pub(crate) replica_label: String,
    /// How long an elected replica may be silent, in milliseconds.
    failover: u64,
    most: usize,
    space: Arc<dyn Space>,
    elected: Mutex<HashMap<String, Elected>>,
}

/// Who was elected in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Elected {
    replica: String,
    /// When it last wrote, in milliseconds since 1970.
    seen: u64,
    /// What of that the state knows.
    #[serde(skip)]
    kept: u64,
}

/// What is to be done with a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the elected replica's.
    Elected,
    /// It is another one's.
    Other,
    /// That has to be found out first.
    Unsettled,
    /// There are too many clusters.
    Full,
}

/// A cluster and one of its replicas.
pub(crate) type Pair = (String, String);

impl Replicas {
    pub(crate) fn new(tenant: &str, config: &ReplicasConfig, space: Arc<dyn Space>) -> Self {
        Self {
            tenant: tenant.to_owned(),
            cluster_label: config.cluster_label.clone(),
            replica_label: config.replica_label.clone(),
            failover: u64::try_from(config.failover.as_millis()).unwrap_or(u64::MAX),
            most: config.clusters,
            space,
            elected: Mutex::default(),
        }
    }

    /// What is to be done with a replica's series.
    pub(crate) fn decide(&self, cluster: &str, replica: &str, now: u64) -> Verdict {
        let mut elected = self.elected.lock().unwrap_or_else(PoisonError::into_inner);
        match elected.get_mut(cluster) {
            Some(known) if now > known.seen.saturating_add(self.failover) => Verdict::Unsettled,
            Some(known) if known.replica == replica => {
                known.seen = known.seen.max(now);
                Verdict::Elected
            }
            Some(_) => Verdict::Other,
            None => {
                if elected.len() >= self.most {
                    elected.retain(|_, known| now <= known.seen.saturating_add(self.failover));
                }
                match elected.len() < self.most {
                    true => Verdict::Unsettled,
                    false => Verdict::Full,
                }
            }
        }
    }

    /// Elects who is not silent, in the state first.
    pub(crate) async fn settle(&self, (cluster, replica): &Pair, now: u64) -> Result<(), String> {
        let key = self.key(cluster);
        for _ in 0..TRIES {
            let found = self.space.get(&key).await.map_err(|error| error.to_string())?;
            // What can't be read is as good as nothing.
            let known = found
                .as_deref()
                .and_then(|value| serde_json::from_slice::<Elected>(value).ok());
            let elected = match known {
                Some(known)
                    if known.replica != *replica && now <= known.seen.saturating_add(self.failover) =>
                {
                    Elected {
                        kept: known.seen,
                        ..known
                    }
                }
                before => {
                    let elected = Elected {
                        replica: replica.clone(),
                        seen: now,
                        kept: now,
                    };
                    if !self.put(key.clone(), found, &elected).await? {
                        continue;
                    }
                    if let Some(before) = before.filter(|before| before.replica != *replica) {
                        tracing::info!(
                            tenant = self.tenant,
                            cluster,
                            replica,
                            silent = before.replica,
                            "another replica of the cluster is stored from now on"
                        );
                    }
                    elected
                }
            };
            let mut all = self.elected.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(cluster.clone(), elected);
            return Ok(());
        }
        Err(format!(
            "another gateway keeps deciding about the replicas of {cluster:?}"
        ))
    }

    /// Tells the state that the elected ones still write, when that is due.
    pub(crate) async fn keep(&self, now: u64) {
        let due: Vec<(String, Elected)> = {
            let elected = self.elected.lock().unwrap_or_else(PoisonError::into_inner);
            let is_due = |known: &Elected| known.seen > known.kept.saturating_add(self.failover / 2);
            let due = elected.iter().filter(|(_, known)| is_due(known));
            due.map(|(cluster, known)| (cluster.clone(), known.clone()))
                .collect()
        };
        for (cluster, known) in due {
            let pair = (cluster, known.replica);
            if let Err(reason) = self.settle(&pair, now.max(known.seen)).await {
                // It is tried again with the next write, and the decision stands meanwhile.
                tracing::warn!(tenant = self.tenant, cluster = pair.0, "replicas: {reason}");
            }
        }
    }

    async fn put(&self, key: Vec<u8>, found: Option<Vec<u8>>, elected: &Elected) -> Result<bool, String> {
        let value = serde_json::to_vec(elected).map_err(|error| error.to_string())?;
        let put = Change::Put {
            key: key.clone(),
            value,
            lifetime: Some(KEPT.saturating_add(Duration::from_millis(self.failover))),
        };
        let transaction = Transaction {
            expect: vec![(key, found)],
            changes: vec![put],
        };
        let outcome = self.space.commit(transaction).await;
        Ok(outcome.map_err(|error| error.to_string())? == Outcome::Committed)
    }

    /// A tenant's name has no slash in it.
    fn key(&self, cluster: &str) -> Vec<u8> {
        [&self.tenant, "/", cluster].concat().into_bytes()
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use witgate_state::{Embedded, State};

    use super::*;

    const FAILOVER: u64 = 30_000;

    fn replicas(space: &Arc<dyn Space>) -> Replicas {
        let config = ReplicasConfig {
            clusters: 2,
            ..ReplicasConfig::default()
        };
        Replicas::new("t", &config, Arc::clone(space))
    }

    fn space() -> (tempfile::TempDir, Arc<dyn Space>) {
        let directory = tempfile::tempdir().unwrap();
        let state = Embedded::open(directory.path()).unwrap();
        let space = state.space("replicas").unwrap();
        (directory, space)
    }

    async fn settled(replicas: &Replicas, cluster: &str, replica: &str, now: u64) -> Verdict {
        if replicas.decide(cluster, replica, now) == Verdict::Unsettled {
            let pair = (cluster.to_owned(), replica.to_owned());
            replicas.settle(&pair, now).await.unwrap();
        }
        replicas.decide(cluster, replica, now)
    }

    #[tokio::test]
    async fn one_replica_is_elected_until_it_is_silent() {
        let (_directory, space) = space();
        let replicas = replicas(&space);
        assert_eq!(settled(&replicas, "c", "a", 1000).await, Verdict::Elected);
        assert_eq!(settled(&replicas, "c", "b", 1000).await, Verdict::Other);
        assert_eq!(
            settled(&replicas, "d", "b", 1000).await,
            Verdict::Elected,
            "each cluster has its own"
        );
        assert_eq!(settled(&replicas, "e", "b", 1000).await, Verdict::Full);
        assert_eq!(settled(&replicas, "c", "a", 20_000).await, Verdict::Elected);
        assert_eq!(
            settled(&replicas, "c", "b", 20_000 + FAILOVER).await,
            Verdict::Other
        );
        assert_eq!(
            settled(&replicas, "c", "b", 20_001 + FAILOVER).await,
            Verdict::Elected
        );
        assert_eq!(
            settled(&replicas, "c", "a", 20_001 + FAILOVER).await,
            Verdict::Other,
            "it stays so"
        );
        assert_eq!(
            settled(&replicas, "e", "b", 20_001 + FAILOVER).await,
            Verdict::Elected,
            "d is silent"
        );
    }

    #[tokio::test]
    async fn a_restart_and_another_gateway_know_who_was_elected() {
        let (_directory, space) = space();
        let (one, other) = (replicas(&space), replicas(&space));
        assert_eq!(settled(&one, "c", "a", 1000).await, Verdict::Elected);
        assert_eq!(settled(&other, "c", "b", 2000).await, Verdict::Other);
        // It writes through one of them only, which the other learns in time.
        assert_eq!(settled(&one, "c", "a", 29_000).await, Verdict::Elected);
        one.keep(29_000).await;
        assert_eq!(settled(&other, "c", "b", 32_000).await, Verdict::Other);
        assert_eq!(settled(&replicas(&space), "c", "b", 40_000).await, Verdict::Other);
        // And that it was silent.
        assert_eq!(settled(&other, "c", "b", 70_000).await, Verdict::Elected);
        assert_eq!(settled(&one, "c", "a", 70_001).await, Verdict::Other);
    }
}
