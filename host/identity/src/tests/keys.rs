//! An issuer's keys: when they are fetched, and what happens while they can't be.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    AuthError, Invalid, Unavailable,
    fixture::{Instead, MirrorClaims, SigningKey, World, bearer, config, identity},
};

#[tokio::test]
async fn nothing_is_fetched_before_it_is_needed_and_then_once() {
    let world = World::new().await;
    assert_eq!(world.issuer.discoveries(), 0);
    assert_eq!(world.identity.issuers()[0].keys, None);
    let tokens: Vec<_> = (0..20)
        .map(|n| world.issuer.token(json!({"sub": format!("s{n}")})))
        .collect();
    let (a, b, c) = tokio::join!(
        world.bearer(&tokens[0]),
        world.bearer(&tokens[1]),
        world.bearer(&tokens[2])
    );
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    for token in &tokens {
        world.bearer(token).await.unwrap();
    }
    assert_eq!((world.issuer.discoveries(), world.issuer.key_fetches()), (1, 1));
    assert_eq!(world.identity.issuers()[0].keys, Some(1));
}

#[tokio::test]
async fn a_new_key_is_found_at_once() {
    let world = World::new().await;
    world.bearer(&world.issuer.token(json!({}))).await.unwrap();
    let old = world.issuer.token(json!({"sub": "x"}));
    world.issuer.rotate(SigningKey::es256("k2"));
    world.bearer(&world.issuer.token(json!({}))).await.unwrap();
    assert_eq!(world.issuer.key_fetches(), 2);
    // The withdrawn one is gone.
    let unknown = AuthError::from(Invalid::UnknownKey("\"k1\"".into()));
    assert_eq!(world.bearer(&old).await, Err(unknown));
}

#[tokio::test]
async fn a_flood_of_unknown_keys_is_one_fetch() {
    let world = World::new().await;
    world.bearer(&world.issuer.token(json!({}))).await.unwrap();
    let forger = SigningKey::es256("");
    for n in 0..200 {
        let token = world
            .issuer
            .token_by(&forger, json!({"kid": format!("made-up-{n}")}), json!({}));
        let refused = world.bearer(&token).await;
        assert!(
            matches!(
                refused,
                Err(AuthError::Invalid {
                    reason: Invalid::UnknownKey(_)
                })
            ),
            "{refused:?}"
        );
    }
    assert_eq!((world.issuer.discoveries(), world.issuer.key_fetches()), (1, 2));
    world
        .bearer(&world.issuer.token(json!({"user": "bob"})))
        .await
        .unwrap();
}

#[tokio::test]
async fn keys_outlast_the_issuer() {
    let world = World::new().await;
    world.bearer(&world.issuer.token(json!({}))).await.unwrap();
    world.issuer.set_away(true);
    let forger = SigningKey::es256("made-up");
    let refused = world
        .bearer(&world.issuer.token_by(&forger, json!({}), json!({})))
        .await;
    assert!(matches!(refused, Err(AuthError::Invalid { .. })), "{refused:?}");
    assert_eq!(world.issuer.key_fetches(), 2);
    world
        .bearer(&world.issuer.token(json!({"user": "bob"})))
        .await
        .unwrap();
    assert!(world.identity.issuers()[0].last_error.is_some());
}

#[tokio::test]
async fn without_keys_nothing_is_decided_until_the_issuer_is_back() {
    let world = World::new().await;
    world.issuer.set_away(true);
    let token = world.issuer.token(json!({}));
    let why = "it answered 503 Service Unavailable".to_owned();
    let away = AuthError::from(Unavailable::Issuer {
        name: "a".into(),
        why,
    });
    for _ in 0..50 {
        assert_eq!(world.bearer(&token).await, Err(away.clone()));
    }
    assert_eq!(world.issuer.discoveries(), 1);
    world.issuer.set_away(false);
    let deadline = Instant::now() + Duration::from_secs(10);
    while world.bearer(&token).await.is_err() {
        assert!(Instant::now() < deadline, "{:?}", world.identity.issuers());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_issuer_that_says_it_is_another_is_not_believed() {
    for (says, why) in [
        (
            json!({"issuer": "http://127.0.0.1:1"}),
            "it says that it is another issuer",
        ),
        (json!({"jwks_uri": "http://10.0.0.1/keys"}), "10.0.0.1"),
        (json!({"token_endpoint": "http://10.0.0.1/token"}), "10.0.0.1"),
        (json!({"jwks_uri": 7}), "its answer can't be read"),
    ] {
        let world = World::new().await;
        world.issuer.say(says);
        let refused = world.bearer(&world.issuer.token(json!({}))).await;
        let Err(AuthError::Unavailable { reason }) = refused else {
            panic!("{refused:?}")
        };
        assert!(reason.to_string().contains(why), "{reason}");
    }
}

#[tokio::test]
async fn an_issuer_is_asked_where_it_is_and_for_no_more_than_a_megabyte() {
    let elsewhere = World::new().await;
    let url = elsewhere.issuer.url();
    for (instead, why) in [
        (
            Instead::Redirect(format!("{url}/.well-known/openid-configuration")),
            "it answered 307",
        ),
        (Instead::Bytes(1 << 21), "its answer is over 1 MiB"),
    ] {
        let world = World::new().await;
        world.issuer.answer_instead(instead);
        let refused = world.bearer(&world.issuer.token(json!({}))).await;
        let Err(AuthError::Unavailable { reason }) = refused else {
            panic!("{refused:?}")
        };
        assert!(reason.to_string().contains(why), "{reason}");
    }
    assert_eq!(elsewhere.issuer.discoveries(), 0);
}

#[tokio::test]
async fn keys_may_share_a_name_while_one_replaces_the_other() {
    let world = World::new().await;
    let (one, other) = (SigningKey::es256("k"), SigningKey::rsa_2048("k"));
    world.issuer.publish(&[&one, &other]);
    for key in [&one, &other] {
        let token = world.issuer.token_by(key, json!({}), json!({}));
        world.bearer(&token).await.unwrap();
    }
}

#[tokio::test]
async fn a_new_configuration_keeps_keys_and_drops_what_plugins_said() {
    let world = World::new().await;
    let token = world.issuer.token(json!({}));
    world.bearer(&token).await.unwrap();
    let claims = Arc::new(MirrorClaims::default());
    let next = identity(
        &config(&[&world.issuer], json!({})),
        &claims,
        &world.records,
        Some(&world.identity),
    );
    next.authenticate(&bearer(&token), None).await.unwrap();
    assert_eq!((world.issuer.discoveries(), world.issuer.key_fetches()), (1, 1));
    assert_eq!(claims.calls(), 1);
}
