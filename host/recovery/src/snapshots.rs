//! Snapshots of etcd: streamed to a directory off its nodes, compared with etcd's own digest, restored on
//! trial, and kept for a while.
//!
//! A snapshot holds everything that the cluster stores, its Secrets included. The directory and the
//! files are for the gateway's user alone.

mod file;
mod rehearse;

use std::{
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;
use witgate_plugins::recovery::Timestamp;

use crate::{
    etcd::{Etcd, EtcdError},
    executor::Clock,
    observation::Snapshot,
    policy::millis,
};

pub use file::Record;
pub use rehearse::Rehearsal;

/// Where snapshots are kept, and how long.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SnapshotConfig {
    /// A directory that is on no node of etcd.
    pub directory: PathBuf,
    /// How often one is taken. Default: `1h`.
    #[serde(default = "every", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub every: Duration,
    /// How many are kept. Default: 48. The newest that is verified is kept whatever comes after it.
    #[serde(default = "keep")]
    pub keep: usize,
    /// The program by which each is restored on trial. Default: `etcdutl`, where it is found.
    #[serde(default)]
    pub etcdutl: Option<PathBuf>,
}

fn every() -> Duration {
    Duration::from_secs(60 * 60)
}

fn keep() -> usize {
    48
}

/// The directory of snapshots.
#[derive(Clone, Debug)]
pub(crate) struct Snapshots {
    config: SnapshotConfig,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// etcd does not give one.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// The directory or a file in it.
    #[error("{file}: {reason}")]
    File {
        /// Which.
        file: String,
        /// What went wrong.
        reason: String,
    },
    /// What came is not what was sent.
    #[error("the snapshot is damaged: {0}. Nothing of it was kept")]
    Damaged(String),
}

impl Snapshots {
    /// What is kept where the configuration says. Nothing is read or written yet.
    pub(crate) fn new(config: SnapshotConfig) -> Self {
        Self { config }
    }

    /// Makes the directory, and clears away what an earlier process did not finish.
    async fn prepare(&self) -> Result<(), SnapshotError> {
        let directory = self.config.directory.clone();
        let made = tokio::task::spawn_blocking(move || {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&directory)?;
            file::clear_unfinished(&directory)
        });
        let made = made.await.map_err(std::io::Error::other).flatten();
        made.map_err(failed(&self.config.directory))
    }

    /// Takes one, verifies it, and clears away what is beyond the number that is kept.
    pub(crate) async fn take(&self, etcd: &Etcd, now: Timestamp) -> Result<Record, SnapshotError> {
        self.prepare().await?;
        let stream = etcd.snapshot(now).await?;
        let record = file::receive(&self.config.directory, stream, now).await?;
        tracing::info!(
            file = record.file,
            revision = record.revision,
            bytes = record.size,
            "snapshot taken"
        );
        self.clear().await?;
        Ok(record)
    }

    /// All that are kept, oldest first, as far as their files are still what they were.
    pub(crate) async fn list(&self) -> Result<Vec<Record>, SnapshotError> {
        let directory = self.config.directory.clone();
        let listed = tokio::task::spawn_blocking(move || file::list(&directory));
        let listed = listed.await.map_err(std::io::Error::other).flatten();
        listed.map_err(failed(&self.config.directory))
    }

    /// What the rules look at.
    pub(crate) async fn facts(&self) -> Result<Vec<Snapshot>, SnapshotError> {
        let records = self.list().await?;
        Ok(records.into_iter().map(|record| record.fact()).collect())
    }

    /// Takes snapshots as often as is configured, until it is dropped. A failure is logged, and tried
    /// again with the next.
    pub(crate) async fn keep_taking(&self, etcd: &Etcd, clock: &dyn Clock) {
        loop {
            let newest = match self.list().await {
                Ok(records) => records.last().map_or(0, |record| record.at),
                Err(error) => {
                    tracing::error!("snapshots can't be listed: {error}");
                    0
                }
            };
            let due = newest.saturating_add(millis(self.config.every));
            let wait = due.saturating_sub(clock.now());
            if wait > 0 {
                clock.sleep(Duration::from_millis(wait)).await;
                continue;
            }
            if let Err(error) = self.take(etcd, clock.now()).await {
                tracing::error!("no snapshot of etcd was taken: {error}");
                clock.sleep(self.config.every.min(Duration::from_secs(60))).await;
            }
        }
    }

    async fn clear(&self) -> Result<(), SnapshotError> {
        let records = self.list().await?;
        let newest_verified = records.iter().rposition(|record| record.verified);
        let beyond = records.len().saturating_sub(self.config.keep.max(1));
        for (place, record) in records.iter().enumerate().take(beyond) {
            if Some(place) == newest_verified {
                continue;
            }
            for path in file::paths(&self.config.directory, &record.file) {
                tokio::fs::remove_file(&path).await.map_err(failed(&path))?;
            }
        }
        Ok(())
    }
}

fn failed(file: &Path) -> impl Fn(std::io::Error) -> SnapshotError {
    let file = file.display().to_string();
    move |error| SnapshotError::File {
        file: file.clone(),
        reason: error.to_string(),
    }
}
