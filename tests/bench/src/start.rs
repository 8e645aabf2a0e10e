//! Time from start to ready with every plugin and a warm cache of compiled components, and the
//! memory that an idle gateway has.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{component, figure, median, root};

/// Starts that are timed, after one that fills the cache.
const STARTS: usize = 21;

pub(crate) async fn run() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("witgate.yaml");
    std::fs::write(&file, configuration())?;
    let mut times = Vec::new();
    let mut memory = Vec::new();
    for start in 0..=STARTS {
        let began = Instant::now();
        let mut gateway = Command::new(root().join("target/release/witgate"))
            .args(["serve", "--config"])
            .arg(&file)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("witgate can't be started")?;
        ready(&mut gateway).await?;
        let time = began.elapsed();
        if start == 0 {
            figure("start_cold_cache", milliseconds(time), "ms");
        } else {
            times.push(milliseconds(time));
            memory.push(resident(&gateway)?);
        }
        gateway.kill().await?;
    }
    figure("start_warm_cache", median(times), "ms");
    figure("idle_memory", median(memory), "MiB");
    Ok(())
}

async fn ready(gateway: &mut Child) -> anyhow::Result<()> {
    let out = gateway.stdout.take().context("no output")?;
    let mut lines = BufReader::new(out).lines();
    let line = lines.next_line().await?.unwrap_or_default();
    ensure!(
        line.starts_with("witgate: ready"),
        "witgate does not start: {line}"
    );
    Ok(())
}

/// MiB of memory that are the process's own and in use.
fn resident(gateway: &Child) -> anyhow::Result<f64> {
    let pid = gateway.id().context("the gateway has ended")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

fn configuration() -> String {
    format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         state: {{directory: state}}\n\
         plugins:\n  \
           passthrough: {{kind: claims, file: {passthrough:?}}}\n  \
           rules: {{kind: claims, file: {rules:?}}}\n  \
           local: {{kind: storage, file: {local:?}, grants: {{keyValue: {{maxBytes: 1GiB}}}}}}\n\
         identity:\n  publicUrl: https://localhost:8443\n",
        passthrough = component("claims-passthrough"),
        rules = component("claims-rules"),
        local = component("storage-local"),
    )
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
