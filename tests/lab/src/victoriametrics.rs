//! Defines a single-node VictoriaMetrics.

use std::net::SocketAddr;

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    component::Component,
    error::Error,
    http,
    port::Port,
    process::Launch,
    service::{Readiness, Service, lifecycle},
};

/// A running VictoriaMetrics, empty at its start.
#[derive(Debug)]
pub struct VictoriaMetrics {
    service: Service,
    port: Port,
    _dir: TempDir,
}

impl VictoriaMetrics {
    /// Starts VictoriaMetrics with more flags, such as `("retentionPeriod", "10y")`.
    ///
    /// # Errors
    /// If it is missing or does not answer.
    pub async fn start(flags: &[(&str, &str)]) -> Result<Self, Error> {
        let program = Component::VictoriaMetrics.find("victoria-metrics")?;
        let dir = tempfile::tempdir().map_err(Error::io("a directory for VictoriaMetrics"))?;
        let port = Port::free()?;
        let mut launch = Launch::new("victoria-metrics", program, dir.path())
            .flag("httpListenAddr", port.address().to_string())
            .flag("storageDataPath", dir.path().join("data"));
        for (name, value) in flags {
            launch = launch.flag(name, *value);
        }
        let readiness = Readiness::http(format!("http://{}/health", port.address()));
        Ok(Self {
            service: Service::start(launch, readiness).await?,
            port,
            _dir: dir,
        })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.port.address())
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Makes everything that it has taken visible to queries, which else takes some seconds.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn flush(&self) -> Result<(), Error> {
        http::text(http::client().get(format!("{}/internal/force_flush", self.url())))
            .await
            .map(drop)
    }

    /// The answer to any request of its HTTP API under `/api/v1/`.
    ///
    /// # Errors
    /// If VictoriaMetrics refuses the request.
    pub async fn api(&self, endpoint: &str, parameters: &[(&str, &str)]) -> Result<Value, Error> {
        let url = format!("{}/api/v1/{endpoint}", self.url());
        http::json(http::client().get(url).query(parameters)).await
    }
}

lifecycle!(VictoriaMetrics);
