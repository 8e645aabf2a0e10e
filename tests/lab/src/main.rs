//! Defines `lab`, for developers: every component at once, or a command with a cluster.

mod command;
mod everything;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

/// Starts every component of the test lab, says where they are, and stops them on Ctrl-C.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command with a Kubernetes cluster: the current one if it answers, or else a control
    /// plane that is started for it, named by KUBECONFIG, and stopped when the command ends.
    Run {
        /// The command and its arguments.
        #[arg(required = true, last = true)]
        command: Vec<OsString>,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        None => everything::run().await.map(|()| ExitCode::SUCCESS),
        Some(Command::Run { command }) => command::run(&command).await,
    }
}
