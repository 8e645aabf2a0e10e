//! Samples per second and core: decoded and validated; written by `storage-influxdb` as a component,
//! with the decoding and without; and by the same code compiled natively.
//!
//! What is written goes to an nginx that reads it and answers as InfluxDB does, so that a figure
//! holds all that the gateway does for a sample and nothing of what a database does. Only this
//! process's processor time counts.

mod native;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use prost::Message;
use serde_json::json;
use tokio::{process::Command, runtime::Runtime as Tokio};
use witgate_plugins::{Kinds, Options, PluginConfig, Plugins, Runtime, Storage};
use witgate_prometheus::{
    Limits,
    decode::{Decoder, Form, Protocol, Rules},
    proto::{Label, Sample, TimeSeries, WriteRequest, v2},
};
use witgate_state::Embedded;

use self::native::Native;
use crate::{
    component, figure, median,
    process::{Program, free_port, own_processor_time},
};

/// A request of Prometheus with its default `max_samples_per_send`.
pub(crate) const SERIES: usize = 2000;

/// Rounds, in each of which every way has its turn.
const ROUNDS: usize = 7;

/// Requests in one turn. Processor time is counted in hundredths of a second.
const REQUESTS: usize = 600;

/// One way to treat a request, and how long it took in each round.
struct Way {
    name: &'static str,
    microseconds: Vec<f64>,
}

pub(crate) fn run(tokio: &Tokio) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let port = free_port()?;
    let _sink = tokio.block_on(sink(directory.path(), port))?;
    let plugins = tokio.block_on(plugins(directory.path(), port))?;
    let influxdb = plugins
        .storage("influxdb")
        .context("storage-influxdb is not there")?;
    let local = plugins.storage("local").context("storage-local is not there")?;
    for (shape, distinct) in [("low", 1), ("high", SERIES)] {
        measure(tokio, port, &*influxdb, &*local, shape, distinct)?;
    }
    Ok(())
}

/// Measures with a payload in which a label value is shared by `SERIES / distinct` series.
fn measure(
    tokio: &Tokio,
    port: u16,
    influxdb: &dyn Storage,
    local: &dyn Storage,
    shape: &str,
    distinct: usize,
) -> anyhow::Result<()> {
    let request = request(distinct)?;
    let body = compress(&request)?;
    let second = compress(&second_version(&request)?)?;
    let limits = Limits::default();
    let rules = Rules {
        limits: &limits,
        holds: Kinds::ALL,
        label: None,
        treatment: None,
    };
    let v2_form = Form {
        protocol: Protocol::V2,
        ..Form::default()
    };
    let mut decoder = Decoder::default();
    let batch = decoder.decode(&body, Form::default(), &rules)?.0.clone();
    ensure!(
        batch.timestamps.len() == SERIES,
        "the decoder refused some of the payload"
    );
    let mut native = Native::new(port, &batch)?;
    let context = witgate_plugins::Context {
        tenant: "bench".to_owned(),
        ..Default::default()
    };

    let mut ways = [
        "decode",
        "decode_v2",
        "wasm",
        "wasm_with_decode",
        "native",
        "native_encode_only",
        "local",
    ]
    .map(|name| Way {
        name,
        microseconds: Vec::new(),
    });
    for round in 0..=ROUNDS {
        for way in &mut ways {
            let before = own_processor_time()?;
            for _ in 0..REQUESTS {
                match way.name {
                    "decode" => drop(std::hint::black_box(decoder.decode(
                        &body,
                        Form::default(),
                        &rules,
                    )?)),
                    "decode_v2" => drop(std::hint::black_box(decoder.decode(&second, v2_form, &rules)?)),
                    "wasm" => drop(tokio.block_on(influxdb.write(&context, &batch))?),
                    "wasm_with_decode" => {
                        let (batch, _) = decoder.decode(&body, Form::default(), &rules)?;
                        drop(tokio.block_on(influxdb.write(&context, batch))?);
                    }
                    "native" => native.write()?,
                    "native_encode_only" => native.encode(),
                    _ => drop(tokio.block_on(local.write(&context, &batch))?),
                }
            }
            // The first round warms up.
            if round > 0 {
                way.microseconds
                    .push((own_processor_time()? - before) * 1e6 / REQUESTS as f64);
            }
        }
    }
    let times: BTreeMap<_, _> = ways
        .into_iter()
        .map(|way| (way.name, median(way.microseconds)))
        .collect();
    for (name, time) in &times {
        figure(
            &format!("samples_{shape}_{name}"),
            SERIES as f64 / time,
            "M/s/core",
        );
    }
    figure(
        &format!("samples_{shape}_wasm_to_native"),
        times["wasm"] / times["native"],
        "ratio",
    );
    figure(&format!("samples_{shape}_request_bytes"), body.len() as f64, "B");
    figure(
        &format!("samples_{shape}_request_bytes_v2"),
        second.len() as f64,
        "B",
    );
    Ok(())
}

/// Reads what it is sent and answers as InfluxDB does to a write, and to the plugin's ping.
pub(crate) async fn sink(directory: &Path, port: u16) -> anyhow::Result<Program> {
    let file = directory.join("nginx.conf");
    let text = format!(
        "daemon off; worker_processes 1; pid {dir}/nginx.pid;\n\
         events {{ worker_connections 64; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; client_max_body_size 0; \
         client_body_temp_path {dir}/body;\n\
         server {{ listen 127.0.0.1:{port}; location / {{ return 204; }} }} }}\n",
        dir = directory.display(),
    );
    std::fs::write(&file, text)?;
    let mut nginx = Command::new("nginx");
    nginx
        .arg("-c")
        .arg(&file)
        .arg("-e")
        .arg(directory.join("nginx-error.log"));
    Program::start(&mut nginx, &directory.join("nginx.log"), port).await
}

async fn plugins(directory: &Path, port: u16) -> anyhow::Result<Plugins> {
    let state = Arc::new(Embedded::open(&directory.join("state"))?);
    let runtime = Runtime::new(Options { cache: None, state })?;
    let url = format!("http://127.0.0.1:{port}");
    let configs: BTreeMap<String, PluginConfig> = serde_json::from_value(json!({
        "influxdb": {
            "kind": "storage",
            "file": component("storage-influxdb"),
            "config": {"url": url, "database": "bench"},
            "grants": {"http": [{"origin": url, "addresses": "private"}]},
        },
        "local": {
            "kind": "storage",
            "file": component("storage-local"),
            "grants": {"keyValue": {"maxBytes": "20GiB"}},
        },
    }))?;
    Ok(Plugins::load(&runtime, &configs, directory, None).await?)
}

/// A request of 2,000 series with 10 labels and a sample each, as of node_exporter on many machines:
/// names of 12 to 20 characters, values likewise, of which one in a label is different in each
/// series when `distinct` is as large as their number.
fn request(distinct: usize) -> anyhow::Result<WriteRequest> {
    // Of now, because nobody takes what is older than their retention.
    let timestamp = now()?;
    let label = |name: &str, value: String| Label {
        name: name.to_owned(),
        value,
    };
    let timeseries = (0..SERIES).map(|index| {
        let labels = vec![
            label("__name__", format!("node_network_{:02}_bytes_total", index % 40)),
            label("availability_zone", format!("eu-central-{}", index % 3)),
            label("cluster_name", "production-cluster".to_owned()),
            label("container_image", format!("exporter-{:06}", index % distinct)),
            label("device_name", format!("interface-{:02}", index / 40 % 50)),
            label("environment", "production".to_owned()),
            label("instance", format!("10.20.30.{}:9100", index / 40 % 50)),
            label("job_name", "node-exporter".to_owned()),
            label("namespace", "monitoring".to_owned()),
            label("pod_template_hash", format!("{:010}", index * 7919 % distinct)),
        ];
        let value = (index as f64 * 1234.5).to_bits();
        TimeSeries {
            labels,
            samples: vec![Sample { value, timestamp }],
            ..TimeSeries::default()
        }
    });
    Ok(WriteRequest {
        timeseries: timeseries.collect(),
        ..WriteRequest::default()
    })
}

/// Milliseconds since 1970.
pub(crate) fn now() -> anyhow::Result<i64> {
    Ok(i64::try_from(
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis(),
    )?)
}

pub(crate) fn compress(message: &impl Message) -> anyhow::Result<Vec<u8>> {
    Ok(snap::raw::Encoder::new().compress_vec(&message.encode_to_vec())?)
}

/// The same as remote write 2.0 has it, with its symbols in the order in which they are met.
pub(crate) fn second_version(request: &WriteRequest) -> anyhow::Result<v2::Request> {
    let mut second = v2::Request {
        symbols: vec![String::new()],
        ..v2::Request::default()
    };
    let mut known = BTreeMap::new();
    for series in &request.timeseries {
        let mut labels_refs = Vec::new();
        for text in series.labels.iter().flat_map(|label| [&label.name, &label.value]) {
            let next = u32::try_from(second.symbols.len())?;
            let reference = *known.entry(text.as_str()).or_insert(next);
            if reference == next {
                second.symbols.push(text.clone());
            }
            labels_refs.push(reference);
        }
        let samples = series.samples.iter().map(|sample| v2::Sample {
            value: sample.value,
            timestamp: sample.timestamp,
            start_timestamp: 0,
        });
        second.timeseries.push(v2::TimeSeries {
            labels_refs,
            samples: samples.collect(),
            ..v2::TimeSeries::default()
        });
    }
    Ok(second)
}
