//! Prometheus remote write and read: protocol, tenants, limits, routing to storage plugins.

mod answer;
mod backends;
mod blueprint;
mod caller;
mod compression;
mod config;
pub mod decode;
mod frames;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod histogram;
mod labels;
mod matcher;
#[cfg(test)]
mod memory;
mod name;
pub mod proto;
mod re2;
mod read;
mod relabel;
mod remote;
mod replicas;
mod result;
mod series;
mod standing;
mod tenant;
mod tenants;
mod treatment;
mod write;

pub use answer::{HOP, Refusal};
pub use backends::{Delivery, DeliveryOutcome};
pub use blueprint::Foundations;
pub use caller::PatternError;
pub use compression::{Compression, CompressionError};
pub use config::{
    Callers, ConfigError, Limits, PrometheusConfig, ReplicasConfig, TenantConfig, TenantLimits,
    TenantStorageConfig,
};
pub use frames::{FrameError, frames};
pub use name::NameError;
pub use relabel::{RelabelAction, RelabelConfig, RelabelError};
pub use remote::{Account, Endpoint, LeftOut, Remote};
pub use standing::{Bounds, Choice, Holds, Standing, TenantStanding};
pub use treatment::Treatment;

use witgate_chunk::wire;
