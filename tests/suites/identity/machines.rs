//! Machines with a token or a password: each has what its tenant grants it, and nothing else.

use std::time::SystemTime;

use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::json;
use witgate_lab::Port;
use witgate_prometheus::proto::MatchType;
use witgate_tests::remote::{labels, read_answer, read_body, write_body};

use crate::{
    issuer::Issuer,
    world::{Setup, World, hash},
};

const PASSWORD: &str = "the-scraper-password";

/// A gateway that knows two machines, and the second one's token.
async fn machines() -> (World, String) {
    let password = hash("password", PASSWORD).await;
    let printed = hash("token", "").await;
    let part = |name: &str| {
        let mut lines = printed.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().to_owned()
    };
    let (token, digest) = (part("token:"), part("sha256:"));
    let setup = Setup {
        basic: vec![format!(
            "{{username: scraper, passwordHash: '{password}', groups: [writers]}}"
        )],
        tokens: vec![format!(
            "{{name: dashboard, sha256: {digest}, groups: [readers]}}"
        )],
        tenants: vec![
            "{name: metrics, storage: samples, write: {groups: [writers]}, read: {groups: [readers]}}"
                .to_owned(),
        ],
        ..Setup::default()
    };
    (World::start(Port::free().unwrap(), &setup).await, token)
}

/// Now, in milliseconds.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn write(world: &World, time: i64) -> RequestBuilder {
    let series = (labels(&[("__name__", "up")]), vec![(time, 1_f64.to_bits())]);
    remote(world.post("/api/v1/write"), write_body(&[series]))
}

fn read(world: &World, time: i64) -> RequestBuilder {
    let matchers = [("__name__", MatchType::Eq, "up")];
    remote(
        world.post("/api/v1/read"),
        read_body(&matchers, time - 1000, time + 1000),
    )
}

fn remote(request: RequestBuilder, body: Vec<u8>) -> RequestBuilder {
    let request = request
        .header("content-encoding", "snappy")
        .header("content-type", "application/x-protobuf");
    request
        .header("x-prometheus-remote-write-version", "0.1.0")
        .body(body)
}

async fn send(request: RequestBuilder) -> Response {
    request.send().await.unwrap()
}

#[tokio::test]
async fn each_machine_has_what_it_is_granted_and_no_more() {
    let (world, token) = machines().await;
    let time = now();
    let written = send(write(&world, time).basic_auth("scraper", Some(PASSWORD))).await;
    assert!(written.status().is_success(), "{}", written.text().await.unwrap());
    let found = send(read(&world, time).bearer_auth(&token)).await;
    assert_eq!(found.status(), StatusCode::OK);
    let series = read_answer(&found.bytes().await.unwrap());
    assert_eq!(
        series,
        [(labels(&[("__name__", "up")]), vec![(time, 1_f64.to_bits())])]
    );

    let refused = send(read(&world, time).basic_auth("scraper", Some(PASSWORD))).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let refused = send(write(&world, time).bearer_auth(&token)).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_wrong_password_or_token_is_answered_with_a_challenge() {
    let (world, token) = machines().await;
    let time = now();
    let wrong = [
        write(&world, time).basic_auth("scraper", Some("the-wrong-password")),
        write(&world, time).basic_auth("nobody", Some(PASSWORD)),
        write(&world, time).basic_auth("scraper", None::<&str>),
        write(&world, time).bearer_auth(format!("{token}x")),
        write(&world, time),
    ];
    let mut reasons = Vec::new();
    for request in wrong {
        let refused = send(request).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(
            refused.headers()["www-authenticate"],
            r#"Basic realm="witgate", Bearer"#
        );
        reasons.push(refused.text().await.unwrap());
    }
    assert_eq!(reasons[0], "the user name or the password is wrong\n");
    assert_eq!(reasons[0], reasons[1], "nobody learns which names there are");

    let written = send(write(&world, time).basic_auth("scraper", Some(PASSWORD))).await;
    assert!(written.status().is_success());
}

#[tokio::test]
async fn what_the_gateway_writes_down_names_machines_but_not_their_secrets() {
    let (world, token) = machines().await;
    let time = now();
    for request in [
        write(&world, time).basic_auth("scraper", Some(PASSWORD)),
        write(&world, time).basic_auth("scraper", Some("the-wrong-password")),
        read(&world, time).bearer_auth(&token),
        read(&world, time).bearer_auth(format!("{token}x")),
    ] {
        send(request).await;
    }
    let encoded = |password: &str| {
        use base64::{Engine, engine::general_purpose::STANDARD};
        STANDARD.encode(format!("scraper:{password}"))
    };
    let written = witgate_lab::eventually("the audit has all four", crate::world::SOON, async || {
        let written = world.written();
        match written.contains("scraper") && written.contains("dashboard") {
            true => Ok(written),
            false => Err(written),
        }
    })
    .await
    .unwrap();
    let secrets = [
        PASSWORD.to_owned(),
        "the-wrong-password".to_owned(),
        token,
        encoded(PASSWORD),
        encoded("the-wrong-password"),
    ];
    for secret in secrets {
        assert!(!written.contains(&secret), "{secret} is in: {written}");
    }
}

/// On 401 a Prometheus drops its samples, and its token will be another one soon.
#[tokio::test]
async fn who_writes_with_a_token_that_has_expired_is_told_to_come_again() {
    let issuer = Issuer::start().await;
    let setup = Setup {
        tenants: vec![
            "{name: metrics, storage: samples, write: {users: [frank]}, read: {users: [frank]}}".to_owned(),
        ],
        ..Setup::with_issuer("own", issuer.url())
    };
    let world = World::start(Port::free().unwrap(), &setup).await;
    let time = now();
    let token = |ends: i64| issuer.token(&json!({"iat": time / 1000 - 600, "exp": time / 1000 + ends}));
    let (good, expired) = (token(600), token(-1));

    let answer = send(write(&world, time).bearer_auth(&expired)).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    let said = answer.text().await.unwrap();
    assert!(said.contains("the token expired at "), "{said}");
    // Nothing is lost by a read, and nobody waits for one.
    let answer = send(read(&world, time).bearer_auth(&expired)).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    // Another token is not a matter of time.
    let foreign = issuer.token(&json!({"aud": "grafana"}));
    let answer = send(write(&world, time).bearer_auth(&foreign)).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);

    let answer = send(write(&world, time).bearer_auth(&good)).await;
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

#[tokio::test]
async fn who_writes_while_the_issuer_is_away_is_told_when_it_is_asked_again() {
    // Nobody is there.
    let port = Port::free().unwrap();
    let url = format!("http://{}", port.address());
    let setup = Setup {
        tenants: vec!["{name: metrics, storage: samples, write: {users: [frank]}}".to_owned()],
        ..Setup::with_issuer("own", &url)
    };
    let world = World::start(Port::free().unwrap(), &setup).await;
    let issuer = Issuer::start().await;
    let token = issuer.token(&json!({"iss": url}));
    let answer = send(write(&world, now()).bearer_auth(&token)).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let wait: u32 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    let said = answer.text().await.unwrap();
    assert!(
        said.contains("the issuer own can't be asked for its keys"),
        "{said}"
    );
    // As long as the first pause after a failure, or the second.
    assert!((1..=2).contains(&wait), "{wait}: {said}");
}
