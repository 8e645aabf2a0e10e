//! Defines what can go wrong while a component is started, asked or stopped.

use std::{io, path::PathBuf, process::ExitStatus};

use crate::component::Missing;

/// Why the lab could not do what a suite asked of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program is not on this machine.
    #[error(transparent)]
    Missing(#[from] Missing),

    /// The gateway has not been built where the lab looks for it.
    #[error("no gateway at {}; run `cargo build -p witgate`, or name it in WITGATE_BIN", path.display())]
    NoGateway {
        /// Where it was looked for.
        path: PathBuf,
    },

    /// A file, directory or socket of the lab's own could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, and to which file or address.
        what: String,
        /// What the system said.
        source: io::Error,
    },

    /// A program ended when it should have become ready.
    #[error("{name} ended with {status} before it was ready; its log:\n{log}")]
    Ended {
        /// The component.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it wrote.
        log: String,
    },

    /// A program runs but did not become ready.
    #[error("{name} was not ready after {seconds} s: {last}; its log:\n{log}")]
    NotReady {
        /// The component.
        name: String,
        /// The deadline that passed.
        seconds: u64,
        /// What the last look found.
        last: String,
        /// The last lines that it wrote.
        log: String,
    },

    /// A condition of [`eventually`](crate::eventually) did not come true.
    #[error("not within {seconds} s: {what}; at last: {last}")]
    Never {
        /// The condition.
        what: String,
        /// The deadline that passed.
        seconds: u64,
        /// Why it did not hold at the last look.
        last: String,
    },

    /// An operation needs a program that was stopped or killed before.
    #[error("{name} is not running; restart it first")]
    NotRunning {
        /// The component.
        name: String,
    },

    /// A component could not be reached over HTTP, or its answer not be read.
    #[error("{what}: {source}")]
    Http {
        /// The request.
        what: String,
        /// What the client said.
        source: reqwest::Error,
    },

    /// A program that helps the lab said something that it should not have.
    #[error("{what}: {problem}")]
    Answer {
        /// The program.
        what: &'static str,
        /// What it said.
        problem: String,
    },

    /// A component refused a request.
    #[error("{what} was answered {status}: {body}")]
    Refused {
        /// The request.
        what: String,
        /// The status line's code.
        status: u16,
        /// The answer's body.
        body: String,
    },

    /// A command that had to succeed did not.
    #[error("`{command}` ended with {status}: {stderr}")]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to standard error.
        stderr: String,
    },

    /// A certificate or key could not be made.
    #[error("cannot issue a certificate for {subject}: {source}")]
    Certificate {
        /// Whom it was for.
        subject: String,
        /// What the library said.
        source: rcgen::Error,
    },

    /// All addresses that the lab gives to nodes are taken.
    #[error("no free address for a node in 198.18.0.0/15")]
    NoNetwork,

    /// All ports that the lab hands out are taken.
    #[error("no free port on 127.0.0.1 between {first} and {last}")]
    NoPort {
        /// The lowest port looked at.
        first: u16,
        /// The highest port looked at.
        last: u16,
    },
}

impl Error {
    /// Says what was being done when the system refused; for `map_err`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Says which request failed; for `map_err`.
    pub(crate) fn http(what: impl Into<String>) -> impl FnOnce(reqwest::Error) -> Self {
        let what = what.into();
        move |source| Self::Http { what, source }
    }
}
