//! The page of a person's tenants: where samples go, how many may, whether they can at the moment, and a
//! button that sends some the whole way.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, Method, StatusCode};
use maud::{Markup, html};
use tokio::sync::Semaphore;
use witgate_identity::Principal;
use witgate_prometheus::{Choice, Endpoint, Standing, TenantStanding};

use super::{
    page::{self, page},
    sender, visitor,
};
use crate::{
    api::{self, MetricsStatus},
    doctor::{self, Check, Door, Failure, Hop, Outcome, Report, Selection, TENANT},
    gateway::{Answer, Gateway},
    listener::Peer,
    metrics::Route,
    remote_client::Reply,
    routes::{self, Shown},
    wiring::Wiring,
};

/// The most that an answer to one of the doctor's requests may have.
const ANSWER: usize = 1 << 20;

/// Examinations at the same time: each writes, and may wait some seconds for its samples.
static EXAMINATIONS: Semaphore = Semaphore::const_new(4);

/// The way from within: as a person who is logged in, past the listener and nothing else.
struct Inside<'a> {
    gateway: &'a Gateway,
    wiring: &'a Wiring,
    principal: &'a Arc<Principal>,
    peer: Option<SocketAddr>,
    selection: Selection,
}

/// `GET /prometheus`.
pub(crate) async fn metrics(State(gateway): State<Arc<Gateway>>, mut request: Request) -> Response {
    let visit = gateway.begin(Route::Console, &mut request);
    let wiring = gateway.live.load_full();
    let answer = match visitor(&wiring, Shown::of(&request), "/prometheus").await {
        Err(answer) => *answer,
        Ok(principal) => {
            let status = MetricsStatus::of(&wiring, &principal, &Selection::default()).await;
            let content = content(&wiring, &status, None);
            let response = page(StatusCode::OK, "Metrics", Some(&principal), &content);
            Answer::new(Some(principal), response)
        }
    };
    gateway.end(visit, answer).await
}

/// `POST /prometheus/doctor`.
pub(crate) async fn examine(State(gateway): State<Arc<Gateway>>, mut request: Request) -> Response {
    let visit = gateway.begin(Route::Console, &mut request);
    let wiring = gateway.live.load_full();
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    let answer = match sender(&wiring, request).await {
        Err(answer) => *answer,
        Ok((principal, form)) => match (wiring.limits.user(&principal.user), EXAMINATIONS.try_acquire()) {
            (Ok(()), Ok(_permit)) => {
                let tenant = { form.into_iter() }.find(|(name, _)| name == "tenant");
                let tenant = tenant.map(|(_, value)| value);
                let door = Inside {
                    gateway: &gateway,
                    wiring: &wiring,
                    principal: &principal,
                    peer,
                    selection: Selection {
                        tenant,
                        database: None,
                    },
                };
                let mut report = Report::new(wiring.identity.public_url());
                doctor::examine(&door, &mut report).await;
                let status = MetricsStatus::of(&wiring, &principal, &Selection::default()).await;
                let content = content(&wiring, &status, Some(&report));
                let response = page(StatusCode::OK, "Metrics", Some(&principal), &content);
                Answer::new(Some(principal), response)
            }
            (Err(error), _) => busy(principal, &error.to_string()),
            (_, Err(_)) => busy(
                principal,
                "others are examining at the moment: try again in some seconds",
            ),
        },
    };
    gateway.end(visit, answer).await
}

fn busy(principal: Arc<Principal>, message: &str) -> Answer {
    let title = "Nothing was done";
    let content = page::failed(title, message);
    let response = page(StatusCode::TOO_MANY_REQUESTS, title, Some(&principal), &content);
    Answer::refused(Some(principal), message, response)
}

/// The part of the first page that leads here.
pub(super) fn section(wiring: &Wiring, principal: &Principal) -> Markup {
    let remote = wiring.remote.as_ref();
    let tenants = remote
        .map(|remote| remote.standing(principal, None, None).tenants)
        .unwrap_or_default();
    html! {
        @if remote.is_some() {
            section aria-labelledby="metrics" {
                h2 id="metrics" { "Metrics" }
                @if tenants.is_empty() {
                    p class="quiet" { "No tenant is yours. Whoever runs this gateway can add you, or one of your groups, to one." }
                } @else {
                    p { "Your tenants: " @for (n, tenant) in tenants.iter().enumerate() { @if n > 0 { ", " } strong { (tenant.name) } } }
                    p { a class="button" href="/prometheus" { "Endpoints, limits and storage" } }
                }
            }
        }
    }
}

fn content(wiring: &Wiring, status: &MetricsStatus, report: Option<&Report>) -> Markup {
    html! {
        section aria-labelledby="metrics" {
            h1 id="metrics" { "Metrics" }
            @match &status.standing {
                None => p { "No Prometheus endpoint is configured here." },
                Some(standing) if standing.tenants.is_empty() => {
                    p { "No tenant is yours: you are " strong { (status.user) } ", and neither that name nor one of your groups is in " code { "write" } " or " code { "read" } " of a tenant under " code { "prometheus.tenants" } "." }
                }
                Some(standing) => {
                    p class="quiet" { "What a Prometheus with your name or one of your groups may do here." }
                    (directions(standing))
                }
            }
            p { a href="/" { "Back" } }
        }
        @if let Some(report) = report { (findings(report)) }
        @if let Some(standing) = &status.standing {
            @for tenant in &standing.tenants { (tenant_section(wiring, status, standing, tenant)) }
        }
    }
}

fn directions(standing: &Standing) -> Markup {
    html! {
        table {
            @for (what, choice) in [("What you write", &standing.write), ("What you read", &standing.read)] {
                tr {
                    th scope="row" { (what) }
                    td { @match choice {
                        Choice::Tenant(name) => { "is of the tenant " strong { (name) } },
                        Choice::Refused(reason) => { span class="bad" { (reason) } },
                    } }
                }
            }
        }
    }
}

fn tenant_section(
    wiring: &Wiring,
    status: &MetricsStatus,
    standing: &Standing,
    tenant: &TenantStanding,
) -> Markup {
    let url = wiring.identity.public_url();
    let is_first = |choice: &Choice| *choice == Choice::Tenant(tenant.name.clone());
    let any = Selection::default();
    let id = format!("tenant-{}", tenant.name);
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { "Tenant " (tenant.name) }
            table {
                @for (endpoint, because, choice) in [
                    (Endpoint::Write, &tenant.write, &standing.write), (Endpoint::Read, &tenant.read, &standing.read),
                ] {
                    @let word = if endpoint == Endpoint::Write { "Write" } else { "Read" };
                    tr {
                        th scope="row" { (word) }
                        td { @match because {
                            Some(because) => {
                                code { (url) (any.path(endpoint)) }
                                @if !is_first(choice) { br; "with the header " code { (TENANT) ": " (tenant.name) } }
                                br; span class="quiet" { "by " (because) }
                            },
                            None => span class="quiet" { "not for you" },
                        } }
                    }
                }
                @if let Some(label) = &tenant.label {
                    tr { th scope="row" { "Kept apart by" } td { code { (label) "=" (format!("{:?}", tenant.name)) } } }
                }
                tr { th scope="row" { "Limits" } td { (doctor::bounds_in_words(&tenant.bounds)) } }
                tr { th scope="row" { "Holds" } td { (doctor::held_in_words(&tenant.holds)) } }
                @for name in &tenant.storages {
                    tr {
                        th scope="row" {
                            "Storage " (name)
                            @if tenant.best_effort.contains(name) { " (best effort)" }
                        }
                        td { (storage(status, name)) }
                    }
                }
            }
            h3 { "For your Prometheus" }
            pre { code { "witgate prometheus config --server " (url) " --tenant " (tenant.name) } }
            @if tenant.write.is_some() {
                form method="post" action="/prometheus/doctor" class="act" {
                    input type="hidden" name="tenant" value=(tenant.name);
                    button type="submit" aria-label={ "Run the doctor on the tenant " (tenant.name) } { "Run the doctor" }
                    span class="quiet" { "writes one sample of each kind, reads it back, and compares bits" }
                }
            }
        }
    }
}

fn storage(status: &MetricsStatus, name: &str) -> Markup {
    html! {
        @match status.storages.get(name) {
            None => span class="bad" { "not there" },
            Some(storage) => {
                @match &storage.trouble {
                    None => span class="good" { "can be used" },
                    Some(trouble) => span class="bad" { (trouble.message) },
                }
                br; span class="quiet" { code { (storage.contract) } }
            }
        }
    }
}

fn findings(report: &Report) -> Markup {
    html! {
        section aria-labelledby="findings" {
            h2 id="findings" role="status" {
                "Doctor: "
                @match report.failure() {
                    None => span class="good" { "everything arrives" },
                    Some((_, hop)) => span class="bad" { "it fails at: " (hop.name()) },
                }
            }
            @if let Some(advice) = report.failure().and_then(|(check, _)| check.advice.as_deref()) {
                p { strong { "What to do: " } (advice) }
            }
            @for (check, advice) in report.warnings() {
                p { strong { "A warning: " } (check.found) "; " (advice) }
            }
            div class="scroll" {
                table {
                    thead { tr { th scope="col" { "Check" } th scope="col" { "Result" } th scope="col" class="number" { "Time" } th scope="col" { "Found" } } }
                    tbody { @for check in &report.checks { (finding(check)) } }
                }
            }
            p class="quiet" { "The series that it wrote have the label " code { (doctor::RUN) "=" (format!("{:?}", report.run)) } "." }
        }
    }
}

fn finding(check: &Check) -> Markup {
    let class = match check.outcome {
        Outcome::Ok => "good",
        Outcome::Warning | Outcome::Failed => "bad",
        Outcome::Refused | Outcome::Skipped => "quiet",
    };
    html! {
        tr {
            th scope="row" { (check.name) }
            td class=(class) { (check.outcome.name()) }
            td class="number" { @if let Some(took) = check.took { (doctor::milliseconds(took)) } }
            td { (check.found) }
        }
    }
}

// === impl Inside ===

#[async_trait::async_trait]
impl Door for Inside<'_> {
    async fn status(&self) -> Result<MetricsStatus, Failure> {
        Ok(MetricsStatus::of(self.wiring, self.principal, &self.selection).await)
    }

    /// With an audit line and counts of its own, like any other.
    async fn post(&self, endpoint: Endpoint, headers: HeaderMap, body: Vec<u8>) -> Result<Reply, Failure> {
        let broken = |found: String| Failure {
            hop: Hop::Write,
            found,
            advice: "tell the authors of witgate".to_owned(),
        };
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = Method::POST;
        *request.headers_mut() = self.selection.put_on(headers);
        *request.uri_mut() = { self.selection.path(endpoint).parse() }
            .map_err(|error: http::uri::InvalidUri| broken(error.to_string()))?;
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(Peer(peer));
        }
        let route = match endpoint {
            Endpoint::Write => Route::PrometheusWrite,
            Endpoint::Read => Route::PrometheusRead,
        };
        let visit = self.gateway.begin(route, &mut request);
        let answer = routes::remote(self.wiring, endpoint, Arc::clone(self.principal), request).await;
        let response = self.gateway.end(visit, answer).await;
        let (parts, body) = response.into_parts();
        let body = api::read(Request::new(body), ANSWER).await;
        Ok(Reply {
            status: parts.status,
            headers: parts.headers,
            body: body.map_err(|_| broken("the answer is over 1 MiB large".to_owned()))?,
        })
    }
}
