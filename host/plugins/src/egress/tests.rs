use std::{convert::Infallible, path::Path};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{Empty, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;
use crate::config::{Grants, Kind, Limits};

/// A backend that answers by path, and says in `x-saw` what it was authorized with.
async fn backend() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serve = hyper::server::conn::http1::Builder::new();
            tokio::spawn(serve.serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    });
    port
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"hello")));
    let headers = response.headers_mut();
    headers.insert("x-host", request.headers()[header::HOST].clone());
    if let Some(saw) = request.headers().get(header::AUTHORIZATION) {
        headers.insert("x-saw", saw.clone());
    }
    match request.uri().path() {
        "/redirect" => {
            headers.insert(
                header::LOCATION,
                HeaderValue::from_static("http://169.254.169.254/latest"),
            );
            *response.status_mut() = StatusCode::FOUND;
        }
        "/large" => *response.body_mut() = Full::new(vec![b'x'; 3 << 10].into()),
        "/headers" => {
            for name in 0..50 {
                let name: http::HeaderName = format!("x-{name}").parse().unwrap();
                headers.insert(name, HeaderValue::from_bytes(&[b'x'; 4 << 10]).unwrap());
            }
        }
        "/slow" => std::future::pending().await,
        _ => {}
    }
    Ok(response)
}

async fn egress(grants: &str, base: &Path) -> Arc<Egress> {
    let grants: Grants = serde_json::from_str(grants).unwrap();
    let limits = r#"{"httpRequests": 2, "httpResponse": "2KiB", "time": "2s"}"#;
    let bounds = serde_json::from_str::<Limits>(limits)
        .unwrap()
        .bounds(Kind::Storage)
        .unwrap();
    let secrets = Secrets::read(&grants, base).await.unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let tls = tls
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Arc::new(Egress::new(Policy::new("p", &grants.http), secrets, &bounds, tls))
}

fn request(uri: &str) -> Request<WasiBody> {
    let body = Empty::new()
        .map_err(|never: Infallible| match never {})
        .boxed_unsync();
    Request::builder().uri(uri).body(body).unwrap()
}

async fn get(egress: &Arc<Egress>, uri: &str) -> Result<Response<WasiBody>, Error> {
    egress
        .clone()
        .send(request(uri), None)
        .await
        .map(|(response, _)| response)
}

#[tokio::test]
async fn what_is_granted_is_reached() {
    let port = backend().await;
    let granted = format!(r#"{{"http": ["http://127.0.0.1:{port}", "http://localhost:{port}"]}}"#);
    let egress = egress(&granted, Path::new("")).await;
    for host in ["127.0.0.1", "localhost", "LOCALHOST", "[::ffff:127.0.0.1]"] {
        let response = get(&egress, &format!("http://{host}:{port}/")).await.unwrap();
        assert_eq!(response.headers()["x-host"], format!("{host}:{port}"));
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    }
    assert_eq!(egress.denials().count(), 0);
}

#[tokio::test]
async fn what_is_not_granted_is_denied_with_the_lines_to_add() {
    let port = backend().await;
    let egress = egress(
        &format!(r#"{{"http": ["http://127.0.0.1:{port}"]}}"#),
        Path::new(""),
    )
    .await;
    let uris = [
        format!("http://127.0.0.2:{port}/"),
        format!("https://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        "http://127.0.0.1/".to_owned(),
        format!("http://127.0.0.1:{port}@169.254.169.254/"),
        format!("http://prom:pw@127.0.0.1:{port}/"),
    ];
    for uri in &uris {
        let denied = get(&egress, uri).await;
        assert!(
            matches!(denied, Err(Error::HttpRequestDenied)),
            "{uri}: {denied:?}"
        );
    }
    let words = egress.denials().in_words().join("\n");
    assert!(
        words.contains(&format!("http:\n          - http://127.0.0.2:{port}")),
        "{words}"
    );
    assert_eq!(egress.denials().count(), uris.len() as u64);
}

#[tokio::test]
async fn a_granted_name_does_not_reach_the_machine_itself() {
    let port = backend().await;
    // Names below `localhost` resolve to loopback (RFC 6761), where the resolver knows them.
    let granted =
        format!(r#"{{"http": [{{"origin": "http://db.localhost:{port}", "addresses": "private"}}]}}"#);
    let egress = egress(&granted, Path::new("")).await;
    let denied = get(&egress, &format!("http://db.localhost:{port}/")).await;
    match denied {
        Err(Error::DestinationIpProhibited) => {
            let words = egress.denials().in_words().join("\n");
            assert!(words.contains("the gateway's own machine"), "{words}");
        }
        Err(Error::DnsError { .. }) => assert_eq!(egress.denials().count(), 0),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let port = backend().await;
    let egress = egress(
        &format!(r#"{{"http": ["http://127.0.0.1:{port}"]}}"#),
        Path::new(""),
    )
    .await;
    let response = get(&egress, &format!("http://127.0.0.1:{port}/redirect"))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::FOUND);
    assert_eq!(
        response.headers()[header::LOCATION],
        "http://169.254.169.254/latest"
    );
}

#[tokio::test]
async fn answers_are_bounded() {
    let port = backend().await;
    let egress = egress(
        &format!(r#"{{"http": ["http://127.0.0.1:{port}"]}}"#),
        Path::new(""),
    )
    .await;
    let at = |path: &str| format!("http://127.0.0.1:{port}/{path}");
    let large = get(&egress, &at("large"))
        .await
        .unwrap()
        .into_body()
        .collect()
        .await;
    assert!(
        matches!(large, Err(Error::HttpResponseBodySize(Some(2048)))),
        "{large:?}"
    );
    let headers = get(&egress, &at("headers")).await;
    assert!(
        matches!(headers, Err(Error::HttpResponseHeaderSectionSize(_))),
        "{headers:?}"
    );
    let options = RequestOptions {
        first_byte_timeout: Some(Duration::from_millis(50)),
        ..RequestOptions::default()
    };
    let slow = egress
        .clone()
        .send(request(&at("slow")), Some(options))
        .await
        .map(drop);
    assert!(matches!(slow, Err(Error::ConnectionReadTimeout)), "{slow:?}");
}

#[tokio::test]
async fn requests_at_once_are_counted_until_their_bodies_are_gone() {
    let port = backend().await;
    let egress = egress(
        &format!(r#"{{"http": ["http://127.0.0.1:{port}"]}}"#),
        Path::new(""),
    )
    .await;
    let uri = format!("http://127.0.0.1:{port}/");
    let (first, _second) = (
        get(&egress, &uri).await.unwrap(),
        get(&egress, &uri).await.unwrap(),
    );
    let third = get(&egress, &uri).await;
    assert!(matches!(third, Err(Error::ConnectionLimitReached)), "{third:?}");
    drop(first);
    get(&egress, &uri).await.unwrap();
}

#[tokio::test]
async fn a_secret_goes_to_its_origin_and_nowhere_else() {
    let (port, other) = (backend().await, backend().await);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "t0k3n").unwrap();
    let granted = format!(
        r#"{{"http": ["http://127.0.0.1:{port}", "http://127.0.0.1:{other}"],
            "secrets": {{"db": {{"origin": "http://127.0.0.1:{port}", "bearerFile": "token"}}}}}}"#
    );
    let egress = egress(&granted, folder.path()).await;
    let with = |port: u16, value: &'static str| {
        let mut request = request(&format!("http://127.0.0.1:{port}/"));
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, HeaderValue::from_static(value));
        egress.clone().send(request, None)
    };
    let (response, _) = with(port, "{{secret:db}}").await.unwrap();
    assert_eq!(response.headers()["x-saw"], "Bearer t0k3n");
    for (port, value) in [
        (other, "{{secret:db}}"),
        (port, "{{secret:other}}"),
        (port, "x {{secret:db}}"),
    ] {
        let denied = with(port, value).await.map(drop);
        assert!(
            matches!(denied, Err(Error::HttpRequestDenied)),
            "{value}: {denied:?}"
        );
    }
    let words = egress.denials().in_words().join("\n");
    assert!(
        words.contains("bound to") && words.contains("secrets:\n          other:"),
        "{words}"
    );
    assert!(!words.contains("t0k3n"));
}

#[tokio::test]
async fn a_backend_that_is_away_is_told_apart_from_one_that_is_denied() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let egress = egress(
        &format!(r#"{{"http": ["http://127.0.0.1:{port}"]}}"#),
        Path::new(""),
    )
    .await;
    let away = get(&egress, &format!("http://127.0.0.1:{port}/")).await;
    assert!(matches!(away, Err(Error::ConnectionRefused)), "{away:?}");
    assert_eq!(egress.denials().count(), 0);
}
