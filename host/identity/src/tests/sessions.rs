//! How sessions go on: refreshed at the issuer, and prolonged by a command line.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::ExposeSecret;
use serde_json::json;

use super::login::{Browser, log_in};
use crate::{
    AuthError, Client, CodeRequest, Invalid, Principal, SessionTokens, TokenRequest,
    fixture::{Fault, World, bearer, now},
    hash::sha256,
};

const VERIFIER: &str = "a-verifier-that-only-the-command-line-knows-0123456789";
const REDIRECT: &str = "http://127.0.0.1:4000/callback";

/// Sessions that ask the issuer at every second.
async fn world() -> World {
    World::with(json!({"session": {"refresh": "1s"}})).await
}

async fn principal(world: &World, browser: &Browser) -> Result<Principal, AuthError> {
    let found = world.identity.authenticate(&browser.headers(), None).await;
    found.map(|principal| Principal::clone(&principal))
}

/// Waits until what was confirmed by the issuer is to be confirmed again.
async fn until_due() {
    tokio::time::sleep(Duration::from_millis(1100)).await;
}

fn code_request(name: &str) -> CodeRequest {
    let challenge = URL_SAFE_NO_PAD.encode(sha256(VERIFIER));
    let query = format!(
        "client_id=witgate-cli&response_type=code&redirect_uri={REDIRECT}&state=s&name={name}\
         &code_challenge_method=S256&code_challenge={challenge}"
    );
    CodeRequest::parse(&query).unwrap()
}

/// A code that the browser's user allowed.
async fn code(world: &World, browser: &Browser) -> String {
    let principal = principal(world, browser).await.unwrap();
    let location = world
        .identity
        .allow_code(&code_request("laptop"), &principal)
        .await
        .unwrap();
    let url = url::Url::parse(&location).unwrap();
    let get = |name: &str| {
        url.query_pairs()
            .find(|(key, _)| key == name)
            .unwrap()
            .1
            .into_owned()
    };
    assert_eq!(
        (get("state").as_str(), get("iss").as_str()),
        ("s", "https://gateway.example.com")
    );
    get("code")
}

async fn redeem(world: &World, code: &str, verifier: &str) -> Result<SessionTokens, &'static str> {
    let form = format!(
        "client_id=witgate-cli&grant_type=authorization_code&code={code}&code_verifier={verifier}&redirect_uri={REDIRECT}"
    );
    let tokens = world.identity.token(TokenRequest(&form)).await;
    tokens.map_err(|error| error.error)
}

async fn refresh(world: &World, token: &str) -> Result<SessionTokens, &'static str> {
    let form = format!("client_id=witgate-cli&grant_type=refresh_token&refresh_token={token}");
    let tokens = world.identity.token(TokenRequest(&form)).await;
    tokens.map_err(|error| error.error)
}

async fn command_line(world: &World) -> (Browser, SessionTokens) {
    let mut browser = Browser::default();
    log_in(world, &mut browser).await;
    let code = code(world, &browser).await;
    let tokens = redeem(world, &code, VERIFIER).await.unwrap();
    (browser, tokens)
}

#[tokio::test]
async fn what_the_issuer_says_at_a_refresh_holds_at_once() {
    let world = world().await;
    world
        .issuer
        .refresh_with(Some(world.issuer.token(json!({"groups": ["guests"]}))));
    let mut browser = Browser::default();
    log_in(&world, &mut browser).await;
    assert_eq!(principal(&world, &browser).await.unwrap().groups, ["platform"]);
    let before = principal(&world, &browser).await.unwrap();
    until_due().await;
    // Many at once are one refresh: each token is good for one.
    let all = (0..20).map(|_| principal(&world, &browser));
    for found in futures::future::join_all(all).await {
        assert_eq!(found.unwrap().groups, ["guests"]);
    }
    assert_eq!(world.issuer.refreshes(), 1);
    // A stream that was opened with more is told.
    assert!(matches!(
        world.identity.recheck(&before).await,
        Err(AuthError::Denied { .. })
    ));
    let now = principal(&world, &browser).await.unwrap();
    world.identity.recheck(&now).await.unwrap();
    until_due().await;
    principal(&world, &browser).await.unwrap();
    assert_eq!(world.issuer.refreshes(), 2);
}

#[tokio::test]
async fn a_user_whom_the_issuer_refuses_is_out_everywhere() {
    let world = world().await;
    world.issuer.refresh_with(None);
    let (browser, tokens) = command_line(&world).await;
    let before = principal(&world, &browser).await.unwrap();
    until_due().await;
    assert_eq!(principal(&world, &browser).await, Err(Invalid::Session.into()));
    assert!(world.identity.check(&before).is_err());
    let access = world.bearer(tokens.access_token.expose_secret()).await;
    assert!(matches!(access, Err(AuthError::Invalid { .. })), "{access:?}");
    let refreshed = refresh(&world, tokens.refresh_token.expose_secret()).await;
    assert_eq!(refreshed.unwrap_err(), "invalid_grant");
}

#[tokio::test]
async fn a_refreshed_token_of_somebody_else_ends_the_session() {
    let world = world().await;
    world
        .issuer
        .refresh_with(Some(world.issuer.token(json!({"sub": "subject-2"}))));
    let mut browser = Browser::default();
    log_in(&world, &mut browser).await;
    until_due().await;
    assert_eq!(principal(&world, &browser).await, Err(Invalid::Session.into()));
}

#[tokio::test]
async fn sessions_go_on_while_the_issuer_is_away() {
    let world = world().await;
    world.issuer.refresh_with(None);
    let mut browser = Browser::default();
    log_in(&world, &mut browser).await;
    world.issuer.set_away(true);
    until_due().await;
    assert_eq!(principal(&world, &browser).await.unwrap().user, "alice");
}

#[tokio::test]
async fn what_an_issuer_means_by_its_no_is_told_apart() {
    use http::StatusCode;
    for (status, error, goes_on) in [
        (StatusCode::BAD_REQUEST, "invalid_grant", false),
        // Of dex: the token is unknown, was used twice, or has expired; and the directory is away.
        (StatusCode::BAD_REQUEST, "invalid_request", false),
        (StatusCode::INTERNAL_SERVER_ERROR, "invalid_request", true),
        // Of the gateway's client.
        (StatusCode::UNAUTHORIZED, "invalid_client", true),
    ] {
        let world = world().await;
        world.issuer.refuse_with(status, error);
        let mut browser = Browser::default();
        log_in(&world, &mut browser).await;
        until_due().await;
        let found = principal(&world, &browser).await;
        assert_eq!(found.is_ok(), goes_on, "{status} {error}: {found:?}");
    }
}

#[tokio::test]
async fn sessions_end_with_the_outage_that_is_allowed_for() {
    let world = World::with(json!({"session": {"refresh": "1s", "outage": "0s"}})).await;
    world.issuer.refresh_with(None);
    let mut browser = Browser::default();
    log_in(&world, &mut browser).await;
    world.issuer.set_away(true);
    let begun = now();
    while principal(&world, &browser).await.is_ok() {
        assert!(now() < begun + 10, "they go on for ever");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let refused = principal(&world, &browser).await;
    assert!(
        matches!(refused, Err(AuthError::Unavailable { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn refresh_tokens_of_issuers_are_not_readable_in_the_state() {
    let world = world().await;
    world.issuer.refresh_with(None);
    let mut browser = Browser::default();
    log_in(&world, &mut browser).await;
    let grants: Vec<_> = { world.state.dump("sessions") }
        .into_iter()
        .filter(|(key, _)| key.first() == Some(&b'g'))
        .collect();
    let (_, grant) = grants.first().unwrap();
    let grant: serde_json::Value = serde_json::from_slice(grant).unwrap();
    let sealed = URL_SAFE_NO_PAD
        .decode(grant["refreshToken"].as_str().unwrap())
        .unwrap();
    assert!(!sealed.windows(2).any(|bytes| bytes == b"r0"), "{grant}");
}

#[tokio::test]
async fn a_command_line_gets_a_session_of_its_own() {
    let world = world().await;
    let (browser, tokens) = command_line(&world).await;
    let by_token = world.bearer(tokens.access_token.expose_secret()).await.unwrap();
    let by_cookie = principal(&world, &browser).await.unwrap();
    assert!(by_token.is_same_as(&by_cookie));
    assert_ne!(by_token.proof.session, by_cookie.proof.session);
    let sessions = world.identity.own_sessions(&by_cookie).await.unwrap();
    let laptop = Client::CommandLine {
        name: "laptop".into(),
    };
    assert!(
        sessions.iter().any(|session| session.client == laptop),
        "{sessions:?}"
    );
    // Each is ended by itself, and only by its owner.
    let id = by_token.proof.session.unwrap();
    let mut other = by_cookie.clone();
    other.proof.subject.as_mut().unwrap().subject = "subject-2".into();
    assert!(!world.identity.end_own_session(&other, id).await.unwrap());
    assert!(world.identity.end_own_session(&by_cookie, id).await.unwrap());
    assert!(world.bearer(tokens.access_token.expose_secret()).await.is_err());
    assert!(principal(&world, &browser).await.is_ok());
}

#[tokio::test]
async fn a_code_is_worth_something_once_and_to_who_asked_for_it() {
    let world = world().await;
    let mut browser = Browser::default();
    log_in(&world, &mut browser).await;
    let stolen = code(&world, &browser).await;
    assert_eq!(
        redeem(&world, &stolen, "a guess").await.unwrap_err(),
        "invalid_grant"
    );
    assert_eq!(
        redeem(&world, &stolen, VERIFIER).await.unwrap_err(),
        "invalid_grant"
    );
    let code = code(&world, &browser).await;
    redeem(&world, &code, VERIFIER).await.unwrap();
    assert_eq!(
        redeem(&world, &code, VERIFIER).await.unwrap_err(),
        "invalid_grant"
    );
    let (_, tokens) = command_line(&world).await;
    // What a command line holds allows no second one.
    let by_token = world.bearer(tokens.access_token.expose_secret()).await.unwrap();
    let refused = world.identity.allow_code(&code_request("x"), &by_token).await;
    assert_eq!(refused.unwrap_err().error, "access_denied");
}

#[tokio::test]
async fn a_refresh_token_that_is_used_again_ends_the_session() {
    let world = world().await;
    let (_, first) = command_line(&world).await;
    let first = first.refresh_token.expose_secret().to_owned();
    let second = refresh(&world, &first).await.unwrap();
    // The answer may have got lost on the way: the one before holds a little longer.
    let third = refresh(&world, &first).await.unwrap();
    let fourth = refresh(&world, third.refresh_token.expose_secret())
        .await
        .unwrap();
    assert!(world.bearer(fourth.access_token.expose_secret()).await.is_ok());
    // But not one from before that.
    let reused = refresh(&world, second.refresh_token.expose_secret()).await;
    assert_eq!(reused.unwrap_err(), "invalid_grant");
    assert!(world.bearer(fourth.access_token.expose_secret()).await.is_err());
    let ended = refresh(&world, fourth.refresh_token.expose_secret()).await;
    assert_eq!(ended.unwrap_err(), "invalid_grant");
}

#[tokio::test]
async fn a_made_up_refresh_token_ends_nobodys_session() {
    let world = world().await;
    let (_, tokens) = command_line(&world).await;
    let access = tokens.access_token.expose_secret();
    // What a session is called stands in audit lines and lists.
    let id = world.bearer(access).await.unwrap().proof.session.unwrap();
    let made_up = URL_SAFE_NO_PAD.encode([id.0.as_slice(), &[7; 48]].concat());
    let made_up = format!("wgr_{made_up}");
    assert_eq!(refresh(&world, &made_up).await.unwrap_err(), "invalid_grant");
    let form = format!("token={made_up}");
    world.identity.revoke_token(&form).await.unwrap();
    world.bearer(access).await.unwrap();
    refresh(&world, tokens.refresh_token.expose_secret())
        .await
        .unwrap();
}

#[tokio::test]
async fn refreshing_at_the_same_moment_costs_nobody_the_session() {
    let world = world().await;
    let (_, tokens) = command_line(&world).await;
    let token = tokens.refresh_token.expose_secret();
    let all = futures::future::join_all((0..5).map(|_| refresh(&world, token))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
}

#[tokio::test]
async fn tokens_are_not_found_in_the_state() {
    let world = world().await;
    let (_, tokens) = command_line(&world).await;
    for space in ["sessions", "authorizations"] {
        for (key, value) in world.state.dump(space) {
            let text = format!(
                "{} {}",
                String::from_utf8_lossy(&key),
                String::from_utf8_lossy(&value)
            );
            for token in [&tokens.access_token, &tokens.refresh_token] {
                assert!(!text.contains(token.expose_secret()), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn a_machine_without_a_browser_waits_for_its_code_to_be_typed() {
    let world = world().await;
    let mut browser = Browser::default();
    log_in(&world, &mut browser).await;
    let user = principal(&world, &browser).await.unwrap();
    for allow in [true, false] {
        let begun = world
            .identity
            .begin_device(Some("witgate-cli"), Some("a server"))
            .await
            .unwrap();
        let begun = serde_json::to_value(begun).unwrap();
        let (device_code, user_code) = (
            begun["device_code"].as_str().unwrap(),
            begun["user_code"].as_str().unwrap(),
        );
        let form = format!(
            "client_id=witgate-cli&grant_type=urn:ietf:params:oauth:grant-type:device_code&device_code={device_code}"
        );
        let poll = || async {
            let tokens = world.identity.token(TokenRequest(&form)).await;
            tokens.map_err(|error| error.error)
        };
        assert_eq!(poll().await.unwrap_err(), "authorization_pending");
        assert_eq!(poll().await.unwrap_err(), "slow_down");
        let wrong = world.identity.device("BCDF-GHJK", &user).await;
        assert_eq!(wrong.unwrap_err().error, "invalid_request");
        let typed = user_code.to_lowercase().replace('-', "");
        let request = world.identity.device(&typed, &user).await.unwrap();
        assert_eq!(
            (request.name.as_str(), request.user_code.as_str()),
            ("a server", user_code)
        );
        world.identity.decide_device(&typed, &user, allow).await.unwrap();
        if allow {
            let tokens = poll().await.unwrap();
            let found = world.bearer(tokens.access_token.expose_secret()).await.unwrap();
            assert_eq!(found.user, "alice");
            assert_eq!(poll().await.unwrap_err(), "expired_token");
        } else {
            assert_eq!(poll().await.unwrap_err(), "access_denied");
        }
        // The code was typed once, and that was it.
        assert!(world.identity.decide_device(&typed, &user, true).await.is_err());
    }
}

#[tokio::test]
async fn guessing_codes_is_stopped() {
    let world = world().await;
    let mut browser = Browser::default();
    log_in(&world, &mut browser).await;
    let user = principal(&world, &browser).await.unwrap();
    for _ in 0..10 {
        let wrong = world.identity.device("BCDF-GHJK", &user).await;
        assert_eq!(wrong.unwrap_err().error, "invalid_request");
    }
    let begun = world
        .identity
        .begin_device(Some("witgate-cli"), None)
        .await
        .unwrap();
    let begun = serde_json::to_value(begun).unwrap();
    let right = world
        .identity
        .device(begun["user_code"].as_str().unwrap(), &user)
        .await;
    assert_eq!(right.unwrap_err().error, "access_denied");
}

#[tokio::test]
async fn requests_for_tokens_that_make_no_sense_are_answered_so() {
    let world = world().await;
    for (form, expected) in [
        ("", "invalid_client"),
        ("client_id=other&grant_type=refresh_token", "invalid_client"),
        ("client_id=witgate-cli", "invalid_request"),
        (
            "client_id=witgate-cli&grant_type=password&username=a&password=b",
            "unsupported_grant_type",
        ),
        (
            "client_id=witgate-cli&grant_type=refresh_token&refresh_token=x",
            "invalid_grant",
        ),
        ("client_id=witgate-cli&client_id=witgate-cli", "invalid_request"),
    ] {
        let refused = world.identity.token(TokenRequest(form)).await.unwrap_err();
        assert_eq!(refused.error, expected, "{form}");
    }
}

#[tokio::test]
async fn the_last_answer_for_a_user_is_used_while_the_directory_is_away_and_no_longer() {
    let world = World::new().await;
    let mut config = serde_json::json!({"claimsLifetime": "1s", "claimsOutage": "2s"});
    let base = json!({"name": "a", "url": world.issuer.url(), "clientId": "witgate", "claims": "mirror"});
    for (key, value) in base.as_object().unwrap() {
        config[key] = value.clone();
    }
    let world = World {
        identity: crate::fixture::identity(
            &serde_json::from_value(json!({"publicUrl": "https://gateway.example.com", "issuers": [config]}))
                .unwrap(),
            &world.claims,
            &world.records,
            None,
        ),
        ..world
    };
    let token = world.issuer.token(json!({}));
    world.identity.authenticate(&bearer(&token), None).await.unwrap();
    *world.claims.fault.lock().unwrap() = Some(Fault::Trap);
    until_due().await;
    assert_eq!(world.bearer(&token).await.unwrap().user, "alice");
    let other = world.issuer.token(json!({"sub": "subject-2"}));
    assert!(matches!(
        world.bearer(&other).await,
        Err(AuthError::Unavailable { .. })
    ));
    let begun = now();
    while world.bearer(&token).await.is_ok() {
        assert!(now() < begun + 10, "the last answer is used for ever");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
