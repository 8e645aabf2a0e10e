//! Starts the real programs that the suites talk to: each on free loopback ports, in a temporary
//! directory of its own, gone when its value is dropped.
//!
//! ```no_run
//! use witgate_lab::{Dex, DexOptions, OpenLdap};
//!
//! # async fn example() -> Result<(), witgate_lab::Error> {
//! let ldap = OpenLdap::start().await?;
//! let dex = Dex::start(DexOptions { ldap: Some(&ldap), ..DexOptions::default() }).await?;
//! let token = dex.id_token("alice", "alice-password").await?;
//! # Ok(())
//! # }
//! ```

mod chromium;
mod component;
mod control_plane;
mod dex;
mod error;
mod etcd;
mod eventually;
mod fault_proxy;
mod gateway;
pub mod http;
mod influxdb;
mod kubelet;
mod kubernetes;
mod oidc_provider;
mod openldap;
mod pki;
mod port;
mod process;
mod prometheus;
mod service;
mod victoriametrics;
mod vmagent;

pub use rustix::process::Signal;

pub use self::{
    chromium::Chromium,
    component::{Component, Missing, require},
    control_plane::{ControlPlane, ControlPlaneNode, ControlPlaneOptions, EtcdLine, EtcdMember},
    dex::{Dex, DexOptions, GroupNames, TokenRequest, Tokens},
    error::Error,
    etcd::Etcd,
    eventually::eventually,
    fault_proxy::FaultProxy,
    gateway::Gateway,
    influxdb::InfluxDb,
    kubelet::Kubelet,
    kubernetes::{Kubectl, KubectlOutput, Kubernetes},
    oidc_provider::{OidcProvider, OidcProviderOptions},
    openldap::OpenLdap,
    pki::{Authority, Certified},
    port::Port,
    process::Process,
    prometheus::{Prometheus, PrometheusOptions},
    victoriametrics::VictoriaMetrics,
    vmagent::Vmagent,
};
