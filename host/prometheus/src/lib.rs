//! Prometheus remote write and read: protocol, tenants, limits, routing to storage plugins.

mod answer;
mod config;
pub mod decode;
mod labels;
mod matcher;
#[cfg(test)]
mod memory;
pub mod proto;
mod read;
mod remote;
mod tenant;
mod wire;
mod write;

pub use answer::Refusal;
pub use config::{Callers, ConfigError, Limits, PrometheusConfig, TenantConfig};
pub use remote::{Account, Endpoint, Remote};
