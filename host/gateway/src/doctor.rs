//! `witgate doctor prometheus`: the whole way of a sample, hop by hop, with samples of its own.
//!
//! It writes seven series of one sample each, all named `witgate_doctor_…` and labelled with the run,
//! reads them back in both forms, and compares bits. The console examines from within the gateway what
//! this does from outside.

mod found;
mod known;
mod reach;
mod reading;
mod report;
mod selection;
mod specimen;
mod verdict;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, StatusCode};
use witgate_prometheus::{Endpoint, Holds};

pub(crate) use self::{
    known::{bounds_in_words, held_in_words},
    report::{Check, Failure, Hop, Outcome, Report, milliseconds},
    selection::{Selection, TENANT},
};
use self::{reading::Read, specimen::Kind, verdict::Fate};
use crate::{
    api::MetricsStatus,
    cli::DoctorArgs,
    remote_client::{Connection, Credential, Reply},
};

/// How the names of its series begin.
pub(crate) const PREFIX: &str = "witgate_doctor_";

/// The label whose value is the run's.
pub(crate) const RUN: &str = "witgate_run";

/// Its label `job`.
const JOB: &str = "witgate-doctor";

/// A way to the endpoints of a gateway, as somebody.
#[async_trait::async_trait]
pub(crate) trait Door: Send + Sync {
    /// What the gateway says of itself to the caller.
    async fn status(&self) -> Result<MetricsStatus, Failure>;

    /// Sends a body to an endpoint.
    async fn post(&self, endpoint: Endpoint, headers: HeaderMap, body: Vec<u8>) -> Result<Reply, Failure>;
}

/// The way from a command line.
struct Outside {
    connection: Connection,
    credential: Credential,
    selection: Selection,
}

/// `witgate doctor prometheus`.
pub(crate) async fn run(args: &DoctorArgs) -> anyhow::Result<()> {
    let report = from_outside(args).await?;
    if args.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.table());
    }
    match report.failure() {
        None => Ok(()),
        Some((_, hop)) => anyhow::bail!("the way of a sample ends at: {}", hop.name()),
    }
}

async fn from_outside(args: &DoctorArgs) -> anyhow::Result<Report> {
    let mut report = Report::new(args.gateway.server.as_str().trim_end_matches('/'));
    let connection = Connection::new(&args.gateway)?;
    let reached = reach::reach(&connection, &args.gateway).await;
    let is_reached = reached.outcome == Outcome::Ok;
    report.checks.push(reached);
    if !is_reached {
        report.skip_from(Hop::Credential);
        return Ok(report);
    }
    let credential = match reach::credential(&connection, &args.gateway).await {
        Ok((check, credential)) => {
            report.checks.push(check);
            credential
        }
        Err(check) => {
            report.checks.push(check);
            report.skip_from(Hop::Tenant);
            return Ok(report);
        }
    };
    let door = Outside {
        connection,
        credential,
        selection: Selection {
            tenant: args.tenant.clone(),
            database: args.database.clone(),
        },
    };
    examine(&door, &mut report).await;
    Ok(report)
}

/// Examines everything behind the credential.
pub(crate) async fn examine(door: &dyn Door, report: &mut Report) {
    let Some(known) = known::look(door, report).await else {
        return;
    };
    let time = now();
    let mut fates = Vec::new();
    for kind in Kind::ALL {
        let began = Instant::now();
        let is_held = kind.is_held(&known.tenant.holds);
        let (headers, body) = kind.request(&report.run, time);
        let reply = door.post(Endpoint::Write, headers, snappy(&body)).await;
        let fate = reply.and_then(|reply| verdict::written(kind, is_held, &reply));
        let is_broken = fate.as_ref().is_err_and(|failure| failure.hop != Hop::Write);
        fates.push((kind, began.elapsed(), fate));
        // Where the way is broken, the others would end there too.
        if is_broken {
            break;
        }
    }
    let taken: Vec<_> = { fates.iter() }
        .filter(|(_, _, fate)| matches!(fate, Ok(Fate::Taken)))
        .map(|(kind, ..)| *kind)
        .collect();
    let read = match &known.unreadable {
        Some(reason) => Err(Check::skipped(Hop::Read.name(), reason.clone())),
        None if taken.is_empty() => Err(Check::skipped(Hop::Read.name(), "nothing was written")),
        None => reading::read_back(door, &report.run, time, &taken).await,
    };
    for (kind, took, fate) in fates {
        let check = match fate {
            Err(failure) => Check::failed(kind.name(), Some(took), failure),
            Ok(Fate::Refused(reason)) => Check {
                outcome: Outcome::Refused,
                ..Check::ok(
                    kind.name(),
                    Some(took),
                    format!("the storage can't hold it, and says so: {reason}"),
                )
            },
            Ok(Fate::Taken) => taken_check(
                kind,
                took,
                &known.tenant.holds,
                read.as_ref().ok(),
                &report.run,
                time,
            ),
        };
        report.checks.push(check);
    }
    let looked_at = report.checks.len();
    for kind in Kind::ALL {
        if !{ report.checks.iter().take(looked_at) }.any(|check| check.name == kind.name()) {
            report
                .checks
                .push(Check::skipped(kind.name(), "not written: the way is broken"));
        }
    }
    report.checks.push(match read {
        Err(check) => check,
        Ok(read) => Check::ok(
            Hop::Read.name(),
            Some(read.took),
            format!("{} series came back, as samples and as chunks", taken.len()),
        ),
    });
}

/// What is to say of something that was acknowledged.
fn taken_check(
    kind: Kind,
    took: Duration,
    holds: &Holds,
    read: Option<&Read>,
    run: &str,
    time: i64,
) -> Check {
    let protocol = if kind == Kind::Float { "1.0" } else { "2.0" };
    let written = format!("written by remote write {protocol}");
    let Some(read) = read else {
        return Check::ok(kind.name(), Some(took), written);
    };
    let different = [("as samples", &read.samples), ("as chunks", &read.chunks)];
    let different = different
        .into_iter()
        .find_map(|(form, found)| Some((form, found.difference(kind, run, time, holds.exact_values)?)));
    if let Some((form, difference)) = different {
        let failure = Failure {
            hop: Hop::Read,
            found: format!("{written} and acknowledged; read {form}, {difference}"),
            advice:
                "the storage does not give back what it has acknowledged: look whether something relabels \
                     or drops series on the way, and take its plugin out of service if nothing does"
                    .to_owned(),
        };
        return Check::failed(kind.name(), Some(took), failure);
    }
    let found = match kind {
        Kind::Exemplar => format!("{written}, and counted; a remote read gives back its sample only"),
        Kind::Metadata if holds.metadata => {
            format!("{written}; a remote read gives back its sample only")
        }
        Kind::Metadata => {
            let found = "left out, as the storage holds none; the sample that it came with is there";
            return Check::skipped(kind.name(), found);
        }
        _ if !holds.exact_values => {
            format!("{written}, it came back as a sample and as a chunk, as close as the storage says")
        }
        _ => format!("{written}, the same bits came back as a sample and as a chunk"),
    };
    Check::ok(kind.name(), Some(took), found)
}

// === impl Report ===

impl Report {
    /// A report of a new run.
    pub(crate) fn new(server: &str) -> Self {
        Self {
            server: server.to_owned(),
            run: format!("{:08x}", rand::random::<u32>()),
            checks: Vec::new(),
        }
    }

    /// Says of everything from a hop on that it was not looked at.
    fn skip_from(&mut self, first: Hop) {
        let hops = [
            Hop::Credential,
            Hop::Tenant,
            Hop::Limits,
            Hop::Plugin,
            Hop::Backend,
        ];
        let rest = hops.into_iter().skip_while(|hop| *hop != first).map(Hop::name);
        let kinds = Kind::ALL.into_iter().map(Kind::name);
        for name in rest.chain(kinds).chain([Hop::Read.name()]) {
            self.checks.push(Check::skipped(name, "the way is broken before"));
        }
    }
}

// === impl Outside ===

#[async_trait::async_trait]
impl Door for Outside {
    async fn status(&self) -> Result<MetricsStatus, Failure> {
        let path = format!("/gateway/v1/prometheus{}", self.selection.query());
        let headers = self.selection.put_on(HeaderMap::new());
        let reply = self.connection.get(&path, &self.credential, headers).await;
        let reply = reply.map_err(|error| cut(&error))?;
        if reply.status != StatusCode::OK {
            return Err(verdict::refused(&reply));
        }
        serde_json::from_slice(&reply.body).map_err(|error| Failure {
            hop: Hop::Tenant,
            found: format!("what the gateway says of its endpoints can't be read: {error}"),
            advice: "use a `witgate` of the gateway's version".to_owned(),
        })
    }

    async fn post(&self, endpoint: Endpoint, headers: HeaderMap, body: Vec<u8>) -> Result<Reply, Failure> {
        let (path, headers) = (self.selection.path(endpoint), self.selection.put_on(headers));
        let reply = self.connection.post(&path, &self.credential, headers, body).await;
        reply.map_err(|error| cut(&error))
    }
}

fn cut(error: &anyhow::Error) -> Failure {
    Failure {
        hop: Hop::Reach,
        found: format!("{error:#}"),
        advice: "the connection broke: look at what is between here and the gateway".to_owned(),
    }
}

/// A block; what is larger than 4 GiB is none, and none of this is.
fn snappy(body: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(body).unwrap_or_default()
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
