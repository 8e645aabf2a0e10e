//! Defines the program under test, as its users run it: `witgate serve --config FILE`.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    error::Error,
    process::Launch,
    service::{Readiness, Service, lifecycle},
};

/// How the line begins that the gateway prints when all its listeners are open.
const READY: &str = "witgate: ready";

/// A running gateway.
///
/// The binary is `WITGATE_BIN`, or else what `cargo build` last left in the target directory.
#[derive(Debug)]
pub struct Gateway {
    service: Service,
    dir: TempDir,
}

impl Gateway {
    /// Starts a gateway with this configuration, in an empty directory.
    ///
    /// # Errors
    /// If it is not built, or ends without being ready: with what it wrote.
    pub async fn start(config: &str) -> Result<Self, Error> {
        let dir = tempfile::tempdir().map_err(Error::io("a directory for the gateway"))?;
        Self::start_in(dir, config).await
    }

    /// Starts a gateway in a directory that already has the files that its configuration names.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_in(dir: TempDir, config: &str) -> Result<Self, Error> {
        let config_file = dir.path().join("witgate.yaml");
        fs::write(&config_file, config).map_err(Error::io(config_file.display().to_string()))?;
        let launch = Launch::new("witgate", Self::binary()?, dir.path())
            .args(["serve", "--config"])
            .arg(config_file);
        let service = Service::start(launch, Readiness::Prints(READY)).await?;
        Ok(Self { service, dir })
    }

    /// Runs another command of the binary to its end, such as `config check`.
    ///
    /// # Errors
    /// If it is not built or cannot be run.
    pub async fn run(args: &[&str]) -> Result<std::process::Output, Error> {
        let mut command = Command::new(Self::binary()?);
        command.args(args).kill_on_drop(true);
        command
            .output()
            .await
            .map_err(Error::io(format!("witgate {}", args.join(" "))))
    }

    /// Where the binary is.
    ///
    /// # Errors
    /// [`Error::NoGateway`], if it is not there.
    pub fn binary() -> Result<PathBuf, Error> {
        let path = match env::var_os("WITGATE_BIN") {
            Some(path) => PathBuf::from(path),
            None => target_directory()
                .map_err(Error::io("finding the target directory"))?
                .join("witgate"),
        };
        if path.is_file() {
            Ok(path)
        } else {
            Err(Error::NoGateway { path })
        }
    }

    /// The line, from `witgate: ready` on, that names the addresses it listens on.
    #[must_use]
    pub fn ready_line(&self) -> String {
        let stdout = self.service.process.stdout();
        stdout
            .lines()
            .find(|line| line.starts_with(READY))
            .unwrap_or_default()
            .to_owned()
    }

    /// Its working directory, with `witgate.yaml` and whatever it writes to relative paths.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Replaces `witgate.yaml` in one step, as an editor or a ConfigMap does; what the gateway makes
    /// of that is the test's affair.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_config(&self, config: &str) -> Result<(), Error> {
        let (new, current) = (
            self.dir.path().join("witgate.yaml.new"),
            self.dir.path().join("witgate.yaml"),
        );
        fs::write(&new, config)
            .and_then(|()| fs::rename(&new, &current))
            .map_err(Error::io(current.display().to_string()))
    }

    /// Sends a signal, such as SIGHUP.
    ///
    /// # Errors
    /// If it does not run.
    pub fn signal(&mut self, signal: rustix::process::Signal) -> Result<(), Error> {
        self.service.process.signal(signal)
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// If it does not within that time.
    pub async fn wait(&mut self, within: Duration) -> Result<ExitStatus, Error> {
        self.service.process.wait(within).await
    }
}

lifecycle!(Gateway);

/// The profile's directory, seen from a test (`target/debug/deps/suite-HASH`) or a binary in it.
fn target_directory() -> io::Result<PathBuf> {
    let mut dir = env::current_exe()?;
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    Ok(dir)
}
