//! A browser's way in and out, and those who try to come in with somebody else's.

use std::{collections::HashMap, sync::atomic::Ordering};

use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use serde_json::{Value, json};
use url::Url;

use crate::{
    AuthError, Invalid, Login, LoginError, LogoutError, Method, Unavailable,
    fixture::{
        CLIENT, Fault, Grant, MemoryState, MirrorClaims, PUBLIC_URL, SigningKey, TestIssuer, World, bearer,
        config, identity, records,
    },
};

/// A browser's cookies.
#[derive(Default)]
pub(super) struct Browser(pub(super) HashMap<String, String>);

impl Browser {
    pub(super) fn headers(&self) -> HeaderMap {
        let cookies: Vec<_> = self
            .0
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if cookies.is_empty() {
            return HeaderMap::new();
        }
        let value = HeaderValue::try_from(cookies.join("; ")).unwrap();
        HeaderMap::from_iter([(header::COOKIE, value)])
    }

    /// Takes the cookies of an answer, and returns where it leads.
    pub(super) fn follow(&mut self, response: &Response<()>) -> String {
        assert_eq!(response.status(), 303);
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        for cookie in response.headers().get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            let (pair, attributes) = cookie.split_once("; ").unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            assert!(name.starts_with("__Host-"), "{cookie}");
            let attributes: Vec<_> = attributes.split("; ").collect();
            for expected in ["Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
                assert!(attributes.contains(&expected), "{cookie}");
            }
            if attributes.contains(&"Max-Age=0") {
                self.0.remove(name);
            } else {
                self.0.insert(name.into(), value.into());
            }
        }
        response.headers()[header::LOCATION].to_str().unwrap().into()
    }
}

/// What the issuer is asked.
pub(super) struct Asked(HashMap<String, String>);

impl Asked {
    fn new(location: &str) -> Self {
        Self(Url::parse(location).unwrap().query_pairs().into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> &str {
        &self.0[name]
    }
}

pub(super) async fn begin(world: &World, browser: &mut Browser, query: &str) -> Asked {
    let login = world.identity.login(query, &browser.headers()).await.unwrap();
    let Login::Redirect(redirect) = login else {
        panic!("{login:?}")
    };
    let location = browser.follow(&redirect.into_response());
    assert!(
        location.starts_with(&format!("{}/authorize?", world.issuer.url())),
        "{location}"
    );
    Asked::new(&location)
}

/// The issuer agrees: the query that it sends the browser back with.
pub(super) fn agree(issuer: &TestIssuer, asked: &Asked, changes: Value) -> String {
    let mut claims = json!({"nonce": asked.get("nonce")});
    let Value::Object(changes) = changes else {
        panic!("{changes} is no object")
    };
    for (name, value) in changes {
        claims[name] = value;
    }
    let grant = Grant {
        challenge: asked.get("code_challenge").into(),
        redirect_uri: asked.get("redirect_uri").into(),
        id_token: issuer.token(claims),
    };
    issuer.grant("c0de", grant);
    format!("code=c0de&state={}", asked.get("state"))
}

pub(super) async fn log_in(world: &World, browser: &mut Browser) {
    let asked = begin(world, browser, "").await;
    let query = agree(&world.issuer, &asked, json!({}));
    let redirect = world.identity.callback(&query, &browser.headers()).await.unwrap();
    browser.follow(&redirect.into_response());
}

#[tokio::test]
async fn a_browser_gets_a_session_and_goes_where_it_wanted() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let asked = begin(&world, &mut browser, "issuer=a&return_to=%2Fclusters%3Fx%3D1").await;
    assert_eq!(asked.get("client_id"), CLIENT);
    assert_eq!(asked.get("response_type"), "code");
    assert_eq!(asked.get("redirect_uri"), format!("{PUBLIC_URL}/callback"));
    assert_eq!(asked.get("scope"), "openid email profile groups offline_access");
    assert_eq!(asked.get("code_challenge_method"), "S256");
    let query = agree(&world.issuer, &asked, json!({}));
    let redirect = world.identity.callback(&query, &browser.headers()).await.unwrap();
    assert_eq!(browser.follow(&redirect.into_response()), "/clusters?x=1");
    assert_eq!(browser.0.keys().collect::<Vec<_>>(), ["__Host-witgate"]);
    let principal = world
        .identity
        .authenticate(&browser.headers(), None)
        .await
        .unwrap();
    assert_eq!(
        (principal.user.as_str(), principal.groups.as_slice()),
        ("alice", &["platform".to_owned()][..])
    );
    assert_eq!(principal.method, Method::Session { issuer: "a".into() });
    let left = principal
        .expires
        .unwrap()
        .duration_since(std::time::SystemTime::now())
        .unwrap()
        .as_secs();
    assert!((8 * 3600 - 60..=8 * 3600).contains(&left), "{left}");
}

#[tokio::test]
async fn the_access_tokens_hash_is_checked_where_it_is_there() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let world = World::new().await;
    let mut browser = Browser::default();
    // The fixture's access token is "access".
    for (access_token, expected) in [("another", Some(Invalid::AccessTokenHash)), ("access", None)] {
        let asked = begin(&world, &mut browser, "").await;
        let hash = URL_SAFE_NO_PAD.encode(&crate::hash::sha256(access_token)[..16]);
        let query = agree(&world.issuer, &asked, json!({"at_hash": hash}));
        let refused = world.identity.callback(&query, &browser.headers()).await.err();
        assert_eq!(
            refused,
            expected.map(|reason| LoginError::NotLetIn(reason.into())),
            "{access_token}"
        );
    }
}

#[tokio::test]
async fn nothing_in_the_state_is_a_credential() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let asked = begin(&world, &mut browser, "").await;
    let secrets = [
        asked.get("state").to_owned(),
        browser.0["__Host-witgate-login"].clone(),
    ];
    let dumped = format!(
        "{:?}",
        world
            .state
            .dump("logins")
            .iter()
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect::<Vec<_>>()
    );
    assert!(secrets.iter().all(|secret| !dumped.contains(secret)), "{dumped}");

    log_in(&world, &mut browser).await;
    let id = &browser.0["__Host-witgate"];
    let sessions = world.state.dump("sessions");
    assert!(!sessions.is_empty());
    for (key, value) in &sessions {
        let (key, value) = (String::from_utf8_lossy(key), String::from_utf8_lossy(value));
        assert!(!key.contains(id) && !value.contains(id));
    }
    // Nor is a session's id one, in another place.
    world
        .identity
        .authenticate(&browser.headers(), None)
        .await
        .unwrap();
    let as_token = world.identity.authenticate(&bearer(id), None).await;
    assert_eq!(as_token, Err(Invalid::NotAToken.into()));
}

#[tokio::test]
async fn a_login_is_completed_once() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let asked = begin(&world, &mut browser, "").await;
    let query = agree(&world.issuer, &asked, json!({}));
    let headers = browser.headers();
    let (first, second) = tokio::join!(
        world.identity.callback(&query, &headers),
        world.identity.callback(&query, &headers)
    );
    let outcomes = [first.err(), second.err()];
    assert!(
        outcomes.contains(&None) && outcomes.contains(&Some(LoginError::Stale)),
        "{outcomes:?}"
    );
    agree(&world.issuer, &asked, json!({}));
    assert_eq!(
        world.identity.callback(&query, &headers).await.unwrap_err(),
        LoginError::Stale
    );
}

#[tokio::test]
async fn a_login_is_completed_in_the_browser_that_began_it() {
    let world = World::new().await;
    let (mut attacker, mut victim) = (Browser::default(), Browser::default());
    let asked = begin(&world, &mut attacker, "").await;
    let query = agree(&world.issuer, &asked, json!({"user": "attacker"}));
    let refused = world
        .identity
        .callback(&query, &victim.headers())
        .await
        .unwrap_err();
    assert_eq!(refused, LoginError::OtherBrowser);

    let asked = begin(&world, &mut attacker, "").await;
    let query = agree(&world.issuer, &asked, json!({"user": "attacker"}));
    begin(&world, &mut victim, "").await;
    let refused = world
        .identity
        .callback(&query, &victim.headers())
        .await
        .unwrap_err();
    assert_eq!(refused, LoginError::OtherBrowser);
    assert!(world.state.dump("sessions").is_empty());
}

#[tokio::test]
async fn made_up_states_lead_nowhere() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let asked = begin(&world, &mut browser, "").await;
    let state = asked.get("state");
    let flip = |c: char| if c == 'A' { 'B' } else { 'A' };
    // The slot is right, the secret is not.
    let (head, tail) = state.split_at(20);
    let changed = format!("{head}{}{}", flip(tail.chars().next().unwrap()), &tail[1..]);
    for state in ["", "x", "AAAA", &changed] {
        let query = format!("code=c0de&state={state}");
        assert_eq!(
            world
                .identity
                .callback(&query, &browser.headers())
                .await
                .unwrap_err(),
            LoginError::Stale
        );
    }
    // And the login under way was not disturbed.
    let query = agree(&world.issuer, &asked, json!({}));
    let _ = world.identity.callback(&query, &browser.headers()).await.unwrap();
}

#[tokio::test]
async fn a_token_of_another_login_or_client_opens_no_session() {
    for (changes, expected) in [
        (json!({"nonce": "other"}), Some(Invalid::Nonce)),
        (json!({"nonce": null}), Some(Invalid::Nonce)),
        (
            json!({"aud": "kubernetes"}),
            Some(Invalid::Claim {
                claim: "aud",
                why: "does not have witgate".into(),
            }),
        ),
        (json!({"exp": 1}), None),
        (json!({"iss": "http://127.0.0.1:1"}), None),
    ] {
        let world = World::new().await;
        let mut browser = Browser::default();
        let asked = begin(&world, &mut browser, "").await;
        let query = agree(&world.issuer, &asked, changes.clone());
        let refused = world
            .identity
            .callback(&query, &browser.headers())
            .await
            .unwrap_err();
        let LoginError::NotLetIn(AuthError::Invalid { reason }) = refused else {
            panic!("{changes}: {refused:?}")
        };
        if let Some(expected) = expected {
            assert_eq!(reason, expected, "{changes}");
        }
        assert!(world.state.dump("sessions").is_empty());
    }
}

#[tokio::test]
async fn the_code_is_worth_nothing_without_its_verifier() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let asked = begin(&world, &mut browser, "").await;
    let other = begin(&world, &mut browser, "").await;
    // A code that was stolen from one login and brought to another.
    agree(&world.issuer, &asked, json!({"nonce": other.get("nonce")}));
    let query = format!("code=c0de&state={}", other.get("state"));
    let refused = world
        .identity
        .callback(&query, &browser.headers())
        .await
        .unwrap_err();
    assert_eq!(refused, LoginError::NoToken("invalid_grant".into()));
}

#[tokio::test]
async fn an_answer_that_names_another_issuer_is_refused() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let asked = begin(&world, &mut browser, "").await;
    let query = format!(
        "{}&iss=https%3A%2F%2Fother.example",
        agree(&world.issuer, &asked, json!({}))
    );
    let refused = world
        .identity
        .callback(&query, &browser.headers())
        .await
        .unwrap_err();
    assert_eq!(refused, LoginError::OtherIssuer);

    let world = World::new().await;
    world
        .issuer
        .say(json!({"authorization_response_iss_parameter_supported": true}));
    let asked = begin(&world, &mut browser, "").await;
    let query = agree(&world.issuer, &asked, json!({}));
    let refused = world
        .identity
        .callback(&query, &browser.headers())
        .await
        .unwrap_err();
    assert_eq!(refused, LoginError::OtherIssuer);
    let asked = begin(&world, &mut browser, "").await;
    let query = format!(
        "{}&iss={}",
        agree(&world.issuer, &asked, json!({})),
        world.issuer.url()
    );
    let _ = world.identity.callback(&query, &browser.headers()).await.unwrap();
}

#[tokio::test]
async fn the_issuers_no_is_shown_as_plain_text() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let asked = begin(&world, &mut browser, "").await;
    let query = format!(
        "error=access_denied&error_description=not%0D%0Ayou&state={}",
        asked.get("state")
    );
    let refused = world
        .identity
        .callback(&query, &browser.headers())
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the issuer refused: access_denied (not  you)"
    );
    assert_eq!(refused.status(), 403);
}

#[tokio::test]
async fn a_login_never_leads_elsewhere() {
    let world = World::new().await;
    for target in [
        "https%3A%2F%2Fevil.example",
        "%2F%2Fevil.example",
        "%2F%5Cevil.example",
        "%2F%252Fevil.example",
    ] {
        let refused = world
            .identity
            .login(&format!("return_to={target}"), &HeaderMap::new())
            .await;
        assert_eq!(refused.unwrap_err(), LoginError::ReturnTo, "{target}");
    }
    let twice = world.identity.login("issuer=a&issuer=a", &HeaderMap::new()).await;
    assert!(matches!(twice, Err(LoginError::Query(_))), "{twice:?}");
}

#[tokio::test]
async fn with_several_issuers_the_user_chooses_and_tokens_stay_apart() {
    let (a, b) = (
        TestIssuer::start(SigningKey::es256("k")).await,
        TestIssuer::start(SigningKey::es256("k")).await,
    );
    let (claims, state) = (
        std::sync::Arc::new(MirrorClaims::default()),
        MemoryState::default(),
    );
    let identity = identity(
        &config(&[&a, &b], json!({})),
        &claims,
        &records(&state).await,
        None,
    );
    let choice = identity.login("return_to=%2Fx", &HeaderMap::new()).await.unwrap();
    let Login::Choose { issuers, return_to } = choice else {
        panic!("{choice:?}")
    };
    assert_eq!(
        (issuers, return_to.as_str()),
        (vec!["a".to_owned(), "b".to_owned()], "/x")
    );
    let unknown = identity.login("issuer=c", &HeaderMap::new()).await.unwrap_err();
    assert_eq!(
        (unknown.status().as_u16(), unknown.to_string().as_str()),
        (404, "there is no issuer \"c\"")
    );

    // B's answer to a login that was begun at A: its token is not A's, whatever it says.
    let mut browser = Browser::default();
    for (forged, expected) in [
        (
            b.url(),
            Invalid::Issuer {
                issuer: format!("{:?}", b.url()),
            },
        ),
        (a.url(), Invalid::Signature),
    ] {
        let login = identity.login("issuer=a", &browser.headers()).await.unwrap();
        let Login::Redirect(redirect) = login else {
            panic!("{login:?}")
        };
        let asked = Asked::new(&browser.follow(&redirect.into_response()));
        let grant = Grant {
            challenge: asked.get("code_challenge").into(),
            redirect_uri: asked.get("redirect_uri").into(),
            id_token: b.token(json!({"nonce": asked.get("nonce"), "iss": forged})),
        };
        a.grant("c0de", grant);
        let query = format!("code=c0de&state={}", asked.get("state"));
        let refused = identity.callback(&query, &browser.headers()).await.unwrap_err();
        assert_eq!(refused, LoginError::NotLetIn(expected.into()));
    }
    assert!(state.dump("sessions").is_empty());
}

#[tokio::test]
async fn the_session_is_another_one_after_each_login() {
    let world = World::new().await;
    let mut browser = Browser::default();
    browser.0.insert("__Host-witgate".into(), "f".repeat(43));
    log_in(&world, &mut browser).await;
    let first = browser.headers();
    assert_ne!(browser.0["__Host-witgate"], "f".repeat(43));
    log_in(&world, &mut browser).await;
    assert_ne!(browser.headers(), first);
    world
        .identity
        .authenticate(&browser.headers(), None)
        .await
        .unwrap();
    assert_eq!(
        world.identity.authenticate(&first, None).await,
        Err(Invalid::Session.into())
    );
}

#[tokio::test]
async fn logging_out_ends_the_session_but_only_from_our_own_page() {
    let world = World::new().await;
    let mut browser = Browser::default();
    log_in(&world, &mut browser).await;
    let from = |name: &'static str, value: &'static str| {
        let mut headers = browser.headers();
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        headers
    };
    let mut both = from("sec-fetch-site", "cross-site");
    both.insert(header::ORIGIN, HeaderValue::from_static(PUBLIC_URL));
    for headers in [
        browser.headers(),
        from("origin", "https://evil.example"),
        from("origin", "null"),
        from("sec-fetch-site", "same-site"),
        from("sec-fetch-site", "none"),
        both,
    ] {
        let refused = world.identity.logout(&headers).await.unwrap_err();
        assert_eq!(refused, LogoutError::OtherSite, "{headers:?}");
    }
    world
        .identity
        .authenticate(&browser.headers(), None)
        .await
        .unwrap();
    for headers in [from("origin", PUBLIC_URL), from("sec-fetch-site", "same-origin")] {
        let logout = world.identity.logout(&headers).await.unwrap();
        assert_eq!(logout.issuer, None);
        assert_eq!(
            world.identity.authenticate(&headers, None).await,
            Err(Invalid::Revoked("the session was ended").into())
        );
    }
}

#[tokio::test]
async fn new_rules_hold_for_open_sessions() {
    let world = World::new().await;
    let mut browser = Browser::default();
    log_in(&world, &mut browser).await;
    world
        .identity
        .authenticate(&browser.headers(), None)
        .await
        .unwrap();
    let rules = std::sync::Arc::new(MirrorClaims::default());
    *rules.fault.lock().unwrap() = Some(Fault::Deny);
    let next = identity(
        &config(&[&world.issuer], json!({})),
        &rules,
        &world.records,
        Some(&world.identity),
    );
    let denied = next.authenticate(&browser.headers(), None).await;
    assert!(matches!(denied, Err(AuthError::Denied { .. })), "{denied:?}");
    // An issuer that is not configured any more has no sessions either.
    let without = identity(
        &config(&[], json!({})),
        &rules,
        &world.records,
        Some(&world.identity),
    );
    assert_eq!(
        without.authenticate(&browser.headers(), None).await,
        Err(Invalid::Session.into())
    );
}

#[tokio::test]
async fn whoever_the_plugin_denies_is_told_why_and_gets_no_session() {
    let world = World::new().await;
    *world.claims.fault.lock().unwrap() = Some(Fault::Deny);
    let mut browser = Browser::default();
    let asked = begin(&world, &mut browser, "").await;
    let query = agree(&world.issuer, &asked, json!({}));
    let refused = world
        .identity
        .callback(&query, &browser.headers())
        .await
        .unwrap_err();
    assert_eq!(
        (refused.status().as_u16(), refused.to_string().as_str()),
        (403, "not on the list  of guests")
    );
    assert!(world.state.dump("sessions").is_empty());
}

#[tokio::test]
async fn without_the_state_nobody_is_let_in() {
    let world = World::new().await;
    let mut browser = Browser::default();
    log_in(&world, &mut browser).await;
    world
        .identity
        .authenticate(&browser.headers(), None)
        .await
        .unwrap();
    let config = config(&[&world.issuer], json!({}));
    let next = identity(&config, &world.claims, &world.records, Some(&world.identity));
    world.state.away.store(true, Ordering::SeqCst);
    let away = Err(AuthError::from(Unavailable::State));
    assert_eq!(next.authenticate(&browser.headers(), None).await, away);
    let login = world.identity.login("", &browser.headers()).await.unwrap_err();
    assert_eq!(login.status(), 503);
}

#[tokio::test]
async fn a_flood_of_logins_takes_bounded_room() {
    let world = World::new().await;
    for _ in 0..10_050 {
        let begun = world.identity.login("", &HeaderMap::new()).await;
        assert!(matches!(begun, Ok(Login::Redirect(_))));
    }
    assert_eq!(world.state.dump("logins").len(), 10_000);
}
