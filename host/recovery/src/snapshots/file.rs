//! One snapshot on disk: etcd's file, and beside it what is known of it.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use witgate_plugins::recovery::{MemberId, Timestamp};

use super::{Rehearsal, SnapshotError, failed};
use crate::{etcd::Stream, observation::Snapshot};

/// etcd appends the SHA-256 digest of what it has sent.
const DIGEST: usize = 32;

/// bbolt's files are of whole pages, and so a snapshot is of a multiple of this and the digest.
const SECTOR: u64 = 512;

/// What may come beyond the size that the member named: it grows while it is sent.
const ROOM: u64 = 1 << 30;

/// How long nothing was written to a file that nobody will finish: a halt of the stream ends it sooner.
const FORGOTTEN: Duration = Duration::from_secs(60 * 60);

const DATA: &str = "db";
const ABOUT: &str = "json";
const UNFINISHED: &str = "part";

/// What is known of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Record {
    /// Its file's name, without a path.
    pub file: String,
    /// When it was begun.
    pub at: Timestamp,
    /// Of which cluster.
    pub cluster_id: MemberId,
    /// By which member.
    pub member: MemberId,
    /// That member's version of etcd.
    pub version: String,
    /// The revision that it holds at least.
    pub revision: i64,
    /// Bytes of the file.
    pub size: u64,
    /// The digest of the file's data, in hexadecimal, by etcd and by what was read back from disk.
    pub sha256: String,
    /// The digest was compared, and the file is still of that size.
    pub verified: bool,
    /// What came of restoring it on trial, if that was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<Rehearsal>,
}

impl Record {
    pub(super) fn fact(self) -> Snapshot {
        Snapshot {
            file: self.file,
            at: self.at,
            cluster_id: self.cluster_id,
            revision: self.revision,
            verified: self.verified,
        }
    }
}

impl std::fmt::Display for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            file,
            revision,
            size,
            sha256,
            ..
        } = self;
        write!(
            f,
            "{file} of revision {revision} and {size} bytes, sha256 {sha256}"
        )
    }
}

/// Receives a snapshot whole, or leaves nothing.
pub(super) async fn receive(
    directory: &Path,
    mut stream: Stream,
    at: Timestamp,
) -> Result<Record, SnapshotError> {
    let name = format!("etcd-{at:014}-{}", stream.revision);
    let part = directory.join(format!("{name}.{UNFINISHED}"));
    let received = write(&part, &mut stream).await;
    let checked = match received {
        Ok(()) => check(&part).await,
        Err(error) => Err(error),
    };
    let (size, sha256) = match checked {
        Ok(checked) => checked,
        Err(error) => {
            // What is left would be cleared away by the next start.
            let _ = tokio::fs::remove_file(&part).await;
            return Err(error);
        }
    };
    let record = Record {
        file: format!("{name}.{DATA}"),
        at,
        cluster_id: stream.cluster_id,
        member: stream.member,
        version: stream.version.clone(),
        revision: stream.revision,
        size,
        sha256,
        verified: true,
        rehearsal: None,
    };
    let (directory, about) = (directory.to_owned(), record.clone());
    let kept = tokio::task::spawn_blocking(move || keep(&directory, &part, &about));
    let kept = kept.await.map_err(io::Error::other).flatten();
    kept.map_err(|error| SnapshotError::File {
        file: record.file.clone(),
        reason: error.to_string(),
    })?;
    Ok(record)
}

async fn write(part: &Path, stream: &mut Stream) -> Result<(), SnapshotError> {
    let wrong = failed(part);
    let mut options = tokio::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(part).await;
    let mut file = file.map_err(&wrong)?;
    let most = stream.size.saturating_mul(2).saturating_add(ROOM);
    let mut size = 0_u64;
    while let Some(piece) = stream.next().await? {
        size += piece.len() as u64;
        if size > most {
            let named = stream.size;
            return Err(SnapshotError::Damaged(format!(
                "{size} bytes came, and the member's database has {named}"
            )));
        }
        file.write_all(&piece).await.map_err(&wrong)?;
    }
    file.flush().await.map_err(&wrong)?;
    file.sync_all().await.map_err(&wrong)
}

/// Reads what is on disk, and compares it with the digest at its end.
async fn check(part: &Path) -> Result<(u64, String), SnapshotError> {
    let (path, wrong) = (part.to_owned(), failed(part));
    let digested = tokio::task::spawn_blocking(move || digest(&path));
    let (size, own, appended) = digested
        .await
        .map_err(io::Error::other)
        .flatten()
        .map_err(wrong)?;
    if size % SECTOR != DIGEST as u64 {
        return Err(SnapshotError::Damaged(format!(
            "{size} bytes are not whole sectors and a digest of {DIGEST} bytes"
        )));
    }
    if own != appended {
        return Err(SnapshotError::Damaged(format!(
            "its digest is {own}, and etcd's is {appended}"
        )));
    }
    Ok((size, own))
}

/// The file's size, the digest of its data, and the one at its end.
fn digest(path: &Path) -> io::Result<(u64, String, String)> {
    let mut file = fs::File::open(path)?;
    let size = file.metadata()?.len();
    let mut data = (&mut file).take(size.saturating_sub(DIGEST as u64));
    let mut hash = Context::new(&SHA256);
    let mut piece = vec![0; 1 << 20];
    loop {
        let read = data.read(&mut piece)?;
        if read == 0 {
            break;
        }
        hash.update(piece.get(..read).unwrap_or_default());
    }
    let mut appended = Vec::new();
    file.read_to_end(&mut appended)?;
    Ok((size, hex::encode(hash.finish()), hex::encode(appended)))
}

/// Gives the file its name after what is known of it is there: a name means that both are whole.
fn keep(directory: &Path, part: &Path, record: &Record) -> io::Result<()> {
    let [data, about] = paths(directory, &record.file);
    let unfinished = write_unfinished(&about, record)?;
    fs::rename(part, data)?;
    fs::rename(unfinished, about)?;
    fs::File::open(directory)?.sync_all()
}

/// Writes down what is known of it by now.
pub(super) fn write_about(directory: &Path, record: &Record) -> io::Result<()> {
    let [_, about] = paths(directory, &record.file);
    fs::rename(write_unfinished(&about, record)?, about)?;
    fs::File::open(directory)?.sync_all()
}

fn write_unfinished(about: &Path, record: &Record) -> io::Result<PathBuf> {
    use io::Write as _;
    let unfinished = about.with_extension(format!("{ABOUT}.{UNFINISHED}"));
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(&serde_json::to_vec_pretty(record)?)?;
    file.sync_all()?;
    Ok(unfinished)
}

/// The files of a snapshot.
pub(super) fn paths(directory: &Path, file: &str) -> [PathBuf; 2] {
    let data = directory.join(file);
    let about = data.with_extension(ABOUT);
    [data, about]
}

/// Snapshots whose two files are there, oldest first.
pub(super) fn list(directory: &Path) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        // It is made with the first snapshot.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(records),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != ABOUT) {
            continue;
        }
        let Ok(mut record) = serde_json::from_slice::<Record>(&fs::read(&path)?) else {
            tracing::warn!("{} is not what is known of a snapshot", path.display());
            continue;
        };
        let [data, about] = paths(directory, &record.file);
        let size = fs::metadata(&data).map(|about| about.len());
        if about != path || size.is_err() {
            continue;
        }
        record.verified &= size.is_ok_and(|size| size == record.size);
        records.push(record);
    }
    records.sort_by_key(|record| record.at);
    Ok(records)
}

/// Clears away what an earlier process did not finish. What was written to lately may still be
/// received, by a plan that a changed configuration did not interrupt.
pub(super) fn clear_unfinished(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let unfinished = entry
            .path()
            .extension()
            .is_some_and(|extension| extension == UNFINISHED);
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if unfinished && age > FORGOTTEN {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(data: &[u8], appended: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("snapshot.part");
        fs::write(&path, [data, appended].concat()).unwrap();
        (directory, path)
    }

    #[tokio::test]
    async fn a_snapshot_is_what_etcd_digested() {
        let data = vec![7_u8; 4096];
        let own = ring::digest::digest(&SHA256, &data);
        let (_directory, path) = file(&data, own.as_ref());
        assert_eq!(check(&path).await.unwrap(), (4128, hex::encode(own)));
        for (data, appended, says) in [
            (&data[..], &[0_u8; 32][..], "its digest is"),
            (&data[..4000], own.as_ref(), "whole sectors"),
            (&data[..], &[][..], "whole sectors"),
            (&[][..], &[][..], "whole sectors"),
        ] {
            let (_directory, path) = file(data, appended);
            let error = check(&path).await.unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
