//! Every kind of value comes back from every storage with the bits it had.

use reqwest::StatusCode;
use witgate_lab::{Component, InfluxDb, require};
use witgate_prometheus::proto::MatchType;
use witgate_tests::remote::{Series, labels};

use crate::{
    samples::STALE,
    world::{Setup, World},
};

const VALUES: [u64; 16] = [
    STALE,
    0x7ff8_0000_0000_0001,
    0x7ff8_dead_beef_cafe,
    0xfff0_0000_0000_0001,
    u64::MAX,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x8000_0000_0000_0000,
    0,
    1,
    0x800f_ffff_ffff_ffff,
    0x0010_0000_0000_0000,
    0x7fef_ffff_ffff_ffff,
    0xffef_ffff_ffff_ffff,
    0x3fb9_9999_9999_999a,
    0x4340_0000_0000_0001,
];

/// The milliseconds that fit into InfluxDB's nanoseconds.
const INFLUXDB: (i64, i64) = (-9_223_372_036_854, 9_223_372_036_854);

#[tokio::test]
async fn influxdb_gives_back_every_bit_and_says_which_times_it_can_not_hold() {
    if require(Component::InfluxDb).is_err() {
        return;
    }
    let influx = InfluxDb::start().await.unwrap();
    influx.create_database("prometheus").await.unwrap();
    let world = World::start(&Setup::influx(influx.address())).await;
    come_back(&world, INFLUXDB).await;

    let late = (labels(&[("__name__", "late")]), vec![(1, 1), (INFLUXDB.1 + 1, 1)]);
    let (status, said) = world.write(&[late]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        said.starts_with("stored: 1 sample; not stored: 1 sample that the storage can't hold"),
        "{said}"
    );
}

#[tokio::test]
async fn the_local_storage_gives_back_every_bit_at_any_time() {
    let world = World::start(&Setup::local()).await;
    come_back(&world, (i64::MIN, i64::MAX)).await;
}

/// Writes every value at several times, the extremes among them, and reads them again.
async fn come_back(world: &World, (first, last): (i64, i64)) {
    let times = [first, first + 1, -1, 0, 1, 1_700_000_000_123, last - 1, last];
    let series: Vec<Series> = times
        .iter()
        .map(|time| {
            let labels = labels(&[
                ("__name__", "odd"),
                ("text", "a b,c=d \"é\""),
                ("time_is", &time.to_string()),
            ]);
            // Up from the lowest and down from the highest, so that no time is out of bounds.
            let step = if *time > 1 { -1000 } else { 1000 };
            let mut samples: Vec<_> = VALUES
                .iter()
                .zip(0..)
                .map(|(bits, n)| (time + n * step, *bits))
                .collect();
            samples.sort_unstable();
            (labels, samples)
        })
        .collect();
    let (status, said) = world.write(&series).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{said}");
    // A repetition, as after an answer that was lost, changes nothing.
    assert_eq!(world.write(&series).await.0, StatusCode::NO_CONTENT);

    let mut expected = series;
    expected.sort();
    let read = world
        .read(&[("__name__", MatchType::Eq, "odd")], i64::MIN, i64::MAX)
        .await;
    assert_eq!(read, expected);
}
