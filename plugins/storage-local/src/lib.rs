//! Samples in the key-value space that the gateway grants: the embedded default.
//!
//! A day's samples, and the index of the series that have any on that day, are one range of keys,
//! which retention removes as a whole. See [`key`] for the layout.

pub mod key;
mod labels;
mod read;
mod retention;
#[cfg(test)]
mod tests;
mod write;

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use witgate_sdk::key_value::{Error, Granted, KeyValue};
use witgate_sdk::storage::{Batch, Context, Failure, Kinds, Query, Receipt, Storage};

pub use read::Series;
pub use retention::{Retention, RetentionError};

use key::Tenant;
use retention::Sweep;
use write::Known;

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
    known: Known,
    sweep: Sweep,
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
            known: Known::default(),
            sweep: Sweep::default(),
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
        match self.space.scan(&[], &[], 1) {
            Ok(_) => Ok(()),
            Err(error) => Err(failure(error)),
        }
    }

    fn write(&mut self, context: &Context, batch: &Batch) -> Result<Receipt, Failure> {
        let oldest = self.retention.oldest((self.now)());
        let tenant = Tenant::named(&context.tenant);
        let receipt = write::write(&self.space, &mut self.known, tenant, batch, oldest)?;
        self.sweep.step(&self.space, oldest)?;
        Ok(receipt)
    }

    fn read(&mut self, context: &Context, query: Query) -> Result<Series<K>, Failure> {
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
