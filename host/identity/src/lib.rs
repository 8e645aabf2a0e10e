//! Who is calling: verification of tokens and passwords, browser login, sessions.

mod principal;

pub use principal::{Method, Principal};
