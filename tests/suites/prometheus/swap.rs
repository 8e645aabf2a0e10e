//! Another storage by an edit of the configuration, while Prometheus goes on writing.

use witgate_lab::{Component, InfluxDb, require};

use crate::{
    samples::{assert_same, in_influxdb, read_through},
    sender::Sender,
    target::Target,
    world::{Setup, World},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storage_is_swapped_under_load_without_a_failed_request_or_a_lost_sample() {
    if require(Component::Prometheus)
        .and(require(Component::InfluxDb))
        .is_err()
    {
        return;
    }
    let influx = InfluxDb::start().await.unwrap();
    influx.create_database("prometheus").await.unwrap();
    let to_influx = Setup::influx(influx.address());
    let world = World::start(&to_influx).await;
    let target = Target::start().await;
    let sender = Sender::start(&world, target.address).await;

    sender.scraped(10).await;
    let to_local = Setup {
        storage: "local",
        ..to_influx
    };
    world.reconfigure(&to_local).await;
    sender.scraped(25).await;
    let expected = sender.finish().await;

    let (before, after) = (
        in_influxdb(&influx, "prometheus").await,
        read_through(&world).await,
    );
    assert!(
        !before.is_empty() && !after.is_empty(),
        "{} and {}",
        before.len(),
        after.len()
    );
    let twice = after.keys().filter(|key| before.contains_key(key)).count();
    assert_eq!(twice, 0, "samples are in both");
    let both = before.into_iter().chain(after).collect();
    assert_same(&expected, &both, "both storages together");

    for trouble in ["failed", "retried", "dropped"] {
        let metric = format!("prometheus_remote_storage_samples_{trouble}_total");
        assert_eq!(sender.metric(&metric).await, 0.0, "{metric}");
    }
    for line in world.audit() {
        assert!(line["status"] == 204 || line["status"] == 200, "{line}");
    }
}
