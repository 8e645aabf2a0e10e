//! `witgate:storage@0.1.0` as [`Storage`].

use std::time::Duration;

use wasmtime::{
    Store as WasmStore,
    component::{InstancePre, ResourceAny},
};

use crate::{
    Batch, Chunks, Context, Cursor, Datum, Exemplars, Histograms, Kinds, MatchOperation, MetricFamily,
    MetricKind, Piece, Query, Receipt, Rejection, Storage, StorageError,
    denials::Printable,
    guest::Guest,
    pool::{Contract, Lease, Pool, Started},
};

mod bindings {
    wasmtime::component::bindgen!({
        path: ["../../wit/host-0.1.0", "../../wit/storage-0.1.0"],
        inline: "
            package witgate:gateway;
            world storage {
                export witgate:storage/store@0.1.0;
            }
        ",
        // Lists are lowered from the gateway's slices, without a copy in between.
        ownership: Borrowing { duplicate_if_necessary: true },
        exports: { default: async },
    });
}

use bindings::witgate::storage::types;

/// What an error or a rejection may say; it ends up in the log and in the sender's.
const MAX_REASON: usize = 1_024;

/// The contract of version 0.1.
pub(super) struct Store;

/// An open query. It keeps its instance to itself, because the guest's cursor lives in there.
struct Pieces {
    lease: Lease<Store>,
    request: String,
    cursor: Option<ResourceAny>,
    is_sorted: bool,
}

/// What a plugin says of its backend when it starts.
pub(super) struct Told {
    kinds: Kinds,
    exact_values: bool,
}

impl Contract for Store {
    type Linked = bindings::StoragePre<Guest>;
    type Exports = bindings::Storage;
    type Told = Told;

    /// Many: an instance is warm, with its memory grown to what a batch needs. Not endless,
    /// because whatever leaks is freed only with its instance: what a plugin forgets, and the
    /// options of each of its HTTP requests, which wasmtime-wasi-http keeps in its table.
    const USES: u32 = 1_000;

    fn link(component: InstancePre<Guest>) -> wasmtime::Result<Self::Linked> {
        bindings::StoragePre::new(component)
    }

    async fn start(
        linked: &Self::Linked,
        store: &mut WasmStore<Guest>,
        config: &str,
    ) -> wasmtime::Result<Started<Self>> {
        let exports = linked.instantiate_async(&mut *store).await?;
        let ready = exports.witgate_storage_store().call_init(store, config).await?;
        Ok(ready.map(|capacity| {
            let told = Told {
                kinds: capacity.kinds.into(),
                exact_values: capacity.exact_values,
            };
            (exports, told)
        }))
    }
}

#[async_trait::async_trait]
impl Storage for Pool<Store> {
    async fn check(&self) -> Result<(), StorageError> {
        let deadline = self.deadline();
        let mut lease = self.lease(deadline).await?;
        let call = lease.begin(None, deadline)?;
        let outcome = call
            .clock
            .run(call.exports.witgate_storage_store().call_check(call.store))
            .await;
        lease.end(outcome)?.map_err(StorageError::from)
    }

    fn holds(&self) -> Kinds {
        self.told().kinds
    }

    fn is_exact(&self) -> bool {
        self.told().exact_values
    }

    async fn write(&self, context: &Context, batch: &Batch) -> Result<Receipt, StorageError> {
        let deadline = self.deadline();
        let mut lease = self.lease(deadline).await?;
        let call = lease.begin(Some(&context.request_id), deadline)?;
        let store = call.exports.witgate_storage_store();
        let attributes = borrowed(&context.attributes);
        let families: Vec<_> = batch.families.iter().map(lower_family).collect();
        let written = store.call_write(
            call.store,
            lower_context(context, &attributes),
            lower_batch(batch, &families),
        );
        let outcome = call.clock.run(written).await;
        let mut receipt: Receipt = lease.end(outcome)??.into();
        // The batch is stored, so a mistake in the receipt must not make the sender repeat it.
        receipt.rejected.retain(|rejection| match rejection.check(batch) {
            Ok(()) => true,
            Err(breach) => {
                tracing::warn!(
                    plugin = &*self.shared().name,
                    "its receipt breaks the contract: {breach}"
                );
                false
            }
        });
        Ok(receipt)
    }

    async fn read(&self, context: &Context, query: &Query) -> Result<Box<dyn Cursor>, StorageError> {
        let deadline = self.deadline();
        let mut lease = self.lease(deadline).await?;
        let call = lease.begin(Some(&context.request_id), deadline)?;
        let store = call.exports.witgate_storage_store();
        let attributes = borrowed(&context.attributes);
        let matchers: Vec<_> = query.matchers.iter().map(lower_matcher).collect();
        let asked = types::Query {
            start: query.start,
            end: query.end,
            matchers: &matchers,
            only_series: query.only_series,
            without: query.without.as_deref(),
        };
        let opened = store.call_read(call.store, lower_context(context, &attributes), asked);
        let outcome = call.clock.run(opened).await;
        let answer = lease.end(outcome)??;
        lease.hold();
        Ok(Box::new(Pieces {
            lease,
            request: context.request_id.clone(),
            cursor: Some(answer.series),
            is_sorted: answer.sorted,
        }))
    }
}

#[async_trait::async_trait]
impl Cursor for Pieces {
    fn is_sorted(&self) -> bool {
        self.is_sorted
    }

    async fn next(&mut self, samples: u32) -> Result<Option<Piece>, StorageError> {
        let Some(cursor) = self.cursor else {
            return Ok(None);
        };
        let deadline = self.lease.deadline();
        let call = self.lease.begin(Some(&self.request), deadline)?;
        let pieces = call.exports.witgate_storage_store().cursor();
        let outcome = call
            .clock
            .run(pieces.call_next(call.store, cursor, samples))
            .await;
        let piece = match self.lease.end(outcome)? {
            Ok(Some(piece)) => piece,
            Ok(None) => {
                self.close(cursor).await?;
                return Ok(None);
            }
            Err(failure) => {
                self.close(cursor).await?;
                return Err(failure.into());
            }
        };
        self.lease.hold();
        let piece = Piece::from(piece);
        let checked = match &piece {
            Piece::Samples(batch) => batch.check(),
            Piece::Chunks(chunks) => chunks.check(),
        };
        match checked {
            Ok(()) => Ok(Some(piece)),
            Err(breach) => Err(self.lease.condemn(&breach.to_string()).into()),
        }
    }
}

impl Pieces {
    /// Lets the guest drop its cursor, after which the instance is free for others. A cursor that
    /// is dropped before its end takes its instance along.
    async fn close(&mut self, cursor: ResourceAny) -> Result<(), StorageError> {
        self.cursor = None;
        let deadline = self.lease.deadline();
        let call = self.lease.begin(Some(&self.request), deadline)?;
        let outcome = call.clock.run(cursor.resource_drop_async(call.store)).await;
        Ok(self.lease.end(outcome)?)
    }
}

fn borrowed(attributes: &[(String, String)]) -> Vec<(&str, &str)> {
    attributes
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

fn lower_context<'a>(context: &'a Context, attributes: &'a [(&'a str, &'a str)]) -> types::Context<'a> {
    types::Context {
        tenant: &context.tenant,
        attributes,
        request_id: &context.request_id,
    }
}

fn lower_batch<'a>(batch: &'a Batch, families: &'a [types::Family]) -> types::BatchParam<'a> {
    let (histograms, exemplars) = (&batch.histograms, &batch.exemplars);
    types::BatchParam {
        symbol_bytes: &batch.symbol_bytes,
        symbol_ends: &batch.symbol_ends,
        labels: &batch.labels,
        label_ends: &batch.label_ends,
        timestamps: &batch.timestamps,
        values: &batch.values,
        sample_ends: &batch.sample_ends,
        start_timestamps: &batch.start_timestamps,
        histograms: types::HistogramsParam {
            ends: &histograms.ends,
            timestamps: &histograms.timestamps,
            message_ends: &histograms.message_ends,
            messages: &histograms.messages,
        },
        exemplars: types::ExemplarsParam {
            ends: &exemplars.ends,
            timestamps: &exemplars.timestamps,
            values: &exemplars.values,
            labels: &exemplars.labels,
            label_ends: &exemplars.label_ends,
        },
        families,
    }
}

fn lower_family(family: &MetricFamily) -> types::Family {
    let kind = match family.kind {
        MetricKind::Unknown => types::MetricKind::Unknown,
        MetricKind::Counter => types::MetricKind::Counter,
        MetricKind::Gauge => types::MetricKind::Gauge,
        MetricKind::Histogram => types::MetricKind::Histogram,
        MetricKind::GaugeHistogram => types::MetricKind::GaugeHistogram,
        MetricKind::Summary => types::MetricKind::Summary,
        MetricKind::Info => types::MetricKind::Info,
        MetricKind::StateSet => types::MetricKind::StateSet,
    };
    types::Family {
        name: family.name,
        kind,
        help: family.help,
        unit: family.unit,
    }
}

fn lower_matcher(matcher: &crate::Matcher) -> types::Matcher<'_> {
    let operation = match matcher.operation {
        MatchOperation::Equal => types::MatchOperation::Equal,
        MatchOperation::NotEqual => types::MatchOperation::NotEqual,
        MatchOperation::Matches => types::MatchOperation::Matches,
        MatchOperation::NotMatches => types::MatchOperation::NotMatches,
    };
    types::Matcher {
        name: &matcher.name,
        operation,
        value: &matcher.value,
    }
}

impl From<types::Piece> for Piece {
    fn from(piece: types::Piece) -> Self {
        match piece {
            types::Piece::Samples(batch) => Self::Samples(batch.into()),
            types::Piece::Chunks(chunks) => Self::Chunks(chunks.into()),
        }
    }
}

impl From<types::Chunks> for Chunks {
    fn from(chunks: types::Chunks) -> Self {
        Self {
            symbol_bytes: chunks.symbol_bytes,
            symbol_ends: chunks.symbol_ends,
            labels: chunks.labels,
            label_ends: chunks.label_ends,
            ends: chunks.ends,
            encodings: chunks.encodings,
            firsts: chunks.first_timestamps,
            lasts: chunks.last_timestamps,
            byte_ends: chunks.byte_ends,
            bytes: chunks.bytes,
        }
    }
}

impl From<types::BatchResult> for Batch {
    fn from(batch: types::BatchResult) -> Self {
        Self {
            symbol_bytes: batch.symbol_bytes,
            symbol_ends: batch.symbol_ends,
            labels: batch.labels,
            label_ends: batch.label_ends,
            timestamps: batch.timestamps,
            values: batch.values,
            sample_ends: batch.sample_ends,
            start_timestamps: batch.start_timestamps,
            histograms: Histograms {
                ends: batch.histograms.ends,
                timestamps: batch.histograms.timestamps,
                message_ends: batch.histograms.message_ends,
                messages: batch.histograms.messages,
            },
            // The contract says that none are returned.
            exemplars: Exemplars::default(),
            families: Vec::new(),
        }
    }
}

impl From<types::Kinds> for Kinds {
    fn from(kinds: types::Kinds) -> Self {
        Self {
            histograms: kinds.contains(types::Kinds::HISTOGRAMS),
            exemplars: kinds.contains(types::Kinds::EXEMPLARS),
            families: kinds.contains(types::Kinds::FAMILIES),
            start_timestamps: kinds.contains(types::Kinds::START_TIMESTAMPS),
        }
    }
}

impl From<types::Receipt> for Receipt {
    fn from(receipt: types::Receipt) -> Self {
        let rejection = |rejection: types::Rejection| Rejection {
            series: rejection.series,
            kind: match rejection.kind {
                types::Datum::Sample => Datum::Sample,
                types::Datum::Histogram => Datum::Histogram,
                types::Datum::Exemplar => Datum::Exemplar,
            },
            count: rejection.count,
            reason: Printable(&rejection.reason, MAX_REASON).to_string(),
        };
        Self {
            rejected: receipt.rejected.into_iter().map(rejection).collect(),
        }
    }
}

impl From<types::Failure> for StorageError {
    fn from(failure: types::Failure) -> Self {
        let message = |text: &str| Printable(text, MAX_REASON).to_string();
        let after = |trouble: &types::Trouble| trouble.retry_after.map(|ms| Duration::from_millis(ms.into()));
        match failure {
            types::Failure::Unavailable(trouble) => Self::Unavailable {
                message: message(&trouble.message),
                retry_after: after(&trouble),
            },
            types::Failure::Overloaded(trouble) => Self::Overloaded {
                message: message(&trouble.message),
                retry_after: after(&trouble),
            },
            types::Failure::Invalid(reason) => Self::Invalid(message(&reason)),
        }
    }
}
