//! Defines the running of kubectl, as one identity, untouched by the developer's own configuration.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::{
    component::Component,
    error::Error,
    process::{Launch, Process},
};

/// A command that has not ended by then hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that the lab starts is on this machine.
pub(crate) const NO_PROXY: &str = "127.0.0.1,localhost,198.18.0.0/15";

/// kubectl with the flags and files of one identity.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    identity: Vec<OsString>,
    kubeconfig: PathBuf,
    settings: Vec<(&'static str, OsString)>,
    /// The home directory, for kubectl's cache of what the server offers.
    home: Arc<TempDir>,
}

/// What a kubectl command said.
#[derive(Debug, Clone)]
pub struct KubectlOutput {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// How it ended.
    pub status: ExitStatus,
}

impl Kubectl {
    /// kubectl with a kubeconfig.
    ///
    /// # Errors
    /// If kubectl is missing.
    pub fn with_kubeconfig(kubeconfig: &Path) -> Result<Self, Error> {
        Self::new(kubeconfig.to_owned(), Vec::new())
    }

    /// kubectl with nothing but a server's URL, a bearer token and, for a server whose certificate
    /// the system does not trust, the authority's file.
    ///
    /// # Errors
    /// If kubectl is missing.
    pub fn with_token(server: &str, token: &str, authority: Option<&Path>) -> Result<Self, Error> {
        let mut identity = vec![flag("--server=", server), flag("--token=", token)];
        identity.extend(authority.map(|path| flag("--certificate-authority=", path)));
        Self::new("/dev/null".into(), identity)
    }

    fn new(kubeconfig: PathBuf, identity: Vec<OsString>) -> Result<Self, Error> {
        let home = tempfile::tempdir().map_err(Error::io("a home directory for kubectl"))?;
        let program = Component::Kubernetes.find("kubectl")?;
        Ok(Self {
            program,
            identity,
            kubeconfig,
            settings: Vec::new(),
            home: Arc::new(home),
        })
    }

    /// The same kubectl with one more variable in its environment, such as
    /// `KUBECTL_REMOTE_COMMAND_WEBSOCKETS`.
    #[must_use]
    pub fn env(mut self, name: &'static str, value: &str) -> Self {
        self.settings.push((name, value.into()));
        self
    }

    /// Runs a command to its end, which may be a failure.
    ///
    /// # Errors
    /// If it cannot be run, or has not ended after a minute.
    pub async fn run(&self, args: &[&str]) -> Result<KubectlOutput, Error> {
        self.run_with_input(args, "").await
    }

    /// Runs a command with this text as its standard input.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_with_input(&self, args: &[&str], input: &str) -> Result<KubectlOutput, Error> {
        let command = || describe(args);
        let mut child = Command::new(&self.program)
            .args(&self.identity)
            .args(args)
            .envs(self.environment())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::io(command()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read its input may close it first.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let output = match tokio::time::timeout(PATIENCE, child.wait_with_output()).await {
            Ok(output) => output.map_err(Error::io(command()))?,
            Err(_) => {
                let (what, last) = (format!("`{}` ends", command()), "it runs".to_owned());
                return Err(Error::Never {
                    what,
                    seconds: PATIENCE.as_secs(),
                    last,
                });
            }
        };
        Ok(KubectlOutput {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            status: output.status,
        })
    }

    /// Runs a command that must succeed, and gives its standard output.
    ///
    /// # Errors
    /// [`Error::Command`] with its standard error if it fails; else as [`run`](Self::run).
    pub async fn succeed(&self, args: &[&str]) -> Result<String, Error> {
        succeeded(args, self.run(args).await?)
    }

    /// Applies manifests (`apply --filename -`).
    ///
    /// # Errors
    /// As [`succeed`](Self::succeed).
    pub async fn apply(&self, manifests: &str) -> Result<String, Error> {
        let args = ["apply", "--filename", "-"];
        succeeded(&args, self.run_with_input(&args, manifests).await?)
    }

    /// Starts a command that goes on by itself, such as `get --watch`, until the value is dropped;
    /// its output is read with [`Process::stdout`].
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&self, args: &[&str]) -> Result<Process, Error> {
        let dir = tempfile::tempdir_in(self.home.path()).map_err(Error::io("a directory for kubectl"))?;
        let mut launch = Launch::new("kubectl", self.program.clone(), &dir.keep());
        launch.kept = Some(Arc::clone(&self.home));
        launch.envs = self
            .environment()
            .map(|(key, value)| (key.into(), value))
            .collect();
        Process::spawn(launch.args(self.identity.iter().cloned()).args(args))
    }

    fn environment(&self) -> impl Iterator<Item = (&'static str, OsString)> {
        let own = [
            ("HOME", self.home.path().into()),
            ("KUBECONFIG", self.kubeconfig.clone().into()),
            ("NO_PROXY", NO_PROXY.into()),
        ];
        own.into_iter().chain(self.settings.iter().cloned())
    }
}

fn flag(name: &str, value: impl Into<OsString>) -> OsString {
    let mut flag = OsString::from(name);
    flag.push(value.into());
    flag
}

fn describe(args: &[&str]) -> String {
    format!("kubectl {}", args.join(" "))
}

fn succeeded(args: &[&str], output: KubectlOutput) -> Result<String, Error> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(Error::Command {
        command: describe(args),
        status: output.status,
        stderr: output.stderr,
    })
}
