//! One JSON line for each decision: who asked for what, and whether and why it was allowed.

use std::{
    fs::OpenOptions,
    io::{self, BufWriter, Write},
    net::SocketAddr,
    path::Path,
    time::{Duration, SystemTime},
};

use serde::Serialize;
use tokio::sync::mpsc;
use witgate_apiserver::Target;
use witgate_identity::{Method, Principal};
use witgate_prometheus::Account;

/// Lines that may wait for the disk. When it is this far behind, requests wait too: a decision
/// without its line would be worse than a slow one.
const QUEUE: usize = 4096;

/// Where decisions are written down. Cloning it gives another handle to the same writer.
#[derive(Clone, Debug)]
pub(crate) struct Audit {
    lines: mpsc::Sender<Vec<u8>>,
}

/// A decision. Never holds a credential: the query is left out because InfluxDB's clients put
/// passwords there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Decision<'a> {
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
    /// What of a tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<&'a Account>,
    pub(crate) status: u16,
    /// Why, when it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'a str>,
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
}

impl<'a> From<&'a Principal> for Caller<'a> {
    fn from(principal: &'a Principal) -> Self {
        let (via, issuer) = match &principal.method {
            Method::IdToken { issuer } => ("idToken", Some(issuer.as_str())),
            Method::Session { issuer } => ("session", Some(issuer.as_str())),
            Method::StaticToken => ("staticToken", None),
            Method::Basic => ("basic", None),
        };
        Self {
            user: &principal.user,
            groups: &principal.groups,
            via,
            issuer,
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
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write_lines(queue, out))?;
        Ok(Self { lines })
    }

    /// Writes a decision down, waiting for room if the writer is behind.
    pub(crate) async fn record(&self, decision: &Decision<'_>) {
        let mut line = Vec::with_capacity(512);
        match serde_json::to_writer(&mut line, decision) {
            Ok(()) => line.push(b'\n'),
            Err(error) => {
                tracing::error!(%error, "an audit line can't be written as JSON");
                return;
            }
        }
        if self.lines.send(line).await.is_err() {
            tracing::error!("the audit writer has stopped");
        }
    }
}

/// How long lines gather before they are written together. A writer that waited for each would have
/// to be woken for each, which costs a request more than its line does.
const GATHER: Duration = Duration::from_millis(2);

/// Writes until all handles are gone, and flushes whenever it has caught up.
fn write_lines(mut queue: mpsc::Receiver<Vec<u8>>, out: Box<dyn Write + Send>) {
    let mut out = BufWriter::with_capacity(64 << 10, out);
    while let Some(line) = queue.blocking_recv() {
        let mut result = out.write_all(&line);
        while let (Ok(()), Ok(line)) = (&result, queue.try_recv()) {
            result = out.write_all(&line);
        }
        if let Err(error) = result.and_then(|()| out.flush()) {
            tracing::error!(%error, "audit lines can't be written");
        }
        std::thread::sleep(GATHER);
    }
}

fn seconds_since_1970<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    serializer.serialize_f64(since.as_secs_f64())
}

fn microseconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}
