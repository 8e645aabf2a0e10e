//! What a storage plugin is to the rest of the gateway, whichever way it is implemented.

mod shape;

pub use shape::Breach;

use super::CallError;

/// Stores and finds samples. Implemented by components (any version of `witgate:storage`) and by
/// native code alike.
#[async_trait::async_trait]
pub trait Storage: Send + Sync + std::fmt::Debug {
    /// Whether the backend can be used at the moment.
    async fn check(&self) -> Result<(), StorageError>;

    /// Stores a batch; returns when the backend has acknowledged it.
    async fn write(&self, context: &Context, batch: &Batch) -> Result<Receipt, StorageError>;

    /// Opens a query.
    async fn read(&self, context: &Context, query: &Query) -> Result<Box<dyn Cursor>, StorageError>;
}

/// A query's answer, in pieces. Dropping it ends the query.
#[async_trait::async_trait]
pub trait Cursor: Send {
    /// The next piece of about `samples` samples, or `None` at the end. Series come in any order,
    /// and a series that is cut goes on at the beginning of the next piece.
    async fn next(&mut self, samples: u32) -> Result<Option<Batch>, StorageError>;
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

/// Samples that a backend can't hold and never will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The series' place in the batch.
    pub series: u32,
    /// How many of its samples.
    pub samples: u32,
    /// Why.
    pub reason: String,
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
