//! Real programs under measurement: started, found ready, their processor time read, stopped.

use std::{
    net::TcpListener,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use tokio::process::{Child, Command};

/// A program that is killed when it is dropped.
pub(crate) struct Program {
    child: Child,
}

impl Program {
    /// Starts a program and waits until its port is open. Its output goes to a file.
    pub(crate) async fn start(command: &mut Command, log: &Path, port: u16) -> anyhow::Result<Self> {
        let name = format!("{:?}", command.as_std().get_program());
        let out = std::fs::File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{name} can't be started: is it installed?"))?;
        let mut program = Self { child };
        let deadline = Instant::now() + Duration::from_secs(30);
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            let ended = program.child.try_wait()?;
            ensure!(
                ended.is_none() && Instant::now() < deadline,
                "{name} does not listen on port {port}:\n{}",
                std::fs::read_to_string(log)?
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(program)
    }

    /// KiB of memory that are the program's own and in use.
    pub(crate) fn resident(&self) -> anyhow::Result<f64> {
        let pid = self.child.id().context("the program has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let line = line.context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Seconds of processor time that the program and its children have taken so far.
    pub(crate) fn processor_time(&self) -> anyhow::Result<f64> {
        let root = self.child.id().context("the program has ended")?;
        let mut ticks = stat(&root.to_string())?.1;
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().filter(|name| name.parse::<u32>().is_ok()) else {
                continue;
            };
            if let Ok((parent, time)) = stat(pid)
                && parent == root
            {
                ticks += time;
            }
        }
        Ok(ticks / ticks_per_second()?)
    }
}

/// A port that nobody listens on at the moment.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Seconds of processor time that this process has taken so far.
pub(crate) fn own_processor_time() -> anyhow::Result<f64> {
    Ok(stat("self")?.1 / ticks_per_second()?)
}

/// Parent and processor ticks of a process (proc(5), fields 4, 14 and 15).
fn stat(pid: &str) -> anyhow::Result<(u32, f64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, after_name) = text.rsplit_once(')').context("malformed stat")?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let number = |index: usize| {
        fields
            .get(index)
            .and_then(|field| field.parse::<f64>().ok())
            .context("stat")
    };
    Ok((fields.get(1).context("stat")?.parse()?, number(11)? + number(12)?))
}

fn ticks_per_second() -> anyhow::Result<f64> {
    let out = std::process::Command::new("getconf").arg("CLK_TCK").output()?;
    Ok(String::from_utf8(out.stdout)?.trim().parse()?)
}
