//! One call of a member, and what is in its answer. The gateway writes numbers of 64 bits as text and
//! leaves out what is zero or empty (Protocol Buffers' JSON form).

use std::{error::Error as _, time::Duration};

use reqwest::Response;
use serde_json::Value;
use tokio::time::timeout;

use super::{ANSWER, Etcd, EtcdError};

/// What an answer, but for a snapshot, may have: metrics have some 100 KiB, and a list of members less.
const MAX_ANSWER: usize = 8 << 20;

impl Etcd {
    /// Calls a method, which may take so long.
    pub(super) async fn call(
        &self,
        endpoint: &str,
        method: &str,
        body: &Value,
        time: Duration,
    ) -> Result<Value, EtcdError> {
        let calling = async {
            let answer = self.begin(endpoint, method, body).await?;
            let text = read(answer, MAX_ANSWER)
                .await
                .map_err(|error| failed(endpoint, error))?;
            serde_json::from_slice(&text).map_err(|error| {
                failed(
                    endpoint,
                    format!("{method} is answered with what is no JSON: {error}"),
                )
            })
        };
        let called = timeout(time, calling).await;
        called.unwrap_or_else(|_| Err(failed(endpoint, format!("no answer to {method} within {time:?}"))))
    }

    /// Calls a method, and gives the answer before its body is there.
    pub(super) async fn begin(
        &self,
        endpoint: &str,
        method: &str,
        body: &Value,
    ) -> Result<Response, EtcdError> {
        let url = format!("{}/v3/{method}", endpoint.trim_end_matches('/'));
        let sent = self.http.post(url).json(body).send().await;
        let answer = sent.map_err(|error| failed(endpoint, causes(&error)))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let text = read(answer, MAX_ANSWER).await.unwrap_or_default();
        let said: Value = serde_json::from_slice(&text).unwrap_or_default();
        let said = ["message", "error"]
            .iter()
            .find_map(|field| said.get(field).and_then(Value::as_str));
        let reason = match said {
            Some(said) => said.to_owned(),
            None if status.as_u16() == 404 => {
                format!("there is no {method}: the member serves no JSON gateway (--enable-grpc-gateway)")
            }
            None => format!("{method}: {status}"),
        };
        Err(failed(endpoint, reason))
    }

    /// A member's metrics page, which it serves on its client URL too.
    pub(super) async fn metrics(&self, endpoint: &str) -> Result<String, String> {
        let url = format!("{}/metrics", endpoint.trim_end_matches('/'));
        let fetching = async {
            let answer = self.http.get(&url).send().await.map_err(|error| causes(&error))?;
            if !answer.status().is_success() {
                return Err(format!("{url}: {}", answer.status()));
            }
            let page = read(answer, MAX_ANSWER).await?;
            String::from_utf8(page).map_err(|_| format!("{url}: the page is no text"))
        };
        let fetched = timeout(ANSWER, fetching).await;
        fetched.unwrap_or_else(|_| Err(format!("{url}: no answer within {ANSWER:?}")))
    }
}

async fn read(mut answer: Response, most: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| causes(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > most {
            return Err(format!("the answer is over {} MiB", most >> 20));
        }
    }
    Ok(body)
}

pub(super) fn failed(endpoint: &str, reason: impl Into<String>) -> EtcdError {
    EtcdError::Call {
        endpoint: endpoint.to_owned(),
        reason: reason.into(),
    }
}

/// An error with all that led to it: reqwest's own text leaves out what the connection said.
pub(super) fn causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}

/// A field that is a number of up to 64 bits.
pub(super) fn number(object: &Value, field: &str) -> u64 {
    match object.get(field) {
        Some(Value::String(text)) => text.parse().unwrap_or(0),
        Some(Value::Number(number)) => number.as_u64().unwrap_or(0),
        _ => 0,
    }
}

/// A field that is a revision.
pub(super) fn revision(object: &Value, field: &str) -> i64 {
    i64::try_from(number(object, field)).unwrap_or(0)
}

/// A field that is text.
pub(super) fn text(object: &Value, field: &str) -> String {
    object
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// A field that is a list of texts.
pub(super) fn texts(object: &Value, field: &str) -> Vec<String> {
    list(object, field)
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// A field that is a list.
pub(super) fn list<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object
        .get(field)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A field that is true or false.
pub(super) fn flag(object: &Value, field: &str) -> bool {
    object.get(field).and_then(Value::as_bool).unwrap_or(false)
}
