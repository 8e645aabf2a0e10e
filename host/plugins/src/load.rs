//! From files and configuration to plugins that answer: all of them, or none.

mod check;
pub(crate) mod file;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use check::Checked;
use file::File;
use futures::future::join_all;
use tokio::time::timeout;
use wasmtime::component::{Component, InstancePre};

use crate::{
    Claims, Counts, Recovery, Storage,
    config::{Bounds, Kind, LimitError, MAX_INSTANCES, PluginConfig},
    diagnosis::{self, Finding},
    egress::{Egress, Policy},
    guest::{Guest, Shared},
    key_value::KeyValue,
    kubernetes::KubernetesPolicy,
    origin::Scheme,
    pool::StartError,
    runtime::Runtime,
    secrets::{SecretError, Secrets},
    stats::Stats,
    v0_1,
};

/// How long a backend may take to say that it is there when its plugin is loaded. The gateway's
/// start waits for it.
const CHECK: Duration = Duration::from_secs(3);

/// The plugins that are in service together. Dropping a set lets its calls finish: whoever holds
/// one of its plugins can go on using it.
#[derive(Clone, Debug, Default)]
pub struct Plugins {
    by_name: BTreeMap<String, Arc<Plugin>>,
}

/// One plugin in service.
#[derive(Debug)]
struct Plugin {
    config: PluginConfig,
    file: File,
    watched: Vec<PathBuf>,
    contract: &'static str,
    trouble: Option<String>,
    shared: Arc<Shared>,
    works: Works,
}

#[derive(Clone, Debug)]
enum Works {
    Claims(Arc<dyn Claims>),
    Storage(Arc<dyn Storage>),
    Recovery(Arc<dyn Recovery>),
}

/// What there is to know about a plugin in service.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PluginInfo {
    /// Its name in the configuration.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// The component's file.
    pub file: PathBuf,
    /// The file's SHA-256 digest in hexadecimal.
    pub sha256: String,
    /// The version of its kind's contract that it speaks.
    pub contract: &'static str,
    /// What its backend said when it was loaded, if that was not good.
    pub trouble: Option<String>,
    /// What happened since it was loaded.
    pub counts: Counts,
}

/// Why plugins were not loaded: one error for each that can't be.
#[derive(Debug)]
pub struct LoadErrors(pub Vec<LoadError>);

/// Why a plugin was not loaded.
#[derive(Debug, thiserror::Error)]
#[error("plugin {plugin} ({}): {problem}", file.display())]
pub struct LoadError {
    /// Its name in the configuration.
    pub plugin: String,
    /// The component's file.
    pub file: PathBuf,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a plugin.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A name that can't be one.
    #[error("a plugin's name consists of 1 to 63 lower-case letters, digits and hyphens")]
    Name,
    /// A limit that can't be kept.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// More instances than the engine has room for.
    #[error(
        "the plugins have {0} instances together, and {MAX_INSTANCES} are possible: lower limits.instances"
    )]
    Instances(u32),
    /// The file can't be read, or is not the one that was meant.
    #[error("{0}")]
    File(String),
    /// A secret that can't be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The file can't be linked as what it is configured to be.
    #[error("{}", lines(.0))]
    Link(Vec<Finding>),
    /// The component can't be compiled here.
    #[error("it can't be compiled: {0}")]
    Compile(String),
    /// Its key-value space can't be opened.
    #[error(transparent)]
    State(#[from] witgate_state::Error),
    /// What its requests need can't be set up.
    #[error("TLS can't be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The plugin refuses its configuration.
    #[error("it refuses plugins.<name>.config: {0}")]
    Config(String),
    /// The plugin doesn't start.
    #[error("it doesn't start: {0}")]
    Start(String),
    /// It tried to reach what it was not granted.
    #[error("{}", .0.join("\n"))]
    Denied(Vec<String>),
}

/// One plugin on its way into service.
struct Loading<'a> {
    runtime: &'a Runtime,
    name: &'a str,
    config: &'a PluginConfig,
    base: &'a Path,
    previous: Option<&'a Arc<Plugin>>,
}

impl Plugins {
    /// Loads the plugins of a configuration whose folder is `base`: the files are read, checked,
    /// compiled, linked and started, and storage plugins are asked for their backend, whose absence
    /// is no error. A plugin of `previous` whose configuration, file and secrets are the same stays
    /// as it is, with its instances.
    ///
    /// On an error nothing has changed, and `previous` can stay in service.
    pub async fn load(
        runtime: &Runtime,
        config: &BTreeMap<String, PluginConfig>,
        base: &Path,
        previous: Option<&Self>,
    ) -> Result<Self, LoadErrors> {
        let loading = config.iter().map(|(name, config)| {
            let previous = previous.and_then(|previous| previous.by_name.get(name));
            Loading {
                runtime,
                name,
                config,
                base,
                previous,
            }
        });
        let loading: Vec<_> = loading.collect();
        let mut by_name = BTreeMap::new();
        let mut errors = Vec::new();
        for (plugin, loaded) in loading
            .iter()
            .zip(join_all(loading.iter().map(Loading::load)).await)
        {
            match loaded {
                Ok(loaded) => drop(by_name.insert(plugin.name.to_owned(), loaded)),
                Err(error) => errors.push(error),
            }
        }
        let instances = by_name
            .values()
            .map(|plugin| u32::from(plugin.shared.bounds.instances))
            .sum();
        if let Some((name, plugin)) = by_name.last_key_value().filter(|_| instances > MAX_INSTANCES) {
            let (plugin, file) = (name.clone(), plugin.file.path.clone());
            errors.push(LoadError {
                plugin,
                file,
                problem: Problem::Instances(instances),
            });
        }
        if errors.is_empty() {
            Ok(Self { by_name })
        } else {
            Err(LoadErrors(errors))
        }
    }

    /// The claims plugin of this name.
    pub fn claims(&self, name: &str) -> Option<Arc<dyn Claims>> {
        match &self.by_name.get(name)?.works {
            Works::Claims(claims) => Some(claims.clone()),
            Works::Storage(_) | Works::Recovery(_) => None,
        }
    }

    /// The storage plugin of this name.
    pub fn storage(&self, name: &str) -> Option<Arc<dyn Storage>> {
        match &self.by_name.get(name)?.works {
            Works::Storage(storage) => Some(storage.clone()),
            Works::Claims(_) | Works::Recovery(_) => None,
        }
    }

    /// The recovery plugin of this name.
    pub fn recovery(&self, name: &str) -> Option<Arc<dyn Recovery>> {
        match &self.by_name.get(name)?.works {
            Works::Recovery(recovery) => Some(recovery.clone()),
            Works::Claims(_) | Works::Storage(_) => None,
        }
    }

    /// The files that a change of means loading again: components, and files with secrets.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.by_name
            .values()
            .flat_map(|plugin| plugin.watched.iter().map(PathBuf::as_path))
    }

    /// All plugins, in the order of their names.
    pub fn list(&self) -> impl Iterator<Item = PluginInfo> + '_ {
        self.by_name.iter().map(|(name, plugin)| PluginInfo {
            name: name.clone(),
            kind: plugin.config.kind,
            file: plugin.file.path.clone(),
            sha256: plugin.file.digest.to_string(),
            contract: plugin.contract,
            trouble: plugin.trouble.clone(),
            counts: plugin.shared.stats.counts(plugin.shared.egress.denials().count()),
        })
    }
}

impl Loading<'_> {
    async fn load(&self) -> Result<Arc<Plugin>, LoadError> {
        self.plugin().await.map_err(|problem| LoadError {
            plugin: self.name.to_owned(),
            file: self.base.join(&self.config.file),
            problem,
        })
    }

    async fn plugin(&self) -> Result<Arc<Plugin>, Problem> {
        if !is_name(self.name) {
            return Err(Problem::Name);
        }
        let bounds = self.config.limits.bounds(self.config.kind)?;
        let (file, content) =
            File::read(self.base.join(&self.config.file), self.config.sha256.as_deref()).await?;
        let secrets = Secrets::read(&self.config.grants, self.base).await?;
        let same = |previous: &&Arc<Plugin>| {
            previous.config == *self.config && previous.file == file && previous.shared.egress.has(&secrets)
        };
        if let Some(previous) = self.previous.filter(same) {
            return Ok(previous.clone());
        }
        let component = self.compile(content).await?;
        let linked = self.link(&component);
        let ungranted = self.ungranted(&component);
        let (contract, linked) = match linked {
            Ok(linked) if ungranted.is_empty() => linked,
            Ok(_) => return Err(Problem::Link(ungranted)),
            Err(findings) => return Err(Problem::Link([findings, ungranted].concat())),
        };
        let shared = Arc::new(self.share(bounds, secrets)?);
        let works = self.start(linked, &shared).await?;
        let trouble = match &works {
            Works::Storage(storage) => self.check(&**storage).await,
            Works::Claims(_) | Works::Recovery(_) => None,
        };
        let denied = shared.egress.denials().in_words();
        if !denied.is_empty() {
            return Err(Problem::Denied(denied));
        }
        let mut watched = Secrets::files(&self.config.grants, self.base);
        watched.insert(0, file.path.clone());
        tracing::info!(plugin = self.name, kind = %self.config.kind, contract, sha256 = %file.digest, "loaded");
        Ok(Arc::new(Plugin {
            config: self.config.clone(),
            file,
            watched,
            contract,
            trouble,
            shared,
            works,
        }))
    }

    /// Compiling takes 0.8 ms for each KiB where it is not in the cache: not on a thread that
    /// serves requests.
    async fn compile(&self, content: Vec<u8>) -> Result<Component, Problem> {
        let engine = self.runtime.engine().clone();
        let compile = move || {
            diagnosis::validate(&content).map_err(|finding| Problem::Link(vec![finding]))?;
            Component::new(&engine, &content).map_err(|error| Problem::Compile(format!("{error:#}")))
        };
        tokio::task::spawn_blocking(compile)
            .await
            .map_err(|error| Problem::Compile(error.to_string()))?
    }

    fn link(&self, component: &Component) -> Result<(&'static str, InstancePre<Guest>), Vec<Finding>> {
        let contract = diagnosis::compare(self.runtime.engine(), component, self.config.kind)?;
        let linked = self.runtime.linker().instantiate_pre(component);
        let linked = linked.map_err(|error| vec![Finding::Types(format!("{error:#}"))])?;
        Ok((contract, linked))
    }

    fn ungranted(&self, component: &Component) -> Vec<Finding> {
        diagnosis::ungranted(self.runtime.engine(), component, self.name, &self.config.grants)
    }

    /// Starts the first instance, which gets its configuration.
    async fn start(&self, linked: InstancePre<Guest>, shared: &Arc<Shared>) -> Result<Works, StartError> {
        let engine = self.runtime.engine();
        Ok(match self.config.kind {
            Kind::Claims => Works::Claims(v0_1::claims(engine, linked, shared).await?),
            Kind::Storage => Works::Storage(v0_1::storage(engine, linked, shared).await?),
            Kind::Recovery => Works::Recovery(v0_1::recovery(engine, linked, shared).await?),
        })
    }

    fn share(&self, bounds: Bounds, secrets: Secrets) -> Result<Shared, Problem> {
        let grants = &self.config.grants;
        let key_value = grants.key_value.as_ref();
        let key_value = key_value
            .map(|grant| KeyValue::open(self.runtime.state(), self.name, grant))
            .transpose()?;
        let secure = grants
            .http
            .iter()
            .any(|grant| grant.origin.scheme() == Scheme::Https);
        let tls = self.runtime.tls(secure)?;
        let egress = Egress::new(Policy::new(self.name, &grants.http), secrets, &bounds, tls);
        Ok(Shared {
            name: self.name.into(),
            config: serde_json::Value::Object(self.config.config.clone()).to_string(),
            bounds,
            egress: Arc::new(egress),
            key_value,
            kubernetes: KubernetesPolicy::new(self.name, &grants.kubernetes),
            sees_etcd: grants.etcd,
            stats: Stats::default(),
        })
    }

    /// Asks a storage plugin for its backend; returns what is wrong with that.
    async fn check(&self, storage: &dyn Storage) -> Option<String> {
        let trouble = match timeout(CHECK, storage.check()).await {
            Ok(Ok(())) => return None,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {CHECK:?}"),
        };
        tracing::warn!(
            plugin = self.name,
            "the backend can't be used at the moment: {trouble}"
        );
        Some(trouble)
    }
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(reason) => Self::Config(reason),
            StartError::Broken(reason) => Self::Start(reason),
        }
    }
}

/// Whether a plugin can be called so.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len()) && name.chars().all(plain)
}

fn lines(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

impl fmt::Display for LoadErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            &self
                .0
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n"),
        )
    }
}

impl std::error::Error for LoadErrors {}
