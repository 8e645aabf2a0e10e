//! Puts a changed configuration in service: on SIGHUP, and when one of its files changes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    config::{ListenerConfig, Loaded},
    listener::Tls,
    metrics::Metrics,
    wiring::{Foundation, Live, Wiring, WiringError},
};

/// How often files are looked at. Looking works where change notification does not: a ConfigMap
/// is swapped by a symbolic link, and network file systems notify nobody.
const INTERVAL: Duration = Duration::from_secs(1);

/// Watches for changes and swaps the wiring.
#[derive(Debug)]
pub(crate) struct Reloader {
    pub(crate) file: PathBuf,
    /// What the process listens on since its start, and each one's certificate.
    pub(crate) listeners: Vec<ListenerConfig>,
    pub(crate) certificates: Vec<Option<Tls>>,
    pub(crate) live: Live,
    pub(crate) foundation: Arc<Foundation>,
    pub(crate) metrics: Arc<Metrics>,
}

/// What tells one version of a file from another without reading it.
type Stamp = Option<(SystemTime, u64)>;

impl Reloader {
    /// Runs until the process ends.
    pub(crate) async fn run(self) -> std::io::Result<()> {
        let mut hangup = signal(SignalKind::hangup())?;
        let mut seen = self.stamps().await;
        let mut look = tokio::time::interval(INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = hangup.recv() => {}
                _ = look.tick() => {
                    if self.stamps().await == seen {
                        continue;
                    }
                }
            }
            // Taken before reading: a change that comes while reading is seen the next time.
            seen = self.stamps().await;
            self.reload().await;
            // The new configuration may name other files.
            let named = self.stamps().await;
            let stamp = |(file, now)| {
                let before = seen.get(&file).copied();
                (file, before.unwrap_or(now))
            };
            seen = named.into_iter().map(stamp).collect();
        }
    }

    async fn reload(&self) {
        match self.build().await {
            Ok((wiring, certificates)) => {
                for (shown, read) in self.certificates.iter().flatten().zip(&certificates) {
                    shown.replace(read);
                }
                wiring.begin();
                self.live.store(Arc::new(wiring));
                self.metrics.reloads.inc();
                let generation = self.metrics.generation.inc() + 1;
                tracing::info!(generation, file = %self.file.display(), "the changed configuration is in service");
            }
            Err(error) => {
                self.metrics.refused_reloads.inc();
                tracing::error!("the changed configuration is refused, and the one before stays: {error}");
            }
        }
    }

    /// The new wiring, and what the files of the listeners that have certificates hold now.
    async fn build(&self) -> Result<(Wiring, Vec<Tls>), WiringError> {
        let loaded = Loaded::read(&self.file)?;
        let certificates: Vec<_> = { self.listeners.iter() }
            .map(|listener| Tls::read(listener, loaded.base()))
            .collect::<Result<_, _>>()?;
        let previous = self.live.load_full();
        let wiring = Wiring::build(&loaded, &self.foundation, Some(&previous)).await?;
        if previous.config.listeners != wiring.config.listeners
            || previous.config.state != wiring.config.state
            || previous.config.audit != wiring.config.audit
        {
            tracing::warn!(
                "changes to `listeners`, `state` and `audit` take effect when witgate is restarted"
            );
        }
        Ok((wiring, certificates.into_iter().flatten().collect()))
    }

    async fn stamps(&self) -> BTreeMap<PathBuf, Stamp> {
        let mut stamps = BTreeMap::new();
        let base = self.file.parent().unwrap_or(Path::new(""));
        let certificates = { self.listeners.iter() }
            .filter_map(|listener| listener.tls.as_ref())
            .flat_map(|tls| tls.files())
            .map(|file| base.join(file));
        let files = self.live.load().files(base);
        for file in std::iter::once(self.file.clone())
            .chain(certificates)
            .chain(files)
        {
            let stamp = stamp(&file).await;
            stamps.insert(file, stamp);
        }
        stamps
    }
}

async fn stamp(file: &Path) -> Stamp {
    let metadata = tokio::fs::metadata(file).await.ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
