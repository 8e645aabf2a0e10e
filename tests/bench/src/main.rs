//! Measures the figures of `README.md`, as ratios within one run where there is a peer.
//!
//! One line a figure: `bench: NAME VALUE UNIT`.

mod process;
mod proxy;

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
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().what {
        What::Proxy => proxy::run().await,
    }
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
