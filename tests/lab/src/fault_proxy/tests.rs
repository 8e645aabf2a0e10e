//! The proxy's faults, as a client of an echoing backend sees them.

use std::time::Duration;

use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(5);

async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                io::copy(&mut read, &mut write).await
            });
        }
    });
    address
}

async fn say(stream: &mut TcpStream, word: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(word).await?;
    let mut answer = vec![0; word.len()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn it_forwards_both_directions_and_their_ends() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(say(&mut stream, b"hello").await.unwrap(), b"hello");
    stream.shutdown().await.unwrap();
    assert_eq!(timeout(SOON, stream.read(&mut [0; 8])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_refused_connection_works_again_after_passing() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    proxy.refuse();
    crate::eventually("the proxy refuses", SOON, async || {
        match TcpStream::connect(proxy.address()).await {
            Ok(_) => Err("it accepts".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .unwrap();
    proxy.pass();
    crate::eventually("the proxy passes", SOON, async || {
        say(&mut TcpStream::connect(proxy.address()).await?, b"hello").await
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_hanging_connection_goes_on_where_it_stopped() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    say(&mut stream, b"first").await.unwrap();
    proxy.hang();
    stream.write_all(b"second").await.unwrap();
    let mut answer = [0; 6];
    assert!(
        timeout(Duration::from_millis(200), stream.read_exact(&mut answer))
            .await
            .is_err()
    );
    proxy.pass();
    timeout(SOON, stream.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&answer, b"second");
}

#[tokio::test]
async fn a_cut_resets_open_connections_and_spares_later_ones() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    say(&mut stream, b"hello").await.unwrap();
    proxy.cut();
    let error = timeout(SOON, stream.read(&mut [0; 8]))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let mut later = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(say(&mut later, b"again").await.unwrap(), b"again");
}

#[tokio::test]
async fn a_request_is_answered_by_the_proxy_itself() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    proxy.answer(429);
    let url = format!("http://{}/write", proxy.address());
    let answer = crate::http::client()
        .post(url)
        .body("x".repeat(100_000))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "1");
}

#[tokio::test]
async fn what_the_backend_says_is_cut_after_so_many_bytes() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    proxy.cut_after(8);
    assert_eq!(say(&mut stream, b"hello").await.unwrap(), b"hello");
    assert!(say(&mut stream, b"hello").await.is_err());
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(say(&mut stream, b"hello").await.is_err());
    proxy.pass();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(say(&mut stream, b"hello").await.unwrap(), b"hello");
}
