//! The embedded engine: one directory, one process.

/// State in a directory of this process.
#[derive(Debug)]
pub struct Embedded;
