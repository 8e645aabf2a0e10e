//! Who is let in and who is not, each against an issuer on loopback.

mod clock;
mod configuration;
mod keys;
mod login;
mod machines;
mod revocation;
mod sessions;
mod tokens;
