//! Memory of watches on which nothing happens: 5,000 over HTTP/2, a hundred to a connection as client-go
//! has them, to an upstream that answers each with one event and then with nothing more.

use std::{path::Path, sync::Arc};

use anyhow::{Context, ensure};
use bytes::Bytes;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{
    figure,
    process::free_port,
    site::{certificates, kubeconfig, witgate},
};

const CONNECTIONS: usize = 50;
const EACH: usize = 100;

/// What a watch begins with.
const EVENT: &[u8] = b"{\"type\":\"BOOKMARK\",\"object\":{}}\n";

const TOKEN: &str = "a-token-for-watching";

pub(crate) async fn run() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let at = |name: &str| directory.path().join(name);
    certificates(directory.path())?;
    let upstream = TcpListener::bind("127.0.0.1:0").await?;
    let port = upstream.local_addr()?.port();
    tokio::spawn(serve(upstream, acceptor(directory.path())?));
    std::fs::write(at("kubeconfig"), kubeconfig(directory.path(), port))?;
    let gateway = free_port()?;
    std::fs::write(at("witgate.yaml"), configuration(gateway))?;
    let witgate = witgate(directory.path(), gateway).await?;

    let connector = connector(directory.path())?;
    // One connection's worth first, so that what is there only once is not counted.
    let mut held = vec![watch(&connector, gateway).await?];
    let before = witgate.resident()?;
    for _ in 0..CONNECTIONS {
        held.push(watch(&connector, gateway).await?);
    }
    let after = witgate.resident()?;
    #[expect(clippy::cast_precision_loss, reason = "there are thousands")]
    let count = (CONNECTIONS * EACH) as f64;
    figure("watches", count, "watches");
    figure("watches_memory", after / 1024.0, "MiB");
    figure("watch_memory", (after - before) / count, "KiB/watch");
    drop(held);
    Ok(())
}

/// Streams that are open for as long as this is there.
type Held = Vec<h2::RecvStream>;

/// A connection with its watches, each of which has got its first event.
async fn watch(connector: &TlsConnector, gateway: u16) -> anyhow::Result<Held> {
    let tcp = TcpStream::connect(("127.0.0.1", gateway)).await?;
    let stream = connector.connect(ServerName::try_from("localhost")?, tcp).await?;
    let (client, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(connection);
    let mut held = Vec::with_capacity(EACH);
    for index in 0..EACH {
        let request = http::Request::get(format!(
            "https://localhost:{gateway}/clusters/bench/api/v1/namespaces/n{index}/pods?watch=true"
        ))
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(())?;
        let mut client = client.clone().ready().await?;
        let (answer, _) = client.send_request(request, true)?;
        let answer = answer.await?;
        ensure!(answer.status().is_success(), "{}", answer.status());
        let mut body = answer.into_body();
        let event = body.data().await.context("the watch has ended")??;
        body.flow_control().release_capacity(event.len())?;
        held.push(body);
    }
    Ok(held)
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor) -> anyhow::Result<()> {
    loop {
        let (tcp, _) = listener.accept().await?;
        let stream = acceptor.accept(tcp).await?;
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(stream).await?;
            let mut open = Vec::new();
            while let Some(request) = connection.accept().await {
                let (_, mut respond) = request?;
                let mut body = respond.send_response(http::Response::new(()), false)?;
                body.send_data(Bytes::from_static(EVENT), false)?;
                open.push(body);
            }
            anyhow::Ok(())
        });
    }
}

fn acceptor(directory: &Path) -> anyhow::Result<TlsAcceptor> {
    let chain =
        CertificateDer::pem_file_iter(directory.join("certificate.pem"))?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(directory.join("key.pem"))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config).into())
}

fn connector(directory: &Path) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(directory.join("ca.pem"))?)?;
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config).into())
}

fn configuration(gateway: u16) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, TOKEN.as_bytes());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "listeners:\n- address: 127.0.0.1:{gateway}\n  tls: {{certificateFile: certificate.pem, keyFile: key.pem}}\n\
         state: {{directory: state}}\n\
         identity:\n  publicUrl: https://localhost:{gateway}\n  tokens: [{{name: watcher, sha256: {digest}}}]\n\
         clusters:\n- {{name: bench, kubeconfig: kubeconfig}}\n\
         audit: {{file: audit.log}}\n",
    )
}
