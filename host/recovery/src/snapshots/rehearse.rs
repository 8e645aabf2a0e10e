//! Restoring a snapshot on trial: before, nobody knows that it could be.

use std::{path::Path, process::Stdio, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{process::Command, time::timeout};
use witgate_plugins::recovery::Timestamp;

use super::{Record, SnapshotError, Snapshots, failed, file};
use crate::executor::Clock;

/// How long etcdutl may take: it copies the database, and adds to it what a member needs.
const RESTORING: Duration = Duration::from_secs(30 * 60);

/// How often is looked whether there is a snapshot that was not tried.
const LOOK: Duration = Duration::from_secs(30);

/// Where a snapshot is restored to, in the directory of the snapshots: there is room for them.
const TRIAL: &str = "trial";

/// What came of restoring a snapshot on trial, with `etcdutl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Rehearsal {
    /// A member's data was made from it.
    Restored {
        /// When.
        at: Timestamp,
        /// The revision that it really holds.
        revision: i64,
        /// How many keys.
        keys: u64,
    },
    /// It could not be made.
    Failed {
        /// When.
        at: Timestamp,
        /// What etcdutl said.
        reason: String,
    },
}

/// What `etcdutl snapshot status` says, as far as it is looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    revision: i64,
    total_key: u64,
}

/// Why there is no answer of etcdutl's.
enum Trouble {
    Absent,
    Said(String),
}

impl Snapshots {
    /// Tries every new snapshot, until it is dropped; or until there is no etcdutl.
    pub(crate) async fn keep_rehearsing(&self, clock: &dyn Clock) {
        loop {
            match self.rehearse_newest(clock).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::info!("snapshots are not restored on trial: there is no etcdutl");
                    return;
                }
                Err(error) => tracing::error!("the newest snapshot was not restored on trial: {error}"),
            }
            clock.sleep(LOOK).await;
        }
    }

    /// Tries the newest snapshot if that was not done, and records what comes of it; false if there is no
    /// etcdutl to try it with.
    pub(crate) async fn rehearse_newest(&self, clock: &dyn Clock) -> Result<bool, SnapshotError> {
        let newest = self.list().await?.pop();
        let Some(mut record) = newest.filter(|record| record.rehearsal.is_none()) else {
            return Ok(true);
        };
        let tried = self.rehearse(&record).await;
        let (at, file) = (clock.now(), &record.file);
        let rehearsal = match tried {
            Ok(Status { revision, total_key }) => {
                tracing::info!(file, revision, keys = total_key, "snapshot restored on trial");
                Rehearsal::Restored {
                    at,
                    revision,
                    keys: total_key,
                }
            }
            Err(Trouble::Absent) => return Ok(false),
            Err(Trouble::Said(reason)) => {
                tracing::error!(file, "the snapshot can't be restored: {reason}");
                Rehearsal::Failed { at, reason }
            }
        };
        record.rehearsal = Some(rehearsal);
        let directory = self.config.directory.clone();
        let written = tokio::task::spawn_blocking(move || file::write_about(&directory, &record));
        let written = written.await.map_err(std::io::Error::other).flatten();
        written.map_err(failed(&self.config.directory))?;
        Ok(true)
    }

    async fn rehearse(&self, record: &Record) -> Result<Status, Trouble> {
        let snapshot = self.config.directory.join(&record.file);
        let mut command = self.etcdutl("status", &snapshot);
        command.args(["--write-out", "json"]);
        let told = run(command).await?;
        let status: Status = serde_json::from_slice(&told)
            .map_err(|error| Trouble::Said(format!("its status can't be read: {error}")))?;
        if status.revision < record.revision {
            let (holds, wanted) = (status.revision, record.revision);
            return Err(Trouble::Said(format!(
                "it holds revision {holds}, and was begun at {wanted}"
            )));
        }
        let trial = self.config.directory.join(TRIAL);
        let clear = async || match tokio::fs::remove_dir_all(&trial).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Trouble::Said(format!("{}: {error}", trial.display())))
            }
            _ => Ok(()),
        };
        // What a rehearsal before left behind, if its process was killed.
        clear().await?;
        let mut command = self.etcdutl("restore", &snapshot);
        command.arg("--data-dir").arg(&trial);
        let restored = run(command).await;
        clear().await?;
        restored.map(|_| status)
    }

    fn etcdutl(&self, what: &str, snapshot: &Path) -> Command {
        let program = self.config.etcdutl.as_deref().unwrap_or(Path::new("etcdutl"));
        let mut command = Command::new(program);
        command.args(["snapshot", what]).arg(snapshot);
        command
    }
}

/// What a program prints.
async fn run(mut command: Command) -> Result<Vec<u8>, Trouble> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = match timeout(RESTORING, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => return Err(Trouble::Absent),
        Ok(Err(error)) => return Err(Trouble::Said(error.to_string())),
        Err(_) => {
            return Err(Trouble::Said(format!(
                "it was not done within {} s",
                RESTORING.as_secs()
            )));
        }
    };
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    Err(Trouble::Said(format!(
        "{}: {}",
        output.status,
        last.unwrap_or_default()
    )))
}
