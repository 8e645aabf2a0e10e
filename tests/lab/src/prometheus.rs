//! Defines Prometheus, with the configuration that a suite gives it.

use std::{fs, net::SocketAddr};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    component::Component,
    error::Error,
    http,
    port::Port,
    process::Launch,
    service::{Readiness, Service, lifecycle},
};

/// What a Prometheus is started with besides its configuration.
#[derive(Debug, Clone, Default)]
pub struct PrometheusOptions {
    /// The current Prometheus instead of the system's.
    pub current: bool,
    /// More flags, such as `--web.enable-remote-write-receiver`.
    pub args: Vec<String>,
}

/// A running Prometheus with an empty TSDB at its start.
#[derive(Debug)]
pub struct Prometheus {
    service: Service,
    port: Port,
    dir: TempDir,
}

impl Prometheus {
    /// Starts Prometheus with the configuration that `config` makes for its own address, so that it
    /// can scrape itself.
    ///
    /// # Errors
    /// If Prometheus is missing, or does not become ready, as with a configuration that it refuses.
    pub async fn start(config: impl FnOnce(SocketAddr) -> String) -> Result<Self, Error> {
        Self::start_with(PrometheusOptions::default(), config).await
    }

    /// Starts another Prometheus, or one with more flags.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(
        options: PrometheusOptions,
        config: impl FnOnce(SocketAddr) -> String,
    ) -> Result<Self, Error> {
        let component = match options.current {
            true => Component::CurrentPrometheus,
            false => Component::Prometheus,
        };
        let program = component.find("prometheus")?;
        let dir = tempfile::tempdir().map_err(Error::io("a directory for Prometheus"))?;
        let port = Port::free()?;
        let config_file = dir.path().join("prometheus.yml");
        let text = config(port.address());
        fs::write(&config_file, text).map_err(Error::io(config_file.display().to_string()))?;
        let launch = Launch::new("prometheus", program, dir.path())
            .flag("config.file", config_file)
            .flag("storage.tsdb.path", dir.path().join("data"))
            .flag("web.listen-address", port.address().to_string())
            .arg("--web.enable-lifecycle")
            .args(options.args);
        let readiness = Readiness::http(format!("http://{}/-/ready", port.address()));
        Ok(Self {
            service: Service::start(launch, readiness).await?,
            port,
            dir,
        })
    }

    /// Has the current Prometheus' `promtool` check a configuration and the files that it names.
    ///
    /// # Errors
    /// If it finds something wrong: with what it wrote.
    pub async fn check(config: &str) -> Result<(), Error> {
        let promtool = Component::CurrentPrometheus.find("promtool")?;
        let dir = tempfile::tempdir().map_err(Error::io("a directory for promtool"))?;
        let file = dir.path().join("prometheus.yml");
        fs::write(&file, config).map_err(Error::io(file.display().to_string()))?;
        let mut command = Command::new(promtool);
        let output = command
            .args(["check", "config"])
            .arg(file)
            .kill_on_drop(true)
            .output();
        let output = output.await.map_err(Error::io("starting promtool"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(Error::Answer {
            what: "promtool",
            problem: String::from_utf8_lossy(&said).into_owned(),
        })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.port.address())
    }

    /// Replaces the configuration and has it read.
    ///
    /// # Errors
    /// If Prometheus refuses it; it goes on with the old one then.
    pub async fn reconfigure(&self, config: &str) -> Result<(), Error> {
        let config_file = self.dir.path().join("prometheus.yml");
        fs::write(&config_file, config).map_err(Error::io(config_file.display().to_string()))?;
        http::text(http::client().post(format!("{}/-/reload", self.url())))
            .await
            .map(drop)
    }

    /// The `data` of an instant query, at the present or at a time in seconds since 1970.
    ///
    /// # Errors
    /// If Prometheus refuses the query.
    pub async fn query(&self, query: &str, time: Option<f64>) -> Result<Value, Error> {
        let mut parameters = vec![("query", query.to_owned())];
        parameters.extend(time.map(|time| ("time", time.to_string())));
        self.api("query", &parameters).await
    }

    /// The `data` of a range query; start and end in seconds since 1970, the step in seconds.
    ///
    /// # Errors
    /// If Prometheus refuses the query.
    pub async fn query_range(&self, query: &str, start: f64, end: f64, step: f64) -> Result<Value, Error> {
        let parameters = [
            ("query", query.to_owned()),
            ("start", start.to_string()),
            ("end", end.to_string()),
            ("step", step.to_string()),
        ];
        self.api("query_range", &parameters).await
    }

    /// The `data` of any request of its HTTP API under `/api/v1/`.
    ///
    /// # Errors
    /// If Prometheus refuses the request.
    pub async fn api(&self, endpoint: &str, parameters: &[(&str, String)]) -> Result<Value, Error> {
        let url = format!("{}/api/v1/{endpoint}", self.url());
        let mut answer = http::json(http::client().get(url).query(parameters)).await?;
        Ok(answer.get_mut("data").map(Value::take).unwrap_or_default())
    }
}

lifecycle!(Prometheus);
