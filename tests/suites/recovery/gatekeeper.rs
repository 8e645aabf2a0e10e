//! Doors between a gateway and what it changes, and their keeper, who holds each change twice: before it
//! goes through, and when it has been made and whoever asked does not know yet.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use reqwest::Client;
use serde_json::Value;
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

/// What is passed on of a request; the rest is each connection's own.
const PASSED: [header::HeaderName; 3] = [header::ACCEPT, header::AUTHORIZATION, header::CONTENT_TYPE];

/// etcd's calls that are a step of a plan. A snapshot changes nothing, and is one too.
const STEPS_AT_ETCD: [&str; 8] = [
    "/v3/cluster/member/add",
    "/v3/cluster/member/promote",
    "/v3/cluster/member/remove",
    "/v3/cluster/member/update",
    "/v3/kv/compaction",
    "/v3/maintenance/defragment",
    SNAPSHOT,
    "/v3/maintenance/transfer-leadership",
];

pub(crate) const SNAPSHOT: &str = "/v3/maintenance/snapshot";

/// Names of Secrets that end with what is chosen anew each time.
const TOKEN: &str = "bootstrap-token-";

/// No request of a repair is larger.
const MOST: usize = 1 << 20;

/// Where a change is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    /// What it is meant for does not hear of it.
    Before,
    /// It is made, and whoever asked is not answered.
    After,
}

/// Who sees what goes through all doors. A clone is the same keeper.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gatekeeper(Arc<Book>);

#[derive(Debug, Default)]
struct Book {
    watches: AtomicBool,
    holding: Notify,
    held: Mutex<BTreeSet<(String, Moment)>>,
    made: Mutex<Vec<String>>,
}

/// A way to one server.
#[derive(Debug)]
pub(crate) struct Door {
    url: String,
    leads_to: Arc<OnceLock<String>>,
    serving: JoinHandle<()>,
}

#[derive(Clone)]
struct Way {
    keeper: Gatekeeper,
    client: Client,
    to: Arc<OnceLock<String>>,
}

impl Gatekeeper {
    /// A door that is passed with this client, and leads nowhere yet.
    pub(crate) async fn door(&self, client: Client) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let leads_to = Arc::new(OnceLock::new());
        let way = Way {
            keeper: self.clone(),
            client,
            to: leads_to.clone(),
        };
        let router = Router::new().fallback(pass).with_state(way);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Door {
            url,
            leads_to,
            serving,
        }
    }

    /// Until then everything passes, and nothing is remembered.
    pub(crate) fn begin(&self) {
        self.0.watches.store(true, Ordering::Relaxed);
    }

    /// Waits until a change is held that was not before, at that moment.
    pub(crate) async fn holds(&self) {
        self.0.holding.notified().await;
    }

    /// How often one was held.
    pub(crate) fn held(&self) -> usize {
        self.0.held.lock().unwrap().len()
    }

    /// The changes that were made, in their order.
    pub(crate) fn made(&self) -> Vec<String> {
        self.0.made.lock().unwrap().clone()
    }

    /// Holds a change for good, if it was not held yet at this moment.
    async fn hold(&self, change: &str, moment: Moment) {
        let new = self.0.held.lock().unwrap().insert((change.to_owned(), moment));
        if new {
            self.0.holding.notify_one();
            std::future::pending().await
        }
    }
}

impl Door {
    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Says what is behind it.
    pub(crate) fn lead_to(&self, server: &str) {
        self.leads_to.set(server.to_owned()).unwrap();
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What is changed, in words that are the same when it is asked for again; nothing, if it is only looked.
fn change(method: &Method, path: &str, body: &[u8]) -> Option<String> {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let (changes, what) = if path.starts_with("/v3/") {
        let clears = said["action"] == "DEACTIVATE";
        (clears || STEPS_AT_ETCD.contains(&path), said.to_string())
    } else {
        let made = said.pointer("/metadata/name").and_then(Value::as_str);
        (method != Method::GET, made.unwrap_or_default().to_owned())
    };
    let known = |text: &str| match text.split_once(TOKEN) {
        Some((before, _)) => format!("{before}{TOKEN}"),
        None => text.to_owned(),
    };
    changes.then(|| format!("{method} {} {}", known(path), known(&what)))
}

async fn pass(State(way): State<Way>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, MOST).await.unwrap();
    let watches = way.keeper.0.watches.load(Ordering::Relaxed);
    let change = change(&parts.method, parts.uri.path(), &body).filter(|_| watches);
    if let Some(change) = &change {
        way.keeper.hold(change, Moment::Before).await;
    }
    let mut headers = HeaderMap::new();
    for name in PASSED {
        if let Some(value) = parts.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    let target = parts.uri.path_and_query().unwrap();
    let url = format!("{}{target}", way.to.get().unwrap());
    let passed = way.client.request(parts.method, url).headers(headers).body(body);
    let answer = match passed.send().await {
        Ok(answer) => http::Response::from(answer).map(Body::new),
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    if let Some(change) = &change
        && answer.status().is_success()
    {
        way.keeper.0.made.lock().unwrap().push(change.clone());
        way.keeper.hold(change, Moment::After).await;
    }
    answer
}
