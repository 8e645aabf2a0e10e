//! Loads, links, grants, limits, pools and swaps WebAssembly plugins.
//!
//! The rest of the gateway sees [`Claims`] and [`Storage`]; which contract version a component
//! speaks, and that it is a component at all, stays in here.

mod claims;
mod storage;

pub use claims::{Claims, ClaimsError, Identity, VerifiedToken};
pub use storage::{
    Batch, Context, Cursor, MatchOperation, Matcher, Query, Receipt, Rejection, Storage, StorageError,
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
