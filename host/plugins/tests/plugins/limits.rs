//! What a plugin does wrong gets a clear error, and the next good call an answer.

use std::time::{Duration, Instant};

use serde_json::json;
use witgate_plugins::{Batch, ClaimsError, Context, StorageError};

use crate::{Bench, guests, token};

fn context(tenant: &str) -> Context {
    Context {
        tenant: tenant.into(),
        request_id: "r1".into(),
        ..Context::default()
    }
}

#[tokio::test]
async fn every_way_to_go_wrong_is_named_and_does_not_last() {
    let bench = Bench::new();
    let limits = json!({"memory": "8MiB", "cpu": "100ms", "instances": 2});
    let (plugins, claims) = bench.claims(&guests::claims(), limits).await;
    for (mood, says) in [
        (
            "t",
            "plugin it: it trapped: wasm `unreachable` instruction executed",
        ),
        ("s", "plugin it: its processor time of 100ms was spent"),
        (
            "m",
            "plugin it: its memory limit of 8MiB was reached (plugins.it.limits.memory)",
        ),
        ("r", "plugin it: it trapped: call stack exhausted"),
    ] {
        let error = claims.resolve(&token(mood)).await.unwrap_err();
        assert!(matches!(&error, ClaimsError::Failed(_)), "{mood}: {error}");
        assert!(error.to_string().contains(says), "{mood}: {error}");
        let identity = claims.resolve(&token("{}")).await.unwrap();
        assert_eq!(
            (identity.user.as_str(), identity.groups),
            ("alice", vec!["dev".to_owned()])
        );
    }
    let counts = plugins.list().next().unwrap().counts;
    assert_eq!((counts.calls, counts.failures, counts.traps), (8, 4, 4));
}

#[tokio::test]
async fn a_plugin_that_traps_ten_times_still_gets_fresh_instances() {
    let bench = Bench::new();
    let (plugins, claims) = bench.claims(&guests::claims(), json!({"instances": 1})).await;
    for _ in 0..10 {
        claims.resolve(&token("t")).await.unwrap_err();
    }
    claims.resolve(&token("{}")).await.unwrap();
    let counts = plugins.list().next().unwrap().counts;
    assert_eq!((counts.traps, counts.started), (10, 11));
}

#[tokio::test]
async fn a_denial_is_for_the_person_and_on_one_line() {
    let bench = Bench::new();
    let (_, claims) = bench.claims(&guests::claims(), json!({})).await;
    let error = claims.resolve(&token("d")).await.unwrap_err();
    assert!(
        matches!(&error, ClaimsError::Denied(reason) if reason == "not\\ntoday\\u{1b}!"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_spinning_plugin_lets_others_of_its_thread_go_on() {
    let bench = Bench::new();
    let (_, claims) = bench.claims(&guests::claims(), json!({"cpu": "300ms"})).await;
    let spin = tokio::spawn(async move { claims.resolve(&token("s")).await });
    let mut turns = 0;
    while !spin.is_finished() {
        tokio::task::yield_now().await;
        turns += 1;
    }
    assert!(spin.await.unwrap().is_err());
    assert!(turns > 5, "{turns} turns");
}

#[tokio::test]
async fn waiting_counts_for_the_time_of_a_call_and_not_for_the_processor() {
    let bench = Bench::new();
    let limits = json!({"time": "500ms", "cpu": "100ms"});
    let (_, storage) = bench.storage(&guests::storage(), limits).await;
    let begin = Instant::now();
    let error = storage
        .write(&context("wait"), &Batch::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no answer within 500ms (plugins.it.limits.time)"),
        "{error}"
    );
    assert!(begin.elapsed() < Duration::from_secs(5));
    storage.write(&context("ok"), &Batch::default()).await.unwrap();
}

#[tokio::test]
async fn a_call_that_finds_no_free_instance_says_so() {
    let bench = Bench::new();
    let limits = json!({"time": "300ms", "instances": 1});
    let (_, storage) = bench.storage(&guests::storage(), limits).await;
    let query = witgate_plugins::Query {
        only_series: false,
        start: 0,
        end: 1,
        matchers: Vec::new(),
        without: None,
    };
    let cursor = storage.read(&context("ok"), &query).await.unwrap();
    let error = storage
        .write(&context("ok"), &Batch::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no instance became free within 300ms: all 1 are in use"),
        "{error}"
    );
    drop(cursor);
    storage.write(&context("ok"), &Batch::default()).await.unwrap();
}

#[tokio::test]
async fn what_does_not_fit_its_limits_is_refused_when_it_is_loaded() {
    let bench = Bench::new();
    for (init, says) in [
        ("unreachable", "it doesn't start: it trapped"),
        (
            "(loop $on (br $on))",
            "it doesn't start: its processor time of 50ms was spent",
        ),
        (
            "(drop (memory.grow (i32.const 1000))) unreachable",
            "its memory limit of 4MiB was reached",
        ),
        (
            "(return (i32.const 1200))",
            "it refuses plugins.<name>.config: `x` is no field!",
        ),
    ] {
        let limits = json!({"limits": {"cpu": "50ms", "memory": "4MiB"}});
        let error = bench.refused("claims", &guests::claims_that(init), limits).await;
        assert!(error.contains(says), "{init}: {error}");
    }
    let error = bench
        .refused("claims", &guests::claims(), json!({"limits": {"memory": "9GiB"}}))
        .await;
    assert!(
        error.contains("limits.memory is 9GiB: give it between 2MiB and 1GiB"),
        "{error}"
    );
}

#[tokio::test]
async fn failures_keep_what_the_backend_said() {
    let bench = Bench::new();
    let (_, storage) = bench.storage(&guests::storage(), json!({})).await;
    match storage.write(&context("u"), &Batch::default()).await {
        Err(StorageError::Unavailable { message, retry_after }) => {
            assert_eq!(
                (message.as_str(), retry_after),
                ("down", Some(Duration::from_millis(1500)))
            );
        }
        other => panic!("{other:?}"),
    }
    let receipt = storage.write(&context("x"), &Batch::default()).await.unwrap();
    assert_eq!(receipt.rejected, [], "a rejection of what was never sent");
}
