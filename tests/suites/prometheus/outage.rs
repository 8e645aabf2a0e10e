//! A backend that dies and comes back costs no sample, and another Prometheus can read them all.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use witgate_lab::{Component, InfluxDb, Prometheus, eventually, require};

use crate::{
    samples::{STALE, assert_same, count, in_influxdb, read_through},
    sender::{Sender, endpoint},
    target::Target,
    world::{SOON, Setup, World},
};

/// What a dashboard asks, and what is easily answered wrongly. No sum of fractions: its last bit
/// depends on the order of the series, which is not the same on a disk and in an answer.
const QUERIES: [&str; 8] = [
    "rate(prometheus_tsdb_head_samples_appended_total[20s])",
    r#"{__name__=~"prometheus_http_.*_count", handler!~"/api/v1/(write|read)"}"#,
    "histogram_quantile(0.9, rate(prometheus_http_request_duration_seconds_bucket[30s]))",
    "absent(up{job='nowhere'})",
    "odd_total{floor=''}",
    "odd_value",
    "count by (job) ({__name__=~'.+'})",
    "changes(odd_sometimes[15s])",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_dies_costs_no_sample_and_another_prometheus_reads_them_all() {
    if require(Component::Prometheus)
        .and(require(Component::InfluxDb))
        .is_err()
    {
        return;
    }
    let began = now();
    let mut influx = InfluxDb::start().await.unwrap();
    influx.create_database("prometheus").await.unwrap();
    let world = World::start(&Setup::influx(influx.address())).await;
    let target = Target::start().await;
    let sender = Sender::start(&world, target.address).await;

    sender.scraped(15).await;
    influx.kill();
    sender
        .becomes("prometheus_remote_storage_samples_retried_total > 0")
        .await;
    sender.scraped(30).await;
    influx.restart().await.unwrap();
    sender.scraped(45).await;
    drop(target);
    sender.becomes("up{job='odd'} == 0").await;
    sender.scraped(60).await;
    let expected = sender.finish().await;

    let nan = 0x7ff8_0000_0000_0001;
    for bits in [
        nan,
        f64::INFINITY.to_bits(),
        f64::NEG_INFINITY.to_bits(),
        STALE,
        1,
    ] {
        assert!(
            count(&expected, bits) > 0,
            "no value with the bits {bits:#x} was scraped"
        );
    }
    assert!(expected.len() > 10_000, "{} samples", expected.len());
    assert_same(&expected, &in_influxdb(&influx, "prometheus").await, "InfluxDB");
    assert_same(&expected, &read_through(&world).await, "the gateway's answer");
    for lost in ["failed", "dropped"] {
        assert_eq!(
            sender
                .metric(&format!("prometheus_remote_storage_samples_{lost}_total"))
                .await,
            0.0
        );
    }
    let statuses: Vec<_> = world.audit().iter().map(|line| line["status"].clone()).collect();
    assert!(statuses.contains(&Value::from(503)), "{statuses:?}");
    let refusals = statuses
        .iter()
        .filter_map(Value::as_u64)
        .filter(|status| (400..500).contains(status));
    assert_eq!(
        refusals.count(),
        0,
        "on a 4xx Prometheus drops its samples: {statuses:?}"
    );

    let reader = Prometheus::start(|_| format!("remote_read:\n- {}", endpoint(&world, "read")));
    let reader = reader.await.unwrap();
    let end = now();
    for query in QUERIES {
        let own = sender
            .prometheus
            .query_range(query, began, end, 5.0)
            .await
            .unwrap();
        let results = own["result"].as_array().unwrap();
        assert!(!results.is_empty(), "{query} finds nothing");
        let answer = async || reader.query_range(query, began, end, 5.0).await;
        let read = eventually(query, SOON, answer).await.unwrap();
        assert_eq!(own, read, "{query}");
    }
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs_f64().floor()
}
