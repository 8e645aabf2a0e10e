//! Starts the real programs that the suites talk to.
