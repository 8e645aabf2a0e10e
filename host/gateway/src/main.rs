//! The `witgate` binary.

mod api;
mod attendance;
mod audit;
mod cli;
mod client;
mod config;
mod console;
mod dev;
mod doctor;
mod gateway;
mod hash;
mod kubeconfig;
mod limits;
mod listener;
mod metrics;
mod origins;
mod plugin;
mod prometheus_config;
mod recovery;
mod recovery_client;
mod reload;
mod remote_client;
mod routes;
mod serve;
mod url_credentials;
mod webhooks;
mod wiring;

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use clap::Parser;
use cli::{
    Cli, Command, ConfigCommand, DevCommand, DoctorCommand, LogFormat, PrometheusCommand, RevocationsCommand,
};
use tracing_subscriber::EnvFilter;

/// `EX_USAGE` of sysexits.h: the command line or the configuration is wrong, and trying again
/// won't help.
const EX_USAGE: u8 = 64;

/// This gateway's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is logged unless RUST_LOG says otherwise. The store's own notes are of use to nobody else.
const DEFAULT_FILTER: &str = "info,fjall=warn,lsm_tree=warn";

/// The same for who tries a plugin: what that says, and what is wrong.
const PLUGIN_FILTER: &str = "warn,witgate::plugin=info";

/// A request allocates some dozens of times, across threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(
        cli.log_format,
        match cli.command {
            Command::Plugin(_) => PLUGIN_FILTER,
            _ => DEFAULT_FILTER,
        },
    );
    // Libraries that leave the choice of cryptography to the process find it here.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        tracing::debug!("cryptography was chosen already");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("witgate: no threads can be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("witgate: {error:#}");
            let wrong_configuration = error.is::<wiring::WiringError>()
                || error.is::<config::ConfigError>()
                || matches!(
                    error.downcast_ref(),
                    Some(listener::ListenError::Certificate { .. })
                );
            if wrong_configuration {
                ExitCode::from(EX_USAGE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(file) => serve::serve(&file.config).await,
        Command::Config(ConfigCommand::Check(file)) => serve::check(&file.config).await,
        Command::Config(ConfigCommand::Schema) => {
            let schema = format!("{:#}\n", config::schema());
            match std::io::stdout().write_all(schema.as_bytes()) {
                // Whoever reads only the beginning, as `head` does, has what they wanted.
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
                _ => Ok(()),
            }
        }
        Command::Login(args) => client::login(&args).await,
        Command::Logout(args) => client::logout(&args).await,
        Command::Whoami { server, json } => client::whoami(&server, json).await,
        Command::Kubeconfig(args) => client::kubeconfig(&args).await,
        Command::Credential(args) => client::credential(&args).await,
        Command::Sessions { server, all } => client::sessions(&server, all).await,
        Command::Revoke(args) => client::revoke(&args).await,
        Command::Revocations(args) => match (&args.command, &args.server) {
            (Some(RevocationsCommand::Lift(args)), _) => client::lift(args).await,
            (None, Some(server)) => client::revocations(server).await,
            (None, None) => anyhow::bail!("which gateway? say --server, or set WITGATE_SERVER"),
        },
        Command::Hash(command) => hash::run(&command),
        Command::Prometheus(PrometheusCommand::Write { gateway, samples }) => {
            remote_client::write(&gateway, &samples).await
        }
        Command::Prometheus(PrometheusCommand::Read {
            gateway,
            selector,
            minutes,
        }) => remote_client::read(&gateway, &selector, minutes).await,
        Command::Prometheus(PrometheusCommand::Config(args)) => prometheus_config::run(&args).await,
        Command::Doctor(DoctorCommand::Prometheus(args)) => doctor::run(&args).await,
        Command::Plugin(command) => plugin::run(&command).await,
        Command::Recovery(command) => recovery_client::run(&command).await,
        Command::Dev(args) => match &args.command {
            None => dev::run(&args).await,
            Some(DevCommand::Token { user }) => dev::token(&args, user).await,
        },
    }
}

fn log_to_stderr(format: LogFormat, default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}
