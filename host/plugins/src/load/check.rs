//! Loads one component as the gateway would, but for what is its operator's to decide.

use std::sync::Arc;

use super::{File, Loading, Problem};
use crate::{config::PluginConfig, diagnosis::Finding, pool::StartError, runtime::Runtime, secrets::Secrets};

/// What is left to decide of a component that can be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The version of its kind's contract that it speaks.
    pub contract: &'static str,
    /// The imports that have to be granted.
    pub ungranted: Vec<Finding>,
    /// What its `init` tried to reach and was denied.
    pub denied: Vec<String>,
    /// What it says of its configuration, if it refuses that.
    pub refused: Option<String>,
}

impl Checked {
    /// Reads, compiles, links and starts a component with the code that [`Plugins::load`] does it with.
    /// What it is not granted, and a configuration that it refuses, is no error: it is said.
    ///
    /// [`Plugins::load`]: crate::Plugins::load
    pub async fn load(runtime: &Runtime, name: &str, config: &PluginConfig) -> Result<Self, Problem> {
        let base = std::path::Path::new("");
        let previous = None;
        let loading = Loading {
            runtime,
            name,
            config,
            base,
            previous,
        };
        let bounds = config.limits.bounds(config.kind)?;
        let (_, content) = File::read(config.file.clone(), config.sha256.as_deref()).await?;
        let secrets = Secrets::read(&config.grants, base).await?;
        let component = loading.compile(content).await?;
        let (contract, linked) = loading.link(&component).map_err(Problem::Link)?;
        let shared = Arc::new(loading.share(bounds, secrets)?);
        let refused = match loading.start(linked, &shared).await {
            Ok(_) => None,
            Err(StartError::Config(reason)) => Some(reason),
            Err(StartError::Broken(reason)) => return Err(Problem::Start(reason)),
        };
        Ok(Self {
            contract,
            ungranted: loading.ungranted(&component),
            denied: shared.egress.denials().in_words(),
            refused,
        })
    }
}
