//! The code of `storage-influxdb`, compiled natively, with a client of its own.

use anyhow::anyhow;
use storage_influxdb::{Config, Influx, Mode, lines::Encoder};
use tokio::runtime::Runtime as Tokio;
use witgate_sdk::{
    http::{Body, Client, Error, Request, Response},
    storage::{Batch, Context, Storage as _},
};

/// The plugin's code and what it writes.
pub(super) struct Native {
    plugin: Influx<Http>,
    context: Context,
    batch: Batch,
}

/// Sends as the gateway does, by hyper on the same thread.
struct Http {
    tokio: Tokio,
    client: reqwest::Client,
}

impl Default for Http {
    fn default() -> Self {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self {
            tokio: tokio.expect("a runtime without threads needs nothing but file descriptors"),
            client: reqwest::Client::new(),
        }
    }
}

impl Native {
    pub(super) fn new(port: u16, batch: &witgate_plugins::Batch) -> anyhow::Result<Self> {
        let config = Config {
            url: format!("http://127.0.0.1:{port}"),
            database: Some("bench".to_owned()),
            retention_policy: None,
            mode: Mode::Line,
            secret: None,
        };
        let plugin = Influx::with_client(config, Http::default()).map_err(|error| anyhow!(error))?;
        let context = Context {
            tenant: "bench".to_owned(),
            attributes: Vec::new(),
            request_id: String::new(),
        };
        let batch = Batch {
            symbol_bytes: batch.symbol_bytes.clone(),
            symbol_ends: batch.symbol_ends.clone(),
            labels: batch.labels.clone(),
            label_ends: batch.label_ends.clone(),
            timestamps: batch.timestamps.clone(),
            values: batch.values.clone(),
            sample_ends: batch.sample_ends.clone(),
            ..witgate_sdk::storage::BatchBuilder::default().finish()
        };
        Ok(Self {
            plugin,
            context,
            batch,
        })
    }

    pub(super) fn write(&mut self) -> anyhow::Result<()> {
        self.plugin
            .write(&self.context, &self.batch)
            .map_err(|failure| anyhow!("{failure:?}"))?;
        Ok(())
    }

    /// Only the lines, which go nowhere.
    pub(super) fn encode(&self) {
        let mut encoder = Encoder::new(&self.batch);
        while let Some(lines) = encoder.next(storage_influxdb::lines::BODY) {
            std::hint::black_box(lines);
        }
    }
}

impl Client for Http {
    fn send(&self, request: &Request<'_>) -> Result<Response, Error> {
        let broken = |error: reqwest::Error| Error::Broken {
            origin: request.url.clone(),
            detail: error.to_string(),
        };
        self.tokio.block_on(async {
            let answer = self
                .client
                .post(&request.url)
                .body(request.body.to_vec())
                .send()
                .await
                .map_err(broken)?;
            let status = answer.status().as_u16();
            let body = answer.bytes().await.map_err(broken)?;
            Ok(Response {
                status,
                headers: Vec::new(),
                body: Body::from(body.to_vec()),
            })
        })
    }
}
