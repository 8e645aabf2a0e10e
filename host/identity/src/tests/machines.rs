//! Static tokens, and names with passwords.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::{
    AuthError, Invalid, Method,
    fixture::{World, bearer},
    generate_token, hash_password, hash_token,
};

fn basic(username: &str, password: &str) -> HeaderMap {
    let encoded = STANDARD.encode(format!("{username}:{password}"));
    let value = HeaderValue::try_from(format!("Basic {encoded}")).unwrap();
    HeaderMap::from_iter([(header::AUTHORIZATION, value)])
}

#[tokio::test]
async fn a_static_token_stands_for_its_user() {
    let token = generate_token();
    let world = World::with(json!({"tokens": [
        {"name": "prometheus", "sha256": hash_token(&token), "groups": ["metrics"]},
        {"name": "other", "sha256": hash_token(&generate_token()).to_uppercase(), "user": "somebody"},
    ]}))
    .await;
    let principal = world.bearer(token.expose_secret()).await.unwrap();
    assert_eq!(
        (principal.user.as_str(), principal.groups.as_slice()),
        ("prometheus", &["metrics".to_owned()][..])
    );
    assert_eq!(
        (&principal.method, principal.expires),
        (&Method::StaticToken, None)
    );
    let other = world.bearer(generate_token().expose_secret()).await;
    assert_eq!(other, Err(Invalid::NotAToken.into()));
    // The digest itself, which is in the configuration, is no credential.
    assert_eq!(
        world.bearer(&hash_token(&token)).await,
        Err(Invalid::NotAToken.into())
    );
}

#[tokio::test]
async fn a_password_lets_its_user_in_and_no_other_does() {
    let hash = hash_password(&"correct horse".into()).unwrap();
    let world =
        World::with(json!({"basic": [{"username": "prom", "passwordHash": hash, "user": "prometheus"}]}))
            .await;
    let wrong = Err(AuthError::from(Invalid::Password));
    for _ in 0..2 {
        let principal = world
            .identity
            .authenticate(&basic("prom", "correct horse"), None)
            .await
            .unwrap();
        assert_eq!(
            (principal.user.as_str(), &principal.method),
            ("prometheus", &Method::Basic)
        );
        assert_eq!(
            world.identity.authenticate(&basic("prom", "wrong"), None).await,
            wrong
        );
        assert_eq!(world.identity.authenticate(&basic("prom", ""), None).await, wrong);
        assert_eq!(
            world
                .identity
                .authenticate(&basic("nobody", "correct horse"), None)
                .await,
            wrong
        );
        assert_eq!(
            world
                .identity
                .authenticate(&basic("promcorrect", " horse"), None)
                .await,
            wrong
        );
    }
}

#[tokio::test]
async fn without_configured_users_no_password_is_right() {
    let world = World::new().await;
    let refused = world.identity.authenticate(&basic("prom", "x"), None).await;
    assert_eq!(refused, Err(Invalid::Password.into()));
}

#[tokio::test]
async fn nothing_sent_is_not_the_same_as_something_wrong() {
    let world = World::new().await;
    assert_eq!(
        world.identity.authenticate(&HeaderMap::new(), None).await,
        Err(AuthError::NoCredential)
    );
    let mut twice = bearer("a");
    twice.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer b"));
    assert_eq!(
        world.identity.authenticate(&twice, None).await,
        Err(Invalid::SeveralHeaders.into())
    );
}
