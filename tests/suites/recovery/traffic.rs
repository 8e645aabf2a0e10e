//! Clients that write and read through the load balancer all the time, and count what they don't get.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use witgate_lab::ControlPlane;

/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(50);

const OBJECT: &str = "/api/v1/namespaces/default/configmaps/traffic";

/// A writer that counts upwards in a ConfigMap, and a reader of it.
pub(crate) struct Traffic {
    client: Client,
    writer: JoinHandle<Served>,
    reader: JoinHandle<Served>,
}

/// What one of them saw.
#[derive(Debug, Default)]
pub(crate) struct Served {
    /// Requests that were answered as they should be.
    pub(crate) well: u64,
    /// Connections that broke before there was an answer, so that the request was sent again.
    pub(crate) cut: Vec<String>,
    /// All else that was not as it should be.
    pub(crate) failures: Vec<String>,
}

#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    server: String,
    /// The last number that was acknowledged.
    written: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
}

impl Traffic {
    pub(crate) async fn start(control_plane: &ControlPlane) -> Self {
        let kubectl = control_plane.kubectl().unwrap();
        let create = ["create", "configmap", "traffic", "--from-literal=count=0"];
        kubectl.succeed(&create).await.unwrap();
        let client = Client {
            http: control_plane.client(),
            server: control_plane.server(),
            written: Arc::default(),
            stopped: Arc::default(),
        };
        Self {
            writer: tokio::spawn(client.clone().write()),
            reader: tokio::spawn(client.clone().read()),
            client,
        }
    }

    /// How many writes have been acknowledged.
    pub(crate) fn written(&self) -> u64 {
        self.client.written.load(Ordering::SeqCst)
    }

    /// Ends both and gives what the writer and the reader saw.
    pub(crate) async fn stop(self) -> [Served; 2] {
        self.client.stopped.store(true, Ordering::SeqCst);
        [self.writer.await.unwrap(), self.reader.await.unwrap()]
    }
}

impl Client {
    async fn write(self) -> Served {
        let mut served = Served::default();
        for number in 1_u64.. {
            let patch = json!({"data": {"count": number.to_string()}}).to_string();
            let request = self.http.patch(format!("{}{OBJECT}", self.server));
            let request = request
                .header("content-type", "application/merge-patch+json")
                .body(patch);
            if served.send(request).await.is_some() {
                self.written.store(number, Ordering::SeqCst);
            }
            if self.stopped.load(Ordering::SeqCst) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        served
    }

    async fn read(self) -> Served {
        let mut served = Served::default();
        while !self.stopped.load(Ordering::SeqCst) {
            let written = self.written.load(Ordering::SeqCst);
            let request = self.http.get(format!("{}{OBJECT}", self.server));
            if let Some(object) = served.send(request).await
                && count(&object) < written
            {
                let stale = format!("{written} was acknowledged before {object} was read");
                served.failures.push(stale);
            }
            tokio::time::sleep(PAUSE).await;
        }
        served
    }
}

/// The number in the ConfigMap.
pub(crate) fn count(object: &Value) -> u64 {
    object["data"]["count"].as_str().unwrap().parse().unwrap()
}

impl Served {
    /// Sends a request that may be sent twice.
    async fn send(&mut self, request: RequestBuilder) -> Option<Value> {
        for _ in 0..2 {
            match once(request.try_clone().unwrap()).await {
                Ok((status, text)) if status.is_success() => {
                    self.well += 1;
                    return Some(serde_json::from_str(&text).unwrap());
                }
                Ok((status, text)) => {
                    self.failures.push(format!("{status}: {text}"));
                    return None;
                }
                Err(error) => self.cut.push(format!("{error:?}")),
            }
        }
        self.failures.push("cut twice".to_owned());
        None
    }
}

async fn once(request: RequestBuilder) -> reqwest::Result<(StatusCode, String)> {
    let answer = request.send().await?;
    Ok((answer.status(), answer.text().await?))
}
