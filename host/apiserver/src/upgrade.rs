//! Connections that change their protocol: exec, attach, port-forward, over SPDY/3.1 or WebSocket.
//!
//! After both sides have agreed, bytes are handed on as they come and never looked into.

use std::{io, time::Duration};

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{attendant::Attended, upstream::Place};

/// What is read at once in either direction. A slow reader on one side slows the other side down.
const BUFFER: usize = 16 << 10;

/// How long a client may take to see that its upgrade was accepted.
const ACCEPTED: Duration = Duration::from_secs(10);

/// The protocols that kube-apiserver changes to. Others would be tunnels to nobody knows what.
const PROTOCOLS: [&str; 2] = ["spdy/3.1", "websocket"];

/// The subprotocol that is a bearer token.
const BEARER: &str = "base64url.bearer.authorization.k8s.io.";

/// What a client asks for, taken out of its request before headers of the connection are removed.
#[derive(Debug)]
pub(crate) struct Upgrade {
    protocol: HeaderValue,
    subprotocols: Option<HeaderValue>,
    client: OnUpgrade,
}

/// One side of a spliced connection.
#[derive(Clone, Copy, Debug)]
enum Side {
    Client,
    Cluster,
}

/// Why a connection can't change its protocol.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Refused {
    #[error("the gateway forwards upgrades to SPDY/3.1 and websocket, no others")]
    Protocol,
    #[error("an upgrade needs `Connection: Upgrade` and HTTP/1.1")]
    Connection,
}

// === impl Upgrade ===

impl Upgrade {
    /// What a request asks for, if it asks for an upgrade.
    pub(crate) fn take(request: &mut Request<Body>) -> Result<Option<Self>, Refused> {
        if request.method() == http::Method::CONNECT {
            return Err(Refused::Protocol);
        }
        let mut asked = request.headers().get_all(header::UPGRADE).iter();
        let protocol = match (asked.next(), asked.next()) {
            (None, _) => return Ok(None),
            (Some(protocol), None) => protocol.clone(),
            (Some(_), Some(_)) => return Err(Refused::Protocol),
        };
        let known = protocol
            .to_str()
            .is_ok_and(|name| PROTOCOLS.contains(&name.to_ascii_lowercase().as_str()));
        if !known {
            return Err(Refused::Protocol);
        }
        if !says_upgrade(request.headers()) || request.version() != http::Version::HTTP_11 {
            return Err(Refused::Connection);
        }
        Ok(Some(Self {
            protocol,
            subprotocols: subprotocols(request.headers()),
            client: hyper::upgrade::on(request),
        }))
    }

    /// Asks the apiserver for the same, once a request's other headers are in order.
    pub(crate) fn ask(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, self.protocol.clone());
        if let Some(subprotocols) = &self.subprotocols {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocols.clone());
        }
    }

    /// Hands on what the apiserver agreed to, and from then on every byte. `headers` are the answer's
    /// without those of the connection.
    pub(crate) fn accept(
        self,
        mut response: Response<Incoming>,
        headers: HeaderMap,
        place: Place,
        attended: Attended,
    ) -> Response<Body> {
        let protocol = response.headers().get(header::UPGRADE).cloned();
        let upstream = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            let spliced = self.splice(upstream, attended).await;
            if let Err(error) = spliced {
                tracing::debug!(%error, "a spliced connection ended");
            }
            drop(place);
        });
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *answer.headers_mut() = headers;
        let headers = answer.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Some(protocol) = protocol {
            headers.insert(header::UPGRADE, protocol);
        }
        answer
    }

    async fn splice(self, upstream: OnUpgrade, mut attended: Attended) -> Result<(), io::Error> {
        let both = async { tokio::try_join!(self.client, upstream) };
        let (client, upstream) = match tokio::time::timeout(ACCEPTED, both).await {
            Ok(both) => both.map_err(io::Error::other)?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        };
        let (mut from_client, mut to_client) = tokio::io::split(TokioIo::new(client));
        let (mut from_upstream, mut to_upstream) = tokio::io::split(TokioIo::new(upstream));
        let (mut sent, mut received) = (0, 0);
        let why = {
            let until = attended.until();
            let upwards = copy(
                (&mut from_client, Side::Client),
                (&mut to_upstream, Side::Cluster),
                &mut received,
            );
            let downwards = copy(
                (&mut from_upstream, Side::Cluster),
                (&mut to_client, Side::Client),
                &mut sent,
            );
            tokio::select! {
                why = until => why,
                why = both_ways(upwards, downwards) => why.to_owned(),
            }
        };
        attended.sent(sent);
        attended.received(received);
        attended.because(why);
        Ok(())
    }
}

/// Each half ends by itself: a client that has sent its last byte still reads. Which side it was that
/// ended it, by an error or, when both ended well, by being the first.
async fn both_ways(
    upwards: impl Future<Output = Result<(), Side>>,
    downwards: impl Future<Output = Result<(), Side>>,
) -> &'static str {
    tokio::pin!(upwards, downwards);
    let (side, rest) = tokio::select! {
        ended = &mut upwards => match ended {
            Ok(()) => (Side::Client, downwards.await),
            failed => (Side::Client, failed),
        },
        ended = &mut downwards => match ended {
            Ok(()) => (Side::Cluster, upwards.await),
            failed => (Side::Cluster, failed),
        },
    };
    let side = rest.err().unwrap_or(side);
    match side {
        Side::Client => "the client ended it",
        Side::Cluster => "the cluster ended it",
    }
}

/// Hands on bytes until there are no more, or one of the sides fails.
async fn copy(
    (from, from_side): (&mut (impl AsyncRead + Unpin), Side),
    (to, to_side): (&mut (impl AsyncWrite + Unpin), Side),
    count: &mut usize,
) -> Result<(), Side> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = from.read(&mut buffer).await.map_err(|_| from_side)?;
        if length == 0 {
            return to.shutdown().await.map_err(|_| to_side);
        }
        let bytes = buffer.get(..length).unwrap_or_default();
        to.write_all(bytes).await.map_err(|_| to_side)?;
        to.flush().await.map_err(|_| to_side)?;
        *count += length;
    }
}

fn says_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case("upgrade"))
}

/// What a WebSocket's client offers, without a token that it may have among it.
fn subprotocols(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered: Vec<_> = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty() && !name.starts_with(BEARER))
        .collect();
    if offered.is_empty() {
        return None;
    }
    HeaderValue::try_from(offered.join(", ")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lines: &[(&str, &str)]) -> Request<Body> {
        let mut builder = Request::get("/api/v1/namespaces/a/pods/b/exec");
        for (name, value) in lines {
            builder = builder.header(*name, *value);
        }
        builder.body(Body::empty()).unwrap()
    }

    #[test]
    fn only_kubernetes_own_protocols_are_changed_to() {
        let ask = |lines: &[(&str, &str)]| Upgrade::take(&mut request(lines)).map(|found| found.is_some());
        assert_eq!(ask(&[]), Ok(false));
        for protocol in ["SPDY/3.1", "websocket", "WebSocket"] {
            assert_eq!(
                ask(&[("connection", "keep-alive, Upgrade"), ("upgrade", protocol)]),
                Ok(true)
            );
        }
        for protocol in ["h2c", "TLS/1.0", "tcp", "websocket, h2c", ""] {
            assert_eq!(
                ask(&[("connection", "Upgrade"), ("upgrade", protocol)]),
                Err(Refused::Protocol)
            );
        }
        assert_eq!(ask(&[("upgrade", "websocket")]), Err(Refused::Connection));
        assert_eq!(
            ask(&[
                ("connection", "Upgrade"),
                ("upgrade", "websocket"),
                ("upgrade", "h2c")
            ]),
            Err(Refused::Protocol)
        );
        let mut connect = request(&[]);
        *connect.method_mut() = http::Method::CONNECT;
        assert_eq!(Upgrade::take(&mut connect).err(), Some(Refused::Protocol));
    }

    #[test]
    fn a_token_among_the_subprotocols_goes_no_further() {
        let mut asking = request(&[
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            (
                "sec-websocket-protocol",
                "base64url.bearer.authorization.k8s.io.YWJj, v5.channel.k8s.io",
            ),
            ("sec-websocket-protocol", "v4.channel.k8s.io"),
        ]);
        let upgrade = Upgrade::take(&mut asking).unwrap().unwrap();
        let mut headers = HeaderMap::new();
        upgrade.ask(&mut headers);
        assert_eq!(
            headers[header::SEC_WEBSOCKET_PROTOCOL],
            "v5.channel.k8s.io, v4.channel.k8s.io"
        );
    }
}
