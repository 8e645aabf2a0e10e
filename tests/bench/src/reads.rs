//! Reading samples back from `storage-local`, streamed: samples per second and core, and what the
//! gateway's memory grows by. The whole answer is larger than that.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use axum::body::Body;
use http_body_util::BodyExt;
use prost::Message;
use serde_json::json;
use tokio::runtime::Runtime as Tokio;
use witgate_identity::{Method, Principal, Proof};
use witgate_plugins::{Batch, Options, PluginConfig, Plugins, Runtime};
use witgate_prometheus::{
    Foundations, Remote,
    proto::{LabelMatcher, Query, ReadRequest},
};
use witgate_state::{Embedded, State as _};

use crate::{component, figure, process::own_processor_time};

/// Series, and samples of each: two hours at an interval of 5 s.
const SERIES: u32 = 2000;
const SAMPLES: i64 = 1440;
const INTERVAL: i64 = 5000;

/// Samples of each series in one write.
const AT_ONCE: i64 = 10;

pub(crate) fn run(tokio: &Tokio) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    tokio.block_on(async {
        let state = Arc::new(Embedded::open(&directory.path().join("state"))?);
        let replicas = state.space("replicas")?;
        let runtime = Runtime::new(Options { cache: None, state })?;
        let configs: BTreeMap<String, PluginConfig> = serde_json::from_value(json!({
            "local": {
                "kind": "storage",
                "file": component("storage-local"),
                "grants": {"keyValue": {"maxBytes": "20GiB"}},
            },
        }))?;
        let plugins = Plugins::load(&runtime, &configs, directory.path(), None).await?;
        let storage = plugins.storage("local").context("storage-local is not there")?;
        let context = witgate_plugins::Context {
            tenant: "bench".to_owned(),
            ..Default::default()
        };
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let start = now - SAMPLES * INTERVAL;
        for turn in 0..SAMPLES / AT_ONCE {
            let batch = batch(start + turn * AT_ONCE * INTERVAL)?;
            let receipt = storage.write(&context, &batch).await?;
            ensure!(receipt.rejected.is_empty(), "{:?}", receipt.rejected);
        }
        let config = serde_json::from_value(json!({
            "tenants": [{"name": "bench", "storage": "local", "read": {"users": ["bench"]}}],
        }))?;
        let foundations = Foundations {
            storage: &|_| Some(Arc::clone(&storage)),
            replicas: &replicas,
        };
        let remote = Remote::new(&config, foundations, None)?;
        // The first one warms up.
        for name in ["", "streamed", "samples"] {
            let forms = if name == "samples" { vec![0] } else { vec![1] };
            let (before, began) = (resident()?, own_processor_time()?);
            let (bytes, most) = read(&remote, now, forms).await?;
            let time = own_processor_time()? - began;
            if !name.is_empty() {
                let samples = f64::from(SERIES) * SAMPLES as f64;
                figure(&format!("read_{name}_bytes"), bytes as f64 / 1048576.0, "MiB");
                figure(&format!("read_{name}_memory"), (most - before) / 1024.0, "MiB");
                figure(&format!("read_{name}"), samples / time / 1e6, "M/s/core");
            }
        }
        Ok(())
    })
}

/// Samples of all series, as gauges are that change a little.
fn batch(start: i64) -> anyhow::Result<Batch> {
    let mut batch = Batch {
        symbol_bytes: b"__name__node_load_averageinstance".to_vec(),
        symbol_ends: vec![0, 8, 25, 33],
        ..Batch::default()
    };
    for series in 0..SERIES {
        batch
            .symbol_bytes
            .extend_from_slice(format!("10.20.{}.{}:9100", series / 250, series % 250).as_bytes());
        batch.symbol_ends.push(u32::try_from(batch.symbol_bytes.len())?);
        batch.labels.extend([1, 2, 3, 4 + series]);
        batch.label_ends.push(u32::try_from(batch.labels.len())?);
        for at in 0..AT_ONCE {
            let time = start + at * INTERVAL;
            batch.timestamps.push(time);
            let value = f64::from(series) + (time / INTERVAL % 97) as f64 / 8.0;
            batch.values.push(value.to_bits());
        }
        batch.sample_ends.push(u32::try_from(batch.timestamps.len())?);
    }
    Ok(batch)
}

/// Reads everything as a client does that keeps nothing of it; how many bytes came, and the most memory
/// that was in use while they did.
async fn read(remote: &Remote, now: i64, forms: Vec<i32>) -> anyhow::Result<(usize, f64)> {
    let request = ReadRequest {
        queries: vec![Query {
            start_timestamp_ms: 0,
            end_timestamp_ms: now,
            matchers: vec![LabelMatcher {
                r#type: 0,
                name: "__name__".to_owned(),
                value: "node_load_average".to_owned(),
            }],
            hints: None,
        }],
        accepted_response_types: forms,
    };
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec())?;
    let principal = Principal {
        user: "bench".to_owned(),
        uid: None,
        groups: Vec::new(),
        extra: Vec::new(),
        method: Method::Basic,
        expires: None,
        proof: Proof::default(),
    };
    let request = http::Request::post("/api/v1/read").body(Body::from(body))?;
    let response = remote.read(&principal, request).await;
    ensure!(
        response.status() == 200,
        "the read is answered {}",
        response.status()
    );
    let (mut bytes, mut most) = (0, resident()?);
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| anyhow::anyhow!("the answer is cut off: {error}"))?;
        bytes += frame.data_ref().map_or(0, |data| data.len());
        most = most.max(resident()?);
    }
    Ok((bytes, most))
}

/// KiB of memory that are this process's own and in use.
fn resident() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.context("no VmRSS")?.trim().trim_end_matches(" kB").parse()?)
}
