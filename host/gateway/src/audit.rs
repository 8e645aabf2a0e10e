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
use witgate_apiserver::{Impersonated, Target};
use witgate_identity::{Method, Principal, SessionId};
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
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write_lines(queue, out))?;
        Ok(Self { lines })
    }

    /// Writes a decision down, waiting for room if the writer is behind.
    pub(crate) async fn record(&self, decision: &Decision<'_>) {
        let Some(line) = line(decision) else { return };
        if self.lines.send(line).await.is_err() {
            tracing::error!("the audit writer has stopped");
        }
    }

    /// Writes down that a stream has ended.
    pub(crate) fn stream_ended(&self, end: &StreamEnded<'_>) {
        let Some(line) = line(end) else { return };
        // Streams end where nothing can wait: what finds no room is sent by a task.
        if let Err(mpsc::error::TrySendError::Full(line)) = self.lines.try_send(line) {
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
