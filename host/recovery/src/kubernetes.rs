//! Kubernetes: objects as JSON, with the preconditions that make a change exact.

mod act;
mod facts;

use std::time::Duration;

use http::{HeaderValue, Method, Request, header};
use kube::Client;
use serde_json::Value;
use tokio::time::timeout;
use witgate_plugins::recovery::KubeResource;

/// Objects of one page of a list.
const PAGE: usize = 500;

/// Pages of one list: no control plane that this is for has more nodes or pods in kube-system.
const MAX_PAGES: usize = 40;

/// How long the API may take to say what there is before it counts as away. An apiserver whose etcd has
/// lost its quorum takes connections and does not answer for a minute; one that is well lists a
/// cluster's nodes in much less than a second.
const ANSWER: Duration = Duration::from_secs(5);

/// How long a change may take: it waits for webhooks, of which each has at most 30 s.
const CHANGE: Duration = Duration::from_secs(60);

/// Objects whole.
const WHOLE: HeaderValue = HeaderValue::from_static("application/json");

/// Of an object only its metadata, and so of a Secret nothing that is secret.
const METADATA: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
const METADATA_LIST: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");

/// A cluster's API.
#[derive(Clone)]
pub(crate) struct Kube {
    client: Client,
}

/// Why the API did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{method} {path}: {reason}")]
pub(crate) struct KubeError {
    method: Method,
    path: String,
    reason: String,
    /// The status of the answer, if there was one.
    pub(crate) code: Option<u16>,
    /// Whether it was waited for in vain.
    pub(crate) away: bool,
}

impl Kube {
    /// By a client that is set up.
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// One object, or none.
    pub(crate) async fn get(
        &self,
        resource: &KubeResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, KubeError> {
        self.one(resource, namespace, name, WHOLE).await
    }

    /// The metadata of one object, or none.
    pub(crate) async fn metadata(
        &self,
        resource: &KubeResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, KubeError> {
        self.one(resource, namespace, name, METADATA).await
    }

    async fn one(
        &self,
        resource: &KubeResource,
        namespace: &str,
        name: &str,
        form: HeaderValue,
    ) -> Result<Option<Value>, KubeError> {
        let path = format!("{}/{name}", path(resource, namespace));
        found(self.read(&path, form).await)
    }

    /// All objects that a selector selects.
    pub(crate) async fn list(
        &self,
        resource: &KubeResource,
        namespace: &str,
        selector: &str,
    ) -> Result<Vec<Value>, KubeError> {
        self.pages(path(resource, namespace), selector, &WHOLE).await
    }

    /// The metadata of all objects that a selector selects.
    pub(crate) async fn list_metadata(
        &self,
        resource: &KubeResource,
        namespace: &str,
        selector: &str,
    ) -> Result<Vec<Value>, KubeError> {
        self.pages(path(resource, namespace), selector, &METADATA_LIST)
            .await
    }

    async fn pages(&self, base: String, selector: &str, form: &HeaderValue) -> Result<Vec<Value>, KubeError> {
        let mut found = Vec::new();
        let mut token = String::new();
        for _ in 0..MAX_PAGES {
            let path = format!("{base}?{}", query(selector, &token));
            let mut page = self.read(&path, form.clone()).await?;
            if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                found.extend(items);
            }
            token = text(&page, "/metadata/continue").to_owned();
            if token.is_empty() {
                return Ok(found);
            }
        }
        Err(KubeError {
            method: Method::GET,
            path: base,
            reason: format!("there are more than {} objects", PAGE * MAX_PAGES),
            code: None,
            away: false,
        })
    }

    async fn read(&self, path: &str, form: HeaderValue) -> Result<Value, KubeError> {
        self.call(Method::GET, path, form, None).await
    }

    async fn write(&self, method: Method, path: &str, body: &Value) -> Result<Value, KubeError> {
        self.call(method, path, WHOLE, Some(body)).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        form: HeaderValue,
        body: Option<&Value>,
    ) -> Result<Value, KubeError> {
        let failed = |reason: String, code| KubeError {
            method: method.clone(),
            path: path.to_owned(),
            reason,
            code,
            away: false,
        };
        // Names come from plugins too, and one with a slash would be another object's path.
        let segments = path.split_once('?').map_or(path, |(path, _)| path);
        if !segments.split('/').skip(1).all(is_segment) {
            return Err(failed("that is no name of an object".to_owned(), None));
        }
        let kind = if method == Method::PATCH {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header(header::CONTENT_TYPE, kind)
            .header(header::ACCEPT, form)
            .body(bytes)
            .map_err(|error| failed(error.to_string(), None))?;
        let patience = if method == Method::GET { ANSWER } else { CHANGE };
        match timeout(patience, self.client.request::<Value>(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) => Err(failed(status.message.clone(), Some(status.code))),
            Ok(Err(error)) => Err(failed(error.to_string(), None)),
            Err(_) => Err(KubeError {
                away: true,
                ..failed(format!("no answer within {} s", patience.as_secs()), None)
            }),
        }
    }
}

fn found(answer: Result<Value, KubeError>) -> Result<Option<Value>, KubeError> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.code == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_segment(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    !matches!(text, "" | "." | "..") && text.bytes().all(plain)
}

fn query(selector: &str, token: &str) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &PAGE.to_string());
    for (name, value) in [("labelSelector", selector), ("continue", token)] {
        if !value.is_empty() {
            query.append_pair(name, value);
        }
    }
    query.finish()
}

fn path(resource: &KubeResource, namespace: &str) -> String {
    let KubeResource {
        group,
        version,
        plural,
    } = resource;
    let mut path = if group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{group}/{version}")
    };
    if !namespace.is_empty() {
        path.push_str("/namespaces/");
        path.push_str(namespace);
    }
    path.push('/');
    path.push_str(plural);
    path
}

/// The text at a place in an object; empty if there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

impl std::fmt::Debug for Kube {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kube").finish_non_exhaustive()
    }
}
