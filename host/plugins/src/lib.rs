//! Loads, links, grants, limits, pools and swaps WebAssembly plugins.
//!
//! The rest of the gateway sees [`Claims`], [`Storage`] and [`Recovery`]; which contract version a component
//! speaks, and that it is a component at all, stays in here.
//!
//! A [`Runtime`] is started once. [`Plugins::load`] turns a configuration into a set of plugins
//! that are ready, and is called again with the set in service when the configuration or one of
//! [`Plugins::files`] changes; the caller then puts the new set in the old one's place.

mod addresses;
mod claims;
mod config;
mod denials;
mod diagnosis;
mod egress;
mod guest;
mod inspection;
mod journal;
mod key_value;
mod kubernetes;
mod load;
mod meter;
mod origin;
mod pool;
pub mod recovery;
mod runtime;
mod secrets;
mod stats;
mod storage;
mod v0_1;

pub use claims::{Claims, ClaimsError, Identity, VerifiedToken};
pub use config::{
    Addresses, Basic, Grants, HttpGrant, KeyValueGrant, Kind, KubernetesGrant, LimitError, Limits,
    PluginConfig, SecretGrant, Size,
};
pub use diagnosis::Finding;
pub use inspection::{Import, Inspection, Owner, Producer, Spoken};
pub use load::{Checked, LoadError, LoadErrors, PluginInfo, Plugins, Problem};
pub use origin::{OriginError, OriginPattern};
pub use recovery::Recovery;
pub use runtime::{Options, Runtime, RuntimeError};
pub use secrets::SecretError;
pub use stats::Counts;
pub use storage::{
    Batch, Breach, Chunks, Context, Cursor, Datum, Exemplars, Histograms, Kinds, MatchOperation, Matcher,
    MetricFamily, MetricKind, Piece, Query, Receipt, Rejection, Storage, StorageError,
};

/// Why a plugin could not be asked, or did not answer. The instance is gone; the next call gets
/// another one.
#[derive(Debug, thiserror::Error)]
#[error("plugin {plugin}: {reason}")]
pub struct CallError {
    /// The plugin's name in the configuration.
    pub plugin: String,
    /// What happened: a trap, a limit, no free instance.
    pub reason: String,
}
