//! Measures the figures of `README.md`, as ratios within one run where there is a peer.
//!
//! One line a figure: `bench: NAME VALUE UNIT`.

mod claims;
mod latency;
mod process;
mod proxy;
mod reads;
mod receivers;
mod samples;
mod site;
mod start;
mod tokens;
mod watches;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

/// Measure what the gateway costs.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Processor time per request of the whole path, against HAProxy.
    Proxy,
    /// Time until an answer, at half of what the gateway can do, against no gateway.
    Latency,
    /// Processor time of a request whose token was never seen before.
    Tokens,
    /// Memory of watches on which nothing happens.
    Watches,
    /// Samples per second and core: decoded, and written through a component and natively.
    Samples,
    /// Writes taken and handed on, against vmagent and Prometheus: processor time, memory, latency.
    Receivers,
    /// Samples per second and core that are read back, and the memory that it takes.
    Reads,
    /// One call of a claims plugin, on a kept instance and on a fresh one.
    Claims,
    /// Time from start to ready, and memory when idle.
    Start,
}

fn main() -> anyhow::Result<()> {
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        anyhow::bail!("cryptography was chosen already");
    }
    // One thread, so that a figure per core is one.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match Cli::parse().what {
        What::Proxy => runtime.block_on(proxy::run()),
        What::Latency => runtime.block_on(latency::run()),
        What::Tokens => runtime.block_on(tokens::run()),
        What::Watches => runtime.block_on(watches::run()),
        What::Samples => samples::run(&runtime),
        What::Receivers => runtime.block_on(receivers::run()),
        What::Reads => reads::run(&runtime),
        What::Claims => runtime.block_on(claims::run()),
        What::Start => runtime.block_on(start::run()),
    }
}

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A plugin's component.
fn component(name: &str) -> PathBuf {
    root().join("plugins/dist").join(name).with_extension("wasm")
}

/// Prints one figure.
fn figure(name: &str, value: f64, unit: &str) {
    println!("bench: {name} {value:.3} {unit}");
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
