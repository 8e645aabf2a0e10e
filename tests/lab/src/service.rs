//! Defines a server of the lab: a program, how one knows that it serves, and its restarts.

use std::{net::SocketAddr, process::ExitStatus, time::Duration};

use reqwest::Client;
use tokio::net::TcpStream;

use crate::{
    error::Error,
    process::{Launch, Process},
};

/// Long enough for kube-apiserver's first start on a machine that is compiling at the same time.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// More than any of the programs needs for an orderly end.
const STOP_GRACE: Duration = Duration::from_secs(20);

/// A running server.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) process: Process,
    readiness: Readiness,
}

/// What shows that a server serves.
#[derive(Debug)]
pub(crate) enum Readiness {
    /// A 2xx answer to GET.
    Http { client: Client, url: String },
    /// A connection is accepted.
    Accepts(SocketAddr),
    /// A line on standard output that begins so.
    Prints(&'static str),
}

impl Service {
    /// Starts the program and waits until it serves.
    pub(crate) async fn start(launch: Launch, readiness: Readiness) -> Result<Self, Error> {
        let mut service = Self::spawn(launch, readiness)?;
        service.ready().await?;
        Ok(service)
    }

    /// Starts the program; [`ready`](Self::ready) waits, so that several can start at once.
    pub(crate) fn spawn(launch: Launch, readiness: Readiness) -> Result<Self, Error> {
        Ok(Self {
            process: Process::spawn(launch)?,
            readiness,
        })
    }

    /// Kills the program if it runs, and starts it on the same directory and ports.
    pub(crate) async fn restart(&mut self) -> Result<(), Error> {
        self.process.respawn()?;
        self.ready().await
    }

    pub(crate) async fn stop(&mut self) -> Result<ExitStatus, Error> {
        self.process.stop(STOP_GRACE).await
    }

    /// Waits until the program serves.
    pub(crate) async fn ready(&mut self) -> Result<(), Error> {
        let readiness = &self.readiness;
        self.process
            .ready(READY_WITHIN, async |process: &Process| {
                readiness.look(process).await
            })
            .await
    }
}

impl Readiness {
    /// The start of a server whose health is a plain HTTP URL.
    pub(crate) fn http(url: String) -> Self {
        Self::Http {
            client: crate::http::client(),
            url,
        }
    }

    async fn look(&self, process: &Process) -> Result<(), String> {
        match self {
            Self::Http { client, url } => {
                let answer = client
                    .get(url)
                    .send()
                    .await
                    .map_err(|error| format!("{error:?}"))?;
                let status = answer.status();
                if status.is_success() {
                    Ok(())
                } else {
                    Err(format!("{url} answers {status}"))
                }
            }
            Self::Accepts(address) => {
                let connected = TcpStream::connect(address).await;
                connected.map(drop).map_err(|error| format!("{address}: {error}"))
            }
            Self::Prints(prefix) => {
                let printed = process.stdout().lines().any(|line| line.starts_with(prefix));
                if printed {
                    Ok(())
                } else {
                    Err(format!("no line {prefix:?} on standard output"))
                }
            }
        }
    }
}

/// Gives a component with a field `service` the methods that end it and bring it back.
macro_rules! lifecycle {
    ($component:ident) => {
        impl $component {
            /// Kills it as a crash would (SIGKILL); its directory and ports stay for `restart`.
            pub fn kill(&mut self) {
                self.service.process.kill();
            }

            /// Asks it to end in order (SIGTERM), and kills it if it does not.
            ///
            /// # Errors
            /// If it does not run, or had to be killed.
            pub async fn stop(&mut self) -> Result<std::process::ExitStatus, $crate::Error> {
                self.service.stop().await
            }

            /// Starts it again on the same directory and ports, killing it first if it runs, and
            /// waits until it serves.
            ///
            /// # Errors
            /// If it does not start to serve, with the end of its log.
            pub async fn restart(&mut self) -> Result<(), $crate::Error> {
                self.service.restart().await
            }

            /// The program, for its logs.
            #[must_use]
            pub fn process(&self) -> &$crate::Process {
                &self.service.process
            }
        }
    };
}
pub(crate) use lifecycle;
