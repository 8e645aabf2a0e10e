//! A set of plugins is loaded whole or not at all, and what did not change stays.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::json;

use crate::{Bench, guests, token};

#[tokio::test]
async fn what_did_not_change_keeps_its_instances() {
    let bench = Bench::new();
    bench.put("a.wasm", guests::claims());
    bench.put("b.wasm", guests::storage());
    let config = json!({
        "a": {"kind": "claims", "file": "a.wasm"},
        "b": {"kind": "storage", "file": "b.wasm"},
    });
    let first = bench.load(config.clone(), None).await.unwrap();
    let second = bench.load(config.clone(), Some(&first)).await.unwrap();
    assert!(Arc::ptr_eq(
        &first.claims("a").unwrap(),
        &second.claims("a").unwrap()
    ));
    assert!(Arc::ptr_eq(
        &first.storage("b").unwrap(),
        &second.storage("b").unwrap()
    ));

    let mut limited = config.clone();
    limited["a"]["limits"] = json!({"instances": 3});
    let third = bench.load(limited, Some(&second)).await.unwrap();
    assert!(!Arc::ptr_eq(
        &second.claims("a").unwrap(),
        &third.claims("a").unwrap()
    ));
    assert!(Arc::ptr_eq(
        &second.storage("b").unwrap(),
        &third.storage("b").unwrap()
    ));

    bench.put("a.wasm", guests::claims_that("nop"));
    let fourth = bench.load(config, Some(&first)).await.unwrap();
    assert!(!Arc::ptr_eq(
        &first.claims("a").unwrap(),
        &fourth.claims("a").unwrap()
    ));
    let digests: BTreeSet<_> = [&first, &fourth]
        .map(|set| set.list().next().unwrap().sha256)
        .into();
    assert_eq!(digests.len(), 2);
}

#[tokio::test]
async fn one_bad_plugin_leaves_the_whole_set_as_it_was() {
    let bench = Bench::new();
    bench.put("a.wasm", guests::claims());
    bench.put("b.wasm", guests::storage());
    let config = json!({
        "a": {"kind": "claims", "file": "a.wasm"},
        "b": {"kind": "storage", "file": "b.wasm"},
        "c": {"kind": "claims", "file": "a.wasm"},
    });
    let set = bench.load(config.clone(), None).await.unwrap();
    bench.put("a.wasm", &guests::claims()[..100]);
    std::fs::remove_file(bench.path().join("b.wasm")).unwrap();
    let errors = bench.load(config, Some(&set)).await.unwrap_err();
    let plugins: Vec<_> = errors.0.iter().map(|error| error.plugin.as_str()).collect();
    assert_eq!(plugins, ["a", "b", "c"]);
    let text = errors.to_string();
    assert!(
        text.contains("truncated or damaged") && text.contains("b.wasm): it can't be read"),
        "{text}"
    );
    set.claims("a").unwrap().resolve(&token("{}")).await.unwrap();
    set.storage("b").unwrap().check().await.unwrap();
}

#[tokio::test]
async fn calls_in_flight_finish_on_the_set_that_they_began_with() {
    let bench = Bench::new();
    let (old, claims) = bench.claims(&guests::claims(), json!({})).await;
    bench.put("it.wasm", guests::claims_that("nop"));
    let config = json!({"it": {"kind": "claims", "file": "it.wasm"}});
    let new = bench.load(config, Some(&old)).await.unwrap();
    drop(old);
    claims.resolve(&token("{}")).await.unwrap();
    new.claims("it").unwrap().resolve(&token("{}")).await.unwrap();
}

#[tokio::test]
async fn a_changed_secret_is_a_changed_plugin() {
    let bench = Bench::new();
    bench.put("a.wasm", guests::claims());
    bench.put("token", "one");
    let grants = json!({
        "http": ["http://127.0.0.1:1"],
        "secrets": {"s": {"origin": "http://127.0.0.1:1", "bearerFile": "token"}},
    });
    let config = json!({"a": {"kind": "claims", "file": "a.wasm", "grants": grants}});
    let first = bench.load(config.clone(), None).await.unwrap();
    let watched: Vec<_> = first
        .files()
        .map(|file| file.file_name().unwrap().to_owned())
        .collect();
    assert_eq!(watched, ["a.wasm", "token"]);
    bench.put("token", "two");
    let second = bench.load(config, Some(&first)).await.unwrap();
    assert!(!Arc::ptr_eq(
        &first.claims("a").unwrap(),
        &second.claims("a").unwrap()
    ));
}

#[tokio::test]
async fn names_and_totals_are_checked() {
    let bench = Bench::new();
    bench.put("a.wasm", guests::claims());
    let plugin =
        |instances: u16| json!({"kind": "claims", "file": "a.wasm", "limits": {"instances": instances}});
    for name in ["", "A", "a/b", "../a", "a b"] {
        let error = bench
            .load(json!({name: plugin(1)}), None)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("lower-case letters, digits and hyphens"),
            "{name}: {error}"
        );
    }
    let error = bench
        .load(json!({"a": plugin(200), "b": plugin(100)}), None)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("300 instances together, and 256 are possible"),
        "{error}"
    );
}

#[tokio::test]
async fn a_second_start_takes_the_compiled_component_from_the_cache() {
    let bench = Bench::new();
    bench.claims(&guests::claims(), json!({})).await;
    let cached = || {
        let mut folders = vec![bench.path().join("cache")];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                // What has an extension is the cache's notes, written by a thread of its own.
                } else if entry.path().extension().is_none() {
                    files += 1;
                }
            }
        }
        files
    };
    let before = cached();
    assert!(before > 0);
    bench.claims(&guests::claims(), json!({})).await;
    assert_eq!(cached(), before);
}
