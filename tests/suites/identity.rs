//! Who is let in: users of dex and OpenLDAP with a browser and with tokens, and machines.

#[path = "identity/world.rs"]
mod world;

#[path = "identity/directory.rs"]
mod directory;

#[path = "identity/issuer.rs"]
mod issuer;

#[path = "identity/keys.rs"]
mod keys;

#[path = "identity/login.rs"]
mod login;

#[path = "identity/machines.rs"]
mod machines;

#[path = "identity/metrics.rs"]
mod metrics;

#[path = "identity/other_issuer.rs"]
mod other_issuer;

#[path = "identity/refresh.rs"]
mod refresh;

#[path = "identity/replicas.rs"]
mod replicas;

#[path = "identity/rules.rs"]
mod rules;

#[path = "identity/tokens.rs"]
mod tokens;
