//! HTTP/2 spoken badly on purpose: floods of frames, header fields that HTTP/1.1 would read otherwise;
//! and connections on which nothing is said.

use std::{fs, io, time::Duration};

use futures::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{attacks::connect, site::Site};

/// How HTTP/2 begins, with empty settings (RFC 9113 section 3.4).
const BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Bytes that a flood may have at most: a gateway that takes all of them has no bound.
const FLOOD: usize = 64 << 20;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header field as it is, without indexing (RFC 7541 section 6.2.2).
fn field(name: &str, value: &[u8]) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name.as_bytes(), value] {
        // An integer of seven bits, or more (section 5.1).
        if let Some(rest) = text.len().checked_sub(127) {
            field.extend([127, u8::try_from(rest % 128).unwrap() + 128]);
            field.push(u8::try_from(rest / 128).unwrap());
        } else {
            field.push(u8::try_from(text.len()).unwrap());
        }
        field.extend(text);
    }
    field
}

/// What the process takes of memory, in bytes.
fn memory(site: &Site) -> usize {
    let process = site.gateway.process().id().unwrap();
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
    kilobytes << 10
}

/// Whether somebody else is served.
async fn serves(site: &Site, token: &str) {
    let request = site.client.get(format!("{}/version", site.cluster_path()));
    let answer = tokio::time::timeout(Duration::from_secs(20), request.bearer_auth(token).send()).await;
    assert_eq!(answer.expect("others are answered").unwrap().status(), 200);
}

/// How a flood ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The connection was closed.
    Closed,
    /// The gateway stopped reading, since its answers are not read.
    Stalled,
    /// It took everything.
    Taken,
}

async fn flood(site: &Site, first: &[u8], again: &[u8]) -> End {
    let mut stream = connect(site, b"h2").await;
    stream.write_all(BEGINNING).await.unwrap();
    stream.write_all(first).await.unwrap();
    let many = again.repeat((64 << 10) / again.len());
    for _ in 0..FLOOD / many.len() {
        match tokio::time::timeout(Duration::from_secs(2), stream.write_all(&many)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return End::Closed,
            Err(_) => return End::Stalled,
        }
    }
    End::Taken
}

#[tokio::test]
async fn floods_of_frames_cost_their_own_connection() {
    let Some(site) = Site::start().await else { return };
    let token = site.token("alice").await;
    serves(&site, &token).await;
    let before = memory(&site);
    let opened = frame(HEADERS, 0, 1, &field("x-a", b"a"));
    let more = frame(CONTINUATION, 0, 1, &field("x-b", &[b'b'; 4000]));
    let empty = frame(CONTINUATION, 0, 1, b"");
    let ping = frame(PING, 0, 0, b"12345678");
    let settings = frame(SETTINGS, 0, 0, b"");
    for (what, first, again) in [
        ("headers without end", opened.as_slice(), more.as_slice()),
        ("headers without end, and nothing in them", &opened, &empty),
        ("pings whose answers are not read", b"", &ping),
        ("settings whose answers are not read", b"", &settings),
    ] {
        let end = flood(&site, first, again).await;
        assert_ne!(end, End::Taken, "{what}");
        serves(&site, &token).await;
        let grown = memory(&site).saturating_sub(before);
        assert!(grown < 48 << 20, "{what}: {} MiB more", grown >> 20);
    }
}

/// What comes back for one request: its status if that is 200, or how it was refused.
async fn answer(site: &Site, fields: &[(&str, &[u8])]) -> Result<u16, &'static str> {
    let block: Vec<u8> = { fields.iter() }
        .flat_map(|(name, value)| field(name, value))
        .collect();
    let mut stream = connect(site, b"h2").await;
    stream.write_all(BEGINNING).await.unwrap();
    let request = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block);
    stream.write_all(&request).await.unwrap();
    let reading = async {
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await?;
            let [a, b, c, kind, _, _, _, _, id] = head;
            let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
            stream.read_exact(&mut payload).await?;
            match (kind, id) {
                // `:status: 200` is the static table's eighth (RFC 7541 appendix A).
                (HEADERS, 1) => return Ok(if payload[0] == 0x88 { Ok(200) } else { Ok(0) }),
                (RST_STREAM, 1) => return Ok(Err("reset")),
                (GOAWAY, _) => return Ok(Err("closed")),
                _ => {}
            }
        }
    };
    let read: io::Result<_> = tokio::time::timeout(Duration::from_secs(10), reading)
        .await
        .expect("there is an answer");
    read.unwrap_or(Err("closed"))
}

#[tokio::test]
async fn what_http1_would_read_otherwise_is_no_request_of_http2() {
    let Some(site) = Site::start().await else { return };
    let bearer = format!("Bearer {}", site.token("bob").await);
    let path = b"/clusters/lab/version".as_slice();
    let good = [
        (":method", b"GET".as_slice()),
        (":scheme", b"https"),
        (":authority", b"localhost"),
        (":path", path),
        ("authorization", bearer.as_bytes()),
    ];
    assert_eq!(answer(&site, &good).await, Ok(200));
    for (name, value) in [
        ("x-a", b"a\r\nImpersonate-User: admin".as_slice()),
        ("x-a", b"a\nImpersonate-User: admin"),
        ("x-a", b"a\0"),
        ("x-a\r\nimpersonate-user", b"admin"),
        ("Impersonate-User", b"admin"),
        ("impersonate-user ", b"admin"),
        ("impersonate-user\t", b"admin"),
        ("impersonate-user", b"admin"),
        ("impersonate_user", b"admin"),
        ("connection", b"impersonate-user"),
        ("transfer-encoding", b"chunked"),
        ("content-length", b"5"),
        (":path", b"/clusters/lab/api/v1/secrets"),
        (":method", b"POST"),
    ] {
        let fields = [&good[..], &[(name, value)]].concat();
        let found = answer(&site, &fields).await;
        assert_ne!(found, Ok(200), "{name:?}: {:?}", String::from_utf8_lossy(value));
    }
    for (index, value) in [
        (
            3,
            b"/clusters/lab/version HTTP/1.1\r\nImpersonate-User: admin\r\nX:".as_slice(),
        ),
        (3, b"clusters/lab/version"),
        (3, b""),
        (0, b"GET /clusters/lab/version HTTP/1.1\r\n"),
        (2, b"localhost\r\nImpersonate-User: admin"),
        (4, b"Bearer a\r\nImpersonate-User: admin"),
    ] {
        let mut fields = good;
        fields[index].1 = value;
        let found = answer(&site, &fields).await;
        assert_ne!(
            found,
            Ok(200),
            "{}: {:?}",
            fields[index].0,
            String::from_utf8_lossy(value)
        );
    }
}

#[tokio::test]
async fn trailers_claim_nothing() {
    let Some(site) = Site::start().await else { return };
    let token = site.token("bob").await;
    let review = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;
    let path = "/clusters/lab/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let chunked = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nTE: trailers\r\nTrailer: Impersonate-User\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{review}\r\n0\r\nImpersonate-User: admin\r\n\
         Impersonate-Group: system:masters\r\n\r\n",
        review.len()
    );
    let said = crate::attacks::send(&site, chunked.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 201"), "{said}");
    assert!(
        said.contains(r#""username":"bob@example.org""#) && !said.contains("system:masters"),
        "{said}"
    );

    let (client, connection) = h2::client::handshake(connect(&site, b"h2").await).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(format!("{}{path}", site.url()))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(())
        .unwrap();
    let mut client = client.ready().await.unwrap();
    let (answer, mut body) = client.send_request(request, false).unwrap();
    body.send_data(review.into(), false).unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("impersonate-user", "admin".parse().unwrap());
    body.send_trailers(trailers).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 201);
    let said = answer.into_body().data().await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains(r#""username":"bob@example.org""#), "{said}");
}

#[tokio::test]
async fn ten_thousand_idle_connections_are_closed_and_hold_nobody_up() {
    let Some(site) = Site::start().await else { return };
    let token = site.token("alice").await;
    serves(&site, &token).await;
    let before = memory(&site);
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let files: usize = files.unwrap().split_whitespace().next().unwrap().parse().unwrap();
    let url = site.url();
    let port: u16 = url.rsplit(':').next().unwrap().parse().unwrap();
    let mut idle = Vec::new();
    for _ in 0..10_000.min(files - 500) / 100 {
        let some = join_all((0..100).map(|_| TcpStream::connect(("127.0.0.1", port)))).await;
        idle.extend(some.into_iter().map(Result::unwrap));
    }
    serves(&site, &token).await;
    let grown = memory(&site).saturating_sub(before);
    assert!(
        grown < 128 << 20,
        "{} connections take {} MiB",
        idle.len(),
        grown >> 20
    );
    let closed = join_all(
        idle.iter_mut()
            .map(async |stream| stream.read_u8().await.is_err()),
    );
    let closed = tokio::time::timeout(Duration::from_secs(30), closed).await;
    assert!(closed.expect("they are closed").into_iter().all(|closed| closed));
}
