//! Senders of today, each in every way in which it sends.

use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use reqwest::StatusCode;
use witgate_lab::{Component, Prometheus, PrometheusOptions, Vmagent, eventually, require};
use witgate_prometheus::proto::MatchType;

use crate::{
    samples::{STALE, Samples, assert_same, count, held, read_through},
    sender::{Sender, endpoint},
    target::Target,
    world::{PASSWORD, SOON, Setup, USER, World},
};

/// What shows every sample, and every kind of value.
const QUERIES: [&str; 4] = [
    "up",
    "odd_value",
    "prometheus_tsdb_head_samples_appended_total",
    "count by (job) ({__name__=~'.+'})",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_current_prometheus_sends_both_versions_and_loses_nothing() {
    if require(Component::CurrentPrometheus).is_err() {
        return;
    }
    for message in ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"] {
        let began = now();
        let world = World::start(&Setup::local()).await;
        let target = Target::start().await;
        let sender = Sender::current(&world, target.address, message).await;
        sender.scraped(10).await;
        let expected = sender.finish().await;
        assert!(expected.len() > 5000, "{message}: {} samples", expected.len());
        assert_same(&expected, &read_through(&world).await, message);
        for lost in ["failed", "dropped"] {
            let lost = format!("prometheus_remote_storage_samples_{lost}_total");
            assert!(sender.metric(&lost).await.abs() < 0.5, "{message}: {lost}");
        }
        let refused = world.audit();
        let refused = refused.iter().find(|line| line["status"].as_u64() >= Some(300));
        assert_eq!(refused, None, "{message}");

        // Read back by another one, which takes chunks.
        let options = PrometheusOptions {
            current: true,
            ..PrometheusOptions::default()
        };
        let read = endpoint(&world, "read");
        let reader = Prometheus::start_with(options, |_| format!("remote_read:\n- {read}"));
        let (reader, end) = (reader.await.unwrap(), now());
        for query in QUERIES {
            // Once what ends the series has arrived too.
            eventually(query, SOON, async || {
                let own = sender.prometheus.query_range(query, began, end, 1.0).await;
                let read = reader.query_range(query, began, end, 1.0).await;
                let both = own.and_then(|own| Ok((own, read?)));
                let (own, read) = both.map_err(|error| error.to_string())?;
                let is_found = own["result"].as_array().is_some_and(|found| !found.is_empty());
                if is_found && own == read {
                    Ok(())
                } else {
                    Err(format!("{own} and {read}"))
                }
            })
            .await
            .unwrap();
        }
    }
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs_f64().floor()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_2_42_loses_nothing() {
    if require(Component::Prometheus).is_err() {
        return;
    }
    let world = World::start(&Setup::local()).await;
    let target = Target::start().await;
    let sender = Sender::start(&world, target.address).await;
    sender.scraped(10).await;
    let expected = sender.finish().await;
    assert!(expected.len() > 3000, "{} samples", expected.len());
    assert_same(&expected, &read_through(&world).await, "Prometheus 2.42");
    for lost in ["failed", "dropped"] {
        let lost = format!("prometheus_remote_storage_samples_{lost}_total");
        assert!(sender.metric(&lost).await.abs() < 0.5, "{lost}");
    }
    assert_eq!(refused(&world), None);
}

/// vmagent keeps nothing that it could be asked for, so it sends the same to a Prometheus too.
#[tokio::test]
async fn vmagent_sends_zstd_and_snappy_and_loses_nothing() {
    if require(Component::VictoriaMetrics)
        .and(require(Component::CurrentPrometheus))
        .is_err()
    {
        return;
    }
    let options = || PrometheusOptions {
        current: true,
        args: vec!["--web.enable-remote-write-receiver".to_owned()],
    };
    for forced in ["false", "true"] {
        let world = World::start(&Setup::local()).await;
        let witness = Prometheus::start_with(options(), |_| {
            "storage: {tsdb: {out_of_order_time_window: 1h}}".to_owned()
        });
        let witness = witness.await.unwrap();
        let target = Target::start().await;
        let agent = vmagent(&world, &witness, target.address, forced).await;
        let up = [("job", MatchType::Eq, "odd"), ("__name__", MatchType::Eq, "up")];
        eventually("ten scrapes have arrived", SOON, async || {
            match &world.read(&up, 0, i64::MAX).await[..] {
                [(_, samples)] if samples.len() >= 10 => Ok(()),
                other => Err(format!("{other:?} {}", agent.process().stderr())),
            }
        })
        .await
        .unwrap();
        // Its series end, and get their markers.
        drop(target);
        let end = now_millis() + 2000;
        let until = |mut samples: Samples| {
            let is_later = samples.keys().any(|(_, time)| *time > end);
            samples.retain(|(_, time), _| *time <= end);
            is_later.then_some(samples)
        };
        eventually("both have all of it", SOON, async || {
            let own = until(read_through(&world).await);
            let theirs = until(held(&format!("{}/api/v1/read", witness.url())).await);
            let (Some(own), Some(theirs)) = (own, theirs) else {
                return Err("something is on its way".to_owned());
            };
            if own == theirs && count(&own, STALE) > 0 {
                Ok(())
            } else {
                let differs = own.iter().find(|(key, bits)| theirs.get(key) != Some(bits));
                Err(format!(
                    "{} samples, and {} at Prometheus; the first that differs: {differs:?}",
                    own.len(),
                    theirs.len()
                ))
            }
        })
        .await
        .unwrap();
        // zstd is not refused: else vmagent would have gone over to snappy.
        assert_eq!(refused(&world), None, "forcePromProto={forced}");
    }
}

/// The audit line of a request that did not succeed.
fn refused(world: &World) -> Option<serde_json::Value> {
    let mut lines = world.audit().into_iter();
    lines.rfind(|line| line["status"].as_u64() >= Some(u64::from(StatusCode::MULTIPLE_CHOICES.as_u16())))
}

fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

async fn vmagent(world: &World, witness: &Prometheus, target: SocketAddr, forced: &str) -> Vmagent {
    let scrape = format!(
        "global: {{scrape_interval: 1s}}\n\
         scrape_configs: [{{job_name: odd, static_configs: [{{targets: ['{target}']}}]}}]\n"
    );
    let authority = world.authority().display().to_string();
    let flags = [
        ("remoteWrite.url", world.url("/api/v1/write")),
        ("remoteWrite.url", format!("{}/api/v1/write", witness.url())),
        // One after the other, as they were scraped.
        ("remoteWrite.queues", "1".to_owned()),
        ("remoteWrite.basicAuth.username", USER.to_owned()),
        ("remoteWrite.basicAuth.password", PASSWORD.to_owned()),
        ("remoteWrite.tlsCAFile", authority),
        ("remoteWrite.forcePromProto", forced.to_owned()),
    ];
    let flags = flags.each_ref().map(|(name, value)| (*name, value.as_str()));
    Vmagent::start(&scrape, &flags).await.unwrap()
}
