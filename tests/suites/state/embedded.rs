//! What only a directory of this process has to do.

use witgate_state::{Embedded, Outcome, State as _};

use super::{changes, demand_all, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_engine_does_what_is_demanded() {
    let directory = tempfile::tempdir().unwrap();
    let state = Embedded::open(directory.path()).unwrap();
    demand_all(&state).await;
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let state = Embedded::open(directory.path()).unwrap();
    let space = state.space("a").unwrap();
    let committed = space.commit(changes([put("k", "v")])).await.unwrap();
    assert_eq!(committed, Outcome::Committed);
    drop((space, state));

    let state = Embedded::open(directory.path()).unwrap();
    let space = state.space("a").unwrap();
    assert_eq!(space.get(b"k").await.unwrap(), Some(b"v".to_vec()));
}

#[tokio::test]
async fn a_second_process_is_told_why_it_cannot_open_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let _state = Embedded::open(directory.path()).unwrap();
    let error = Embedded::open(directory.path()).unwrap_err().to_string();
    assert!(error.contains(&directory.path().display().to_string()), "{error}");
    assert!(error.contains("another process has it open"), "{error}");
}
