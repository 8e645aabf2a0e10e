//! Recovery's own hands and eyes on a real etcd: what is seen of members that live, die and go wrong;
//! what is done, and what is refused.

#[path = "recovery/site.rs"]
mod site;

#[path = "recovery/command_line.rs"]
mod command_line;

#[path = "recovery/console.rs"]
mod console;

#[path = "recovery/control_plane.rs"]
mod control_plane;

#[path = "recovery/corrupt.rs"]
mod corrupt;

#[path = "recovery/cut_off.rs"]
mod cut_off;

#[path = "recovery/dead_member.rs"]
mod dead_member;

#[path = "recovery/desk.rs"]
mod desk;

#[path = "recovery/escrow.rs"]
mod escrow;

#[path = "recovery/gatekeeper.rs"]
mod gatekeeper;

#[path = "recovery/joining.rs"]
mod joining;

#[path = "recovery/killed.rs"]
mod killed;

#[path = "recovery/kubeadm.rs"]
mod kubeadm;

#[path = "recovery/misled.rs"]
mod misled;

#[path = "recovery/no_space.rs"]
mod no_space;

#[path = "recovery/objects.rs"]
mod objects;

#[path = "recovery/refused.rs"]
mod refused;

#[path = "recovery/snapshots.rs"]
mod snapshots;

#[path = "recovery/traffic.rs"]
mod traffic;
