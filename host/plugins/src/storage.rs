//! What a storage plugin is to the rest of the gateway, whichever way it is implemented.

mod chunks;
mod shape;

pub use chunks::Chunks;
pub use shape::Breach;

use super::CallError;

/// Stores and finds samples. Implemented by components (any version of `witgate:storage`) and by
/// native code alike.
#[async_trait::async_trait]
pub trait Storage: Send + Sync + std::fmt::Debug {
    /// Whether the backend can be used at the moment.
    async fn check(&self) -> Result<(), StorageError>;

    /// What the backend can hold besides samples.
    fn holds(&self) -> Kinds;

    /// Whether every value comes back with all of its 64 bits.
    fn is_exact(&self) -> bool;

    /// Stores a batch; returns when the backend has acknowledged it.
    async fn write(&self, context: &Context, batch: &Batch) -> Result<Receipt, StorageError>;

    /// Opens a query.
    async fn read(&self, context: &Context, query: &Query) -> Result<Box<dyn Cursor>, StorageError>;
}

/// A query's answer, in pieces. Dropping it ends the query.
#[async_trait::async_trait]
pub trait Cursor: Send {
    /// Whether the series come sorted by their labels without [`Query::without`], each once.
    fn is_sorted(&self) -> bool;

    /// The next piece of about `samples` samples, or `None` at the end. A series that is cut goes on
    /// at the beginning of the next piece.
    async fn next(&mut self, samples: u32) -> Result<Option<Piece>, StorageError>;
}

/// What a cursor gives at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Samples, each by itself.
    Samples(Batch),
    /// Samples in Prometheus' chunks.
    Chunks(Chunks),
}

/// What there is besides samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a set, of which each member is a word"
)]
pub struct Kinds {
    /// Native histograms.
    pub histograms: bool,
    /// Exemplars.
    pub exemplars: bool,
    /// What is said about metrics: type, help, unit.
    pub families: bool,
    /// When counters began.
    pub start_timestamps: bool,
}

impl Kinds {
    /// Everything there is.
    pub const ALL: Self = Self {
        histograms: true,
        exemplars: true,
        families: true,
        start_timestamps: true,
    };
}

/// Samples of some series in columns, laid out as `witgate:storage` describes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The symbols' UTF-8 bytes, one after the other.
    pub symbol_bytes: Vec<u8>,
    /// Where each symbol ends in `symbol_bytes`; the first one is 0.
    pub symbol_ends: Vec<u32>,
    /// Pairs of symbols, name and value.
    pub labels: Vec<u32>,
    /// Where each series ends in `labels`.
    pub label_ends: Vec<u32>,
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamps: Vec<i64>,
    /// The bits of the values, never an `f64`: see `witgate:storage`.
    pub values: Vec<u64>,
    /// Where each series ends in `timestamps` and `values`.
    pub sample_ends: Vec<u32>,
    /// When the counter behind each sample began, 0 where nobody said; empty, or one for each sample.
    pub start_timestamps: Vec<i64>,
    /// Native histograms.
    pub histograms: Histograms,
    /// Exemplars.
    pub exemplars: Exemplars,
    /// What is said about metrics.
    pub families: Vec<MetricFamily>,
}

/// Native histograms of the series of a batch; all columns are empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histograms {
    /// Per series, where it ends in the columns.
    pub ends: Vec<u32>,
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamps: Vec<i64>,
    /// Where each histogram ends in `messages`.
    pub message_ends: Vec<u32>,
    /// Protobuf messages `io.prometheus.write.v2.Histogram`.
    pub messages: Vec<u8>,
}

/// Exemplars of the series of a batch; all columns are empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exemplars {
    /// Per series, where it ends in the columns.
    pub ends: Vec<u32>,
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamps: Vec<i64>,
    /// The bits of the values.
    pub values: Vec<u64>,
    /// Pairs of symbols, name and value.
    pub labels: Vec<u32>,
    /// Where each exemplar ends in `labels`.
    pub label_ends: Vec<u32>,
}

/// What is said about all series of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricFamily {
    /// The symbol of the name.
    pub name: u32,
    /// What kind of metric it is.
    pub kind: MetricKind,
    /// The symbol of the explanation.
    pub help: u32,
    /// The symbol of the unit.
    pub unit: u32,
}

/// Kinds of metrics, by their numbers in remote write (`prometheus.MetricMetadata.MetricType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricKind {
    /// Nobody said.
    #[default]
    Unknown,
    /// A counter.
    Counter,
    /// A gauge.
    Gauge,
    /// A histogram.
    Histogram,
    /// A histogram whose counts go up and down.
    GaugeHistogram,
    /// A summary.
    Summary,
    /// What does not change.
    Info,
    /// Which of several states something is in.
    StateSet,
}

impl Batch {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.label_ends.is_empty() && self.families.is_empty()
    }
}

/// For whom and how a call is made.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The tenant's name.
    pub tenant: String,
    /// What the configuration says of the tenant for its backend.
    pub attributes: Vec<(String, String)>,
    /// The request's id in the logs.
    pub request_id: String,
}

/// What became of a batch that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// What the backend can't hold; everything else is stored.
    pub rejected: Vec<Rejection>,
}

/// Data that a backend can't hold and never will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The series' place in the batch.
    pub series: u32,
    /// What of it.
    pub kind: Datum,
    /// How many of them.
    pub count: u32,
    /// Why.
    pub reason: String,
}

/// What a sender counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Datum {
    /// A sample.
    Sample,
    /// A native histogram.
    Histogram,
    /// An exemplar.
    Exemplar,
}

/// Which samples are asked for.
#[derive(Clone, Debug)]
pub struct Query {
    /// First timestamp, in milliseconds, included.
    pub start: i64,
    /// Last timestamp, in milliseconds, included.
    pub end: i64,
    /// All of them must hold.
    pub matchers: Vec<Matcher>,
    /// Whether only the series are wanted, without their samples.
    pub only_series: bool,
    /// The label that is taken out of every series that is found; see [`Cursor::is_sorted`].
    pub without: Option<String>,
}

/// A condition on one label; an absent label has the empty value.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// The label's name.
    pub name: String,
    /// How it compares.
    pub operation: MatchOperation,
    /// What with.
    pub value: String,
}

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchOperation {
    /// The same value.
    Equal,
    /// Any other value.
    NotEqual,
    /// A regular expression that has to match the whole value.
    Matches,
    /// A regular expression that must not match the whole value.
    NotMatches,
}

/// Why a storage call failed, and so what the sender is told.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The backend is away or refuses the gateway; the sender keeps its samples (503).
    #[error("{message}")]
    Unavailable {
        /// What happened and what to do about it.
        message: String,
        /// When to try again, if the backend said so.
        retry_after: Option<std::time::Duration>,
    },
    /// The backend asks for less (429).
    #[error("{message}")]
    Overloaded {
        /// What happened and what to do about it.
        message: String,
        /// When to try again, if the backend said so.
        retry_after: Option<std::time::Duration>,
    },
    /// The request is wrong and will be wrong tomorrow (400).
    #[error("{0}")]
    Invalid(String),
    /// The plugin could not be asked; the sender keeps its samples (503).
    #[error(transparent)]
    Failed(#[from] CallError),
}
