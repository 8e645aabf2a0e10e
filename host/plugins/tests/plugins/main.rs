//! The plugin runtime as the gateway uses it, with tiny components that are built on the spot.

#![allow(
    clippy::unwrap_used,
    reason = "what the tests' own helpers can't do must fail the test"
)]

mod guests;
mod limits;
mod linking;
mod pooling;
mod recovery;
mod reload;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use serde_json::{Value, json};
use tempfile::TempDir;
use witgate_plugins::{Claims, LoadErrors, Options, PluginConfig, Plugins, Runtime, Storage, VerifiedToken};
use witgate_state::Embedded;

/// A runtime, and a folder for components and for what belongs to them.
struct Bench {
    folder: TempDir,
    runtime: Runtime,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = Arc::new(Embedded::open(&folder.path().join("state")).unwrap());
        let runtime = Runtime::new(Options {
            cache: Some(folder.path().join("cache")),
            state,
        })
        .unwrap();
        Self { folder, runtime }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn put(&self, file: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(file), content).unwrap();
    }

    /// Loads the plugins that `config` describes, in the form of the configuration file.
    async fn load(&self, config: Value, previous: Option<&Plugins>) -> Result<Plugins, LoadErrors> {
        let config: BTreeMap<String, PluginConfig> = serde_json::from_value(config).unwrap();
        Plugins::load(&self.runtime, &config, self.path(), previous).await
    }

    /// Loads one claims plugin called `it`, which must work.
    async fn claims(&self, component: &[u8], limits: Value) -> (Plugins, Arc<dyn Claims>) {
        self.put("it.wasm", component);
        let config = json!({"it": {"kind": "claims", "file": "it.wasm", "limits": limits}});
        let plugins = self.load(config, None).await.unwrap();
        let claims = plugins.claims("it").unwrap();
        (plugins, claims)
    }

    /// Loads one storage plugin called `it`, which must work.
    async fn storage(&self, component: &[u8], limits: Value) -> (Plugins, Arc<dyn Storage>) {
        self.put("it.wasm", component);
        let config = json!({"it": {"kind": "storage", "file": "it.wasm", "limits": limits}});
        let plugins = self.load(config, None).await.unwrap();
        let storage = plugins.storage("it").unwrap();
        (plugins, storage)
    }

    /// The errors of loading one plugin called `it`, which must not work.
    async fn refused(&self, kind: &str, component: &[u8], more: Value) -> String {
        self.put("it.wasm", component);
        let mut config = json!({"kind": kind, "file": "it.wasm"});
        config
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        self.load(json!({"it": config}), None)
            .await
            .unwrap_err()
            .to_string()
    }
}

fn token(claims: &str) -> VerifiedToken {
    VerifiedToken {
        issuer: "https://issuer.test".into(),
        subject: "alice".into(),
        claims: claims.into(),
    }
}
