//! Bearer tokens: whoever sends one that holds is let in, and any other is told what is wrong with it.

use reqwest::StatusCode;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use witgate_lab::Port;

use crate::{
    issuer::{Issuer, KEY_ID, now},
    world::{People, Setup, World},
};

#[tokio::test]
async fn an_id_token_of_dex_says_who_somebody_is() {
    let port = Port::free().unwrap();
    let Some(people) = People::start(&port).await else {
        return;
    };
    let world = World::start(port, &people.setup()).await;
    let token = people.dex.id_token("alice", "alice-password").await.unwrap();
    let (status, page) = world.home(&token).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    assert!(page.contains("You are alice<"), "{page}");
    assert!(
        page.contains("<li>corp:platform</li>") && page.contains("<li>corp:developers</li>"),
        "{page}"
    );

    let token = people.dex.id_token("carol", "carol-password").await.unwrap();
    let (_, page) = world.home(&token).await;
    assert!(
        page.contains("You are carol<") && !page.contains("corp:"),
        "{page}"
    );
}

#[tokio::test]
async fn a_token_that_does_not_hold_is_refused_with_its_reason_and_disturbs_nobody() {
    let issuer = Issuer::start().await;
    let world = World::start(Port::free().unwrap(), &Setup::with_issuer("own", issuer.url())).await;
    let good = issuer.token(&json!({}));
    let dots = good.rsplit_once('.').unwrap();
    let cases = [
        (
            "expired",
            issuer.token(&json!({"iat": now() - 600, "exp": now() - 1})),
            "the token expired at ",
        ),
        (
            "before its time",
            issuer.token(&json!({"nbf": now() + 300})),
            "the token is not valid before ",
        ),
        (
            "for another audience",
            issuer.token(&json!({"aud": "grafana"})),
            "the token is for audience grafana, this gateway accepts witgate",
        ),
        (
            "of another issuer",
            issuer.token(&json!({"iss": "https://issuer.invalid"})),
            r#"the token is of issuer "https://issuer.invalid", which is not one of this gateway's"#,
        ),
        (
            "unsigned",
            issuer.unsigned(),
            "algorithm none is not accepted, only ",
        ),
        (
            "with the public key as a shared secret",
            issuer.signed_with_public_key(),
            "algorithm HS256 is not accepted, only ",
        ),
        (
            // By six of 86 characters, so that what is left is whole bytes.
            "cut off in its signature",
            good[..good.len() - 6].to_owned(),
            // What is left may or may not be base64url by itself.
            "the token's signature ",
        ),
        (
            "cut off before its signature",
            dots.0.to_owned(),
            "the bearer token is neither an id_token ",
        ),
        (
            "with the claims of another",
            format!("{}.{}", issuer.unsigned().rsplit_once('.').unwrap().0, dots.1),
            "algorithm none is not accepted",
        ),
    ];
    for (what, token, reason) in cases {
        let (status, message) = world.cluster(&format!("Bearer {token}")).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{what}: {message}");
        assert!(message.contains(reason), "{what}: {message}");

        let (status, page) = world.home(&good).await;
        assert_eq!(status, StatusCode::OK, "after one {what}: {page}");
        assert!(page.contains("You are frank<"), "after one {what}: {page}");
    }
}

#[tokio::test]
async fn whoever_is_refused_is_told_how_to_come_in() {
    let issuer = Issuer::start().await;
    let world = World::start(Port::free().unwrap(), &Setup::with_issuer("own", issuer.url())).await;
    let answer = world.get("/clusters/none/api").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers()["www-authenticate"], r#"Bearer realm="witgate""#);
    let body: serde_json::Value = answer.json().await.unwrap();
    assert_eq!((&body["kind"], &body["code"]), (&json!("Status"), &json!(401)));

    let bearer = format!("Bearer {}", issuer.token(&json!({})));
    let (status, message) = world.cluster(&bearer).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{message}");
}

/// Anybody can make up names of keys: that must not become a flood at the issuer.
#[tokio::test]
async fn unknown_keys_make_the_gateway_ask_the_issuer_once() {
    let issuer = Issuer::start().await;
    let world = World::start(Port::free().unwrap(), &Setup::with_issuer("own", issuer.url())).await;
    let good = issuer.token(&json!({}));
    assert_eq!(world.home(&good).await.0, StatusCode::OK);
    assert_eq!(
        issuer.key_fetches(),
        1,
        "its keys were fetched for the first token"
    );

    for number in 0..20 {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": format!("made-up-{number}")});
        let (status, message) = world
            .cluster(&format!("Bearer {}", issuer.signed(&header, &json!({}))))
            .await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{message}");
        let reason = format!(r#"the issuer has no key "made-up-{number}""#);
        assert!(message.contains(&reason), "{message}");
    }
    assert_eq!(issuer.key_fetches(), 2, "and once more for all that were made up");

    let another = issuer.token(&json!({"sub": "somebody else"}));
    assert_eq!(
        world.home(&another).await.0,
        StatusCode::OK,
        "{KEY_ID} is still known"
    );
    assert_eq!(issuer.key_fetches(), 2);
}

#[tokio::test]
async fn a_token_over_the_limit_is_refused_unread() {
    let issuer = Issuer::start().await;
    let world = World::start(Port::free().unwrap(), &Setup::with_issuer("own", issuer.url())).await;
    let large = "a".repeat(20 << 10);
    let (status, message) = world.cluster(&format!("Bearer {large}")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(
        message.contains("bytes, more than the 16384 that are accepted"),
        "{message}"
    );

    // More than the headers of a request may have, so it does not even get to be a token. The
    // connection is ended, at which a client may still be sending and see nothing but that.
    let huge = "a".repeat(1 << 20);
    for client in [world.http1(), world.client.clone()] {
        let answer = client.get(world.url("/")).bearer_auth(&huge).send().await;
        match answer {
            Ok(answer) => assert_eq!(answer.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            Err(error) => assert!(!error.is_timeout() && !error.is_connect(), "{error:?}"),
        }
    }
    let (status, page) = world.home(&issuer.token(&json!({}))).await;
    assert_eq!(status, StatusCode::OK, "{page}");
}

/// A listener with a certificate has nothing to say to somebody who speaks without.
#[tokio::test]
async fn a_token_in_the_clear_gets_no_answer() {
    let issuer = Issuer::start().await;
    let world = World::start(Port::free().unwrap(), &Setup::with_issuer("own", issuer.url())).await;
    let url = url::Url::parse(&world.url("/")).unwrap();
    let mut connection = TcpStream::connect(("127.0.0.1", url.port().unwrap()))
        .await
        .unwrap();
    let token = issuer.token(&json!({}));
    let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Whether it is closed in order or reset is the system's affair.
    let _ = connection.read_to_end(&mut answer).await;
    assert!(
        !answer.starts_with(b"HTTP/"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}
