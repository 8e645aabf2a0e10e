//! What every request needs: the wiring in service, the audit log, the metrics.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use axum::{body::HttpBody, extract::Request, response::Response};
use http::{HeaderName, HeaderValue, Method, Uri};
use witgate_apiserver::{Impersonated, Target};
use witgate_identity::Principal;
use witgate_prometheus::Account;
use witgate_state::Space;

use crate::{
    attendance::Attendance,
    audit::{Audit, Caller, Decision},
    listener::Peer,
    metrics::{Metrics, Route},
    wiring::Live,
};

/// The id of a request, in answers, logs and calls to plugins.
pub(crate) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How long the state may take to answer whoever asks whether the gateway is ready.
const STATE_ANSWERS: Duration = Duration::from_secs(2);

/// A running gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) live: Live,
    pub(crate) audit: Audit,
    pub(crate) metrics: Arc<Metrics>,
    /// Asked whether the state can be reached.
    state: Arc<dyn Space>,
    ids: RequestIds,
}

/// Ids that are different in every process and for every request.
#[derive(Debug)]
struct RequestIds {
    process: u32,
    next: AtomicU64,
}

/// A request's particulars, kept while the request itself is handed on.
#[derive(Debug)]
pub(crate) struct Visit {
    route: Route,
    began: Instant,
    time: SystemTime,
    id: HeaderValue,
    peer: SocketAddr,
    method: Method,
    uri: Uri,
}

/// What a request came to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response,
    /// Who asked, if that was found out.
    pub(crate) principal: Option<Arc<Principal>>,
    /// Why it was refused, if it was.
    pub(crate) reason: Option<String>,
}

// === impl Gateway ===

impl Gateway {
    pub(crate) fn new(live: Live, audit: Audit, metrics: Arc<Metrics>, state: Arc<dyn Space>) -> Self {
        Self {
            live,
            audit,
            metrics,
            state,
            ids: RequestIds {
                process: rand::random(),
                next: AtomicU64::new(0),
            },
        }
    }

    /// What is wrong with the state, if something is.
    pub(crate) async fn missing_state(&self) -> Option<String> {
        match tokio::time::timeout(STATE_ANSWERS, self.state.get(b"asked")).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!(
                "the state does not answer within {} s",
                STATE_ANSWERS.as_secs()
            )),
        }
    }

    /// Begins a request: gives it an id, and takes down what its audit line will say.
    pub(crate) fn begin(&self, route: Route, request: &mut Request) -> Visit {
        let id = self.ids.next();
        // A client's own id is replaced: an audit line must not be made to look like another's.
        request.headers_mut().insert(REQUEST_ID.clone(), id.clone());
        Visit {
            route,
            began: Instant::now(),
            time: SystemTime::now(),
            id,
            peer: request
                .extensions()
                .get::<Peer>()
                .map_or(([0, 0, 0, 0], 0).into(), |peer| peer.0),
            method: request.method().clone(),
            uri: request.uri().clone(),
        }
    }

    /// Who watches over a stream that a request becomes.
    pub(crate) fn attend(&self, visit: &Visit, principal: &Arc<Principal>) -> Attendance {
        Attendance {
            live: Arc::clone(&self.live),
            audit: self.audit.clone(),
            principal: Arc::clone(principal),
            request_id: visit.id.to_str().unwrap_or_default().to_owned(),
            peer: visit.peer,
            path: visit.uri.path().to_owned(),
            began: visit.began,
        }
    }

    /// Ends a request: writes its audit line and counts it.
    pub(crate) async fn end(&self, visit: Visit, answer: Answer) -> Response {
        let Answer {
            mut response,
            principal,
            reason,
        } = answer;
        let duration = visit.began.elapsed();
        self.metrics.request(visit.route, response.status(), duration);
        if let (Route::PrometheusWrite, Some(account)) = (visit.route, response.extensions().get()) {
            self.metrics.write(account, response.status());
        }
        self.audit
            .record(&Decision {
                event: "decision",
                time: visit.time,
                request_id: visit.id.to_str().unwrap_or_default(),
                peer: visit.peer,
                route: visit.route.name(),
                method: visit.method.as_str(),
                path: visit.uri.path(),
                caller: principal.as_deref().map(Caller::from),
                target: response.extensions().get::<Target>(),
                impersonated: response
                    .extensions()
                    .get::<Arc<Impersonated>>()
                    .map(AsRef::as_ref),
                account: response.extensions().get::<Account>(),
                status: response.status().as_u16(),
                sent_bytes: response.body().size_hint().exact(),
                reason: reason.as_deref(),
                duration_us: duration,
            })
            .await;
        response.headers_mut().insert(REQUEST_ID.clone(), visit.id);
        response
    }
}

impl RequestIds {
    fn next(&self) -> HeaderValue {
        let id = format!(
            "{:08x}-{:x}",
            self.process,
            self.next.fetch_add(1, Ordering::Relaxed)
        );
        HeaderValue::from_maybe_shared(bytes::Bytes::from(id)).unwrap_or(HeaderValue::from_static("-"))
    }
}

// === impl Answer ===

impl Answer {
    /// An answer that nobody was refused with.
    pub(crate) fn new(principal: Option<Arc<Principal>>, response: Response) -> Self {
        Self {
            response,
            principal,
            reason: None,
        }
    }

    /// An answer that says no.
    pub(crate) fn refused(
        principal: Option<Arc<Principal>>,
        reason: impl Into<String>,
        response: Response,
    ) -> Self {
        Self {
            response,
            principal,
            reason: Some(reason.into()),
        }
    }
}
