//! Tenants whose samples are in several storages.

use reqwest::{StatusCode, header};
use witgate_lab::{Component, FaultProxy, InfluxDb, eventually, require};
use witgate_prometheus::proto::MatchType;
use witgate_tests::remote::{Series, labels};

use crate::{
    samples::in_influxdb,
    world::{SOON, Setup, World},
};

const BOTH: &str = "storages: [{plugin: local, read: true}, {plugin: influx}]";
const BEST_EFFORT: &str = "storages: [{plugin: local}, {plugin: influx, bestEffort: true}]";

fn series(name: &str) -> Series {
    (labels(&[("__name__", name)]), vec![(1000, 1)])
}

async fn local(world: &World) -> Vec<Series> {
    world.read(&[("__name__", MatchType::Re, ".+")], 0, 10_000).await
}

#[tokio::test]
async fn a_write_is_acknowledged_once_all_that_are_required_have_it() {
    if require(Component::InfluxDb).is_err() {
        return;
    }
    let influx = InfluxDb::start().await.unwrap();
    influx.create_database("prometheus").await.unwrap();
    let proxy = FaultProxy::start(influx.address()).await.unwrap();
    let setup = Setup {
        storage: "",
        tenant: BOTH,
        ..Setup::influx(proxy.address())
    };
    let world = World::start(&setup).await;
    assert_eq!(world.write(&[series("a")]).await.0, 204);
    assert_eq!(local(&world).await, [series("a")]);
    assert_eq!(in_influxdb(&influx, "prometheus").await.len(), 1);

    proxy.refuse();
    proxy.cut();
    let answer = world.post("/api/v1/write", witgate_tests::remote::write_body(&[series("b")]));
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key(header::RETRY_AFTER));
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let said = answer.text().await.unwrap();
    assert!(said.starts_with("local stored; influx unavailable: "), "{said}");
    let line = world.audited(&id).await;
    assert_eq!(line["account"]["deliveries"][0]["outcome"], "stored", "{line}");
    assert_eq!(
        line["account"]["deliveries"][1]["outcome"], "unavailable",
        "{line}"
    );
    let retried =
        world.metric(r#"witgate_prometheus_retried_writes_total{tenant="lab",storage="influx",code="503"}"#);
    assert!(retried.await > 0.5);

    // The same again, as a sender does it: nothing is there twice.
    proxy.pass();
    let succeeds = async || match world.write(&[series("b")]).await {
        (StatusCode::NO_CONTENT, _) => Ok(()),
        (status, said) => Err(format!("{status} {said}")),
    };
    eventually("InfluxDB is back", SOON, succeeds).await.unwrap();
    assert_eq!(local(&world).await, [series("a"), series("b")]);
    assert_eq!(in_influxdb(&influx, "prometheus").await.len(), 2);
}

#[tokio::test]
async fn a_storage_of_best_effort_fails_no_write_and_is_counted() {
    if require(Component::InfluxDb).is_err() {
        return;
    }
    let influx = InfluxDb::start().await.unwrap();
    influx.create_database("prometheus").await.unwrap();
    let proxy = FaultProxy::start(influx.address()).await.unwrap();
    let setup = Setup {
        storage: "",
        tenant: BEST_EFFORT,
        ..Setup::influx(proxy.address())
    };
    let world = World::start(&setup).await;
    assert_eq!(world.write(&[series("a")]).await.0, 204);
    assert_eq!(in_influxdb(&influx, "prometheus").await.len(), 1);
    proxy.refuse();
    proxy.cut();
    for name in ["b", "c"] {
        assert_eq!(world.write(&[series(name)]).await.0, 204, "{name}");
    }
    assert_eq!(local(&world).await, ["a", "b", "c"].map(series));
    for (storage, outcome, count) in [
        ("local", "stored", 3.0),
        ("influx", "stored", 1.0),
        ("influx", "unavailable", 1.0),
        ("influx", "left out", 1.0),
    ] {
        let name = format!(
            r#"witgate_prometheus_storage_writes_total{{tenant="lab",storage="{storage}",outcome="{outcome}"}}"#
        );
        let found = world.metric(&name).await;
        assert!((found - count).abs() < 0.5, "{name} {found}");
    }
}
