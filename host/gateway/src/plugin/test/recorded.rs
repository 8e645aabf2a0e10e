//! A backend that is not there: what a plugin asks over HTTP is answered as a case says.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::{net::TcpListener, task::AbortHandle};

use super::{Outcome, Settings, named};

/// How cases write the origin of their backend: in a plugin's `config` and `grants`.
const ORIGIN: &str = "http://recorded";

/// A request that is expected, and what is answered to it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exchange {
    request: Expected,
    #[serde(default)]
    answer: Answer,
}

/// A request. Headers and the body have to be so if they are named.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    #[serde(default = "get")]
    method: String,
    /// With the query.
    path: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

fn get() -> String {
    "GET".to_owned()
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
    /// The body, where it is no text.
    base64: Option<String>,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: 200,
            headers: BTreeMap::new(),
            body: String::new(),
            base64: None,
        }
    }
}

/// The backend of one case, on a free port of this machine until it is dropped.
pub(super) struct Recorded {
    exchanges: Vec<Exchange>,
    /// None where the case has no exchange.
    serving: Option<(String, AbortHandle)>,
    came: Arc<Came>,
}

/// What has come to it.
struct Came {
    /// Those that are still expected.
    left: Mutex<Vec<Exchange>>,
    requests: Mutex<Vec<Value>>,
}

impl Recorded {
    pub(super) async fn start(exchanges: &[Exchange]) -> anyhow::Result<Self> {
        let came = Arc::new(Came {
            left: Mutex::new(exchanges.to_vec()),
            requests: Mutex::default(),
        });
        let serving = if exchanges.is_empty() {
            None
        } else {
            let listener = TcpListener::bind("127.0.0.1:0")
                .await
                .context("no port is free")?;
            let origin = format!("http://{}", listener.local_addr()?);
            let router = Router::new().fallback(answer).with_state(Arc::clone(&came));
            let serving = tokio::spawn(async move { axum::serve(listener, router).await });
            Some((origin, serving.abort_handle()))
        };
        Ok(Self {
            exchanges: exchanges.to_vec(),
            serving,
            came,
        })
    }

    /// The settings of a case's plugin, with the backend's address in them.
    pub(super) fn settings(&self, written: &Map<String, Value>) -> anyhow::Result<Settings> {
        let mut written = Value::Object(written.clone());
        if let Some((origin, _)) = &self.serving {
            place(&mut written, origin);
        }
        serde_json::from_value(written).context("plugin")
    }

    /// An outcome with what was asked beside it.
    pub(super) fn beside(&self, outcome: Outcome) -> Outcome {
        if self.exchanges.is_empty() {
            return outcome;
        }
        let requests = self.came.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = json!(
            self.exchanges
                .iter()
                .map(|exchange| &exchange.request)
                .collect::<Vec<_>>()
        );
        let found = named(&expected, &json!(*requests));
        Outcome {
            expected: json!({"http": expected, "outcome": outcome.expected}),
            found: json!({"http": found, "outcome": outcome.found}),
        }
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if let Some((_, serving)) = &self.serving {
            serving.abort();
        }
    }
}

/// Puts an address wherever a text begins with [`ORIGIN`].
fn place(value: &mut Value, origin: &str) {
    match value {
        Value::String(text) => {
            if let Some(rest) = text.strip_prefix(ORIGIN)
                && (rest.is_empty() || rest.starts_with('/'))
            {
                *text = format!("{origin}{rest}");
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| place(value, origin)),
        Value::Object(fields) => fields.values_mut().for_each(|value| place(value, origin)),
        _ => {}
    }
}

/// Answers with the first exchange of that method and path that has not been answered yet.
async fn answer(
    State(came): State<Arc<Came>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let headers: BTreeMap<_, _> = { headers.iter() }
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
        .collect();
    let request = json!({
        "method": method.as_str(), "path": path, "headers": headers, "body": String::from_utf8_lossy(&body),
    });
    let mut requests = came.requests.lock().unwrap_or_else(PoisonError::into_inner);
    requests.push(request);
    let mut left = came.left.lock().unwrap_or_else(PoisonError::into_inner);
    let is_it =
        |exchange: &Exchange| exchange.request.method == method.as_str() && exchange.request.path == path;
    let found = left.iter().position(is_it).map(|place| left.remove(place).answer);
    let given = found.unwrap_or_else(|| Answer {
        status: StatusCode::NOT_IMPLEMENTED.as_u16(),
        body: format!("the case has no answer to {method} {path}"),
        ..Answer::default()
    });
    given.response().unwrap_or_else(|error| {
        let mut response = Response::new(Body::from(format!(
            "the case has an answer that is none: {error}"
        )));
        *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
        response
    })
}

impl Answer {
    fn response(self) -> anyhow::Result<Response> {
        let body = match self.base64 {
            Some(text) => STANDARD.decode(text)?,
            None => self.body.into_bytes(),
        };
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        Ok(response.body(Body::from(body))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backend_is_put_where_the_case_names_it_and_nowhere_else() {
        let mut written = json!({"config": {"url": "http://recorded/a"}, "grants": {"http": ["http://recorded"]},
            "other": "http://recorded.example.com"});
        place(&mut written, "http://127.0.0.1:1");
        let expected = json!({"config": {"url": "http://127.0.0.1:1/a"}, "grants": {"http": ["http://127.0.0.1:1"]},
            "other": "http://recorded.example.com"});
        assert_eq!(written, expected);
    }
}
