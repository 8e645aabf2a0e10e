//! Prometheus remote write and read: protocol, tenants, limits, routing to storage plugins.

mod answer;
mod compression;
mod config;
pub mod decode;
mod histogram;
mod labels;
mod matcher;
#[cfg(test)]
mod memory;
pub mod proto;
mod read;
mod remote;
mod result;
mod tenant;
mod write;

pub use answer::Refusal;
pub use compression::{Compression, CompressionError};
pub use config::{Callers, ConfigError, Limits, PrometheusConfig, TenantConfig};
pub use remote::{Account, Endpoint, Remote};

use witgate_chunk::wire;
