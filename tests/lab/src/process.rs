//! Defines a running program: its logs, its signals, and its end together with the test's.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, LazyLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::{error::Error, eventually::INTERVAL};

/// As many lines of a log as an error shows: enough for a Go panic's message and first frames.
const LOG_TAIL: usize = 30;

/// What to run, and where its files go.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) envs: Vec<(OsString, OsString)>,
    /// The working directory, which also gets the logs `NAME.stdout` and `NAME.stderr`.
    pub(crate) dir: PathBuf,
    /// A directory above `dir` that has to outlive the program.
    pub(crate) kept: Option<Arc<TempDir>>,
    /// Whether it is started again whenever it ends by itself.
    again: bool,
}

/// Starts what it is given again whenever that ends.
const AGAIN: [&str; 4] = ["/bin/sh", "-c", r#"while :; do "$@"; sleep 1; done"#, "sh"];

/// A program that runs until this value is dropped, in a process group of its own.
///
/// Where util-linux's `setpriv` is there, it ends with the test's process however that ends; else
/// a test that is killed leaves it running.
#[derive(Debug)]
pub struct Process {
    launch: Launch,
    child: Option<Child>,
    /// How much of the standard output's file an earlier run of the program has written.
    stdout_start: u64,
}

impl Launch {
    pub(crate) fn new(name: &'static str, program: PathBuf, dir: &Path) -> Self {
        Self {
            name,
            program,
            args: Vec::new(),
            envs: Vec::new(),
            dir: dir.to_owned(),
            kept: None,
            again: false,
        }
    }

    /// Has it started again whenever it ends by itself, as a kubelet does.
    pub(crate) fn again(self) -> Self {
        Self { again: true, ..self }
    }

    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds `--name=value`.
    pub(crate) fn flag(self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let mut arg = OsString::from(format!("--{name}="));
        arg.push(value);
        self.arg(arg)
    }

    pub(crate) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    fn command(&self) -> Command {
        let tied = SETPRIV.iter().flat_map(|setpriv| {
            let options = ["--pdeathsig", "KILL", "--"].map(OsStr::new);
            std::iter::once(setpriv.as_os_str()).chain(options)
        });
        let own = tied.clone().chain([self.program.as_os_str()]);
        let own = own.chain(self.args.iter().map(OsString::as_os_str));
        let mut words: Vec<&OsStr> = Vec::new();
        if self.again {
            words.extend(tied.chain(AGAIN.map(OsStr::new)));
        }
        words.extend(own);
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command
            .args(words)
            .envs(self.envs.iter().map(|(key, value)| (key, value)));
        command
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .process_group(0);
        command
    }

    fn log(&self, stream: &str) -> PathBuf {
        self.dir.join(format!("{}.{stream}", self.name))
    }
}

impl Process {
    pub(crate) fn spawn(launch: Launch) -> Result<Self, Error> {
        let mut process = Self {
            launch,
            child: None,
            stdout_start: 0,
        };
        process.respawn()?;
        Ok(process)
    }

    /// Starts the program again with the same arguments; its logs are appended to.
    pub(crate) fn respawn(&mut self) -> Result<(), Error> {
        self.kill();
        let mut command = self.launch.command();
        let stdout = self.open_log("stdout")?;
        self.stdout_start = stdout.metadata().map_or(0, |log| log.len());
        command.stdout(stdout).stderr(self.open_log("stderr")?);
        let started = spawn_from_lasting_thread(command);
        let program = self.launch.program.display();
        self.child = Some(started.map_err(Error::io(format!("starting {program}")))?);
        Ok(())
    }

    fn open_log(&self, stream: &str) -> Result<File, Error> {
        let path = self.launch.log(stream);
        File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(Error::io(path.display().to_string()))
    }

    /// The component's name, as errors print it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.launch.name
    }

    /// The process id while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What the program has written to standard output since its last start.
    #[must_use]
    pub fn stdout(&self) -> String {
        read_from(&self.launch.log("stdout"), self.stdout_start).unwrap_or_default()
    }

    /// What the program has written to standard error since its first start.
    #[must_use]
    pub fn stderr(&self) -> String {
        read_from(&self.launch.log("stderr"), 0).unwrap_or_default()
    }

    /// The last lines of both logs.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let (stdout, stderr) = (self.stdout(), self.stderr());
        let lines: Vec<&str> = [&stdout, &stderr].into_iter().flat_map(|log| tail(log)).collect();
        if lines.is_empty() {
            "(empty)".to_owned()
        } else {
            lines.join("\n")
        }
    }

    /// How the program ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child
            .as_mut()
            .and_then(|child| child.try_wait().ok().flatten())
    }

    /// Waits for the program to end by itself.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when it was stopped before, [`Error::Never`] when `within` has passed.
    pub async fn wait(&mut self, within: Duration) -> Result<ExitStatus, Error> {
        let name = self.name();
        let deadline = Instant::now() + within;
        while self.child.is_some() {
            if let Some(status) = self.ended() {
                self.child = None;
                return Ok(status);
            }
            if Instant::now() >= deadline {
                let what = format!("{name} ends");
                return Err(Error::Never {
                    what,
                    seconds: within.as_secs(),
                    last: "it runs".to_owned(),
                });
            }
            tokio::time::sleep(INTERVAL).await;
        }
        Err(Error::NotRunning {
            name: name.to_owned(),
        })
    }

    /// Sends a signal to the program alone, not to its children.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when it was stopped before or has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        let runs = self.ended().is_none();
        let sent = match &self.child {
            Some(child) if runs => rustix::process::kill_process(Pid::from_child(child), signal).is_ok(),
            _ => false,
        };
        if sent {
            Ok(())
        } else {
            Err(Error::NotRunning {
                name: self.name().to_owned(),
            })
        }
    }

    /// Asks the program to end (SIGTERM) and waits; kills it if it has not within `grace`.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when it was stopped before; [`Error::Never`] when it had to be killed.
    pub async fn stop(&mut self, grace: Duration) -> Result<ExitStatus, Error> {
        self.signal(Signal::TERM)?;
        let ended = self.wait(grace).await;
        self.kill();
        ended
    }

    /// Kills the program and its children (SIGKILL) and waits for its end; nothing if it is gone.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        // Both fail only if the program has ended already.
        let _ = rustix::process::kill_process_group(Pid::from_child(&child), Signal::KILL);
        let _ = child.wait();
    }

    /// Looks at `check` until it is `Ok` or the program has ended.
    pub(crate) async fn ready(
        &mut self,
        within: Duration,
        check: impl AsyncFn(&Self) -> Result<(), String>,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.ended() {
                self.child = None;
                return Err(Error::Ended {
                    name: self.name().to_owned(),
                    status,
                    log: self.log_tail(),
                });
            }
            let Err(last) = check(self).await else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                let (name, log) = (self.name().to_owned(), self.log_tail());
                return Err(Error::NotReady {
                    name,
                    seconds: within.as_secs(),
                    last,
                    log,
                });
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `setpriv`, if it can tie a program's life to ours without unsafe code between fork and exec.
static SETPRIV: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let setpriv = PathBuf::from("/usr/bin/setpriv");
    let tried = Command::new(&setpriv)
        .args(["--pdeathsig", "KILL", "--", "true"])
        .output();
    tried
        .is_ok_and(|output| output.status.success())
        .then_some(setpriv)
});

/// The kernel's parent-death signal comes when the parent *thread* ends (prctl(2), PR_SET_PDEATHSIG),
/// and tests run on threads that end before the components they share: so one thread starts them all.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static ORDERS: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in orders {
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let gone = || io::Error::other("the thread that starts programs is gone");
    let (reply, child) = mpsc::channel();
    ORDERS.send((command, reply)).map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}

fn read_from(path: &Path, start: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn tail(log: &str) -> impl Iterator<Item = &str> {
    log.lines().skip(log.lines().count().saturating_sub(LOG_TAIL))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::process::ExitStatusExt as _};

    use super::*;

    fn shell(dir: &Path, script: &str) -> Process {
        Process::spawn(Launch::new("shell", "/bin/sh".into(), dir).args(["-c", script])).unwrap()
    }

    #[tokio::test]
    async fn a_program_that_ends_before_it_is_ready_is_an_error_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = shell(dir.path(), "echo 'no such flag' >&2; exit 3");
        let error = process
            .ready(Duration::from_secs(10), async |_| Err("not yet".to_owned()))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::Ended { log, status, .. } if log == "no such flag" && status.code() == Some(3))
        );
    }

    #[tokio::test]
    async fn a_killed_program_takes_its_children_along() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = shell(dir.path(), "sleep 600 & echo $!; wait");
        process
            .ready(Duration::from_secs(10), async |p| {
                p.stdout().lines().next().map(drop).ok_or_else(String::new)
            })
            .await
            .unwrap();
        let child = PathBuf::from("/proc").join(process.stdout().trim());
        assert!(child.exists());
        drop(process);
        crate::eventually(
            "the child is gone or a zombie",
            Duration::from_secs(10),
            async || {
                let state = fs::read_to_string(child.join("stat")).unwrap_or_default();
                if state.is_empty() || state.contains(") Z ") {
                    Ok(())
                } else {
                    Err(state)
                }
            },
        )
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn a_restarted_program_shows_only_its_own_output() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = shell(dir.path(), "echo $$; exec sleep 600");
        let printed = async |p: &Process| {
            if p.stdout().ends_with('\n') {
                Ok(())
            } else {
                Err(p.stdout())
            }
        };
        process.ready(Duration::from_secs(10), printed).await.unwrap();
        let first = process.stdout();
        process.respawn().unwrap();
        process.ready(Duration::from_secs(10), printed).await.unwrap();
        assert_ne!(process.stdout(), first);
        assert_eq!(process.stdout().lines().count(), 1);
    }

    #[tokio::test]
    async fn stopping_reports_the_signal_that_ended_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = shell(dir.path(), "exec sleep 600");
        let status = process.stop(Duration::from_secs(10)).await.unwrap();
        assert_eq!(status.signal(), Some(15));
        assert!(matches!(
            process.signal(Signal::HUP),
            Err(Error::NotRunning { .. })
        ));
    }
}
