//! Samples in the key-value space that the gateway grants: the embedded default.
//!
//! A write adds a block of samples to the space, and from time to time blocks are folded into chunks as
//! Prometheus has them, which are read without being touched. A day's chunks, and the index of the
//! series that have any on that day, are one range of keys, which retention removes as a whole. See
//! [`key`] for the layout.

mod ahead;
mod block;
mod commits;
mod find;
mod fold;
mod index;
pub mod key;
mod labels;
mod layout;
mod pages;
mod read;
mod retention;
#[cfg(test)]
mod tests;
mod upkeep;
mod value;
mod write;

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use witgate_sdk::key_value::{Entry, Error, Granted, KeyValue};
use witgate_sdk::storage::{Batch, Context, Failure, Kinds, Query, Receipt, Storage};

pub use read::Series;
pub use retention::{Retention, RetentionError};

use index::Known;
use key::Tenant;
use layout::Layout;
use upkeep::Upkeep;
use write::Names;

/// The plugin's `config`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// For how long samples are kept: `15d`, `12h`, `1y`, or `forever`. Default: `15d`.
    pub retention: Retention,
}

/// The plugin.
#[derive(Debug)]
pub struct Local<K = Granted> {
    space: K,
    retention: Retention,
    now: fn() -> i64,
    layout: Layout,
    known: Known,
    names: Names,
    upkeep: Upkeep,
}

/// The plugin as the component exports it.
pub type Plugin = Local<Granted>;

witgate_sdk::export_storage!(Plugin);

impl<K: KeyValue> Local<K> {
    /// The plugin over a space and a clock of one's own. The clock tells milliseconds since 1970.
    pub fn over(space: K, config: &Config, now: fn() -> i64) -> Self {
        Local {
            space,
            retention: config.retention,
            now,
            layout: Layout::default(),
            known: Known::default(),
            names: Names::default(),
            upkeep: Upkeep::default(),
        }
    }
}

impl<K: KeyValue + Default + Clone + 'static> Storage for Local<K> {
    type Config = Config;
    type Cursor = Series<K>;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Local::over(K::default(), &config, now))
    }

    fn holds(&self) -> Kinds {
        Kinds::HISTOGRAMS
    }

    fn check(&mut self) -> Result<(), Failure> {
        self.layout.check(&self.space)
    }

    fn write(&mut self, context: &Context, batch: &Batch) -> Result<Receipt, Failure> {
        self.layout.claim(&self.space)?;
        let now = (self.now)();
        let oldest = self.retention.oldest(now);
        let tenant = Tenant::named(&context.tenant);
        let (known, names) = (&mut self.known, &mut self.names);
        let (receipt, added) = write::write(&self.space, known, names, tenant, batch, oldest)?;
        // What was written is on disk, so whatever goes wrong from here on must not have it sent again.
        let series = self.known.in_shard(tenant);
        self.upkeep
            .after(&self.space, tenant, series, &added, (now, oldest));
        Ok(receipt)
    }

    fn read(&mut self, context: &Context, query: Query) -> Result<Series<K>, Failure> {
        self.layout.check(&self.space)?;
        Series::find(self.space.clone(), Tenant::named(&context.tenant), &query)
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What a failure of the space means to the sender. It keeps its samples unless they can never fit.
fn failure(error: Error) -> Failure {
    match error {
        Error::Unavailable(reason) => Failure::unavailable(reason),
        Error::QuotaExceeded(reason) => Failure::unavailable(format!(
            "{reason}: raise `grants.keyValue.maxBytes` of this plugin, or lower its `config.retention`"
        )),
        Error::TooLarge(reason) => Failure::invalid(reason),
    }
}

/// What is said of a chunk that is not what was written.
fn failure_of(chunk: &Entry) -> Failure {
    Failure::unavailable(format!("the chunk at {:02x?} is damaged", chunk.key))
}
