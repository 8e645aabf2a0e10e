//! Defines the load balancer in front of the apiservers: the cluster's `controlPlaneEndpoint`.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io,
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

use crate::error::Error;

/// Forwards each connection to the next apiserver that accepts it.
///
/// It lives on the runtime that started it, and ends when it is dropped.
#[derive(Debug)]
pub(super) struct Balancer {
    serving: AbortHandle,
}

impl Balancer {
    pub(super) async fn start(address: SocketAddr, backends: Vec<SocketAddr>) -> Result<Self, Error> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(Error::io(address.to_string()))?;
        let serving = tokio::spawn(serve(listener, backends.into())).abort_handle();
        Ok(Self { serving })
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, backends: Arc<[SocketAddr]>) {
    let mut turn = 0;
    // Dropped with this task, and its connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                connections.spawn(forward(client, Arc::clone(&backends), turn));
                turn += 1;
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn forward(mut client: TcpStream, backends: Arc<[SocketAddr]>, turn: usize) {
    let first = turn % backends.len().max(1);
    for backend in backends.iter().cycle().skip(first).take(backends.len()) {
        if let Ok(mut server) = TcpStream::connect(backend).await {
            // Either side's end ends the connection; nobody asks which.
            let _ = io::copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}
