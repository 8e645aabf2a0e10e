//! Remote write and read: a real Prometheus through the gateway into real backends, bit for bit.

#[path = "prometheus/world.rs"]
mod world;

#[path = "prometheus/backend.rs"]
mod backend;

#[path = "prometheus/sender.rs"]
mod sender;

#[path = "prometheus/target.rs"]
mod target;

#[path = "prometheus/samples.rs"]
mod samples;

#[path = "prometheus/outage.rs"]
mod outage;

#[path = "prometheus/swap.rs"]
mod swap;

#[path = "prometheus/bits.rs"]
mod bits;

#[path = "prometheus/refusals.rs"]
mod refusals;

#[path = "prometheus/paths.rs"]
mod paths;

#[path = "prometheus/receiver.rs"]
mod receiver;

#[path = "prometheus/tenants.rs"]
mod tenants;

#[path = "prometheus/senders.rs"]
mod senders;

#[path = "prometheus/relabelling.rs"]
mod relabelling;

#[path = "prometheus/replicas.rs"]
mod replicas;

#[path = "prometheus/storages.rs"]
mod storages;

#[path = "prometheus/doctor.rs"]
mod doctor;

#[path = "prometheus/configuration.rs"]
mod configuration;

#[path = "prometheus/isolation.rs"]
mod isolation;

#[path = "prometheus/differential.rs"]
mod differential;

#[path = "prometheus/nothing_lost.rs"]
mod nothing_lost;
