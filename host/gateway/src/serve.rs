//! Runs a gateway from its configuration file to the signal that ends it.

use std::{io::Write, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use witgate_identity::{Records, SealingKey};
use witgate_plugins::{Options, Runtime};
use witgate_state::{Embedded, Etcd, State};

use crate::{
    audit::Audit,
    config::Loaded,
    gateway::Gateway,
    listener::{ListenError, Listener, Tls},
    metrics::Metrics,
    reload::Reloader,
    routes,
    wiring::{Foundation, Wiring},
};

/// How long requests in flight may take once the process was told to stop. Below Kubernetes'
/// default grace period of 30 s.
const GRACE: Duration = Duration::from_secs(25);

/// How long the last audit lines may take then.
const LAST_LINES: Duration = Duration::from_secs(3);

/// Runs the gateway.
pub(crate) async fn serve(file: &Path) -> anyhow::Result<()> {
    let loaded = Loaded::read(file)?;
    let directory = loaded.base().join(&loaded.config.state.directory);
    std::fs::create_dir_all(&directory).with_context(|| format!("{}: can't be made", directory.display()))?;
    let key = sealing_key(&loaded, &directory)?;
    let state = open_state(&loaded, &directory).await?;
    let foundation = foundation(state, &directory, key).await?;
    // A directory has nobody else who revokes.
    if loaded.config.state.etcd.is_some() {
        let records = Arc::clone(&foundation.records);
        tokio::spawn(async move { records.revocations.follow().await });
    }
    let certificates = certificates(&loaded)?;
    let wiring = Wiring::build(&loaded, &foundation, None).await?;
    wiring.begin();
    let audit_file = loaded
        .config
        .audit
        .file
        .as_ref()
        .map(|file| loaded.base().join(file));
    let audit = Audit::start(audit_file.as_deref()).context("audit.file can't be written")?;

    let live = Arc::new(ArcSwap::from_pointee(wiring));
    let metrics = Arc::new(Metrics::new());
    metrics.generation.set(1);
    let gateway = Arc::new(Gateway::new(
        Arc::clone(&live),
        audit.clone(),
        Arc::clone(&metrics),
        foundation.state.space("health")?,
    ));
    let mut listeners = Vec::new();
    for (config, tls) in loaded.config.listeners.iter().zip(certificates.clone()) {
        let router = routes::router(&gateway, &config.serves);
        listeners.push(Listener::bind(config, tls, router).await?);
    }

    let reloader = Reloader {
        file: file.to_owned(),
        listeners: loaded.config.listeners.clone(),
        certificates,
        live,
        foundation: Arc::new(foundation),
        metrics,
    };
    tokio::spawn(reloader.run());
    announce(&listeners)?;

    let (stop, stopped) = watch::channel(false);
    let mut serving: JoinSet<()> = listeners
        .into_iter()
        .map(|listener| listener.serve(stopped.clone()))
        .collect();
    told_to_stop().await?;
    tracing::info!("stopping: requests in flight have {} s", GRACE.as_secs());
    stop.send_replace(true);
    if tokio::time::timeout(GRACE, async { while serving.join_next().await.is_some() {} })
        .await
        .is_err()
    {
        tracing::warn!("some requests were still in flight");
    }
    if tokio::time::timeout(LAST_LINES, audit.flush()).await.is_err() {
        tracing::error!("the last audit lines were not written");
    }
    Ok(())
}

/// Checks everything that [`serve`] would, without opening a port or touching its state.
pub(crate) async fn check(file: &Path) -> anyhow::Result<()> {
    let loaded = Loaded::read(file)?;
    certificates(&loaded)?;
    let scratch = tempfile::tempdir().context("no temporary directory can be made")?;
    let key = SealingKey::random().context("no random numbers can be had")?;
    if loaded.config.state.etcd.is_some() {
        sealing_key(&loaded, scratch.path())?;
    }
    let state = Arc::new(Embedded::open(&scratch.path().join("store"))?);
    let foundation = foundation(state, scratch.path(), key).await?;
    let wiring = Wiring::build(&loaded, &foundation, None).await?;
    println!("{}: is valid", file.display());
    for plugin in wiring.plugins.list() {
        println!(
            "  plugin {} ({}) sha256:{}",
            plugin.name, plugin.contract, plugin.sha256
        );
    }
    Ok(())
}

/// The listeners' certificates, all read before the first port opens.
fn certificates(loaded: &Loaded) -> Result<Vec<Option<Tls>>, ListenError> {
    let read = |config| Tls::read(config, loaded.base());
    loaded.config.listeners.iter().map(read).collect()
}

fn sealing_key(loaded: &Loaded, directory: &Path) -> anyhow::Result<SealingKey> {
    let config = &loaded.config.state;
    Ok(match &config.sealing_key_file {
        Some(file) => SealingKey::read(&loaded.base().join(file))?,
        None => {
            anyhow::ensure!(
                config.etcd.is_none(),
                "state.sealingKeyFile is missing: with state.etcd every gateway needs the same key"
            );
            SealingKey::read_or_create(&directory.join("sealing.key"))?
        }
    })
}

async fn open_state(loaded: &Loaded, directory: &Path) -> anyhow::Result<Arc<dyn State>> {
    Ok(match &loaded.config.state.etcd {
        Some(etcd) => Arc::new(Etcd::open(&etcd.relative_to(loaded.base())).await?),
        None => Arc::new(Embedded::open(&directory.join("store"))?),
    })
}

async fn foundation(state: Arc<dyn State>, directory: &Path, key: SealingKey) -> anyhow::Result<Foundation> {
    let records = Arc::new(Records::open(&*state, key).await?);
    let replicas = state.space("prometheus-replicas")?;
    let runtime = Runtime::new(Options {
        cache: Some(directory.join("compiled")),
        state: Arc::clone(&state),
    })?;
    Ok(Foundation {
        runtime,
        records,
        state,
        replicas,
    })
}

/// The line that scripts wait for.
fn announce(listeners: &[Listener]) -> anyhow::Result<()> {
    let urls: Vec<_> = listeners.iter().map(Listener::url).collect();
    let mut out = std::io::stdout().lock();
    writeln!(out, "witgate: ready at {}", urls.join(", "))?;
    out.flush()?;
    Ok(())
}

async fn told_to_stop() -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
