//! What all plugins share: the wasm engine, the linker, the compile cache and the state.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rustls::{ClientConfig, RootCertStore, crypto::ring};
use wasmtime::{
    Cache, CacheConfig, Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
    component::Linker,
};
use witgate_state::State;

use crate::{
    config::{MAX_INSTANCES, MAX_MEMORY},
    guest::{Guest, MAX_MEMORIES, MAX_TABLE, MAX_TABLES},
    meter, v0_1,
};

/// Slots for instances. Twice what plugins may have, because after a reload the old ones finish
/// their calls beside the new ones.
const SLOTS: u32 = 2 * MAX_INSTANCES;

/// How much of a slot's memory stays resident when an instance goes: then the next one finds it
/// mapped, and it is cleared without a system call. Instances that are started on two threads at
/// once otherwise wait for each other's page tables.
const KEEP_MEMORY: usize = 2 << 20;
const KEEP_REST: usize = 64 << 10;

/// Slots that stay resident for a component that has none in use at the moment.
const WARM_SLOTS: u32 = 16;

/// What a [`Runtime`] needs.
#[derive(Clone, Debug)]
pub struct Options {
    /// A folder for compiled components, created if it isn't there. What is in it is run as native
    /// code, so nobody else may write to it. Without one, every start compiles anew.
    pub cache: Option<PathBuf>,
    /// Where the key-value spaces of plugins are.
    pub state: Arc<dyn State>,
}

/// What all plugins share. A clone is the same runtime.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    engine: Engine,
    linker: Linker<Guest>,
    state: Arc<dyn State>,
    tls: OnceLock<ClientConfig>,
}

/// Why there is no runtime.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The folder for compiled components.
    #[error("can't use {folder} for compiled components: {reason}")]
    Cache {
        /// The folder.
        folder: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// The wasm engine itself.
    #[error("can't start the wasm engine: {0}")]
    Engine(String),
}

impl Runtime {
    /// Starts the engine. Reserves address space, no memory.
    pub fn new(options: Options) -> Result<Self, RuntimeError> {
        let broken = |error: wasmtime::Error| RuntimeError::Engine(format!("{error:#}"));
        let cache = options.cache.as_deref().map(open_cache).transpose()?;
        let engine = engine(cache).map_err(broken)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(broken)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).map_err(broken)?;
        v0_1::offer(&mut linker).map_err(broken)?;
        meter::start_ticking(&engine).map_err(|error| RuntimeError::Engine(error.to_string()))?;
        Ok(Self(Arc::new(Inner {
            engine,
            linker,
            state: options.state,
            tls: OnceLock::new(),
        })))
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(crate) fn linker(&self) -> &Linker<Guest> {
        &self.0.linker
    }

    pub(crate) fn state(&self) -> &dyn State {
        &*self.0.state
    }

    /// How a plugin's requests authenticate servers: by the certificates that the system trusts,
    /// which are read when the first plugin is granted `https`.
    pub(crate) fn tls(&self, secure: bool) -> Result<ClientConfig, rustls::Error> {
        if !secure {
            return tls(RootCertStore::empty());
        }
        if let Some(config) = self.0.tls.get() {
            return Ok(config.clone());
        }
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!("a certificate of the system can't be read: {error}");
        }
        roots.add_parsable_certificates(found.certs);
        let config = tls(roots)?;
        Ok(self.0.tls.get_or_init(|| config).clone())
    }
}

fn tls(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    Ok(
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

fn open_cache(folder: &Path) -> Result<Cache, RuntimeError> {
    let failed = |reason: String| RuntimeError::Cache {
        folder: folder.to_owned(),
        reason,
    };
    let absolute = std::path::absolute(folder).map_err(|error| failed(error.to_string()))?;
    create_private(&absolute).map_err(|error| failed(error.to_string()))?;
    let mut config = CacheConfig::new();
    config.with_directory(absolute);
    Cache::new(config).map_err(|error| failed(format!("{error:#}")))
}

#[cfg(unix)]
fn create_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

#[cfg(not(unix))]
fn create_private(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)
}

fn engine(cache: Option<Cache>) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // Contracts are plain functions of WASI 0.2: what only concurrent tasks need is left out.
        .concurrency_support(false)
        .wasm_memory64(false)
        .cache(cache)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(slots()));
    Engine::new(&config).or_else(|error| {
        tracing::warn!("no address space for a pool of instances, each is allocated by itself: {error:#}");
        Engine::new(config.allocation_strategy(InstanceAllocationStrategy::OnDemand))
    })
}

fn slots() -> PoolingAllocationConfig {
    let mut slots = PoolingAllocationConfig::new();
    slots
        .total_component_instances(SLOTS)
        .total_core_instances(SLOTS * 8)
        .total_memories(SLOTS)
        .total_tables(SLOTS * 2)
        .total_stacks(SLOTS)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_memory_size(usize::try_from(MAX_MEMORY.0).unwrap_or(usize::MAX))
        .table_elements(MAX_TABLE)
        .max_unused_warm_slots(WARM_SLOTS)
        .linear_memory_keep_resident(KEEP_MEMORY)
        .table_keep_resident(KEEP_REST)
        .async_stack_keep_resident(KEEP_REST);
    slots
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("state", &self.0.state)
            .finish_non_exhaustive()
    }
}
