//! The storages of one tenant: what all of them together make of a batch.

mod narrow;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::stream::{FuturesUnordered, StreamExt};
use serde::Serialize;
use witgate_plugins::{Batch, Context, Datum, Kinds, Receipt, Rejection, Storage, StorageError};

/// How long a write waits for those of best effort, once it has the others.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long one of best effort is left out after it has failed, in milliseconds.
const LEFT_OUT: u64 = 10_000;

/// A storage of a tenant.
#[derive(Debug)]
pub(crate) struct Backend {
    /// The plugin's name.
    pub(crate) name: String,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) attributes: Vec<(String, String)>,
    /// Whether a write succeeds only with it.
    pub(crate) is_required: bool,
    /// Until when it is left out, in milliseconds since `Backends::began`.
    left_out: AtomicU64,
}

/// The storages of a tenant, at least one of which is required.
#[derive(Debug)]
pub(crate) struct Backends {
    all: Vec<Backend>,
    began: Instant,
}

/// What became of a write at one storage, for the audit line and the metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// The storage plugin.
    pub storage: String,
    /// Whether the write succeeds only with it.
    pub required: bool,
    /// What it came to.
    pub outcome: DeliveryOutcome,
    /// What it can't hold of it.
    pub rejected: u64,
    /// What it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of a write at one storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DeliveryOutcome {
    /// It has all but what it can't hold.
    Stored,
    /// It is away, or can't be asked.
    Unavailable,
    /// It asks for less.
    Overloaded,
    /// It refuses all of it for good.
    Refused,
    /// It has not answered in time, and nobody waits for it.
    Late,
    /// It was not asked, because it has failed a moment ago.
    LeftOut,
}

/// What all of them together made of a batch.
pub(crate) struct Delivered {
    /// What the sender is told.
    pub(crate) receipt: Result<Receipt, StorageError>,
    pub(crate) deliveries: Vec<Delivery>,
}

// === impl Backend ===

impl Backend {
    pub(crate) fn new(
        name: &str,
        storage: Arc<dyn Storage>,
        attributes: Vec<(String, String)>,
        is_required: bool,
    ) -> Self {
        Self {
            name: name.to_owned(),
            storage,
            attributes,
            is_required,
            left_out: AtomicU64::new(0),
        }
    }

    async fn write(
        &self,
        tenant: &str,
        request_id: &str,
        batch: &Batch,
        given: Kinds,
    ) -> Result<Receipt, StorageError> {
        let context = Context {
            tenant: tenant.to_owned(),
            attributes: self.attributes.clone(),
            request_id: request_id.to_owned(),
        };
        let batch = match self.is_required {
            true => Cow::Borrowed(batch),
            false => narrow::to(batch, given, self.storage.holds()),
        };
        if batch.is_empty() {
            return Ok(Receipt::default());
        }
        self.storage.write(&context, &batch).await
    }

    fn left_out(&self) -> Delivery {
        Delivery {
            storage: self.name.clone(),
            required: self.is_required,
            outcome: DeliveryOutcome::LeftOut,
            rejected: 0,
            reason: None,
        }
    }

    fn delivery(&self, result: Option<&Result<Receipt, StorageError>>) -> Delivery {
        let (outcome, reason) = match result {
            None => (DeliveryOutcome::Late, None),
            Some(Ok(_)) => (DeliveryOutcome::Stored, None),
            Some(Err(error)) => {
                let outcome = match error {
                    StorageError::Unavailable { .. } | StorageError::Failed(_) => {
                        DeliveryOutcome::Unavailable
                    }
                    StorageError::Overloaded { .. } => DeliveryOutcome::Overloaded,
                    StorageError::Invalid(_) => DeliveryOutcome::Refused,
                };
                (outcome, Some(error.to_string()))
            }
        };
        let rejected = match result {
            Some(Ok(receipt)) => receipt.rejected.iter().map(|one| u64::from(one.count)).sum(),
            _ => 0,
        };
        Delivery {
            storage: self.name.clone(),
            required: self.is_required,
            outcome,
            rejected,
            reason,
        }
    }
}

// === impl DeliveryOutcome ===

impl DeliveryOutcome {
    /// Its name in metrics and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Unavailable => "unavailable",
            Self::Overloaded => "overloaded",
            Self::Refused => "refused",
            Self::Late => "late",
            Self::LeftOut => "left out",
        }
    }

    fn is_an_outage(self) -> bool {
        matches!(self, Self::Unavailable | Self::Overloaded | Self::Late)
    }
}

// === impl Backends ===

impl Backends {
    pub(crate) fn new(all: Vec<Backend>) -> Self {
        let began = Instant::now();
        Self { all, began }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Backend> {
        self.all.iter()
    }

    /// What is held by every one of them that is required, so that what a sender is told was stored is
    /// in each.
    pub(crate) fn holds(&self) -> Kinds {
        let required = self.all.iter().filter(|backend| backend.is_required);
        required.fold(Kinds::ALL, |all, backend| {
            let own = backend.storage.holds();
            Kinds {
                histograms: all.histograms && own.histograms,
                exemplars: all.exemplars && own.exemplars,
                families: all.families && own.families,
                start_timestamps: all.start_timestamps && own.start_timestamps,
            }
        })
    }

    /// Gives a batch, which has nothing of a kind that is not in `given`, to all of them.
    pub(crate) async fn write(
        &self,
        tenant: &str,
        request_id: &str,
        batch: &Batch,
        given: Kinds,
    ) -> Delivered {
        if let [only] = &self.all[..] {
            let receipt = only.write(tenant, request_id, batch, given).await;
            let deliveries = vec![only.delivery(Some(&receipt))];
            return Delivered { receipt, deliveries };
        }
        let now = self.now();
        let is_asked =
            |backend: &Backend| backend.is_required || backend.left_out.load(Ordering::Relaxed) <= now;
        let asked = self
            .all
            .iter()
            .enumerate()
            .filter(|(_, backend)| is_asked(backend));
        let mut calls: FuturesUnordered<_> = asked
            .map(|(at, backend)| async move { (at, backend.write(tenant, request_id, batch, given).await) })
            .collect();
        let mut awaited = self.all.iter().filter(|backend| backend.is_required).count();
        let mut results = BTreeMap::new();
        while awaited > 0
            && let Some((at, result)) = calls.next().await
        {
            awaited -= usize::from(self.all.get(at).is_some_and(|backend| backend.is_required));
            results.insert(at, result);
        }
        // What is late by then is given up: it is of best effort.
        let rest = async {
            while let Some((at, result)) = calls.next().await {
                results.insert(at, result);
            }
        };
        _ = tokio::time::timeout(PATIENCE, rest).await;
        let deliveries = self.all.iter().enumerate().map(|(at, backend)| {
            if !is_asked(backend) {
                return backend.left_out();
            }
            let delivery = backend.delivery(results.get(&at));
            if !backend.is_required && delivery.outcome.is_an_outage() {
                backend.left_out.store(self.now() + LEFT_OUT, Ordering::Relaxed);
            }
            delivery
        });
        let deliveries: Vec<_> = deliveries.collect();
        let required = results.into_iter().filter_map(|(at, result)| {
            let backend = self.all.get(at).filter(|backend| backend.is_required)?;
            Some((backend.name.as_str(), result))
        });
        let receipt = together(required, &deliveries);
        Delivered { receipt, deliveries }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// What those say together that a write needs. An outage of one outweighs what another one refuses: the
/// sender keeps its samples, and hears of the rest when it comes again.
fn together<'a>(
    results: impl Iterator<Item = (&'a str, Result<Receipt, StorageError>)>,
    deliveries: &[Delivery],
) -> Result<Receipt, StorageError> {
    let mut rejected = BTreeMap::<(u32, Datum), Rejection>::new();
    let (mut worst, mut longest) = (None, None);
    for (name, result) in results {
        match result {
            Ok(receipt) => {
                for rejection in receipt.rejected {
                    let key = (rejection.series, rejection.kind);
                    let known = rejected.get(&key).map_or(0, |known| known.count);
                    // Each says how many and not which: it is at least the most that one can't hold.
                    if rejection.count > known {
                        let reason = format!("{name}: {}", rejection.reason);
                        rejected.insert(key, Rejection { reason, ..rejection });
                    }
                }
            }
            Err(error) => {
                let (weight, retry_after) = match error {
                    StorageError::Invalid(_) => (1, None),
                    StorageError::Overloaded { retry_after, .. } => (2, retry_after),
                    StorageError::Unavailable { retry_after, .. } => (3, retry_after),
                    StorageError::Failed(_) => (3, None),
                };
                worst = worst.max(Some(weight));
                longest = longest.max(retry_after);
            }
        }
    }
    let (message, retry_after) = (summary(deliveries), longest);
    match worst {
        None => Ok(Receipt {
            rejected: rejected.into_values().collect(),
        }),
        Some(1) => Err(StorageError::Invalid(message)),
        Some(2) => Err(StorageError::Overloaded { message, retry_after }),
        Some(_) => Err(StorageError::Unavailable { message, retry_after }),
    }
}

/// What became of a write at each of several storages, in one line.
pub(crate) fn summary(deliveries: &[Delivery]) -> String {
    let said = deliveries.iter().map(|delivery| {
        let Delivery {
            storage,
            outcome,
            reason,
            required,
            ..
        } = delivery;
        let effort = if *required { "" } else { " (best effort)" };
        let reason = reason.as_ref().map(|reason| format!(": {reason}"));
        format!(
            "{storage}{effort} {}{}",
            outcome.name(),
            reason.unwrap_or_default()
        )
    });
    said.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
