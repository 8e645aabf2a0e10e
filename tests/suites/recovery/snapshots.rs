//! Snapshots as they are kept: whole, for nobody else's eyes, and not without end.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use witgate_lab::{Component, require};
use witgate_plugins::recovery::Action;
use witgate_recovery::Rehearsal;

use super::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_what_etcd_sent_and_the_oldest_goes() {
    let Ok(()) = require(Component::Etcd) else { return };
    let site = Site::start(None).await;
    site.whole().await;
    for _ in 0..3 {
        // A fresh one would be good enough for a plan.
        site.control_plane.take_snapshot().await.unwrap();
    }
    site.repair(vec![Action::TakeSnapshot]).await;

    let folder = site.snapshots();
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let records: Vec<_> = files
        .iter()
        .filter(|file| file.extension().unwrap() == "json")
        .collect();
    assert_eq!((files.len(), records.len()), (4, 2), "{files:?}");
    for record in records {
        let about: Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
        let file = folder.join(about["file"].as_str().unwrap());
        let bytes = fs::read(&file).unwrap();
        let (data, appended) = bytes.split_at(bytes.len() - 32);
        assert_eq!(Sha256::digest(data).as_slice(), appended);
        assert_eq!(about["verified"], true);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(site.observe().await.snapshots.len(), 2);
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_restored_on_trial_and_a_damaged_one_is_found_out() {
    let Ok(()) = require(Component::Etcd) else { return };
    let site = Site::start(None).await;
    site.whole().await;
    site.etcd(0, "kv/put", json!({"key": "YQ==", "value": "YQ=="}))
        .await
        .unwrap();
    let taken = site.control_plane.take_snapshot().await.unwrap();
    assert_eq!(taken.rehearsal, None);
    assert!(site.control_plane.rehearse().await.unwrap());
    let kept = site.control_plane.snapshots().await.unwrap().pop().unwrap();
    let Some(Rehearsal::Restored { revision, keys, at }) = kept.rehearsal else {
        panic!("{kept:?}");
    };
    assert!(
        revision >= taken.revision && keys >= 1 && at >= taken.at,
        "{kept:?}"
    );

    // A bit turns, on a disk that says nothing. It is one of the digest, because what etcdutl says of one
    // of the database depends on what it was of.
    let taken = site.control_plane.take_snapshot().await.unwrap();
    let file = site.snapshots().join(&taken.file);
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(site.control_plane.rehearse().await.unwrap());
    let kept = site.control_plane.snapshots().await.unwrap().pop().unwrap();
    let Some(Rehearsal::Failed { reason, .. }) = &kept.rehearsal else {
        panic!("{kept:?}");
    };
    assert!(reason.contains("expected sha256"), "{reason}");
    let left: Vec<_> = fs::read_dir(site.snapshots())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(left.len(), 4, "{left:?}");
}
