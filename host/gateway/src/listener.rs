//! Accepts connections, does TLS, and speaks HTTP/1.1 and HTTP/2 within limits.

mod prompt;

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::{Router, body::Body};
use http::Request;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::pem::PemObject,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;
use witgate_identity::ClientCertificate;

use self::prompt::Prompt;
use crate::config::{ListenerConfig, TlsConfig};

/// Connections of one listener at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 16_384;

/// How long a client may take for a TLS handshake, and for a request's headers.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Bytes of one request's headers. Kubernetes' own server takes 1 MiB; nothing that a client of
/// the gateway has to send comes near this.
const HEADER_BYTES: usize = 64 << 10;

/// Streams at a time on one HTTP/2 connection: client-go puts all its watches on one.
const STREAMS: u32 = 1000;

/// An address that is bound, and what is served there.
pub(crate) struct Listener {
    address: SocketAddr,
    tcp: TcpListener,
    tls: Option<Tls>,
    router: Router,
}

/// What a listener shows and takes in TLS handshakes; another one can be put in its place.
#[derive(Clone, Debug)]
pub(crate) struct Tls(Arc<ArcSwap<ServerConfig>>);

/// The other end of the connection that a request came on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Why a listener can't be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("{address}: can't be listened on: {reason}")]
    Bind { address: SocketAddr, reason: io::Error },
    #[error("{file}: {reason}")]
    Certificate { file: String, reason: String },
}

// === impl Listener ===

impl Listener {
    /// Binds the address. `tls` is what [`Tls::read`] made for it.
    pub(crate) async fn bind(
        config: &ListenerConfig,
        tls: Option<Tls>,
        router: Router,
    ) -> Result<Self, ListenError> {
        let bind = |reason| ListenError::Bind {
            address: config.address,
            reason,
        };
        let tcp = TcpListener::bind(config.address).await.map_err(bind)?;
        let address = tcp.local_addr().map_err(bind)?;
        Ok(Self {
            address,
            tcp,
            tls,
            router,
        })
    }

    /// The URL of this listener.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Serves until `shutdown` says so, and then until requests in flight are answered.
    pub(crate) async fn serve(self, mut shutdown: watch::Receiver<bool>) {
        let graceful = GracefulShutdown::new();
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => break,
                accepted = accept(&self.tcp, &permits) => accepted,
            };
            let Some((stream, peer, permit)) = accepted else {
                continue;
            };
            let (tls, router, watcher) = (self.tls.clone(), self.router.clone(), graceful.watcher());
            tokio::spawn(async move {
                if let Err(error) = connection(stream, peer, tls, router, watcher).await {
                    tracing::debug!(%peer, error, "a connection ended");
                }
                drop(permit);
            });
        }
        drop(self.tcp);
        graceful.shutdown().await;
    }
}

async fn accept(
    tcp: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match tcp.accept().await {
        Ok((stream, peer)) => Some((stream, peer, permit)),
        Err(error) => {
            // Out of file descriptors, mostly: give those that are in use a moment to be closed.
            tracing::warn!(%error, "a connection can't be accepted");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Tls>,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) -> Result<(), String> {
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let Some(tls) = tls else {
        return serve(stream, peer, None, router, watcher).await;
    };
    let acceptor = TlsAcceptor::from(tls.0.load_full());
    match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates();
            let certificate = match shown.and_then(|chain| chain.first()) {
                None => None,
                Some(der) => match ClientCertificate::parse(der) {
                    Ok(certificate) => Some(Arc::new(certificate)),
                    Err(error) => return Err(error.to_string()),
                },
            };
            serve(stream, peer, certificate, router, watcher).await
        }
        Ok(Err(error)) => Err(format!("TLS: {error}")),
        Err(_) => Err("the TLS handshake took too long".to_owned()),
    }
}

async fn serve<I>(
    stream: I,
    peer: SocketAddr,
    certificate: Option<Arc<ClientCertificate>>,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) -> Result<(), String>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(Prompt::new(stream, HANDSHAKE));
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        if let Some(certificate) = &certificate {
            request.extensions_mut().insert(Arc::clone(certificate));
        }
        router.clone().oneshot(request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE)
        .max_buf_size(HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(HEADER_BYTES).unwrap_or(u32::MAX));
    let connection = builder.serve_connection_with_upgrades(io, service).into_owned();
    watcher.watch(connection).await.map_err(|error| error.to_string())
}

// === impl Tls ===

impl Tls {
    /// Reads what a listener is to have of it, if it is to have any.
    pub(crate) fn read(config: &ListenerConfig, base: &Path) -> Result<Option<Self>, ListenError> {
        let Some(tls) = &config.tls else { return Ok(None) };
        let read = server_config(tls, base)?;
        Ok(Some(Self(Arc::new(ArcSwap::from_pointee(read)))))
    }

    /// Has new connections see what another one says; open ones go on.
    pub(crate) fn replace(&self, other: &Self) {
        self.0.store(other.0.load_full());
    }
}

fn server_config(tls: &TlsConfig, base: &Path) -> Result<ServerConfig, ListenError> {
    let certificate_file = base.join(&tls.certificate_file);
    let key_file = base.join(&tls.key_file);
    let refused = |file: &Path, reason: &dyn ToString| ListenError::Certificate {
        file: file.display().to_string(),
        reason: reason.to_string(),
    };
    let chain = CertificateDer::pem_file_iter(&certificate_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| refused(&certificate_file, &error))?;
    if chain.is_empty() {
        return Err(refused(
            &certificate_file,
            &"holds no certificate (expected PEM, `BEGIN CERTIFICATE`)",
        ));
    }
    let key = PrivateKeyDer::from_pem_file(&key_file).map_err(|error| refused(&key_file, &error))?;
    let builder = ServerConfig::builder();
    let builder = match &tls.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let file = base.join(file);
            let verifier = client_verifier(&file).map_err(|error| refused(&file, &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| refused(&certificate_file, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Takes certificates of these authorities, and clients without one.
fn client_verifier(file: &Path) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let authorities = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|error| error.to_string())?;
    }
    WebPkiClientVerifier::builder(Arc::new(roots))
        .allow_unauthenticated()
        .build()
        .map_err(|error| error.to_string())
}
