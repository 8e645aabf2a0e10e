//! What was written by tenant and storage.

use std::{
    borrow::Cow,
    collections::HashSet,
    sync::{PoisonError, RwLock},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use witgate_plugins::Datum;
use witgate_prometheus::{Account, DeliveryOutcome, LeftOut};

/// Tenants that have time series of their own. Names come from groups, so there may be any number.
const TENANTS: usize = 1000;

/// Credentials that have one.
const CREDENTIALS: usize = 200;

/// What stands for those that come after that. No tenant can be called so.
const OTHERS: &str = "_other";

#[derive(Debug)]
pub(super) struct Tenants {
    written: Family<DatumLabels, Counter>,
    refused: Family<RefusedLabels, Counter>,
    dropped: Family<LeftOutLabels, Counter>,
    deduplicated: Family<LeftOutLabels, Counter>,
    again: Family<AgainLabels, Counter>,
    deliveries: Family<DeliveryLabels, Counter>,
    active: Family<TenantLabels, Gauge>,
    most: Family<TenantLabels, Gauge>,
    unauthorized: Family<CredentialLabels, Counter>,
    names: Few,
    credentials: Few,
}

/// Names that have been seen, up to a number.
#[derive(Debug)]
struct Few {
    most: usize,
    seen: RwLock<HashSet<String>>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TenantLabels {
    tenant: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DatumLabels {
    tenant: String,
    storage: String,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RefusedLabels {
    tenant: String,
    storage: String,
    kind: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LeftOutLabels {
    tenant: String,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AgainLabels {
    tenant: String,
    storage: String,
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DeliveryLabels {
    tenant: String,
    storage: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CredentialLabels {
    credential: String,
    code: u16,
}

// === impl Tenants ===

impl Tenants {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let new = Self {
            written: Family::default(),
            refused: Family::default(),
            dropped: Family::default(),
            deduplicated: Family::default(),
            again: Family::default(),
            deliveries: Family::default(),
            active: Family::default(),
            most: Family::default(),
            unauthorized: Family::default(),
            names: Few::new(TENANTS),
            credentials: Few::new(CREDENTIALS),
        };
        registry.register(
            "prometheus_written",
            "Samples, histograms and exemplars that a tenant's storage has taken",
            new.written.clone(),
        );
        registry.register(
            "prometheus_refused",
            "Samples, histograms and exemplars that were refused for good, by reason",
            new.refused.clone(),
        );
        registry.register(
            "prometheus_dropped",
            "Samples, histograms and exemplars that a tenant's relabelling dropped",
            new.dropped.clone(),
        );
        registry.register(
            "prometheus_deduplicated",
            "Samples, histograms and exemplars of replicas whose cluster has another one that is stored",
            new.deduplicated.clone(),
        );
        registry.register(
            "prometheus_retried_writes",
            "Writes whose sender was told to come again",
            new.again.clone(),
        );
        registry.register(
            "prometheus_storage_writes",
            "Writes at each of a tenant's storages, by what they came to",
            new.deliveries.clone(),
        );
        registry.register(
            "prometheus_active_series",
            "Series of a tenant that are active, where they are limited, as of its last write",
            new.active.clone(),
        );
        registry.register(
            "prometheus_active_series_limit",
            "Series of a tenant that may be active",
            new.most.clone(),
        );
        registry.register(
            "prometheus_unauthorized_requests",
            "Requests of remote write and read whose credential does not hold: on 401 a sender drops its samples",
            new.unauthorized.clone(),
        );
        new
    }

    pub(super) fn write(&self, account: &Account, status: http::StatusCode) {
        let tenant = &*self.names.name(&account.tenant);
        if let Some((active, most)) = account.active_series {
            let labels = TenantLabels {
                tenant: tenant.to_owned(),
            };
            self.active.get_or_create(&labels).set(active.cast_signed());
            self.most.get_or_create(&labels).set(most.cast_signed());
        }
        for delivery in &account.deliveries {
            let labels = DeliveryLabels {
                tenant: tenant.to_owned(),
                storage: delivery.storage.clone(),
                outcome: delivery.outcome.name(),
            };
            self.deliveries.get_or_create(&labels).inc();
        }
        let is_retried = status.is_server_error() || status == http::StatusCode::TOO_MANY_REQUESTS;
        if is_retried {
            self.again(tenant, account, status.as_u16());
            // What is refused of it is refused when it comes again, and what is stored is stored again.
            return;
        }
        let written = [
            (Datum::Sample, account.samples),
            (Datum::Histogram, account.histograms),
            (Datum::Exemplar, account.exemplars),
        ];
        for delivery in &account.deliveries {
            if delivery.outcome != DeliveryOutcome::Stored {
                continue;
            }
            for (datum, count) in written.into_iter().filter(|(_, count)| *count > 0) {
                let labels = DatumLabels {
                    tenant: tenant.to_owned(),
                    storage: delivery.storage.clone(),
                    kind: kind(datum),
                };
                self.written.get_or_create(&labels).inc_by(count);
            }
        }
        for (datum, reason, count) in &account.refused {
            let labels = RefusedLabels {
                tenant: tenant.to_owned(),
                storage: account.storage.clone(),
                kind: kind(*datum),
                reason,
            };
            self.refused.get_or_create(&labels).inc_by(*count);
        }
        left_out(&self.dropped, tenant, account.dropped);
        left_out(&self.deduplicated, tenant, account.deduplicated);
    }

    /// Counts a write that comes again by the storages for whose sake it does.
    fn again(&self, tenant: &str, account: &Account, code: u16) {
        let count = |storage: &str| {
            let labels = AgainLabels {
                tenant: tenant.to_owned(),
                storage: storage.to_owned(),
                code,
            };
            self.again.get_or_create(&labels).inc();
        };
        let mut blamed = account.deliveries.iter().filter(|delivery| {
            let outcome = delivery.outcome;
            delivery.required
                && matches!(
                    outcome,
                    DeliveryOutcome::Unavailable | DeliveryOutcome::Overloaded
                )
        });
        match blamed.next() {
            None => count(&account.storage),
            Some(first) => [first]
                .into_iter()
                .chain(blamed)
                .for_each(|one| count(&one.storage)),
        }
    }

    pub(super) fn unauthorized(&self, credential: &str, status: http::StatusCode) {
        let labels = CredentialLabels {
            credential: self.credentials.name(credential).into_owned(),
            code: status.as_u16(),
        };
        self.unauthorized.get_or_create(&labels).inc();
    }
}

fn left_out(family: &Family<LeftOutLabels, Counter>, tenant: &str, out: LeftOut) {
    let counts = [
        (Datum::Sample, out.samples),
        (Datum::Histogram, out.histograms),
        (Datum::Exemplar, out.exemplars),
    ];
    for (datum, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        let labels = LeftOutLabels {
            tenant: tenant.to_owned(),
            kind: kind(datum),
        };
        family.get_or_create(&labels).inc_by(count);
    }
}

fn kind(datum: Datum) -> &'static str {
    match datum {
        Datum::Sample => "sample",
        Datum::Histogram => "histogram",
        Datum::Exemplar => "exemplar",
    }
}

// === impl Few ===

impl Few {
    fn new(most: usize) -> Self {
        Self {
            most,
            seen: RwLock::default(),
        }
    }

    /// The name itself, or what stands for all that come too late.
    fn name<'n>(&self, name: &'n str) -> Cow<'n, str> {
        if { self.seen.read().unwrap_or_else(PoisonError::into_inner) }.contains(name) {
            return Cow::Borrowed(name);
        }
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < self.most || seen.contains(name) {
            seen.insert(name.to_owned());
            return Cow::Borrowed(name);
        }
        Cow::Borrowed(OTHERS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_come_late_are_counted_together() {
        let few = Few::new(2);
        let names = ["a", "b", "c", "a", "d"].map(|name| few.name(name));
        assert_eq!(names, ["a", "b", OTHERS, "a", OTHERS]);
    }
}
