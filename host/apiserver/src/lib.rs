//! The impersonating proxy in front of kube-apiserver.
//!
//! [`Cluster::proxy`] forwards a request as a principal: it removes every header by which the client
//! could claim to be somebody, adds `Impersonate-*` for the principal and the gateway's own
//! credential, and streams both bodies. `kubectl --as` is granted where the cluster's own rules say so,
//! and exec, attach and port-forward are spliced. Each stream has an [`Attendant`], who ends it when
//! its caller's credential does.

mod attendant;
mod cluster;
mod config;
mod headers;
mod impersonation;
mod own_name;
mod path;
mod review;
mod status;
mod stream;
mod target;
mod upgrade;
mod upstream;

pub use attendant::{Attendant, StreamEnd};
pub use cluster::{CheckError, Cluster};
pub use config::{ClusterConfig, ConnectError, Mode};
pub use impersonation::Impersonated;
pub use status::{Refusal, status_response};
pub use target::Target;
