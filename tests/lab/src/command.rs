//! A command with a Kubernetes cluster.

use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt as _,
    process::{ExitCode, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};
use witgate_lab::{Component, Kubernetes, require};

/// How long the current cluster has to answer before it is taken for absent.
const ANSWERS: Duration = Duration::from_secs(3);

/// What a shell adds to the number of the signal that ended a command.
const SIGNALLED: i32 = 128;

/// Runs a command to its end, and ends as it did.
pub(crate) async fn run(command: &[OsString]) -> anyhow::Result<ExitCode> {
    // A terminal sends Ctrl-C to the command as well. The cluster has to outlive it.
    let mut interrupted = signal(SignalKind::interrupt()).context("waiting for Ctrl-C")?;
    let mut terminated = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let kubernetes = tokio::select! {
        kubernetes = cluster() => kubernetes,
        _ = interrupted.recv() => return Ok(ended(ExitStatus::from_raw(Signal::INT.as_raw()))),
        _ = terminated.recv() => return Ok(ended(ExitStatus::from_raw(Signal::TERM.as_raw()))),
    };
    let (program, args) = command.split_first().context("there is no command")?;
    let mut command = Command::new(program);
    command.args(args).kill_on_drop(true);
    if let Some(kubernetes) = &kubernetes {
        command.env("KUBECONFIG", kubernetes.admin_kubeconfig());
    }
    let mut child = command
        .spawn()
        .with_context(|| format!("{} can't be run", program.display()))?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            _ = interrupted.recv() => {}
            _ = terminated.recv() => pass_on(&child, Signal::TERM),
        }
    };
    Ok(ended(status))
}

/// A control plane, if there is no cluster and one can be started.
async fn cluster() -> Option<Kubernetes> {
    if current_cluster_answers().await {
        return None;
    }
    if let Err(missing) = require(Component::Kubernetes) {
        eprintln!("lab: no cluster answers, and none can be started: {missing}");
        return None;
    }
    println!("lab: no cluster answers; starting a control plane");
    Kubernetes::start()
        .await
        .inspect_err(|error| eprintln!("lab: no control plane: {error}"))
        .ok()
}

/// Whether kubectl, as it is set up, reaches a cluster.
async fn current_cluster_answers() -> bool {
    let mut kubectl = Command::new("kubectl");
    kubectl.args(["get", "--raw=/version", "--request-timeout=2s"]);
    kubectl
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let status = tokio::time::timeout(ANSWERS, kubectl.status()).await;
    matches!(status, Ok(Ok(status)) if status.success())
}

fn pass_on(child: &Child, signal: Signal) {
    let id = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    if let Some(id) = id
        && let Err(error) = kill_process(id, signal)
    {
        eprintln!("lab: the command can't be told to end: {error}");
    }
}

/// As a shell says it.
fn ended(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| SIGNALLED + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from)
}
