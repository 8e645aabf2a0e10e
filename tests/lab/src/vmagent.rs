//! Defines vmagent, VictoriaMetrics' sender.

use std::fs;

use tempfile::TempDir;

use crate::{
    component::Component,
    error::Error,
    port::Port,
    process::Launch,
    service::{Readiness, Service, lifecycle},
};

/// A running vmagent.
#[derive(Debug)]
pub struct Vmagent {
    service: Service,
    _port: Port,
    _dir: TempDir,
}

impl Vmagent {
    /// Starts vmagent with what it scrapes, as `scrape_configs` has it, and flags that say where it
    /// sends that.
    ///
    /// # Errors
    /// If vmagent is missing, or does not become ready.
    pub async fn start(scrape: &str, flags: &[(&str, &str)]) -> Result<Self, Error> {
        let program = Component::VictoriaMetrics.find("vmagent")?;
        let dir = tempfile::tempdir().map_err(Error::io("a directory for vmagent"))?;
        let port = Port::free()?;
        let config = dir.path().join("scrape.yml");
        fs::write(&config, scrape).map_err(Error::io(config.display().to_string()))?;
        let mut launch = Launch::new("vmagent", program, dir.path())
            .flag("httpListenAddr", port.address().to_string())
            .flag("promscrape.config", config)
            .flag("remoteWrite.tmpDataPath", dir.path().join("queue"));
        for (name, value) in flags {
            launch = launch.flag(name, *value);
        }
        let readiness = Readiness::http(format!("http://{}/health", port.address()));
        Ok(Self {
            service: Service::start(launch, readiness).await?,
            _port: port,
            _dir: dir,
        })
    }
}

lifecycle!(Vmagent);
