//! What the gateway's answers mean: where a request ended, and what to do about it.

use http::{HeaderMap, StatusCode};

use super::{
    report::{Failure, Hop},
    specimen::Kind,
};
use crate::remote_client::Reply;

/// What a 2.0 receiver says that it has written: samples, histograms, exemplars.
const WRITTEN: [&str; 3] = [
    "x-prometheus-remote-write-samples-written",
    "x-prometheus-remote-write-histograms-written",
    "x-prometheus-remote-write-exemplars-written",
];

/// What became of a kind of data.
#[derive(Debug)]
pub(super) enum Fate {
    /// It was acknowledged, and has to come back.
    Taken,
    /// It was refused with its count and this reason.
    Refused(String),
}

/// What became of one write.
pub(super) fn written(kind: Kind, is_held: bool, reply: &Reply) -> Result<Fate, Failure> {
    let said = reply.line();
    let wrong = |found: String, advice: &str| Failure {
        hop: Hop::Write,
        found,
        advice: advice.to_owned(),
    };
    let all = kind.counts();
    // Of metadata nothing is counted, and where it is not held, it is left out.
    let held = match (kind, is_held) {
        (_, true) | (Kind::Metadata, _) => all,
        (Kind::Histogram, false) => [0, 0, 0],
        (_, false) => [1, 0, 0],
    };
    match reply.status {
        StatusCode::OK | StatusCode::NO_CONTENT => match counts(&reply.headers) {
            _ if held != all => Err(wrong(
                "it was acknowledged, and the storage does not hold such data: it is lost".to_owned(),
                "the gateway is wrong here: tell its authors",
            )),
            Some(counts) if counts != all => Err(wrong(
                format!("it was acknowledged with the counts {counts:?} instead of {all:?}"),
                "something between here and the gateway has changed the answer: go to the gateway directly",
            )),
            // A 1.0 is acknowledged without counts.
            None if kind != Kind::Float => Err(wrong(
                "it was acknowledged without the counts that a 2.0 receiver gives".to_owned(),
                "something between here and the gateway removes headers: let X-Prometheus-Remote-Write-* pass",
            )),
            _ => Ok(Fate::Taken),
        },
        StatusCode::BAD_REQUEST => match counts(&reply.headers) {
            Some(counts) if !is_held && counts == held => Ok(Fate::Refused(said)),
            // Whether a storage holds such values is known only once it is asked.
            Some([0, 0, 0]) if matches!(kind, Kind::StaleMarker | Kind::Nan | Kind::Infinity) => {
                Ok(Fate::Refused(said))
            }
            _ => Err(wrong(
                format!("it is refused: {said}"),
                "the reason names what can't be stored: a relabelling rule of Prometheus' \
                 write_relabel_configs can change or drop it, or another storage can hold it",
            )),
        },
        _ => Err(refused(reply)),
    }
}

/// Where a request ended that was not answered as it should be.
pub(super) fn refused(reply: &Reply) -> Failure {
    let status = reply.status;
    let hop = reply.headers.get(&witgate_prometheus::HOP);
    let (hop, advice) = match (hop.and_then(|hop| hop.to_str().ok()), status) {
        (Some("tenant"), _) | (None, StatusCode::FORBIDDEN) => (
            Hop::Tenant,
            "add the user, or one of the groups, to `write` and `read` of a tenant under \
             `prometheus.tenants`; `witgate whoami` shows them",
        ),
        (Some("limits"), _) => (
            Hop::Limits,
            "raise samplesPerSecond or burst of the tenant's `limits`, or send less. Senders keep what \
             they have meanwhile, as long as their queue_config has `retry_on_http_429: true`",
        ),
        (Some("plugin"), _) => (
            Hop::Plugin,
            "the gateway's log says more, under the plugin's name; the limits that it may have run into \
             are in `plugins.<name>.limits`, and an older file of it can be put back at any time",
        ),
        (Some("backend"), _) => (Hop::Backend, BACKEND),
        (_, StatusCode::UNAUTHORIZED) => (Hop::Credential, CREDENTIAL),
        (_, StatusCode::NOT_FOUND) => (
            Hop::Tenant,
            "the gateway's configuration needs a section `prometheus` with a tenant",
        ),
        (_, StatusCode::TOO_MANY_REQUESTS) => (
            Hop::Limits,
            "raise the section `limits` of the gateway's configuration, or ask again later",
        ),
        (_, StatusCode::PAYLOAD_TOO_LARGE) => (
            Hop::Limits,
            "raise `prometheus.limits.body` and `decoded`: this was a request of a few hundred bytes",
        ),
        (_, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT) => (
            Hop::Reach,
            "this is the answer of something in front of the gateway: look at what it can't reach",
        ),
        (_, status) if status.is_redirection() => (
            Hop::Reach,
            "senders don't follow that everywhere: use the address that it leads to",
        ),
        (_, StatusCode::SERVICE_UNAVAILABLE) => (
            Hop::Credential,
            "the gateway can't find out who this is at the moment: its log says what it can't reach",
        ),
        _ => (Hop::Write, "the gateway's log has the request under its id"),
    };
    let id = reply.headers.get("x-request-id").and_then(|id| id.to_str().ok());
    let id = id.map(|id| format!(" (request {id})")).unwrap_or_default();
    Failure {
        hop,
        found: format!("{status}: {}{id}", reply.line()),
        advice: advice.to_owned(),
    }
}

/// What to do about a backend.
pub(super) const BACKEND: &str = "what the plugin says names what is missing: start the backend, make the \
     database, or correct `config` and `grants` of the plugin or `attributes` of the tenant";

/// What to do about a credential of an unknown kind.
const CREDENTIAL: &str = "the credential is not known here, has ended or was revoked";

fn counts(headers: &HeaderMap) -> Option<[u64; 3]> {
    let count = |name| headers.get(name)?.to_str().ok()?.parse().ok();
    let [samples, histograms, exemplars] = WRITTEN;
    Some([count(samples)?, count(histograms)?, count(exemplars)?])
}
