//! Connecting to an origin: resolves its name, and checks every address before it is dialled.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tower::Service;
use wasmtime_wasi_http::Error;

use super::Policy;
use crate::{
    addresses::allowed,
    denials::Denial,
    origin::{Host, Origin},
};

/// For resolving the name and connecting to one of its addresses. A backend that takes longer
/// is not going to answer within a call's time either.
const CONNECT: Duration = Duration::from_secs(5);

/// Opens the connections of one plugin's client.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    policy: Arc<Policy>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the address is not granted")]
    Denied,
    #[error("the name can't be resolved: {0}")]
    Resolve(io::Error),
    #[error("the name has no address")]
    NoAddress,
    #[error("can't connect: {0}")]
    Connect(io::Error),
    #[error("no connection within {} seconds", CONNECT.as_secs())]
    Timeout,
}

impl Dialer {
    pub(super) fn new(policy: Arc<Policy>) -> Self {
        Self { policy }
    }

    async fn dial(self, uri: Uri) -> Result<TokioIo<TcpStream>, DialError> {
        // The client only dials what was admitted, but this is the last door.
        let origin = Origin::of(&uri).map_err(|_| DialError::Denied)?;
        let granted = self.policy.granted(&origin).ok_or(DialError::Denied)?;
        let resolved: Vec<IpAddr> = match &origin.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => {
                let found = lookup_host((name.as_str(), origin.port))
                    .await
                    .map_err(DialError::Resolve)?;
                found.map(|found| found.ip()).collect()
            }
        };
        let first = *resolved.first().ok_or(DialError::NoAddress)?;
        let mut failed = None;
        for address in resolved
            .into_iter()
            .filter(|address| allowed(&origin.host, granted, *address))
        {
            match TcpStream::connect(SocketAddr::new(address, origin.port)).await {
                Ok(stream) => {
                    // Small requests must not wait for the acknowledgement of earlier ones.
                    stream.set_nodelay(true).map_err(DialError::Connect)?;
                    return Ok(TokioIo::new(stream));
                }
                Err(error) => failed = Some(DialError::Connect(error)),
            }
        }
        Err(failed.unwrap_or_else(|| {
            self.policy.denials.record(Denial::Address {
                origin,
                address: first,
            });
            DialError::Denied
        }))
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<TcpStream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialler = self.clone();
        Box::pin(async move {
            tokio::time::timeout(CONNECT, dialler.dial(uri))
                .await
                .map_err(|_| DialError::Timeout)?
        })
    }
}

impl DialError {
    /// The same in the terms of `wasi:http`.
    pub(super) fn as_wasi(&self) -> Error {
        match self {
            Self::Denied => Error::DestinationIpProhibited,
            Self::Resolve(error) => Error::DnsError {
                rcode: Some(error.to_string()),
                info_code: None,
            },
            Self::NoAddress => Error::DestinationNotFound,
            Self::Connect(_) => Error::ConnectionRefused,
            Self::Timeout => Error::ConnectionTimeout,
        }
    }
}
