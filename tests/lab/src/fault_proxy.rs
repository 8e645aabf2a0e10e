//! Defines a TCP proxy that fails in ways that a real backend cannot be told to.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

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
    /// Each is read for one HTTP request, which the backend never sees, and answered with this status.
    Answer(u16),
}

/// What the proxy does now; `cuts` counts how often open connections were cut.
#[derive(Debug, Clone, Copy)]
struct Orders {
    mode: Mode,
    cuts: u64,
}

/// Where the backend is, and how many more bytes of it pass.
type Backend = (SocketAddr, Arc<AtomicUsize>);

/// A proxy in front of a real backend, on a port of its own, which forwards until it is told else.
///
/// It lives on the runtime that started it, and ends when it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    orders: watch::Sender<Orders>,
    /// How many more bytes of the backend's pass.
    left: Arc<AtomicUsize>,
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
        let left = Arc::new(AtomicUsize::new(usize::MAX));
        let serve = serve(listener, port.address(), (backend, Arc::clone(&left)), received);
        let serving = tokio::spawn(serve).abort_handle();
        Ok(Self {
            orders,
            left,
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
        self.left.store(usize::MAX, Ordering::Relaxed);
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

    /// Answers the request of each new connection with a status, as a backend does that is overloaded
    /// or broken. Open ones go on; [`cut`](Self::cut) them too for a storm.
    pub fn answer(&self, status: u16) {
        self.orders
            .send_modify(|orders| orders.mode = Mode::Answer(status));
    }

    /// Cuts the open connections, with a reset, in the midst of whatever they carry.
    pub fn cut(&self) {
        self.orders.send_modify(|orders| orders.cuts += 1);
    }

    /// Forwards so many more bytes of what the backend says, and then cuts each connection on which it
    /// says more, until it passes again.
    pub fn cut_after(&self, bytes: usize) {
        self.left.store(bytes, Ordering::Relaxed);
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
    backend: Backend,
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
                connections.spawn(connection(accepted, backend.clone(), received));
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
async fn connection(mut client: TcpStream, backend: Backend, mut orders: watch::Receiver<Orders>) {
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
    (backend, left): Backend,
    mut orders: watch::Receiver<Orders>,
) -> io::Result<()> {
    flowing(&mut orders).await?;
    let mode = orders.borrow().mode;
    if let Mode::Answer(status) = mode {
        return answer(client, status).await;
    }
    let mut server = TcpStream::connect(backend).await?;
    server.set_zero_linger()?;
    let (client_read, client_write) = client.split();
    let (server_read, server_write) = server.split();
    let up = copy(client_read, server_write, orders.clone(), |read| read);
    let down = copy(server_read, client_write, orders, |read| {
        let take = |left: usize| Some(left.saturating_sub(read));
        let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        read.min(before.unwrap_or_default())
    });
    tokio::try_join!(up, down).map(drop)
}

/// Reads one request, however its body ends, and answers it.
async fn answer(client: &mut TcpStream, status: u16) -> io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    while !is_whole(&request) {
        let read = client.read(&mut buffer).await?;
        match buffer.get(..read) {
            Some(bytes) if read > 0 => request.extend_from_slice(bytes),
            _ => return Ok(()),
        }
    }
    let answer = format!(
        "HTTP/1.1 {status} Fault\r\nContent-Type: text/plain\r\nContent-Length: 6\r\nRetry-After: 1\r\n\
         Connection: close\r\n\r\nfault\n"
    );
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await
}

/// Whether a request is there with all of its body.
fn is_whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return false;
    };
    let (head, body) = request.split_at(end + 4);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let header = |name: &str| { head.lines() }.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    match header("content-length").map(|length| length.trim().parse::<usize>()) {
        Some(Ok(length)) => body.len() >= length,
        _ => header("transfer-encoding").is_none() || body.ends_with(b"0\r\n\r\n"),
    }
}

/// Copies one direction to its end, and passes the end on. Fails where less is allowed than there is.
async fn copy(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut orders: watch::Receiver<Orders>,
    allowed: impl Fn(usize) -> usize,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        flowing(&mut orders).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        let allowed = allowed(read);
        to.write_all(buffer.get(..allowed).unwrap_or_default()).await?;
        if allowed < read {
            return Err(io::ErrorKind::ConnectionReset.into());
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
