//! Writes taken and handed on by the gateway and by vmagent, and taken and kept by Prometheus: processor
//! time, memory at a million series, and the time until a write is answered.
//!
//! All three get the same requests over plain HTTP. What is handed on goes to an nginx that reads it and
//! answers 204; by the gateway through `storage-prometheus`, which waits for that answer before it gives
//! its own. vmagent answers first, and puts what is not sent yet on disk.

use std::{path::Path, time::Duration};

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use reqwest::{Client, header};
use serde_json::json;
use tempfile::TempDir;
use tokio::{process::Command, time::Instant};
use witgate_lab::Component;
use witgate_prometheus::proto::{Label, Sample, TimeSeries, WriteRequest};

use crate::{
    component, figure, median,
    process::{Program, free_port},
    samples::{SERIES, compress, now, second_version, sink},
};

/// Requests in a round, each with series of its own.
const REQUESTS: usize = 500;

/// Rounds, in each of which every receiver has its turn. The first one makes the series known.
const ROUNDS: usize = 3;

/// Connections to one receiver, of which each has one request under way.
const CONNECTIONS: usize = 4;

/// How many samples a second each receiver is sent while its answers are timed, and for how long.
const RATE: f64 = 50_000.0;
const TIMED: Duration = Duration::from_secs(10);

const TOKEN: &str = "the-token-of-the-bench";

/// One that takes writes.
struct Receiver {
    name: &'static str,
    program: Program,
    url: String,
    /// Where it says how much is not handed on yet.
    pending: Option<String>,
    versions: &'static [Version],
}

/// A version of remote write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

pub(crate) async fn run() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let port = free_port()?;
    let _sink = sink(directory.path(), port).await?;
    let receivers = [
        witgate(&directory, port).await?,
        vmagent(
            &directory,
            port,
            "vmagent_snappy",
            &["-remoteWrite.forcePromProto"],
        )
        .await?,
        vmagent(&directory, port, "vmagent_zstd", &["-remoteWrite.forceVMProto"]).await?,
        prometheus(&directory).await?,
    ];
    let client = Client::builder().no_proxy().build()?;
    for receiver in &receivers {
        let mut times = vec![Vec::new(); receiver.versions.len()];
        for round in 0..=ROUNDS {
            for (version, times) in receiver.versions.iter().zip(&mut times) {
                let bodies = bodies(*version)?;
                let before = receiver.program.processor_time()?;
                receiver.send(&client, *version, bodies).await?;
                receiver.drain(&client).await?;
                if round > 0 {
                    times.push(receiver.program.processor_time()? - before);
                }
            }
        }
        let samples = (REQUESTS * SERIES) as f64;
        for (version, times) in receiver.versions.iter().zip(times) {
            let name = format!("receivers_{}{}", receiver.name, version.suffix());
            figure(&name, samples / median(times) / 1e6, "M/s/core");
        }
        let memory = receiver.program.resident()? / 1024.0;
        figure(&format!("receivers_{}_memory", receiver.name), memory, "MiB");
        let mut times = receiver.time(&client).await?;
        times.sort_by(f64::total_cmp);
        for (percent, name) in [(50, "p50"), (99, "p99")] {
            let time = times.get(times.len() * percent / 100).context("no answers")?;
            figure(&format!("receivers_{}_{name}", receiver.name), time * 1e3, "ms");
        }
    }
    Ok(())
}

// === impl Receiver ===

impl Receiver {
    /// Sends all of them, some at a time.
    async fn send(&self, client: &Client, version: Version, bodies: Vec<Vec<u8>>) -> anyhow::Result<()> {
        let bodies = std::cell::RefCell::new(bodies.into_iter());
        let connections = (0..CONNECTIONS).map(async |_| {
            loop {
                let Some(body) = bodies.borrow_mut().next() else {
                    return anyhow::Ok(());
                };
                self.write(client, version, body).await?;
            }
        });
        try_join_all(connections).await.map(drop)
    }

    async fn write(&self, client: &Client, version: Version, body: Vec<u8>) -> anyhow::Result<()> {
        let request = client
            .post(&self.url)
            .bearer_auth(TOKEN)
            .header(header::CONTENT_ENCODING, "snappy")
            .header(header::CONTENT_TYPE, version.content_type())
            .header("X-Prometheus-Remote-Write-Version", version.number())
            .body(body);
        let answer = request.send().await?;
        let status = answer.status();
        let said = answer.text().await?;
        ensure!(status.is_success(), "{} answers {status}: {said}", self.name);
        Ok(())
    }

    /// Waits until everything that was answered is handed on.
    async fn drain(&self, client: &Client) -> anyhow::Result<()> {
        let Some(url) = &self.pending else { return Ok(()) };
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let text = client.get(url).send().await?.text().await?;
            let waiting = text
                .lines()
                .filter(|line| line.starts_with("vmagent_remotewrite_pending_"))
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum::<f64>();
            if waiting == 0.0 {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{} does not hand on {waiting} bytes",
                self.name
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// How long each answer took at a given rate, counted from when its request was to be sent.
    async fn time(&self, client: &Client) -> anyhow::Result<Vec<f64>> {
        let interval = Duration::from_secs_f64(SERIES as f64 / RATE);
        let requests = u32::try_from(TIMED.as_millis() / interval.as_millis())?;
        // Made before, so that making them is not in the way.
        let bodies: Vec<_> = (0..requests as usize)
            .map(|number| body(Version::One, number % REQUESTS))
            .collect::<Result<_, _>>()?;
        let start = Instant::now() + Duration::from_millis(50);
        let sent = (0..).zip(bodies).map(async |(number, body)| {
            let due = start + interval * number;
            tokio::time::sleep_until(due).await;
            self.write(client, Version::One, body).await?;
            anyhow::Ok(due.elapsed().as_secs_f64())
        });
        try_join_all(sent).await
    }
}

// === impl Version ===

impl Version {
    fn suffix(self) -> &'static str {
        match self {
            Self::One => "",
            Self::Two => "_v2",
        }
    }

    fn number(self) -> &'static str {
        match self {
            Self::One => "0.1.0",
            Self::Two => "2.0.0",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::One => "application/x-protobuf",
            Self::Two => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }
}

async fn witgate(directory: &TempDir, sink: u16) -> anyhow::Result<Receiver> {
    let own = directory.path().join("witgate");
    std::fs::create_dir(&own)?;
    let port = free_port()?;
    let digest = ring::digest::digest(&ring::digest::SHA256, TOKEN.as_bytes());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let sink = format!("http://127.0.0.1:{sink}");
    let config = json!({
        "listeners": [{"address": format!("127.0.0.1:{port}")}],
        "state": {"directory": "state"},
        "identity": {
            "publicUrl": format!("http://127.0.0.1:{port}"),
            "tokens": [{"name": "bench", "sha256": digest}],
        },
        "plugins": {"sink": {
            "kind": "storage",
            "file": component("storage-prometheus"),
            "config": {"writeUrl": format!("{sink}/api/v1/write"), "version": "1.0"},
            "grants": {"http": [{"origin": sink, "addresses": "private"}]},
        }},
        "prometheus": {"tenants": [{"name": "bench", "storage": "sink", "write": {"users": ["bench"]}}]},
        "audit": {"file": "audit.log"},
    });
    std::fs::write(own.join("witgate.yaml"), config.to_string())?;
    Ok(Receiver {
        name: "witgate",
        program: crate::site::witgate(&own, port).await?,
        url: format!("http://127.0.0.1:{port}/api/v1/write"),
        pending: None,
        versions: &[Version::One, Version::Two],
    })
}

async fn vmagent(
    directory: &TempDir,
    sink: u16,
    name: &'static str,
    flags: &[&str],
) -> anyhow::Result<Receiver> {
    let port = free_port()?;
    let mut command = Command::new(Component::VictoriaMetrics.find("vmagent")?);
    command
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
        .arg(format!("-remoteWrite.url=http://127.0.0.1:{sink}/api/v1/write"))
        .arg(queue(directory.path(), name))
        .args(flags);
    let log = directory.path().join(format!("{name}.log"));
    Ok(Receiver {
        name,
        program: Program::start(&mut command, &log, port).await?,
        url: format!("http://127.0.0.1:{port}/api/v1/write"),
        pending: Some(format!("http://127.0.0.1:{port}/metrics")),
        versions: &[Version::One],
    })
}

fn queue(directory: &Path, name: &str) -> String {
    format!("-remoteWrite.tmpDataPath={}", directory.join(name).display())
}

async fn prometheus(directory: &TempDir) -> anyhow::Result<Receiver> {
    let own = directory.path().join("prometheus");
    std::fs::create_dir(&own)?;
    let config = own.join("prometheus.yml");
    std::fs::write(&config, "{}\n")?;
    let port = free_port()?;
    let mut command = Command::new(Component::CurrentPrometheus.find("prometheus")?);
    command
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", own.join("data").display()))
        .arg("--web.enable-remote-write-receiver");
    Ok(Receiver {
        name: "prometheus",
        program: Program::start(&mut command, &own.join("log"), port).await?,
        url: format!("http://127.0.0.1:{port}/api/v1/write"),
        pending: None,
        versions: &[Version::One, Version::Two],
    })
}

/// One sample of each of a million series, of now.
fn bodies(version: Version) -> anyhow::Result<Vec<Vec<u8>>> {
    (0..REQUESTS).map(|number| body(version, number)).collect()
}

/// What one sender has: the same labels in every request, but for the machine.
fn body(version: Version, number: usize) -> anyhow::Result<Vec<u8>> {
    let timestamp = now()?;
    let label = |name: &str, value: String| Label {
        name: name.to_owned(),
        value,
    };
    let timeseries = (0..SERIES).map(|index| TimeSeries {
        labels: vec![
            label("__name__", format!("node_network_{:02}_bytes_total", index % 40)),
            label("availability_zone", format!("eu-central-{}", number % 3)),
            label("cluster_name", "production-cluster".to_owned()),
            label("container_image", format!("exporter-{:06}", index / 400)),
            label("device_name", format!("interface-{:02}", index / 40)),
            label("environment", "production".to_owned()),
            label(
                "instance",
                format!("10.20.{}.{}:9100", number / 250, number % 250),
            ),
            label("job_name", "node-exporter".to_owned()),
            label("namespace", "monitoring".to_owned()),
            label("pod_template_hash", format!("{number:010}")),
        ],
        samples: vec![Sample {
            value: (index as f64 * 1234.5).to_bits(),
            timestamp,
        }],
        ..TimeSeries::default()
    });
    let request = WriteRequest {
        timeseries: timeseries.collect(),
        ..WriteRequest::default()
    };
    match version {
        Version::One => compress(&request),
        Version::Two => compress(&second_version(&request)?),
    }
}
