//! Native histograms as a real Prometheus reads them.

use witgate_lab::{Component, Prometheus, PrometheusOptions, eventually, require};
use witgate_prometheus::proto::{self, BucketSpan};

use super::{
    now,
    request::{Series, Version, send},
};
use crate::{
    sender::endpoint,
    world::{SOON, Setup, World},
};

#[tokio::test]
async fn a_prometheus_reads_native_histograms_out_of_the_chunks() {
    if require(Component::CurrentPrometheus).is_err() {
        return;
    }
    let whole = proto::Histogram {
        count_int: Some(6),
        sum: 12.5_f64.to_bits(),
        schema: 3,
        zero_threshold: 0.001_f64.to_bits(),
        zero_count_int: Some(1),
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        positive_deltas: vec![2, 1],
        ..proto::Histogram::default()
    };
    let float = proto::Histogram {
        count_int: None,
        count_float: Some(6.5_f64.to_bits()),
        zero_count_int: None,
        zero_count_float: Some(1f64.to_bits()),
        negative_spans: vec![BucketSpan {
            offset: -3,
            length: 1,
        }],
        negative_counts: vec![1f64.to_bits()],
        positive_deltas: Vec::new(),
        positive_counts: vec![2.5_f64.to_bits(), 2f64.to_bits()],
        reset_hint: 3,
        ..whole.clone()
    };
    let world = World::start(&Setup::local()).await;
    let series = [("whole", whole), ("float", float)]
        .map(|(name, histogram)| Series::new(&[("__name__", name)]).histogram(histogram).at(now()));
    assert_eq!(send(&world, Version::V2, &series).await.status, 204);
    let options = PrometheusOptions {
        current: true,
        ..PrometheusOptions::default()
    };
    let read = endpoint(&world, "read");
    let reader = Prometheus::start_with(options, |_| format!("remote_read:\n- {read}"))
        .await
        .unwrap();
    for (query, expected) in [
        ("histogram_count(whole)", "6"),
        ("histogram_sum(whole)", "12.5"),
        ("histogram_count(float)", "6.5"),
        ("histogram_quantile(1, whole) > bool 0", "1"),
    ] {
        eventually(query, SOON, async || {
            let data = reader
                .query(query, None)
                .await
                .map_err(|error| error.to_string())?;
            match data["result"][0]["value"][1].as_str() {
                Some(found) if found == expected => Ok(()),
                _ => Err(data.to_string()),
            }
        })
        .await
        .unwrap();
    }
}
