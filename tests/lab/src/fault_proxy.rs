//! Defines a TCP proxy that fails in ways that a real backend cannot be told to.

use std::net::SocketAddr;

use tokio::{
    io::{self, AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::{AbortHandle, JoinSet},
};

use crate::{error::Error, port::Port};

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// They are forwarded.
    Pass,
    /// There is no listener: the system refuses them.
    Refuse,
    /// They are accepted, and no byte moves in either direction.
    Hang,
}

/// What the proxy does now; `cuts` counts how often open connections were cut.
#[derive(Debug, Clone, Copy)]
struct Orders {
    mode: Mode,
    cuts: u64,
}

/// A proxy in front of a real backend, on a port of its own, which forwards until it is told else.
///
/// It lives on the runtime that started it, and ends when it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    orders: watch::Sender<Orders>,
    port: Port,
    serving: AbortHandle,
}

impl FaultProxy {
    /// Starts a proxy in front of `backend`.
    ///
    /// # Errors
    /// If its port cannot be bound.
    pub async fn start(backend: SocketAddr) -> Result<Self, Error> {
        let port = Port::free()?;
        let listener = TcpListener::bind(port.address())
            .await
            .map_err(Error::io(port.address().to_string()))?;
        let (orders, received) = watch::channel(Orders {
            mode: Mode::Pass,
            cuts: 0,
        });
        let serving = tokio::spawn(serve(listener, port.address(), backend, received)).abort_handle();
        Ok(Self {
            orders,
            port,
            serving,
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Forwards new connections again, and lets held ones go on.
    pub fn pass(&self) {
        self.orders.send_modify(|orders| orders.mode = Mode::Pass);
    }

    /// Refuses new connections. Open ones go on; [`cut`](Self::cut) them too for a dead backend.
    pub fn refuse(&self) {
        self.orders.send_modify(|orders| orders.mode = Mode::Refuse);
    }

    /// Accepts new connections and forwards nothing on any connection until it passes again.
    pub fn hang(&self) {
        self.orders.send_modify(|orders| orders.mode = Mode::Hang);
    }

    /// Cuts the open connections, with a reset, in the midst of whatever they carry.
    pub fn cut(&self) {
        self.orders.send_modify(|orders| orders.cuts += 1);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    backend: SocketAddr,
    mut orders: watch::Receiver<Orders>,
) {
    let mut listener = Some(listener);
    // Dropped with this task, and its connections with it.
    let mut connections = JoinSet::new();
    loop {
        let mode = orders.borrow_and_update().mode;
        if mode == Mode::Refuse {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        tokio::select! {
            accepted = accept(listener.as_ref()) => {
                let received = orders.clone();
                connections.spawn(connection(accepted, backend, received));
            }
            Some(_) = connections.join_next() => {}
            changed = orders.changed() => if changed.is_err() { return },
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    match listener {
        None => std::future::pending().await,
        Some(listener) => loop {
            if let Ok((client, _)) = listener.accept().await {
                return client;
            }
        },
    }
}

/// Forwards one connection until both directions ended or it is cut.
async fn connection(mut client: TcpStream, backend: SocketAddr, mut orders: watch::Receiver<Orders>) {
    let cuts = orders.borrow_and_update().cuts;
    let mut cut = orders.clone();
    let in_order = tokio::select! {
        _ = cut.wait_for(|orders| orders.cuts != cuts) => false,
        forwarded = forward(&mut client, backend, orders) => forwarded.is_ok(),
    };
    if !in_order {
        // Without lingering, closing resets: the peer sees an error instead of an end.
        let _ = client.set_zero_linger();
    }
}

async fn forward(
    client: &mut TcpStream,
    backend: SocketAddr,
    mut orders: watch::Receiver<Orders>,
) -> io::Result<()> {
    flowing(&mut orders).await?;
    let mut server = TcpStream::connect(backend).await?;
    server.set_zero_linger()?;
    let (client_read, client_write) = client.split();
    let (server_read, server_write) = server.split();
    let up = copy(client_read, server_write, orders.clone());
    let down = copy(server_read, client_write, orders);
    tokio::try_join!(up, down).map(drop)
}

/// Copies one direction to its end, and passes the end on.
async fn copy(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut orders: watch::Receiver<Orders>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        flowing(&mut orders).await?;
        match buffer.get(..read) {
            Some(bytes) if read > 0 => to.write_all(bytes).await?,
            _ => return to.shutdown().await,
        }
    }
}

/// Waits while the proxy hangs.
async fn flowing(orders: &mut watch::Receiver<Orders>) -> io::Result<()> {
    orders
        .wait_for(|orders| orders.mode != Mode::Hang)
        .await
        .map(drop)
        .map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
