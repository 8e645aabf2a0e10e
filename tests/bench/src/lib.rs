//! The figures of tests/bench/README.md.
