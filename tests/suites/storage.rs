//! Storage plugins, all by the same cases: what goes through a gateway into a real backend comes back,
//! or is refused with its count. Nothing is dropped without a word.

#[path = "storage/backend.rs"]
mod backend;

#[path = "storage/world.rs"]
mod world;

#[path = "storage/request.rs"]
mod request;

#[path = "storage/capability.rs"]
mod capability;

#[path = "storage/table.rs"]
mod table;

#[path = "storage/matchers.rs"]
mod matchers;

#[path = "storage/again.rs"]
mod again;

#[path = "storage/outage.rs"]
mod outage;

#[path = "storage/chunks.rs"]
mod chunks;
