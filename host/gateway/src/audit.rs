//! One JSON line for each decision: who asked for what, and whether and why it was allowed.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use witgate_apiserver::{Impersonated, Target};
use witgate_identity::{Method, Principal, SessionId};
use witgate_prometheus::Account;

/// Lines that may wait for the disk. When it is this far behind, requests wait too: a decision
/// without its line would be worse than a slow one.
const QUEUE: usize = 4096;

/// Where decisions are written down. Cloning it gives another handle to the same writer.
#[derive(Clone, Debug)]
pub(crate) struct Audit {
    lines: mpsc::Sender<Entry>,
    /// Whether what was last written could not be.
    is_failing: Arc<AtomicBool>,
}

/// What the writer is handed.
#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    /// Is answered when all that came before is written.
    Flush(oneshot::Sender<()>),
}

/// A decision. Never holds a credential: the query is left out because InfluxDB's clients put
/// passwords there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Decision<'a> {
    /// `decision`.
    pub(crate) event: &'static str,
    /// When the request came, in seconds since 1970.
    #[serde(serialize_with = "seconds_since_1970")]
    pub(crate) time: SystemTime,
    pub(crate) request_id: &'a str,
    pub(crate) peer: SocketAddr,
    /// Which part of the gateway it was for.
    pub(crate) route: &'static str,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    #[serde(flatten)]
    pub(crate) caller: Option<Caller<'a>>,
    /// What of a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<&'a Target>,
    /// As whom, if not as the caller.
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    pub(crate) impersonated: Option<&'a Impersonated>,
    /// What of a tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<&'a Account>,
    pub(crate) status: u16,
    /// Bytes of the answer, where that is known before they are sent. Of streams, their end says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sent_bytes: Option<u64>,
    /// Why, when it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'a str>,
    #[serde(serialize_with = "microseconds")]
    pub(crate) duration_us: Duration,
}

/// A stream that has ended, after its decision.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StreamEnded<'a> {
    /// `streamEnd`.
    pub(crate) event: &'static str,
    #[serde(serialize_with = "seconds_since_1970")]
    pub(crate) time: SystemTime,
    pub(crate) request_id: &'a str,
    pub(crate) peer: SocketAddr,
    pub(crate) path: &'a str,
    #[serde(flatten)]
    pub(crate) caller: Caller<'a>,
    pub(crate) target: &'a Target,
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    pub(crate) impersonated: Option<&'a Impersonated>,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
    /// Why it ended.
    pub(crate) reason: &'a str,
    #[serde(serialize_with = "microseconds")]
    pub(crate) duration_us: Duration,
}

/// Who asked.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Caller<'a> {
    user: &'a str,
    groups: &'a [String],
    via: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
}

/// How somebody proved who they are, and who vouched for it.
pub(crate) fn via(method: &Method) -> (&'static str, Option<&str>) {
    match method {
        Method::IdToken { issuer } => ("idToken", Some(issuer)),
        Method::Session { issuer } => ("session", Some(issuer)),
        Method::ServiceAccount { cluster } => ("serviceAccount", Some(cluster)),
        Method::Certificate => ("certificate", None),
        Method::StaticToken => ("staticToken", None),
        Method::Basic => ("basic", None),
    }
}

impl<'a> From<&'a Principal> for Caller<'a> {
    fn from(principal: &'a Principal) -> Self {
        let (via, issuer) = via(&principal.method);
        Self {
            user: &principal.user,
            groups: &principal.groups,
            via,
            issuer,
            session: principal.proof.session,
        }
    }
}

// === impl Audit ===

impl Audit {
    /// Starts the writer. `None` writes to standard output.
    pub(crate) fn start(file: Option<&Path>) -> io::Result<Self> {
        let out: Box<dyn Write + Send> = match file {
            Some(file) => Box::new(OpenOptions::new().create(true).append(true).open(file)?),
            None => Box::new(io::stdout()),
        };
        let (lines, queue) = mpsc::channel(QUEUE);
        let is_failing = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            out,
            is_failing: Arc::clone(&is_failing),
        };
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(queue))?;
        Ok(Self { lines, is_failing })
    }

    /// Whether lines can be written. While they can't, nothing is to be decided that would need one.
    pub(crate) fn is_writable(&self) -> bool {
        !self.is_failing.load(Ordering::Relaxed)
    }

    /// Waits until all that was recorded is written.
    pub(crate) async fn flush(&self) {
        let (written, wait) = oneshot::channel();
        if self.lines.send(Entry::Flush(written)).await.is_ok() {
            let _the_writer_has_stopped = wait.await;
        }
    }

    /// Writes a decision down, waiting for room if the writer is behind.
    pub(crate) async fn record(&self, decision: &Decision<'_>) {
        let Some(line) = line(decision) else { return };
        if self.lines.send(Entry::Line(line)).await.is_err() {
            tracing::error!("the audit writer has stopped");
        }
    }

    /// Writes down that a stream has ended.
    pub(crate) fn stream_ended(&self, end: &StreamEnded<'_>) {
        let Some(line) = line(end) else { return };
        // Streams end where nothing can wait: what finds no room is sent by a task.
        if let Err(mpsc::error::TrySendError::Full(line)) = self.lines.try_send(Entry::Line(line)) {
            let lines = self.lines.clone();
            tokio::spawn(async move { lines.send(line).await.is_ok() });
        }
    }
}

fn line(event: &impl Serialize) -> Option<Vec<u8>> {
    let mut line = Vec::with_capacity(512);
    match serde_json::to_writer(&mut line, event) {
        Ok(()) => {
            line.push(b'\n');
            Some(line)
        }
        Err(error) => {
            tracing::error!(%error, "an audit line can't be written as JSON");
            None
        }
    }
}

/// How long lines gather before they are written together. A writer that waited for each would have
/// to be woken for each, which costs a request more than its line does.
const GATHER: Duration = Duration::from_millis(2);

/// What is written at once, at most.
const BATCH: usize = 64 << 10;

/// How long a file that can't be written is left alone.
const AGAIN: Duration = Duration::from_millis(500);

/// Writes lines down.
struct Writer {
    out: Box<dyn Write + Send>,
    is_failing: Arc<AtomicBool>,
}

impl Writer {
    /// Runs until all handles are gone.
    fn run(mut self, mut queue: mpsc::Receiver<Entry>) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut flushed = Vec::new();
        while let Some(first) = queue.blocking_recv() {
            let mut next = Some(first);
            while let Some(entry) = next {
                match entry {
                    Entry::Line(line) => batch.extend_from_slice(&line),
                    Entry::Flush(written) => flushed.push(written),
                }
                next = (batch.len() < BATCH).then(|| queue.try_recv().ok()).flatten();
            }
            self.write(&batch);
            batch.clear();
            for written in flushed.drain(..) {
                let _nobody_waits_any_more = written.send(());
            }
            std::thread::sleep(GATHER);
        }
    }

    /// Writes all of it, however long it takes until that is possible: no line is given up. What was
    /// written in part is gone on with.
    fn write(&mut self, mut rest: &[u8]) {
        while !rest.is_empty() {
            let error = match self.out.write(rest) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            if !self.is_failing.swap(true, Ordering::Relaxed) {
                tracing::error!(%error, "audit lines can't be written: requests are refused until they can");
            }
            std::thread::sleep(AGAIN);
        }
        if self.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!("audit lines are written again");
        }
    }
}

fn seconds_since_1970<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    serializer.serialize_f64(since.as_secs_f64())
}

fn microseconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A disk that is full until there is room, and takes a few bytes at a time.
    #[derive(Clone, Default)]
    struct Disk {
        written: Arc<Mutex<Vec<u8>>>,
        room: Arc<Mutex<usize>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut room = self.room.lock().unwrap();
            let taken = bytes.len().min(*room).min(7);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *room -= taken;
            self.written.lock().unwrap().extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn lines_wait_for_a_full_disk_and_are_whole_afterwards() {
        let disk = Disk::default();
        *disk.room.lock().unwrap() = 10;
        let (lines, queue) = mpsc::channel(QUEUE);
        let is_failing = Arc::new(AtomicBool::new(false));
        let audit = Audit {
            lines,
            is_failing: Arc::clone(&is_failing),
        };
        let out = Box::new(disk.clone());
        std::thread::spawn(move || Writer { out, is_failing }.run(queue));
        for line in ["one line\n", "another line\n"] {
            let entry = Entry::Line(line.as_bytes().to_vec());
            audit.lines.send(entry).await.unwrap();
        }
        let began = std::time::Instant::now();
        while audit.is_writable() {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "a full disk is not noticed"
            );
            tokio::task::yield_now().await;
        }
        *disk.room.lock().unwrap() = 1000;
        audit.flush().await;
        assert!(audit.is_writable());
        assert_eq!(*disk.written.lock().unwrap(), b"one line\nanother line\n");
    }
}
