//! Instances are kept while they are sound, and only then.

use serde_json::json;
use witgate_plugins::{Batch, Context, Piece, Query};

use crate::{Bench, guests, token};

fn context(tenant: &str) -> Context {
    Context {
        tenant: tenant.into(),
        ..Context::default()
    }
}

const QUERY: Query = Query {
    only_series: false,
    start: 0,
    end: 1,
    matchers: Vec::new(),
    without: None,
};

#[tokio::test]
async fn a_claims_instance_is_replaced_after_some_calls() {
    let bench = Bench::new();
    let (plugins, claims) = bench.claims(&guests::claims(), json!({"instances": 1})).await;
    let started = || plugins.list().next().unwrap().counts.started;
    for _ in 0..256 {
        claims.resolve(&token("{}")).await.unwrap();
    }
    assert_eq!(started(), 1);
    claims.resolve(&token("{}")).await.unwrap();
    assert_eq!(started(), 2);
}

#[tokio::test]
async fn an_instance_whose_caller_went_away_is_not_used_again() {
    let bench = Bench::new();
    let (plugins, storage) = bench.storage(&guests::storage(), json!({"instances": 1})).await;
    let started = || plugins.list().next().unwrap().counts.started;
    let (nobody, batch) = (context("wait"), Batch::default());
    let abandoned = storage.write(&nobody, &batch);
    assert!(futures::poll!(std::pin::pin!(abandoned)).is_pending());
    storage.write(&context("ok"), &batch).await.unwrap();
    assert_eq!(started(), 2);
}

#[tokio::test]
async fn a_query_that_was_read_to_its_end_gives_its_instance_back() {
    let bench = Bench::new();
    let (plugins, storage) = bench.storage(&guests::storage(), json!({"instances": 1})).await;
    let started = || plugins.list().next().unwrap().counts.started;
    for _ in 0..3 {
        let mut cursor = storage.read(&context("ok"), &QUERY).await.unwrap();
        let mut pieces = 0;
        while let Some(piece) = cursor.next(100).await.unwrap() {
            let Piece::Samples(batch) = piece else {
                panic!("{piece:?}")
            };
            assert_eq!((batch.symbol_ends, batch.sample_ends), (vec![0], vec![0]));
            pieces += 1;
        }
        assert_eq!(pieces, 2);
        assert_eq!(cursor.next(100).await.unwrap(), None);
    }
    assert_eq!(started(), 1);
}

#[tokio::test]
async fn a_query_that_was_dropped_takes_its_instance_along() {
    let bench = Bench::new();
    let (plugins, storage) = bench.storage(&guests::storage(), json!({"instances": 1})).await;
    let mut cursor = storage.read(&context("ok"), &QUERY).await.unwrap();
    cursor.next(100).await.unwrap();
    drop(cursor);
    storage.check().await.unwrap();
    assert_eq!(plugins.list().next().unwrap().counts.started, 2);
}

#[tokio::test]
async fn a_piece_whose_columns_do_not_fit_never_reaches_the_caller() {
    let bench = Bench::new();
    let (_, storage) = bench.storage(&guests::storage(), json!({"instances": 1})).await;
    for (tenant, column) in [("broken", "`symbol-ends`"), ("chunks", "`ends`")] {
        let mut cursor = storage.read(&context(tenant), &QUERY).await.unwrap();
        assert!(!cursor.is_sorted());
        let error = cursor.next(100).await.unwrap_err().to_string();
        let expected = format!("its answer breaks the contract: {column}");
        assert!(error.contains(&expected), "{error}");
        let error = cursor.next(100).await.unwrap_err().to_string();
        assert!(error.contains("the call before this one has failed"), "{error}");
        drop(cursor);
        storage.check().await.unwrap();
    }
}
