//! The impersonating proxy in front of kube-apiserver.
//!
//! [`Cluster::proxy`] forwards a request as a principal: it removes every header by which the client
//! could claim to be somebody, adds `Impersonate-*` for the principal and the gateway's own
//! credential, and streams both bodies.

mod cluster;
mod config;
mod headers;
mod path;
mod status;
mod stream;
mod target;
mod upstream;

pub use cluster::{CheckError, Cluster};
pub use config::{ClusterConfig, ConnectError};
pub use status::{Refusal, status_response};
pub use target::Target;
