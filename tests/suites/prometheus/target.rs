//! A scrape target with every kind of value, whose metrics come and go.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

/// One for each scrape, again and again, as the exposition format writes them. No negative zero:
/// Prometheus leaves out fields that equal zero when it sends, and its sign is gone.
const VALUES: [&str; 7] = [
    "NaN",
    "+Inf",
    "-Inf",
    "5e-324",
    "0.1",
    "1.7976931348623157e308",
    "-1e-310",
];

/// A target that is gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    serving: AbortHandle,
}

impl Target {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scrapes = Arc::new(AtomicUsize::new(0));
        let serve = async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(answer(connection, scrapes.fetch_add(1, Ordering::Relaxed)));
            }
        };
        Self {
            address,
            serving: tokio::spawn(serve).abort_handle(),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Answers one request and closes, so that every scrape is a connection.
async fn answer(connection: TcpStream, scrape: usize) {
    let mut connection = BufReader::new(connection);
    let mut line = String::new();
    while connection.read_line(&mut line).await.is_ok_and(|read| read > 2) {
        line.clear();
    }
    let text = metrics(scrape);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close";
    let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    // A scraper that has gone away wants no answer.
    let _ = connection.write_all(answer.as_bytes()).await;
}

fn metrics(scrape: usize) -> String {
    let value = VALUES[scrape % VALUES.len()];
    let mut text = format!(
        "# TYPE odd_value gauge\nodd_value {value}\n\
         # TYPE odd_labels gauge\nodd_labels{{text=\"a b, c=d \\\"é\\\" C:\\\\dir\"}} {value}\n\
         # TYPE odd_total counter\nodd_total{{room=\"a\"}} {scrape}\nodd_total{{room=\"b\",floor=\"2\"}} {}\n",
        scrape * 3,
    );
    // Each absence makes Prometheus write a stale marker.
    if scrape.is_multiple_of(3) {
        text.push_str("odd_sometimes 1\n");
    }
    text
}
