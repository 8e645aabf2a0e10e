//! A Prometheus that scrapes and sends what it scrapes through the gateway.

use std::net::SocketAddr;

use witgate_lab::{Prometheus, PrometheusOptions, eventually, http};

use crate::{
    samples::{Samples, held},
    world::{PASSWORD, SOON, USER, World},
};

/// A Prometheus with an empty disk that scrapes itself and a target every second.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) prometheus: Prometheus,
    remote: String,
}

impl Sender {
    pub(crate) async fn start(world: &World, target: SocketAddr) -> Self {
        let remote = format!("remote_write:\n- {}", endpoint(world, "write"));
        Self::start_with(PrometheusOptions::default(), remote, target).await
    }

    /// The current Prometheus, which speaks both versions of the protocol.
    pub(crate) async fn current(world: &World, target: SocketAddr, message: &str) -> Self {
        let endpoint = endpoint(world, "write");
        let remote = endpoint.replace("basic_auth", &format!("protobuf_message: {message}, basic_auth"));
        let options = PrometheusOptions {
            current: true,
            ..PrometheusOptions::default()
        };
        Self::start_with(options, format!("remote_write:\n- {remote}"), target).await
    }

    pub(crate) async fn start_with(options: PrometheusOptions, remote: String, target: SocketAddr) -> Self {
        let prometheus = Prometheus::start_with(options, |own| {
            format!(
                "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
                 scrape_configs:\n\
                 - {{job_name: prometheus, static_configs: [{{targets: ['{own}']}}]}}\n\
                 - {{job_name: odd, static_configs: [{{targets: ['{target}']}}]}}\n\
                 {remote}"
            )
        });
        Self {
            prometheus: prometheus.await.unwrap(),
            remote,
        }
    }

    /// Waits until it has scraped itself so often.
    pub(crate) async fn scraped(&self, times: u32) {
        self.becomes(&format!(
            "count_over_time(up{{job='prometheus'}}[10m]) >= {times}"
        ))
        .await;
    }

    /// Waits until a query has a result.
    pub(crate) async fn becomes(&self, query: &str) {
        let look = async || {
            let data = self
                .prometheus
                .query(query, None)
                .await
                .map_err(|error| error.to_string())?;
            match data["result"].as_array() {
                Some(results) if !results.is_empty() => Ok(()),
                _ => Err(data.to_string()),
            }
        };
        eventually(query, SOON, look).await.unwrap();
    }

    /// Ends all scraping, which is over when Prometheus has read the new configuration, waits until
    /// everything is sent, and gives what it holds itself.
    pub(crate) async fn finish(&self) -> Samples {
        self.prometheus.reconfigure(&self.remote).await.unwrap();
        let drained = async || {
            let [taken, sent, retried, pending] = [
                "prometheus_remote_storage_samples_in_total",
                "prometheus_remote_storage_samples_total",
                "prometheus_remote_storage_samples_retried_total",
                "prometheus_remote_storage_samples_pending",
            ];
            let (taken, sent) = (self.metric(taken).await, self.metric(sent).await);
            let (retried, pending) = (self.metric(retried).await, self.metric(pending).await);
            if pending == 0.0 && sent - retried >= taken {
                Ok(())
            } else {
                Err(format!(
                    "taken {taken}, sent {sent}, again {retried}, pending {pending}"
                ))
            }
        };
        eventually("the queue is empty", SOON, drained).await.unwrap();
        held(&format!("{}/api/v1/read", self.prometheus.url())).await
    }

    /// The sum of one of its own metrics over all labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let url = format!("{}/metrics", self.prometheus.url());
        let text = http::client()
            .get(url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with(['{', ' ']).then(|| rest.rsplit(' ').next())?
        });
        values.map(|value| value.parse::<f64>().unwrap()).sum()
    }
}

/// One entry of `remote_write` or `remote_read`, on the paths of a setup with InfluxDB.
pub(crate) fn endpoint(world: &World, action: &str) -> String {
    let url = world.url(&format!("/api/v1/prom/{action}?db=prometheus"));
    let authority = world.authority();
    let options = match action {
        "write" => "queue_config: {batch_send_deadline: 1s, min_backoff: 30ms, max_backoff: 1s}",
        _ => "read_recent: true",
    };
    format!(
        "{{url: '{url}', basic_auth: {{username: {USER}, password: {PASSWORD}}}, \
         tls_config: {{ca_file: '{}'}}, {options}}}\n",
        authority.display()
    )
}
