//! Observes a control plane, and plans, approves, carries out and journals what repairs it.
//!
//! A recovery plugin finds out what is wrong and proposes steps ([`witgate_plugins::recovery::Recovery`]); it
//! can't act. This crate owns everything that acts, and trusts no proposal:
//!
//! - an [`Observation`] is what the host sees itself, from several vantage points ([`World`]);
//! - the [rules](Rule) are pure functions over it, which name what is violated with its numbers;
//! - a [`Plan`] is a proposal that no rule is against, with everything that it was made from; its
//!   [id](PlanId) is a hash of all that, and that is what people approve;
//! - the [`Engine`] carries it out: before each step it looks again, compares, asks the rules, and
//!   writes its intent into the [`Journal`]; then the [`Executor`] acts, and the engine looks for the
//!   effect. One executor at a time has the lease, whose token fences what is written.
//!
//! To resume is to carry out again: the journal says where, and looking says whether.

mod approval;
mod condition;
mod config;
mod control_plane;
mod drift;
mod engine;
mod etcd;
mod executor;
#[cfg(test)]
mod histories;
mod join;
mod journal;
mod kubernetes;
mod lease;
mod observation;
mod outlook;
mod plan;
mod policy;
mod projection;
mod rules;
mod silence;
mod snapshots;

pub use approval::Approval;
pub use config::{ControlPlaneConfig, OpenError};
pub use control_plane::{ControlPlane, Moment};
pub use engine::{Engine, EngineError};
pub use etcd::{EtcdConfig, EtcdError};
pub use executor::{Clock, Executor, Failure, SystemClock, Task, World};
pub use join::{Admission, Escrow, EscrowError, Files, FilesError, Invitation};
pub use journal::{Chain, Completion, Dossier, Entry, Event, Journal, JournalError, Progress};
pub use observation::{
    Census, Hashes, Join, Kubeadm, Kubernetes, Lease, Node, Observation, Pod, Snapshot, Standing,
};
pub use outlook::Outlook;
pub use plan::{Plan, PlanId, Planner};
pub use policy::Policy;
pub use rules::{Rule, Violation};
pub use silence::Silence;
pub use snapshots::{Record, Rehearsal, SnapshotConfig, SnapshotError};
