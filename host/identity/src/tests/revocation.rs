//! What is revoked does not hold, whatever it was and however it is shown.

use std::sync::Arc;

use serde_json::json;

use super::login::{Browser, log_in};
use crate::{
    AuthError, Invalid, Principal, Revocation, Revoked, Subject, TokenDigest,
    fixture::{World, config, identity, now, records},
};

async fn revoke(world: &World, revoked: Revoked) {
    world
        .identity
        .revoke(&Revocation::now(revoked, "the test"))
        .await
        .unwrap();
}

#[expect(clippy::needless_pass_by_value, reason = "it reads well around a call")]
fn is_revoked(result: Result<Arc<Principal>, AuthError>) -> bool {
    matches!(
        result,
        Err(AuthError::Invalid {
            reason: Invalid::Revoked(_) | Invalid::Session
        })
    )
}

#[tokio::test]
async fn a_token_that_was_revoked_does_not_hold_and_others_do() {
    let world = World::new().await;
    let (token, other) = (
        world.issuer.token(json!({"jti": "1"})),
        world.issuer.token(json!({"jti": "2"})),
    );
    world.bearer(&token).await.unwrap();
    let mut told = world.identity.on_revocation();
    revoke(
        &world,
        Revoked::Token {
            sha256: TokenDigest::of(&token),
        },
    )
    .await;
    assert!(told.has_changed().unwrap());
    told.mark_unchanged();
    assert!(is_revoked(world.bearer(&token).await));
    world.bearer(&other).await.unwrap();
}

#[tokio::test]
async fn a_users_credentials_until_now_are_worth_nothing_and_later_ones_are() {
    let world = World::new().await;
    let mut browser = Browser::default();
    log_in(&world, &mut browser).await;
    let token = world.issuer.token(json!({}));
    let bob = world.issuer.token(json!({"user": "bob", "sub": "subject-2"}));
    revoke(&world, Revoked::User { name: "alice".into() }).await;
    assert!(is_revoked(world.bearer(&token).await));
    assert!(is_revoked(
        world.identity.authenticate(&browser.headers(), None).await
    ));
    world.bearer(&bob).await.unwrap();
    assert!(world.identity.all_sessions().await.unwrap().is_empty());
    // An issuer's clock may be ahead by as much as is allowed for: this was given out before.
    let ahead = world.issuer.token(json!({"iat": now() + 30}));
    assert!(is_revoked(world.bearer(&ahead).await));
}

#[tokio::test]
async fn what_was_given_out_after_the_time_of_a_revocation_holds() {
    let world = World::new().await;
    let revocation = Revocation {
        until: Some(now() - 600),
        ..Revocation::now(Revoked::User { name: "alice".into() }, "the test")
    };
    world.identity.revoke(&revocation).await.unwrap();
    let before = world.issuer.token(json!({"iat": now() - 601}));
    assert!(is_revoked(world.bearer(&before).await));
    let after = world.issuer.token(json!({"iat": now() - 300}));
    world.bearer(&after).await.unwrap();
}

#[tokio::test]
async fn a_user_can_be_shut_out_until_that_is_lifted() {
    let world = World::new().await;
    let revoked = Revoked::User { name: "alice".into() };
    let revocation = Revocation {
        until: None,
        ..Revocation::now(revoked.clone(), "the test")
    };
    world.identity.revoke(&revocation).await.unwrap();
    let later = world.issuer.token(json!({"iat": now() + 30}));
    assert!(is_revoked(world.bearer(&later).await));
    world.identity.revocations().lift(&revoked).await.unwrap();
    world.bearer(&later).await.unwrap();
    assert!(world.identity.revocations().list().await.unwrap().is_empty());
}

#[tokio::test]
async fn everything_can_be_revoked_machines_included() {
    let token = "a-machine-token-of-some-length";
    let sha256 = TokenDigest::of(token).to_string();
    let world = World::with(json!({"tokens": [{"name": "ci", "sha256": sha256}]})).await;
    world.bearer(token).await.unwrap();
    revoke(&world, Revoked::Everything).await;
    assert!(is_revoked(world.bearer(token).await));
    assert!(is_revoked(world.bearer(&world.issuer.token(json!({}))).await));
}

#[tokio::test]
async fn revocations_survive_a_restart() {
    let world = World::new().await;
    let token = world.issuer.token(json!({}));
    revoke(&world, Revoked::User { name: "alice".into() }).await;
    let records = records(&world.state).await;
    let after = identity(
        &config(&[&world.issuer], json!({})),
        &world.claims,
        &records,
        None,
    );
    assert!(is_revoked(after.authenticate_token(&token).await));
    let kept = after.revocations().list().await.unwrap();
    assert_eq!((kept.len(), kept[0].by.as_str()), (1, "the test"));
}

#[tokio::test]
async fn whoever_holds_a_token_can_make_it_worthless() {
    let world = World::new().await;
    let token = world.issuer.token(json!({}));
    world.bearer(&token).await.unwrap();
    world
        .identity
        .revoke_token(&format!("token={token}"))
        .await
        .unwrap();
    assert!(is_revoked(world.bearer(&token).await));
    // What was never worth anything is no error, and has no effect (RFC 7009 section 2.2).
    world.identity.revoke_token("token=nonsense").await.unwrap();
    assert_eq!(
        world.identity.revoke_token("").await.unwrap_err().error,
        "invalid_request"
    );
    assert_eq!(world.identity.revocations().list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_last_session_gives_the_refresh_token_back() {
    let world = World::new().await;
    world
        .issuer
        .say(json!({"revocation_endpoint": format!("{}/revoke", world.issuer.url())}));
    world.issuer.refresh_with(None);
    let (mut first, mut second) = (Browser::default(), Browser::default());
    log_in(&world, &mut first).await;
    log_in(&world, &mut second).await;
    let principal = world.identity.authenticate(&first.headers(), None).await.unwrap();
    for session in world.identity.own_sessions(&principal).await.unwrap() {
        assert!(world.issuer.revoked().is_empty());
        assert!(
            world
                .identity
                .end_own_session(&principal, session.id)
                .await
                .unwrap()
        );
    }
    let begun = now();
    while world.issuer.revoked() != ["r0"] {
        assert!(now() < begun + 10, "{:?}", world.issuer.revoked());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_issuer_can_log_a_user_out() {
    let world = World::new().await;
    let event = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    let logout = |changes: serde_json::Value| {
        let mut claims = json!({"events": event, "jti": "1", "exp": now() + 120});
        for (key, value) in changes.as_object().unwrap() {
            claims[key] = value.clone();
        }
        let token = world.issuer.token_with(json!({"typ": "logout+jwt"}), claims);
        format!("logout_token={token}")
    };
    let token = world.issuer.token(json!({"sid": "s1"}));
    let other = world.issuer.token(json!({"sid": "s2"}));
    let id_token = format!("logout_token={}", world.issuer.token(json!({"jti": "x"})));
    for (form, expected) in [
        (id_token, "logout event"),
        (logout(json!({"nonce": "n"})), "nonce"),
        (logout(json!({"events": {"other": {}}})), "logout event"),
        (logout(json!({"aud": "another"})), "audience"),
        (logout(json!({"exp": now() - 120})), "expired"),
        (logout(json!({"exp": now() + 7200})), "an hour"),
        (logout(json!({"jti": null})), "jti"),
        (logout(json!({"sub": null})), "neither"),
        ("logout_token=x".into(), "id_token"),
        (String::new(), "logout_token"),
    ] {
        let refused = world.identity.back_channel_logout(&form).await.unwrap_err();
        assert!(
            refused.error_description.contains(expected),
            "{expected}: {refused}"
        );
    }
    world.bearer(&token).await.unwrap();
    let by_session = logout(json!({"sid": "s1", "jti": "2"}));
    world.identity.back_channel_logout(&by_session).await.unwrap();
    assert!(is_revoked(world.bearer(&token).await));
    world.bearer(&other).await.unwrap();
    let replayed = world.identity.back_channel_logout(&by_session).await.unwrap_err();
    assert!(replayed.error_description.contains("used before"), "{replayed}");
    // Which sessions there are is nobody's to find out.
    let of_nobody = logout(json!({"sid": "unknown", "jti": "2b"}));
    world.identity.back_channel_logout(&of_nobody).await.unwrap();
    world
        .identity
        .back_channel_logout(&logout(json!({"jti": "3"})))
        .await
        .unwrap();
    assert!(is_revoked(world.bearer(&other).await));
    // A logout token is not an id_token either.
    let as_bearer = logout(json!({"jti": "4"}));
    let as_bearer = as_bearer.strip_prefix("logout_token=").unwrap();
    assert!(matches!(
        world.bearer(as_bearer).await,
        Err(AuthError::Invalid {
            reason: Invalid::Type(_)
        })
    ));
}

#[tokio::test]
async fn another_issuer_can_not_log_a_user_out() {
    let world = World::new().await;
    let mallory = World::new().await;
    let config = config(&[&world.issuer, &mallory.issuer], json!({}));
    let identity = identity(&config, &world.claims, &world.records, None);
    let token = world.issuer.token(json!({}));
    identity.authenticate_token(&token).await.unwrap();
    let event = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    for issuer in [mallory.issuer.url(), world.issuer.url()] {
        let forged = mallory.issuer.token_with(
            json!({"typ": "logout+jwt"}),
            json!({"iss": issuer, "events": event, "jti": "1"}),
        );
        // Its own users it may log out.
        let answer = identity
            .back_channel_logout(&format!("logout_token={forged}"))
            .await;
        assert_eq!(answer.is_ok(), issuer == mallory.issuer.url());
    }
    identity.authenticate_token(&token).await.unwrap();
    let subject = Subject {
        issuer: mallory.issuer.url().into(),
        subject: "subject-1".into(),
    };
    let kept = identity.revocations().list().await.unwrap();
    assert_eq!(kept[0].revoked, Revoked::Subject { subject });
}
