//! Checks what the configuration says of a tenant, and makes of it what tenants are built from.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};

use witgate_plugins::Storage;
use witgate_state::Space;

use crate::{
    caller::{Pattern, PatternError},
    config::{ConfigError, PrometheusConfig, TenantConfig, TenantStorageConfig},
    relabel::Relabel,
    tenant::{Blueprint, StoragePlan},
};

/// Seconds' worth of samples that may come at once, where the configuration does not say.
const DEFAULT_BURST: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// How long a series is active, where the configuration does not say.
const DEFAULT_WINDOW: Duration = Duration::from_secs(3600);

/// What the section is built on.
#[derive(Clone, Copy)]
pub struct Foundations<'a> {
    /// Finds a storage plugin by name.
    pub storage: &'a dyn Fn(&str) -> Option<Arc<dyn Storage>>,
    /// Where it is kept which of a tenant's replicas were elected.
    pub replicas: &'a Arc<dyn Space>,
}

impl std::fmt::Debug for Foundations<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Foundations").finish_non_exhaustive()
    }
}

impl Blueprint {
    /// Checks the tenant at a place in the section. `is_named` if its name has a place for one.
    pub(crate) fn new(
        config: &PrometheusConfig,
        (index, tenant): (usize, &TenantConfig),
        is_named: bool,
        foundations: Foundations<'_>,
    ) -> Result<Self, ConfigError> {
        let attributes = patterns(index, "attributes", &tenant.attributes, is_named)?;
        let (storages, reader) = storages(index, tenant, is_named, foundations)?;
        let own = &tenant.limits;
        let rate = own.samples_per_second.map(|per_second| {
            let burst = own.burst.unwrap_or(per_second.saturating_mul(DEFAULT_BURST));
            (per_second, burst)
        });
        let window = own.series_window.unwrap_or(DEFAULT_WINDOW);
        if let Some(replicas) = &tenant.replicas {
            let (cluster, replica) = (&replicas.cluster_label, &replicas.replica_label);
            if cluster.is_empty() || replica.is_empty() || cluster == replica {
                let reason = "`clusterLabel` and `replicaLabel` are two labels";
                return Err(ConfigError::Replicas(index, reason));
            } else if replicas.failover < Duration::from_secs(1) {
                return Err(ConfigError::Replicas(index, "`failover` is at least `1s`"));
            }
        }
        let relabel = Relabel::new(&tenant.relabel);
        Ok(Self {
            attributes,
            storages,
            reader,
            label: config.tenant_label.clone(),
            limits: own.over(&config.limits),
            rate,
            reads: own.concurrent_reads,
            series: own.series.map(|most| (most, window)),
            replicas: { tenant.replicas.clone() }.map(|config| (config, Arc::clone(foundations.replicas))),
            relabel: relabel.map_err(|(rule, error)| ConfigError::Relabel(index, rule, error))?,
        })
    }
}

/// What a storage is, and what it is told.
type Reader = (Arc<dyn Storage>, Vec<(String, Pattern)>);

/// The storages of a tenant, and the one that is read from.
fn storages(
    index: usize,
    tenant: &TenantConfig,
    is_named: bool,
    foundations: Foundations<'_>,
) -> Result<(Vec<StoragePlan>, Reader), ConfigError> {
    let wrong = |reason| ConfigError::Storages(index, reason);
    let only;
    let (configured, place): (&[TenantStorageConfig], _) = match (&tenant.storage, &tenant.storages[..]) {
        (None, []) => return Err(wrong("it has neither `storage` nor `storages`")),
        (None, several) => (several, "storages"),
        (Some(_), [_, ..]) => return Err(wrong("it has both `storage` and `storages`: give it one of them")),
        (Some(plugin), []) => {
            only = [TenantStorageConfig {
                plugin: plugin.clone(),
                attributes: BTreeMap::new(),
                best_effort: false,
                read: false,
            }];
            (&only, "storage")
        }
    };
    let mut plans: Vec<StoragePlan> = Vec::new();
    for (at, storage) in configured.iter().enumerate() {
        let place = match tenant.storage {
            Some(_) => place.to_owned(),
            None => format!("{place}[{at}].plugin"),
        };
        if plans.iter().any(|plan| plan.name == storage.plugin) {
            return Err(wrong("`storages` has one plugin twice"));
        }
        let found = (foundations.storage)(&storage.plugin);
        let mut attributes = tenant.attributes.clone();
        attributes.extend(storage.attributes.clone());
        let name = storage.plugin.clone();
        plans.push(StoragePlan {
            storage: found.ok_or_else(|| ConfigError::NoStorage(index, place, name.clone()))?,
            name,
            attributes: patterns(
                index,
                &format!("storages[{at}].attributes"),
                &attributes,
                is_named,
            )?,
            is_required: !storage.best_effort,
        });
    }
    let first = plans.iter().find(|plan| plan.is_required);
    let first = first.ok_or(wrong(
        "all of its `storages` are `bestEffort`: one has to have all samples",
    ))?;
    let mut marked = { configured.iter().zip(&plans) }.filter(|(storage, _)| storage.read);
    let reader = marked.next().map_or(first, |(_, plan)| plan);
    if marked.next().is_some() {
        return Err(wrong("`read` is for one of its `storages`"));
    }
    let reader = (Arc::clone(&reader.storage), reader.attributes.clone());
    Ok((plans, reader))
}

fn patterns(
    index: usize,
    place: &str,
    attributes: &BTreeMap<String, String>,
    is_named: bool,
) -> Result<Vec<(String, Pattern)>, ConfigError> {
    let attributes = attributes.iter().map(|(key, value)| {
        let at = |error| ConfigError::Callers(index, format!("{place}.{key}"), error);
        let pattern = Pattern::parse(value).map_err(at)?;
        if pattern.has_name() && !is_named {
            return Err(at(PatternError::NameIsFixed));
        }
        Ok((key.clone(), pattern))
    });
    attributes.collect()
}
