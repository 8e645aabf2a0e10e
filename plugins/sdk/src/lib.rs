#![doc = include_str!("../README.md")]

pub mod bindings;
pub mod claims;
mod config;
pub mod http;
pub mod key_value;
pub mod log;
pub mod recovery;
#[doc(hidden)]
pub mod stamp;
pub mod storage;

pub use serde;
pub use serde_json;
