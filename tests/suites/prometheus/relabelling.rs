//! Relabelling in the gateway, beside what Prometheus itself makes of the same rules.

use witgate_lab::{Component, Prometheus, PrometheusOptions, eventually, require};

use crate::{
    samples::{assert_same, held, read_through},
    sender::{Sender, endpoint},
    target::Target,
    world::{SOON, Setup, World},
};

/// Rules of every action, on series that the sender really has. No two series become one: of two values
/// for one moment a Prometheus keeps the first and the gateway the last.
const RULES: &str = r#"[
    {source_labels: [__name__], regex: 'go_(gc|memstats)_.*', action: drop},
    {source_labels: [job, __name__], separator: '/', regex: 'odd/.*|prometheus/(prometheus_(http|tsdb|target).*|up|go_.*)', action: keep},
    {source_labels: [__name__], regex: 'prometheus_(?P<part>[a-z]+)_(.+)', target_label: part, replacement: '${part}'},
    {source_labels: [__name__], regex: 'odd_(\w+)', target_label: '${1}_kind', replacement: 'an $1, $$1, $9'},
    {source_labels: [text], regex: '.*C:\\(\w+)', target_label: directory},
    {source_labels: [job, instance], target_label: both},
    {source_labels: [handler], regex: '/(?:api/)?([^/]*)/?.*', target_label: page},
    {source_labels: [code], regex: '5..', target_label: code, replacement: ''},
    {source_labels: [__name__], regex: '(up)', target_label: same},
    {source_labels: [__name__], target_label: same, action: dropequal},
    {source_labels: [instance], target_label: instance, action: keepequal},
    {source_labels: [__name__, instance], modulus: 17, target_label: shard, action: hashmod},
    {source_labels: [job], target_label: JOB, action: uppercase},
    {source_labels: [__name__], target_label: lower, action: lowercase},
    {regex: '(part|JOB)', replacement: 'copy_of_$1', action: labelmap},
    {regex: version, action: labeldrop},
    {regex: '[a-zA-Z_]+', action: labelkeep},
]"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_do_in_the_gateway_what_they_do_in_prometheus() {
    if require(Component::CurrentPrometheus).is_err() {
        return;
    }
    let rules = format!("relabel: {}", RULES.replace('\n', " "));
    let world = World::start(&Setup {
        tenant: rules.leak(),
        ..Setup::local()
    })
    .await;
    let options = PrometheusOptions {
        current: true,
        args: vec!["--web.enable-remote-write-receiver".to_owned()],
    };
    let receiver = Prometheus::start_with(options.clone(), |_| "global: {}\n".to_owned());
    let receiver = receiver.await.unwrap();
    let target = Target::start().await;
    let remote = format!(
        "remote_write:\n- {}- {{url: '{}/api/v1/write', queue_config: {{batch_send_deadline: 1s}}, \
         write_relabel_configs: {RULES}}}\n",
        endpoint(&world, "write"),
        receiver.url(),
    );
    let sender = Sender::start_with(options, remote, target.address).await;
    sender.scraped(10).await;
    sender.finish().await;

    // The sender's own count is of both queues together, so one may be behind still.
    let held_there = format!("{}/api/v1/read", receiver.url());
    let arrived = async || {
        let (expected, found) = (held(&held_there).await, read_through(&world).await);
        match expected.len() > 1000 && expected == found {
            true => Ok(()),
            false => Err(format!(
                "{} samples there and {} here",
                expected.len(),
                found.len()
            )),
        }
    };
    let is_same = eventually("all samples have arrived at both", SOON, arrived).await;
    let (expected, found) = (held(&held_there).await, read_through(&world).await);
    assert_same(&expected, &found, "the gateway's relabelling");
    is_same.unwrap();
    let dropped = world.metric(r#"witgate_prometheus_dropped_total{tenant="lab",kind="sample"}"#);
    assert!(dropped.await > 100.0);
    let refused = world.audit();
    let refused = refused.iter().find(|line| line["status"].as_u64() >= Some(300));
    assert_eq!(refused, None);
    let failed = sender
        .metric("prometheus_remote_storage_samples_failed_total")
        .await;
    assert!(
        failed.abs() < 0.5,
        "what is dropped is no failure of the sender's: {failed}"
    );
}
