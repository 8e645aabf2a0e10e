//! What the suites share: a browser without a screen, numbers without a pattern, and the wire forms of
//! remote write and read.

pub mod browser;
pub mod random;
pub mod remote;
