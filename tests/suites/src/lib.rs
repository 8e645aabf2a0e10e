//! The suites, each against the real programs.
