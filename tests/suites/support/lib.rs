//! What the suites share: a browser without a screen, and the wire forms of remote write and read.

pub mod browser;
pub mod remote;
