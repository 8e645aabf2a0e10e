//! What a storage plugin implements.

mod batch;
mod chunks;
mod symbols;

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::bindings::storage::exports::witgate::storage::store;
use crate::config;

pub use crate::bindings::storage::witgate::storage::types::{
    Batch, Capacity, Chunks, Context, Datum, Exemplars, Failure, Family, Histograms, Kinds, MatchOperation,
    Matcher, MetricKind, Piece, Query, Receipt, Rejection, Trouble,
};
pub use batch::{BatchBuilder, Exemplar, Histogram, Sample, Series};
pub use chunks::{Chunk, ChunksBuilder, ChunksSeries, Encoding};

/// A storage plugin: stores samples and finds them again. Export it with
/// [`export_storage!`](crate::export_storage).
///
/// One instance serves one call at a time, and there are several instances: what must outlive a
/// call belongs into the backend or into [`key_value`](crate::key_value).
pub trait Storage: Sized + 'static {
    /// What the operator writes in the plugin's `config`. Refuse unknown fields
    /// (`#[serde(deny_unknown_fields)]`).
    type Config: DeserializeOwned;

    /// What [`Storage::read`] returns.
    type Cursor: Cursor;

    /// Checks the configuration, without reaching the backend. The error says which field is wrong
    /// and what it should be.
    fn new(config: Self::Config) -> Result<Self, String>;

    /// What the backend can hold besides samples. A batch has nothing else in it.
    fn holds(&self) -> Kinds {
        Kinds::empty()
    }

    /// Whether every value comes back with all of its 64 bits. A backend that rounds says no.
    fn holds_exactly(&self) -> bool {
        true
    }

    /// Says whether the backend can be used.
    fn check(&mut self) -> Result<(), Failure>;

    /// Stores a batch and returns once the backend has acknowledged it. The same batch may come
    /// again.
    fn write(&mut self, context: &Context, batch: &Batch) -> Result<Receipt, Failure>;

    /// Opens a query.
    fn read(&mut self, context: &Context, query: Query) -> Result<Self::Cursor, Failure>;
}

/// A query's answer, in pieces. Dropping it ends the query.
pub trait Cursor: 'static {
    /// Whether the series come sorted by their labels, each once: those of the query's `without` not
    /// counted. `witgate:storage` says how that is meant. The gateway then streams the answer, and
    /// else collects it first. Asked once, before the first piece.
    fn sorted(&self) -> bool {
        false
    }

    /// The next piece of about `samples` samples, or none at the end.
    fn next(&mut self, samples: u32) -> Result<Option<Piece>, Failure>;
}

/// A [`Storage`] as the component exports it. Made by
/// [`export_storage!`](crate::export_storage).
pub struct Exported<P>(PhantomData<P>);

/// A [`Cursor`] as the component exports it.
pub struct ExportedCursor(RefCell<Box<dyn Cursor>>);

/// Makes a [`Storage`] what this component exports.
///
/// ```
/// use witgate_sdk::storage::{Batch, Context, Cursor, Failure, Piece, Query, Receipt, Storage};
///
/// struct Nowhere;
/// struct Nothing;
///
/// impl Storage for Nowhere {
///     type Config = std::collections::BTreeMap<String, String>;
///     type Cursor = Nothing;
///     fn new(_: Self::Config) -> Result<Self, String> {
///         Ok(Nowhere)
///     }
///     fn check(&mut self) -> Result<(), Failure> {
///         Ok(())
///     }
///     fn write(&mut self, _: &Context, _: &Batch) -> Result<Receipt, Failure> {
///         Err(Failure::unavailable("there is nothing behind this plugin"))
///     }
///     fn read(&mut self, _: &Context, _: Query) -> Result<Nothing, Failure> {
///         Ok(Nothing)
///     }
/// }
///
/// impl Cursor for Nothing {
///     fn next(&mut self, _: u32) -> Result<Option<Piece>, Failure> {
///         Ok(None)
///     }
/// }
///
/// witgate_sdk::export_storage!(Nowhere);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_storage {
    ($plugin:ident) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "the component's exports, generated")]
        mod witgate_exports {
            type Component = $crate::storage::Exported<super::$plugin>;
            $crate::bindings::storage::export!(Component with_types_in $crate::bindings::storage);
            $crate::stamp!();
        }
    };
}

trait Store {
    fn check(&mut self) -> Result<(), Failure>;
    fn write(&mut self, context: &Context, batch: &Batch) -> Result<Receipt, Failure>;
    fn read(&mut self, context: &Context, query: Query) -> Result<Box<dyn Cursor>, Failure>;
}

thread_local! {
    // The plugin that `init` made. One component exports one.
    static PLUGIN: RefCell<Option<Box<dyn Store>>> = const { RefCell::new(None) };
}

fn with_plugin<T>(call: impl FnOnce(&mut dyn Store) -> Result<T, Failure>) -> Result<T, Failure> {
    PLUGIN.with(|slot| match slot.borrow_mut().as_deref_mut() {
        Some(plugin) => call(plugin),
        None => Err(Failure::unavailable(
            "the storage plugin was called before its init",
        )),
    })
}

impl<P: Storage> Store for P {
    fn check(&mut self) -> Result<(), Failure> {
        Storage::check(self)
    }

    fn write(&mut self, context: &Context, batch: &Batch) -> Result<Receipt, Failure> {
        Storage::write(self, context, batch)
    }

    fn read(&mut self, context: &Context, query: Query) -> Result<Box<dyn Cursor>, Failure> {
        Storage::read(self, context, query).map(|cursor| Box::new(cursor) as Box<dyn Cursor>)
    }
}

impl<P: Storage> store::Guest for Exported<P> {
    type Cursor = ExportedCursor;

    fn init(config: String) -> Result<Capacity, String> {
        let plugin = P::new(config::parse(&config)?)?;
        let capacity = Capacity {
            kinds: plugin.holds(),
            exact_values: plugin.holds_exactly(),
        };
        PLUGIN.with(|slot| slot.replace(Some(Box::new(plugin))));
        Ok(capacity)
    }

    fn check() -> Result<(), Failure> {
        with_plugin(|plugin| plugin.check())
    }

    fn write(context: Context, batch: Batch) -> Result<Receipt, Failure> {
        with_plugin(|plugin| plugin.write(&context, &batch))
    }

    fn read(context: Context, query: Query) -> Result<store::Answer, Failure> {
        let cursor = with_plugin(|plugin| plugin.read(&context, query))?;
        Ok(store::Answer {
            sorted: cursor.sorted(),
            series: store::Cursor::new(ExportedCursor(RefCell::new(cursor))),
        })
    }
}

impl store::GuestCursor for ExportedCursor {
    fn next(&self, samples: u32) -> Result<Option<Piece>, Failure> {
        self.0.borrow_mut().next(samples)
    }
}

impl<P> fmt::Debug for Exported<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exported")
    }
}

impl fmt::Debug for ExportedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExportedCursor")
    }
}

impl From<Batch> for Piece {
    fn from(batch: Batch) -> Self {
        Piece::Samples(batch)
    }
}

impl From<Chunks> for Piece {
    fn from(chunks: Chunks) -> Self {
        Piece::Chunks(chunks)
    }
}

impl Failure {
    /// The backend is away or refuses the gateway, and somebody can put that right.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Failure::Unavailable(Trouble {
            message: message.into(),
            retry_after: None,
        })
    }

    /// The backend asks for less, and perhaps said for how many milliseconds.
    pub fn overloaded(message: impl Into<String>, retry_after: Option<u32>) -> Self {
        Failure::Overloaded(Trouble {
            message: message.into(),
            retry_after,
        })
    }

    /// The request is wrong and will be wrong tomorrow. The sender drops the data.
    pub fn invalid(message: impl Into<String>) -> Self {
        Failure::Invalid(message.into())
    }
}

impl Context {
    /// What the gateway's configuration says of the tenant under this name.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Matcher {
    /// Whether the value is one that an absent label has too, by `=` or `!=`. None where it takes a
    /// regular expression to say.
    pub fn holds_for(&self, value: &str) -> Option<bool> {
        match self.operation {
            MatchOperation::Equal => Some(self.value == value),
            MatchOperation::NotEqual => Some(self.value != value),
            MatchOperation::Matches | MatchOperation::NotMatches => None,
        }
    }
}
