//! Defines the running of kubeadm on a node: with the node's directory as its root.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

use crate::{component::Component, error::Error, kubernetes::kubectl::NO_PROXY};

/// Longer than kubeadm itself waits for an etcd member to be promoted (two minutes) and to be
/// available (40 seconds).
const PATIENCE: Duration = Duration::from_secs(240);

/// kubeadm on one node.
#[derive(Debug, Clone)]
pub(super) struct Kubeadm {
    program: PathBuf,
    root: PathBuf,
}

impl Kubeadm {
    pub(super) fn new(root: &Path) -> Result<Self, Error> {
        Ok(Self {
            program: Component::ControlPlane.find("kubeadm")?,
            root: root.to_owned(),
        })
    }

    /// Runs a command that must succeed, and gives its standard output.
    ///
    /// # Errors
    /// [`Error::Command`] with all that it printed, if it fails.
    pub(super) async fn run(&self, args: &[&str]) -> Result<String, Error> {
        let command = format!("kubeadm {}", args.join(" "));
        let child = Command::new(&self.program)
            .arg("--rootfs")
            .arg(&self.root)
            .args(args)
            .env_clear()
            .env("HOME", "/root")
            .env("NO_PROXY", NO_PROXY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::io(&*command))?;
        let Ok(output) = tokio::time::timeout(PATIENCE, child.wait_with_output()).await else {
            return Err(Error::Never {
                what: format!("`{command}` ends"),
                seconds: PATIENCE.as_secs(),
                last: "it runs".to_owned(),
            });
        };
        let output = output.map_err(Error::io(&*command))?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(stdout);
        }
        Err(Error::Command {
            command,
            status: output.status,
            stderr: stdout + &String::from_utf8_lossy(&output.stderr),
        })
    }
}
