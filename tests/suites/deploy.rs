//! How it is installed: the chart, by helm, into a real kube-apiserver.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what can't go on fails its test"
)]

#[path = "deploy/chart.rs"]
mod chart;

#[path = "deploy/helm.rs"]
mod helm;

#[path = "deploy/rights.rs"]
mod rights;
