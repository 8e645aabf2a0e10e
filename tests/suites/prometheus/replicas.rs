//! Pairs of senders that scrape the same.

use reqwest::StatusCode;
use witgate_lab::{Component, Prometheus, PrometheusOptions, eventually, require};
use witgate_prometheus::proto::MatchType;
use witgate_tests::remote::{Series, labels};

use crate::{
    samples::read_through,
    sender::endpoint,
    target::Target,
    world::{SOON, Setup, World},
};

const PAIRS: &str = "replicas: {failover: 2s}";

fn of(replica: &str, cluster: &str, name: &str, time: i64) -> Series {
    let all = [("__name__", name), ("__replica__", replica), ("cluster", cluster)];
    (labels(&all), vec![(time, 1)])
}

/// The clusters and names of what is stored, each with its times.
async fn stored(world: &World) -> Vec<(String, String, Vec<i64>)> {
    let all = world
        .read(&[("__name__", MatchType::Re, ".+")], 0, i64::MAX)
        .await;
    let stored = all.into_iter().map(|(labels, samples)| {
        let get = |name: &str| {
            let found = labels.iter().find(|(own, _)| own == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        assert_eq!(get("__replica__"), "", "the label of replicas is removed");
        (
            get("cluster"),
            get("__name__"),
            samples.iter().map(|(time, _)| *time).collect(),
        )
    });
    stored.collect()
}

#[tokio::test]
async fn of_one_request_each_series_is_decided_about_by_itself_and_a_restart_remembers() {
    let mut world = World::start(&Setup {
        tenant: PAIRS.replace("2s", "1h").leak(),
        ..Setup::local()
    })
    .await;
    assert_eq!(world.write(&[of("a", "one", "up", 1)]).await.0, 204);
    assert_eq!(world.write(&[of("b", "two", "up", 1)]).await.0, 204);
    let single = (labels(&[("__name__", "single")]), vec![(2, 1)]);
    let mixed = [
        of("a", "one", "up", 2),
        of("b", "one", "up", 3),
        of("a", "two", "up", 4),
        of("b", "two", "up", 5),
        single,
    ];
    let (status, said) = world.write(&mixed).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{said}");
    let (one, two, none) = (|| "one".to_owned(), || "two".to_owned(), String::new);
    let up = || "up".to_owned();
    let expected = [
        (none(), "single".to_owned(), vec![2]),
        (one(), up(), vec![1, 2]),
        (two(), up(), vec![1, 5]),
    ];
    let mut found = stored(&world).await;
    found.sort();
    assert_eq!(found, expected);
    let counted = world.metric(r#"witgate_prometheus_deduplicated_total{tenant="lab",kind="sample"}"#);
    assert!((counted.await - 2.0).abs() < 0.1);

    world.gateway.restart().await.unwrap();
    assert_eq!(
        world
            .write(&[of("b", "one", "up", 6), of("a", "one", "up", 7)])
            .await
            .0,
        204
    );
    let found = stored(&world).await;
    assert!(found.contains(&(one(), up(), vec![1, 2, 7])), "{found:?}");
}

/// Two servers with the same target; one is stopped, and the series go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_one_of_a_pair_of_prometheus_dies_the_other_one_takes_over() {
    if require(Component::Prometheus).is_err() {
        return;
    }
    let world = World::start(&Setup {
        tenant: PAIRS,
        ..Setup::local()
    })
    .await;
    let target = Target::start().await;
    let remote = endpoint(&world, "write");
    let start = async |replica: &str| {
        let address = target.address;
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, external_labels: {{cluster: lab, __replica__: {replica}}}}}\n\
             scrape_configs: [{{job_name: odd, static_configs: [{{targets: ['{address}']}}]}}]\n\
             remote_write:\n- {remote}"
        );
        Prometheus::start_with(PrometheusOptions::default(), |_| config)
            .await
            .unwrap()
    };
    let times = async || {
        let samples = read_through(&world).await;
        let up = samples
            .keys()
            .filter(|(labels, _)| labels.iter().any(|(_, value)| value == "up"));
        let times: Vec<_> = up.map(|(labels, time)| (labels.clone(), *time)).collect();
        times
    };
    let mut first = start("a").await;
    let arrived = async |count: usize| {
        let enough = async || {
            let found = times().await.len();
            if found >= count {
                Ok(())
            } else {
                Err(format!("{found} samples"))
            }
        };
        eventually("samples have arrived", SOON, enough).await.unwrap();
    };
    arrived(3).await;
    let second = start("b").await;
    let deduplicated = async || {
        let audit = world.audit();
        let found = audit
            .iter()
            .any(|line| line["account"]["deduplicated"]["samples"].as_u64() > Some(0));
        if found {
            Ok(())
        } else {
            Err("none is deduplicated".to_owned())
        }
    };
    eventually("the second one's samples are left out", SOON, deduplicated)
        .await
        .unwrap();
    // Of one pair there is one sample a second.
    let before = times().await;
    assert!(
        before.windows(2).all(|pair| pair[1].1 - pair[0].1 > 700),
        "{before:?}"
    );
    first.kill();
    arrived(before.len() + 5).await;
    let after = times().await;
    assert_eq!(
        after.first().map(|(labels, _)| labels),
        after.last().map(|(labels, _)| labels),
        "it is one series"
    );
    drop(second);
}
