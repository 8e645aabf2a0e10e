//! A tenant in service.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use witgate_plugins::{Context, Storage};
use witgate_state::Space;

use crate::{
    Account,
    backends::{Backend, Backends},
    caller::Pattern,
    config::{Limits, ReplicasConfig},
    relabel::Relabel,
    replicas::Replicas,
    series::ActiveSeries,
    treatment::Treatment,
};

/// What tenants of one entry of the configuration are made from.
#[derive(Debug)]
pub(crate) struct Blueprint {
    pub(crate) attributes: Vec<(String, Pattern)>,
    pub(crate) storages: Vec<StoragePlan>,
    /// The storage that is read from, and what it is told.
    pub(crate) reader: (Arc<dyn Storage>, Vec<(String, Pattern)>),
    pub(crate) label: Option<String>,
    pub(crate) limits: Limits,
    /// Samples, histograms and exemplars in a second, and at once.
    pub(crate) rate: Option<(NonZeroU32, NonZeroU32)>,
    /// Reads at the same time.
    pub(crate) reads: Option<usize>,
    /// Active series, and how long one is.
    pub(crate) series: Option<(usize, Duration)>,
    pub(crate) replicas: Option<(ReplicasConfig, Arc<dyn Space>)>,
    pub(crate) relabel: Relabel,
}

/// A storage of tenants that are made.
#[derive(Debug)]
pub(crate) struct StoragePlan {
    pub(crate) name: String,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) attributes: Vec<(String, Pattern)>,
    pub(crate) is_required: bool,
}

/// A tenant in service.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) backends: Backends,
    /// The storage that is read from, and what it is told of the tenant.
    pub(crate) storage: Arc<dyn Storage>,
    read_attributes: Vec<(String, String)>,
    /// The names of its storage plugins.
    pub(crate) storage_name: String,
    /// The label that its series have and nobody else's, whose value is its name.
    pub(crate) label: Option<String>,
    pub(crate) limits: Limits,
    /// What its series go through, if anything.
    pub(crate) treatment: Option<Arc<Treatment>>,
    rate: Option<Arc<Rate>>,
    reads: Option<Arc<Semaphore>>,
    /// When it was last asked for, in seconds of the clock of whoever keeps it.
    last_used: AtomicU64,
}

/// What a tenant has counted, which a new configuration does not make it forget.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    rate: Option<Arc<Rate>>,
    series: Option<Arc<ActiveSeries>>,
}

/// How many samples, histograms and exemplars it may write in a time.
#[derive(Debug)]
struct Rate {
    limiter: DefaultDirectRateLimiter,
    per_second: NonZeroU32,
    burst: NonZeroU32,
}

/// As many reads of a tenant are under way as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("as many reads are under way as the tenant may have (`limits.concurrentReads`)")]
pub(crate) struct Busy;

// === impl Blueprint ===

impl Blueprint {
    /// The tenant of this name, which goes on counting from what it had counted before. `part` is what
    /// `{tenant}` stands for in its name.
    pub(crate) fn build(&self, name: &str, part: &str, counted: &Counted) -> Tenant {
        let with_part = |attributes: &[(String, Pattern)]| -> Vec<(String, String)> {
            let attributes = attributes.iter();
            attributes
                .map(|(key, value)| (key.clone(), value.with(part)))
                .collect()
        };
        let backends = self.storages.iter().map(|plan| {
            let attributes = with_part(&plan.attributes);
            Backend::new(
                &plan.name,
                Arc::clone(&plan.storage),
                attributes,
                plan.is_required,
            )
        });
        let names: Vec<_> = self.storages.iter().map(|plan| plan.name.as_str()).collect();
        let rate = self.rate.map(|(per_second, burst)| {
            let same = |rate: &&Arc<Rate>| (rate.per_second, rate.burst) == (per_second, burst);
            counted.rate.as_ref().filter(same).cloned().unwrap_or_else(|| {
                let limiter = RateLimiter::direct(Quota::per_second(per_second).allow_burst(burst));
                Arc::new(Rate {
                    limiter,
                    per_second,
                    burst,
                })
            })
        });
        let series = self.series.map(|(most, window)| {
            let same = |series: &&Arc<ActiveSeries>| series.is_bounded(most, window);
            let series = counted.series.as_ref().filter(same).cloned();
            series.unwrap_or_else(|| Arc::new(ActiveSeries::new(most, window)))
        });
        let replicas = self
            .replicas
            .as_ref()
            .map(|(config, space)| Arc::new(Replicas::new(name, config, Arc::clone(space))));
        let relabel = self.relabel.clone();
        let treatment = Treatment {
            replicas,
            relabel,
            series,
        };
        Tenant {
            name: name.to_owned(),
            attributes: with_part(&self.attributes),
            backends: Backends::new(backends.collect()),
            storage: Arc::clone(&self.reader.0),
            read_attributes: with_part(&self.reader.1),
            storage_name: names.join(","),
            label: self.label.clone(),
            limits: self.limits.clone(),
            treatment: (!treatment.is_empty()).then(|| Arc::new(treatment)),
            rate,
            reads: self.reads.map(|reads| Arc::new(Semaphore::new(reads))),
            last_used: AtomicU64::new(0),
        }
    }

    /// What `?db=` selects the tenant by in whose name `{tenant}` stands for this.
    pub(crate) fn database(&self, part: &str) -> Option<String> {
        let mut attributes = self.attributes.iter();
        let (_, pattern) = attributes.find(|(key, _)| key == "db")?;
        Some(pattern.with(part))
    }
}

// === impl Tenant ===

impl Tenant {
    /// What a request comes to, before anything has.
    pub(crate) fn account(&self) -> Account {
        Account {
            tenant: self.name.clone(),
            storage: self.storage_name.clone(),
            ..Account::default()
        }
    }

    /// Name and value of the label that all of its series have.
    pub(crate) fn label(&self) -> Option<(&str, &str)> {
        Some((self.label.as_deref()?, &self.name))
    }

    /// What it has counted so far.
    pub(crate) fn counted(&self) -> Counted {
        let series = self
            .treatment
            .as_ref()
            .and_then(|treatment| treatment.series.clone());
        Counted {
            rate: self.rate.clone(),
            series,
        }
    }

    /// A place among its reads.
    pub(crate) fn reading(&self) -> Result<Option<OwnedSemaphorePermit>, Busy> {
        let Some(reads) = &self.reads else { return Ok(None) };
        { Arc::clone(reads).try_acquire_owned() }
            .map(Some)
            .map_err(|_| Busy)
    }

    /// What decides about replicas of its clusters.
    pub(crate) fn replicas(&self) -> Option<&Arc<Replicas>> {
        self.treatment.as_ref()?.replicas.as_ref()
    }

    /// How many series of its are active, where they are counted, and how many may be.
    pub(crate) fn series(&self) -> Option<(u64, u64)> {
        let series = self.treatment.as_ref()?.series.as_ref()?;
        Some((series.count(), series.most()))
    }

    /// Samples, histograms and exemplars that may come in a second, and at once.
    pub(crate) fn rate(&self) -> Option<(u32, u32)> {
        let rate = self.rate.as_ref()?;
        Some((rate.per_second.get(), rate.burst.get()))
    }

    /// Takes so many samples off what may be written; the error is how long to wait.
    pub(crate) fn admit(&self, samples: u64) -> Result<(), Duration> {
        let Some(rate) = &self.rate else { return Ok(()) };
        // What is more than a burst would wait for ever: it costs a whole one.
        let cost = u32::try_from(samples).unwrap_or(u32::MAX).min(rate.burst.get());
        let Some(cost) = NonZeroU32::new(cost) else {
            return Ok(());
        };
        match rate.limiter.check_n(cost) {
            Ok(Err(until)) => Err(until.wait_time_from(DefaultClock::default().now())),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    /// What `?db=` selects it by.
    pub(crate) fn database(&self) -> Option<&str> {
        let mut attributes = self.attributes.iter();
        let (_, value) = attributes.find(|(key, _)| key == "db")?;
        Some(value)
    }

    /// What the storage plugin that is read from is told.
    pub(crate) fn context(&self, request_id: &str) -> Context {
        Context {
            tenant: self.name.clone(),
            attributes: self.read_attributes.clone(),
            request_id: request_id.to_owned(),
        }
    }

    pub(crate) fn is_used(&self, now: u64) {
        self.last_used.store(now, Ordering::Relaxed);
    }

    pub(crate) fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }
}
