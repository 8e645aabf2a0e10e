//! Requests that two servers could read differently, and clients that want to use the gateway up.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::site::Site;

/// A connection on which anything can be sent.
pub(crate) async fn connect(site: &Site, protocol: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(site.authority.certificate().as_bytes()).unwrap())
        .unwrap();
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let address = site.url();
    let address = address.strip_prefix("https://").unwrap();
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .unwrap()
}

/// All that comes back before the connection is closed, or nothing more comes for a second.
pub(crate) async fn send(site: &Site, bytes: &[u8]) -> String {
    let mut stream = connect(site, b"http/1.1").await;
    stream.write_all(bytes).await.unwrap();
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(Ok(length)) = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut buffer)).await {
        if length == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn statuses(answer: &str) -> Vec<&str> {
    answer
        .split("HTTP/1.1 ")
        .skip(1)
        .filter_map(|rest| rest.split(' ').next())
        .collect()
}

#[tokio::test]
async fn requests_that_could_be_read_in_two_ways_are_not_read_at_all() {
    let Some(site) = Site::start().await else { return };
    let token = site.token("alice").await;
    let head = |rest: &str| {
        format!(
            "POST /clusters/lab/api/v1/namespaces HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{rest}"
        )
    };
    let smuggled = "GET /clusters/lab/api/v1/secrets HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (what, rest) in [
        (
            "two lengths",
            "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello".to_owned(),
        ),
        (
            "a length with a sign",
            "Content-Length: +5\r\n\r\nhello".to_owned(),
        ),
        (
            "two lengths in one",
            "Content-Length: 5, 6\r\n\r\nhello".to_owned(),
        ),
        (
            "a space before the colon",
            "Content-Length : 5\r\n\r\nhello".to_owned(),
        ),
        (
            "an unknown coding",
            "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "chunked twice over",
            "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "a space after the name of a claim",
            "Impersonate-User : admin\r\nContent-Length: 0\r\n\r\n".to_owned(),
        ),
        (
            "a tab after the name of a claim",
            "Impersonate-User\t: admin\r\nContent-Length: 0\r\n\r\n".to_owned(),
        ),
        (
            "a claim on a folded line",
            "X-Folded: a\r\n Impersonate-User: admin\r\nContent-Length: 0\r\n\r\n".to_owned(),
        ),
        (
            "a folded header",
            "X-Folded: a\r\n b\r\nContent-Length: 0\r\n\r\n".to_owned(),
        ),
        (
            "a zero byte",
            "X-Zero: a\0b\r\nContent-Length: 0\r\n\r\n".to_owned(),
        ),
    ] {
        let answer = send(&site, format!("{}{smuggled}", head(&rest)).as_bytes()).await;
        let found = statuses(&answer);
        assert!(
            found == ["400"] || found.is_empty(),
            "{what} is answered {found:?}: {answer}"
        );
    }
    // Where both are there, the coding counts (RFC 9112 section 6.3); what follows the body is a
    // request of its own, which has to show who it is from.
    for rest in [
        format!("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: 200\r\n\r\n0\r\n\r\n{smuggled}"),
    ] {
        let answer = send(&site, head(&rest).as_bytes()).await;
        let found = statuses(&answer);
        assert!(
            found.iter().all(|status| ["400", "401", "403"].contains(status)),
            "{found:?}: {answer}"
        );
    }
    // An address in the request line changes nothing about where it goes.
    let absolute = format!(
        "GET https://other.example/clusters/lab/version HTTP/1.1\r\nHost: other.example\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    let answer = send(&site, absolute.as_bytes()).await;
    assert_eq!(statuses(&answer), ["200"], "{answer}");
    assert!(answer.contains("gitVersion"), "{answer}");
    // What a client of Go's sends to learn early that it is refused.
    let expecting = "POST /clusters/lab/api/v1/namespaces HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    let answer = send(&site, expecting.as_bytes()).await;
    assert_eq!(statuses(&answer).last(), Some(&"401"), "{answer}");
}

#[tokio::test]
async fn headers_that_are_too_many_or_too_long_are_refused_in_words_or_by_code() {
    let Some(site) = Site::start().await else { return };
    let many: String = (0..200).map(|n| format!("X-{n}: a\r\n")).collect();
    let long = format!("X-Long: {}\r\n", "a".repeat(100_000));
    for headers in [many, long] {
        let answer = send(
            &site,
            format!("GET /clusters/lab/version HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").as_bytes(),
        )
        .await;
        assert_eq!(statuses(&answer), ["431"], "{answer}");
    }
    let token = "a".repeat(20_000);
    let answer = { site.client.get(format!("{}/version", site.cluster_path())) }
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 401);
    let said = answer.text().await.unwrap();
    assert!(said.contains("more than the 16384 that are accepted"), "{said}");
}

#[tokio::test]
async fn slow_clients_are_cut_off_and_hold_nobody_up() {
    let Some(site) = Site::start().await else { return };
    let token = site.token("alice").await;
    let begun = Instant::now();
    // A header that never ends, a body that never comes, a protocol that is never named, and not a word.
    let beginnings: [&[u8]; 4] = [
        b"POST /oauth/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nclient_id=",
        b"GET /clusters/lab/version HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        b"PRI * HTTP/2.0\r\n",
        b"",
    ];
    let slow = beginnings.into_iter().cycle().take(100).map(async |beginning| {
        let mut stream = connect(&site, b"http/1.1").await;
        stream.write_all(beginning).await.unwrap();
        stream.flush().await.unwrap();
        stream
    });
    let slow = join_all(slow).await;
    for _ in 0..20 {
        let request = site.client.get(format!("{}/version", site.cluster_path()));
        assert_eq!(request.bearer_auth(&token).send().await.unwrap().status(), 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    for mut stream in slow {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "a client that sends nothing keeps its connection");
    }
}

#[tokio::test]
async fn a_rapid_reset_costs_its_own_connection_only() {
    let Some(site) = Site::start().await else { return };
    let token = site.token("alice").await;
    let (mut client, connection) = h2::client::handshake(connect(&site, b"h2").await).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut refused = false;
    for _ in 0..20_000 {
        let request = http::Request::get(format!("{}/version", site.cluster_path()))
            .header("authorization", format!("Bearer {token}"))
            .body(())
            .unwrap();
        client = match client.ready().await {
            Ok(client) => client,
            Err(_) => {
                refused = true;
                break;
            }
        };
        match client.send_request(request, true) {
            Ok((answer, mut stream)) => {
                stream.send_reset(h2::Reason::CANCEL);
                drop(answer);
            }
            Err(_) => {
                refused = true;
                break;
            }
        }
        // Lets the resets go out while the requests are being worked on.
        tokio::task::yield_now().await;
    }
    let ended = tokio::time::timeout(Duration::from_secs(5), connection).await;
    assert!(refused || ended.is_ok(), "20,000 resets are taken");
    let request = site.client.get(format!("{}/version", site.cluster_path()));
    assert_eq!(request.bearer_auth(&token).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn no_path_leads_out_of_a_cluster() {
    let Some(site) = Site::start().await else { return };
    let other = site.config.replace(
        "clusters:\n",
        &format!(
            "clusters:\n- {{name: other, kubeconfig: {:?}}}\n",
            site.kubernetes.admin_kubeconfig()
        ),
    );
    site.reconfigure(&other).await;
    let token = site.token("bob").await;
    let ask = async |path: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        send(&site, request.as_bytes()).await
    };
    for path in ["/clusters/lab/api", "/clusters/other/api", "/gateway/v1/whoami"] {
        assert_eq!(statuses(&ask(path).await), ["200"], "{path}");
    }
    // What an apiserver could read otherwise does not get there.
    for path in [
        "/clusters/lab/../other/api",
        "/clusters/lab/%2e%2e/other/api",
        "/clusters/lab/%2E./other/api",
        "/clusters/lab/..%2fother/api",
        "/clusters/lab/..%5cother/api",
        "/clusters/lab/..\\other/api",
        "/clusters/lab/..;/other/api",
        "/clusters/lab/;/../other/api",
        "/clusters/lab//../other/api",
        "/clusters/lab/../../gateway/v1/whoami",
        "/clusters/lab/%2e%2e/%2e%2e/gateway/v1/whoami",
        "/clusters/lab/..%2f..%2fgateway/v1/whoami",
    ] {
        let answer = ask(path).await;
        assert_eq!(statuses(&answer), ["400"], "{path}: {answer}");
        assert!(answer.contains("the path has a"), "{path}: {answer}");
    }
    // Everybody may read `/api`, so whatever is answered otherwise was not led there.
    for path in [
        "/clusters/lab%2f..%2fother/api",
        "/clusters/lab%2fapi",
        "/clusters/lab;x/api",
        "/clusters/lab#/../other/api",
        "/clusters/lab%23/api",
        "/clusters/lab%00/api",
        "/clusters/%6cab/api",
        "/clusters/LAB/api",
        "/clusters//other/api",
        "/clusters/./other/api",
        "/clusters/../clusters/other/api",
        "//clusters/other/api",
        "/%67ateway/v1/whoami",
        "/gateway/v1/./whoami",
        "/gateway//v1/whoami",
    ] {
        let answer = ask(path).await;
        let found = statuses(&answer);
        assert!(
            matches!(found.as_slice(), ["400" | "403" | "404"]),
            "{path} is answered {found:?}: {answer}"
        );
    }
}

#[tokio::test]
async fn nobody_is_let_in_for_the_path_or_for_who_they_say_they_are() {
    let Some(site) = Site::start().await else { return };
    for path in [
        "/",
        "/healthz",
        "/livez",
        "/readyz",
        "/metrics",
        "/version",
        "/api",
        "/openid/v1/jwks",
        "/.well-known/openid-configuration",
    ] {
        for (name, value) in [
            ("user-agent", "kube-probe/1.36"),
            ("user-agent", "GoogleHC/1.0"),
            ("user-agent", "ELB-HealthChecker/2.0"),
            ("x-forwarded-uri", "/livez"),
            ("x-original-url", "/livez"),
            ("x-forwarded-for", "127.0.0.1"),
        ] {
            for server in [site.cluster_path(), site.root()] {
                let request = site.client.get(format!("{server}{path}")).header(name, value);
                let status = request.send().await.unwrap().status();
                assert_eq!(status, 401, "{server}{path}, {name}: {value}");
            }
        }
    }
}

#[tokio::test]
async fn a_refused_upgrade_is_one_request_and_names_who_asked() {
    let Some(site) = Site::start().await else { return };
    let token = site.token("bob").await;
    let upgrade = |connection: &str| {
        format!(
            "GET /clusters/lab/api/v1/namespaces/default/pods/p/exec?command=id HTTP/1.1\r\nHost: localhost\r\n\
             Authorization: Bearer {token}\r\nConnection: {connection}\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    };
    // What comes behind it without waiting is a request that has to show for itself who it is from.
    let behind = "GET /clusters/lab/api/v1/secrets HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for connection in [
        "Upgrade",
        "Upgrade, Impersonate-User, Impersonate-Group",
        "Impersonate-User, Authorization, upgrade",
    ] {
        let answer = send(&site, format!("{}{behind}", upgrade(connection)).as_bytes()).await;
        let found = statuses(&answer);
        assert!(
            found == ["403", "401"] || found == ["403"],
            "{connection} is answered {found:?}: {answer}"
        );
        assert!(answer.contains(r#"User \"bob@example.org\" cannot"#), "{answer}");
    }
}
