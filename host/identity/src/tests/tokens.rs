//! Bearer tokens: which are taken, and what the others are told.

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    AuthError, Method, Unavailable,
    fixture::{Fault, SigningKey, World, now},
};

/// What a refused token's sender is told.
async fn refusal(world: &World, token: &str) -> String {
    match world.bearer(token).await {
        Err(AuthError::Invalid { reason }) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_good_token_lets_its_user_in_until_it_expires() {
    let world = World::new().await;
    let expires = now() + 600;
    let principal = world
        .bearer(&world.issuer.token(json!({"exp": expires})))
        .await
        .unwrap();
    assert_eq!(principal.user, "alice");
    assert_eq!(principal.groups, ["platform"]);
    assert_eq!(principal.method, Method::IdToken { issuer: "a".into() });
    assert_eq!(principal.expires, Some(UNIX_EPOCH + Duration::from_secs(expires)));
}

#[tokio::test]
async fn every_configured_algorithm_is_verified() {
    for (key, algorithm) in [
        (SigningKey::es256("k"), "ES256"),
        (SigningKey::ed25519("k"), "EdDSA"),
        (SigningKey::rsa_2048("k"), "RS256"),
        (SigningKey::rsa_2048("k"), "PS256"),
    ] {
        let world = World::new().await;
        world.issuer.publish(&[&key]);
        let token = world.issuer.token_by(&key, json!({"alg": algorithm}), json!({}));
        assert_eq!(world.bearer(&token).await.unwrap().user, "alice", "{algorithm}");
    }
}

#[tokio::test]
async fn tokens_with_other_claims_are_told_why_not() {
    let world = World::new().await;
    let url = world.issuer.url();
    let past = now() - 1;
    let date =
        |seconds| humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
    let other = "this gateway accepts witgate and kubernetes";
    let unknown = |iss: &str| {
        format!(
            "the token is of issuer {iss:?}, which is not one of this gateway's (the URL must be the same, byte for byte)"
        )
    };
    let cases: Vec<(Value, String)> = vec![
        (
            json!({"exp": past}),
            format!("the token expired at {}", date(past)),
        ),
        (
            json!({"exp": null}),
            "the token's claim `exp` is not there".into(),
        ),
        (
            json!({"exp": "tomorrow"}),
            "the token's claim `exp` is not a number".into(),
        ),
        (
            json!({"exp": -1}),
            "the token's claim `exp` is before 1970".into(),
        ),
        (
            json!({"exp": 0}),
            "the token expired at 1970-01-01T00:00:00Z".into(),
        ),
        (
            json!({"exp": 1e300}),
            "the token's claim `exp` is not a time before the year 10000".into(),
        ),
        (
            json!({"exp": u64::MAX}),
            "the token's claim `exp` is not a time before the year 10000".into(),
        ),
        (
            json!({"nbf": now() + 120}),
            format!("the token is not valid before {}", date(now() + 120)),
        ),
        (
            json!({"nbf": []}),
            "the token's claim `nbf` is not a number".into(),
        ),
        (
            json!({"iat": null}),
            "the token's claim `iat` is not there".into(),
        ),
        (
            json!({"iat": now() + 120}),
            format!(
                "the token says it was issued at {}, which is ahead of this gateway's clock",
                date(now() + 120)
            ),
        ),
        (
            json!({"iss": null}),
            "the token's claim `iss` is not there".into(),
        ),
        (
            json!({"iss": ["x"]}),
            "the token's claim `iss` is not a string".into(),
        ),
        (json!({"iss": format!("{url}/")}), unknown(&format!("{url}/"))),
        (json!({"iss": url.to_uppercase()}), unknown(&url.to_uppercase())),
        (
            json!({"aud": "grafana"}),
            format!("the token is for audience grafana, {other}"),
        ),
        (
            json!({"aud": "Witgate"}),
            format!("the token is for audience Witgate, {other}"),
        ),
        (
            json!({"aud": ["x", "y"]}),
            format!("the token is for audience x, y, {other}"),
        ),
        (
            json!({"aud": ["witgate", "grafana"]}),
            format!("the token is also for audience grafana, {other}"),
        ),
        (
            json!({"aud": null}),
            "the token's claim `aud` is not there".into(),
        ),
        (json!({"aud": []}), "the token's claim `aud` is empty".into()),
        (
            json!({"aud": ["witgate", 7]}),
            "the token's claim `aud` has something else than strings".into(),
        ),
        (
            json!({"aud": {"witgate": 1}}),
            "the token's claim `aud` is neither a string nor a list of strings".into(),
        ),
        (
            json!({"azp": "grafana"}),
            format!("the token was issued to grafana, {other}"),
        ),
        (
            json!({"sub": ""}),
            "the token's claim `sub` is not there, or empty".into(),
        ),
        (
            json!({"sub": 7}),
            "the token's claim `sub` is not a string".into(),
        ),
        (
            json!({"typ": "Bearer"}),
            "the token is of type \"Bearer\", not an id_token".into(),
        ),
        (
            json!({"typ": "Refresh"}),
            "the token is of type \"Refresh\", not an id_token".into(),
        ),
        (
            json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}),
            "the token is of type logout token, not an id_token".into(),
        ),
    ];
    for (changes, expected) in cases {
        assert_eq!(
            refusal(&world, &world.issuer.token(changes.clone())).await,
            expected,
            "{changes}"
        );
    }
    world.bearer(&world.issuer.token(json!({}))).await.unwrap();
}

#[tokio::test]
async fn tokens_that_only_look_odd_are_taken() {
    let world = World::new().await;
    for changes in [
        json!({"exp": now() as f64 + 600.5}),
        json!({"nbf": now() + 30, "iat": now() + 30}),
        json!({"aud": ["kubernetes"]}),
        json!({"aud": ["kubernetes", "witgate"], "azp": "witgate"}),
        json!({"email_verified": "yes", "address": 7}),
        json!({"typ": "ID"}),
    ] {
        let taken = world.bearer(&world.issuer.token(changes.clone())).await;
        assert!(taken.is_ok(), "{changes}: {taken:?}");
    }
    for header in [
        json!({"typ": null}),
        json!({"typ": "application/JWT"}),
        json!({"kid": null}),
        json!({"jku": "http://127.0.0.1:1/keys"}),
    ] {
        let taken = world
            .bearer(&world.issuer.token_with(header.clone(), json!({})))
            .await;
        assert!(taken.is_ok(), "{header}: {taken:?}");
    }
}

#[tokio::test]
async fn tokens_with_other_headers_are_told_why_not() {
    let world = World::new().await;
    let accepted = "only RS256, ES256, ES384, PS256, EdDSA";
    for (changes, expected) in [
        (
            json!({"alg": "none"}),
            format!("algorithm none is not accepted, {accepted}"),
        ),
        (
            json!({"alg": "None"}),
            format!("algorithm None is not accepted, {accepted}"),
        ),
        (
            json!({"alg": "HS256"}),
            format!("algorithm HS256 is not accepted, {accepted}"),
        ),
        (
            json!({"alg": "RS512"}),
            format!("algorithm RS512 is not accepted, {accepted}"),
        ),
        (
            json!({"alg": null}),
            "the token's header can't be read: `alg` is not there, or not a string".into(),
        ),
        (
            json!({"alg": ["ES256"]}),
            "the token's header can't be read: `alg` is not there, or not a string".into(),
        ),
        (json!({"alg": "RS256"}), "the token's signature is wrong".into()),
        (json!({"alg": "ES384"}), "the token's signature is wrong".into()),
        (
            json!({"crit": ["exp"]}),
            "the token's header has `crit`, and no such extension is understood here".into(),
        ),
        (
            json!({"crit": []}),
            "the token's header has `crit`, and no such extension is understood here".into(),
        ),
        (
            json!({"typ": "at+jwt"}),
            "the token is of type \"at+jwt\", not an id_token".into(),
        ),
        (
            json!({"typ": "logout+jwt"}),
            "the token is of type \"logout+jwt\", not an id_token".into(),
        ),
        (
            json!({"typ": 7}),
            "the token is of type \"7\", not an id_token".into(),
        ),
        (
            json!({"cty": "JWT"}),
            "the token is of type JWT with the content type \"JWT\", not an id_token".into(),
        ),
        (
            json!({"kid": 7}),
            "the token's header can't be read: `kid` is not a string".into(),
        ),
        (
            json!({"kid": "../../k1"}),
            "the issuer has no key \"../../k1\", with which the token says it is signed".into(),
        ),
        (
            json!({"kid": "k1' OR 1=1"}),
            "the issuer has no key \"k1' OR 1=1\", with which the token says it is signed".into(),
        ),
    ] {
        let token = world.issuer.token_with(changes.clone(), json!({}));
        assert_eq!(refusal(&world, &token).await, expected, "{changes}");
    }
}

#[tokio::test]
async fn a_key_in_the_header_is_not_a_key() {
    let world = World::new().await;
    let own = SigningKey::es256("k1");
    let header = json!({"jwk": own.public(), "x5u": "http://127.0.0.1:1/", "jku": "http://127.0.0.1:1/"});
    let token = world.issuer.token_by(&own, header, json!({}));
    assert_eq!(refusal(&world, &token).await, "the token's signature is wrong");
}

#[tokio::test]
async fn the_public_key_is_not_a_shared_secret() {
    // Algorithm confusion: HS256 with the published key as the secret.
    let world = World::new().await;
    let key = SigningKey::rsa_2048("k1");
    world.issuer.publish(&[&key]);
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.public().to_string().as_bytes());
    let header = json!({"alg": "HS256", "kid": "k1"}).to_string();
    let payload = world.issuer.claims(json!({})).to_string();
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let token = format!(
        "{signed}.{}",
        URL_SAFE_NO_PAD.encode(ring::hmac::sign(&secret, signed.as_bytes()))
    );
    assert!(
        refusal(&world, &token)
            .await
            .starts_with("algorithm HS256 is not accepted")
    );
}

#[tokio::test]
async fn a_token_that_was_changed_is_refused() {
    let world = World::new().await;
    let token = world.issuer.token(json!({}));
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!()
    };
    let payload_of_another = world.issuer.token(json!({"user": "bob"}));
    let payload_of_another = payload_of_another.split('.').nth(1).unwrap();
    let zero = URL_SAFE_NO_PAD.encode([0; 64]);
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let half = URL_SAFE_NO_PAD.encode(&bytes[..32]);
    let zero_r = URL_SAFE_NO_PAD.encode([&[0; 32], &bytes[32..]].concat());
    let zero_s = URL_SAFE_NO_PAD.encode([&bytes[..32], &[0; 32]].concat());
    let wrong = "the token's signature is wrong";
    for (token, expected) in [
        (format!("{header}.{payload_of_another}.{signature}"), wrong),
        (format!("{header}.{payload}.{zero}"), wrong),
        (format!("{header}.{payload}.{zero_r}"), wrong),
        (format!("{header}.{payload}.{zero_s}"), wrong),
        (format!("{header}.{payload}."), wrong),
        (format!("{header}.{payload}.{half}"), wrong),
        (
            format!("{header}.{payload}.{signature}="),
            "the token's signature can't be read: it is not base64url",
        ),
        (
            format!("{header}.{payload}.{signature}.{payload}.{payload}"),
            "the token is encrypted (JWE): only signed id_tokens are accepted",
        ),
        (
            format!("{header}.{payload}"),
            "the bearer token is neither an id_token (three parts with dots between) nor one of the configured tokens",
        ),
        (
            "x".into(),
            "the bearer token is neither an id_token (three parts with dots between) nor one of the configured tokens",
        ),
        (
            format!("{header}.{payload}.{signature}.x"),
            "the bearer token is neither an id_token (three parts with dots between) nor one of the configured tokens",
        ),
        (
            format!(".{payload}.{signature}"),
            "the token's header can't be read: EOF while parsing a value at line 1 column 0",
        ),
        (
            format!("{header}.!.{signature}"),
            "the token's payload can't be read: it is not base64url",
        ),
    ] {
        assert_eq!(refusal(&world, &token).await, expected, "{token}");
    }
}

#[tokio::test]
async fn json_that_two_readers_could_read_differently_is_refused() {
    let world = World::new().await;
    let key = SigningKey::es256("k1");
    world.issuer.rotate(SigningKey::es256("unused"));
    world.issuer.publish(&[&key]);
    let header = r#"{"alg":"ES256","kid":"k1"}"#;
    let claims = world.issuer.claims(json!({})).to_string();
    let twice = format!(r#"{},"sub":"other"}}"#, claims.strip_suffix('}').unwrap());
    let nested = format!(r#"{},"x":{{"a":1,"a":2}}}}"#, claims.strip_suffix('}').unwrap());
    let deep = format!(
        r#"{},"x":{}{}}}"#,
        claims.strip_suffix('}').unwrap(),
        "[".repeat(5000),
        "]".repeat(5000)
    );
    for (header, payload, expected) in [
        (
            header,
            twice.as_str(),
            "the token's payload can't be read: the name \"sub\" is there twice",
        ),
        (
            header,
            &nested,
            "the token's payload can't be read: the name \"a\" is there twice",
        ),
        (
            header,
            &deep,
            "the token's payload can't be read: recursion limit exceeded",
        ),
        (
            header,
            "[]",
            "the token's payload can't be read: it is not a JSON object",
        ),
        (
            header,
            "{} {}",
            "the token's payload can't be read: trailing characters",
        ),
        (
            header,
            r#"{"exp":1e999}"#,
            "the token's payload can't be read: number out of range",
        ),
        (
            r#"{"alg":"none","alg":"ES256","kid":"k1"}"#,
            &claims,
            "the token's header can't be read: the name \"alg\" is there twice",
        ),
    ] {
        let refusal = refusal(&world, &key.sign_token(header, payload)).await;
        assert!(refusal.starts_with(expected), "{refusal}, not {expected}");
    }
    world.bearer(&key.sign_token(header, &claims)).await.unwrap();
}

#[tokio::test]
async fn a_megabyte_is_not_looked_at() {
    let world = World::new().await;
    let token = world.issuer.token(json!({"padding": "x".repeat(1 << 20)}));
    let refusal = refusal(&world, &token).await;
    assert!(
        refusal.ends_with("bytes, more than the 16384 that are accepted"),
        "{refusal}"
    );
    assert_eq!(world.issuer.discoveries(), 0);
}

#[tokio::test]
async fn short_rsa_keys_are_not_trusted() {
    let world = World::new().await;
    let key = SigningKey::rsa_1024("short");
    world.issuer.publish(&[&key]);
    let token = world.issuer.token_by(&key, json!({}), json!({}));
    assert_eq!(
        refusal(&world, &token).await,
        "the issuer's key has 1024 bits, and RSA needs 2048 or more"
    );
}

#[tokio::test]
async fn the_plugin_is_asked_once_for_a_token_however_many_send_it() {
    let world = World::new().await;
    let token = world.issuer.token(json!({}));
    let (a, b, c) = tokio::join!(world.bearer(&token), world.bearer(&token), world.bearer(&token));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    world.bearer(&token).await.unwrap();
    assert_eq!(world.claims.calls(), 1);
    world
        .bearer(&world.issuer.token(json!({"user": "bob"})))
        .await
        .unwrap();
    assert_eq!(world.claims.calls(), 2);
}

#[tokio::test]
async fn what_the_plugin_says_is_held_to_the_policy() {
    let world = World::new().await;
    let token = world.issuer.token(json!({"groups": ["system:masters"]}));
    let Err(AuthError::Denied { reason }) = world.bearer(&token).await else {
        panic!("let in")
    };
    assert!(
        reason.starts_with(
            "the claims plugin's answer is refused: the group name \"system:masters\" is reserved"
        ),
        "{reason}"
    );

    let world = World::with(json!({"allowReservedNames": ["system:masters"]})).await;
    let token = world.issuer.token(json!({"groups": ["system:masters"]}));
    assert_eq!(world.bearer(&token).await.unwrap().groups, ["system:masters"]);
}

#[tokio::test]
async fn a_plugin_that_denies_or_fails_lets_nobody_in() {
    let world = World::new().await;
    let token = world.issuer.token(json!({}));
    *world.claims.fault.lock().unwrap() = Some(Fault::Deny);
    let denied = AuthError::Denied {
        reason: "not on the list  of guests".into(),
    };
    assert_eq!(world.bearer(&token).await, Err(denied));
    *world.claims.fault.lock().unwrap() = Some(Fault::Trap);
    let failed = AuthError::Unavailable {
        reason: Unavailable::Claims("a".into()),
    };
    assert_eq!(world.bearer(&token).await, Err(failed));
    *world.claims.fault.lock().unwrap() = None;
    world.bearer(&token).await.unwrap();
}
