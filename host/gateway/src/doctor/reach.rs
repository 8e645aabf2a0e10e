//! The way to the gateway: its name, its port, its certificate; and who the caller is to it.

use std::{
    error::Error,
    io,
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderMap, StatusCode, header};
use rustls::CertificateError;
use serde_json::Value;

use super::{
    report::{Check, Failure, Hop},
    verdict,
};
use crate::{
    cli::GatewayArgs,
    remote_client::{Connection, Credential},
};

/// How far two clocks may be apart before it is worth a word: Prometheus refuses samples of more than
/// ten minutes ahead, and tokens hold for minutes.
const SKEW: Duration = Duration::from_secs(30);

/// Whether a gateway answers.
pub(super) async fn reach(connection: &Connection, args: &GatewayArgs) -> Check {
    let began = Instant::now();
    let path = "/.well-known/oauth-authorization-server";
    let answer = match connection.look(path).await {
        Ok(answer) => answer,
        Err(error) => {
            let failure = unreachable(&error, args);
            return Check::failed(Hop::Reach.name(), Some(began.elapsed()), failure);
        }
    };
    let took = began.elapsed();
    let status = answer.status();
    let skew = skew(answer.headers().get(header::DATE));
    let metadata: Value = answer.json().await.unwrap_or_default();
    let Some(issuer) = metadata.get("issuer").and_then(Value::as_str) else {
        let failure = Failure {
            hop: Hop::Reach,
            found: format!(
                "{} answers {status}, and not as a witgate does",
                connection.server
            ),
            advice: "--server is the address of the gateway, without a path, as its `identity.publicUrl` \
                     has it"
                .to_owned(),
        };
        return Check::failed(Hop::Reach.name(), Some(took), failure);
    };
    let server = connection.server.as_str().trim_end_matches('/');
    let mut found = format!("{server} answers");
    if issuer != server {
        found.push_str(&format!("; it calls itself {issuer}"));
    }
    if let Some(skew) = skew {
        found.push_str(&format!(
            "; its clock and this one are {} s apart: samples may be taken for too old or too new",
            skew.as_secs()
        ));
    }
    Check::ok(Hop::Reach.name(), Some(took), found)
}

/// Who the caller is.
pub(super) async fn credential(
    connection: &Connection,
    args: &GatewayArgs,
) -> Result<(Check, Credential), Check> {
    let name = Hop::Credential.name();
    let credential = Credential::of(args).await.map_err(|error| {
        let failure = Failure {
            hop: Hop::Credential,
            found: format!("{error:#}"),
            advice: "give the credential that Prometheus has: --token-file, or --username and \
                     --password-file"
                .to_owned(),
        };
        Check::failed(name, None, failure)
    })?;
    let began = Instant::now();
    let reply = { connection.get("/gateway/v1/whoami", &credential, HeaderMap::new()) }.await;
    let took = Some(began.elapsed());
    let reply = reply.map_err(|error| {
        let failure = Failure {
            hop: Hop::Reach,
            found: format!("{error:#}"),
            advice: "it answered a moment ago: try again".to_owned(),
        };
        Check::failed(name, took, failure)
    })?;
    if !reply.status.is_success() {
        let mut failure = verdict::refused(&reply);
        if reply.status == StatusCode::FORBIDDEN {
            failure.hop = Hop::Credential;
            "the claims plugin lets this user not in: its rules are in `plugins.<name>.config`"
                .clone_into(&mut failure.advice);
        }
        if reply.status == StatusCode::UNAUTHORIZED {
            failure.advice = unknown(&credential);
        }
        return Err(Check::failed(name, took, failure));
    }
    let who: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let user = who.get("user").and_then(Value::as_str).unwrap_or_default();
    let groups = { who.get("groups").and_then(Value::as_array).into_iter().flatten() }
        .filter_map(Value::as_str)
        .collect::<Vec<_>>();
    let groups = match groups.as_slice() {
        [] => "in no group".to_owned(),
        groups => format!("in {}", groups.join(", ")),
    };
    let by = match &credential {
        Credential::Token(_, file) => format!("the token in {}", file.display()),
        Credential::Basic(_, _, file) => format!("the password in {}", file.display()),
        Credential::Login(_) => "the login of `witgate login`".to_owned(),
    };
    Ok((
        Check::ok(name, took, format!("{user}, {groups}, by {by}")),
        credential,
    ))
}

fn unknown(credential: &Credential) -> String {
    match credential {
        Credential::Token(_, file) => format!(
            "the token in {} is not known here, or has ended: `witgate hash token` makes one, with the hash \
             that belongs under `identity.tokens`; a token of an issuer must be for the issuer's `clientId` \
             and has to be renewed",
            file.display()
        ),
        Credential::Basic(user, _, file) => format!(
            "{user} is not under `identity.basic`, or the password in {} is not the one whose hash is \
             there: `witgate hash password` makes the hash of the right one",
            file.display()
        ),
        Credential::Login(_) => "log in again with `witgate login`".to_owned(),
    }
}

/// Why nothing answers.
fn unreachable(error: &reqwest::Error, args: &GatewayArgs) -> Failure {
    let server = args.server.as_str().trim_end_matches('/');
    let host = args.server.host_str().unwrap_or_default();
    let mut causes = Vec::new();
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = next {
        causes.push(cause);
        // What is wrapped into an error of I/O is not among its sources, and there it may be twice.
        next = match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    let certificate = causes.iter().find_map(|cause| match cause.downcast_ref() {
        Some(rustls::Error::InvalidCertificate(reason)) => Some(reason),
        _ => None,
    });
    let (found, advice) = if let Some(reason) = certificate {
        distrusted(reason, host, args)
    } else if causes.iter().any(|cause| cause.is::<rustls::Error>()) {
        (
            format!("{server} answers, but not with TLS"),
            "the port may be one that speaks plain HTTP: look at `listeners` of the gateway's configuration"
                .to_owned(),
        )
    } else if causes.iter().any(|cause| cause.to_string().contains("dns error")) {
        (
            format!("the name {host} is not known"),
            "look at --server, and at the DNS of this machine".to_owned(),
        )
    } else if error.is_timeout() {
        (
            format!("{server} does not answer in time"),
            "a firewall or a network policy may be between: allow this machine to reach it".to_owned(),
        )
    } else {
        let last = causes.last().map(ToString::to_string).unwrap_or_default();
        (
            format!("{server} does not answer: {last}"),
            "look whether the gateway runs, and whether --server has the address and port of one of its \
             `listeners`"
                .to_owned(),
        )
    };
    Failure {
        hop: Hop::Reach,
        found,
        advice,
    }
}

fn distrusted(reason: &CertificateError, host: &str, args: &GatewayArgs) -> (String, String) {
    match reason {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            format!("the certificate is not for {host}: {reason}"),
            "use a name that is in the certificate for --server and for Prometheus, or give the gateway a \
             certificate with this one (`listeners[].tls.certificateFile`)"
                .to_owned(),
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            format!("the certificate of {host} has expired: {reason}"),
            "renew `listeners[].tls.certificateFile`; the gateway takes a new one without a restart"
                .to_owned(),
        ),
        _ => {
            let trusted = match &args.ca_file {
                Some(file) => format!("{} does not hold", file.display()),
                None => "this machine does not trust".to_owned(),
            };
            (
                format!("the certificate of {host} is not trusted: {reason}"),
                format!(
                    "{trusted} the authority that signed it: give its PEM file with --ca-file, and to \
                     Prometheus as tls_config.ca_file"
                ),
            )
        }
    }
}

/// How far the gateway's clock is from this one's, if that is too far.
fn skew(date: Option<&http::HeaderValue>) -> Option<Duration> {
    let date = httpdate::parse_http_date(date?.to_str().ok()?).ok()?;
    let now = SystemTime::now();
    let apart = now.duration_since(date).or_else(|_| date.duration_since(now));
    apart.ok().filter(|apart| *apart > SKEW)
}
