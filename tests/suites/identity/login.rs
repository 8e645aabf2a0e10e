//! A browser's way in and out, through dex's own pages.

use reqwest::{
    StatusCode,
    header::{COOKIE, ORIGIN, SET_COOKIE},
};
use url::Url;
use witgate_lab::{Dex, Port};
use witgate_tests::browser::{Browser, Page};

use crate::world::{People, World};

/// The session's cookie.
const SESSION: &str = "__Host-witgate";

/// By the LDAP connector, from the gateway's first page on.
pub(crate) async fn log_in_as_alice(world: &World, browser: &Browser) -> Page {
    log_in(world, browser, "/auth/ldap", "alice", "alice-password").await
}

async fn log_in(world: &World, browser: &Browser, connector: &str, login: &str, password: &str) -> Page {
    let form = form_of(world, browser, connector).await;
    browser
        .submit(&form, &[("login", login), ("password", password)])
        .await
}

/// Where one types a password, after having chosen the issuer and the connector.
async fn form_of(world: &World, browser: &Browser, connector: &str) -> Page {
    let welcome = browser.open(&world.url("/")).await;
    assert!(welcome.text.contains("Log in with dex"), "{}", welcome.text);
    let way_in = welcome.link("/login?").expect("there is a way in");
    let connectors = browser.open(way_in.as_str()).await;
    let chosen = connectors.link(connector).expect("dex offers the connector");
    browser.open(chosen.as_str()).await
}

/// The address that dex sent the browser back to.
fn callback(page: &Page) -> &Url {
    let mut hops = page.hops.iter();
    hops.find(|hop| hop.path() == "/callback")
        .expect("dex sent the browser back")
}

#[tokio::test]
async fn whoever_the_issuer_vouches_for_is_in_whatever_it_asked_them() {
    let port = Port::free().unwrap();
    let Some(people) = People::start(&port).await else {
        return;
    };
    let world = World::start(port, &people.setup()).await;
    // No password is asked for: the page is the gateway's own again.
    let page = form_of(&world, &world.browser(), "/auth/mock").await;
    assert_eq!(page.url.as_str(), world.url("/"), "{}", page.text);
    for expected in [Dex::MOCK_USER, &format!("corp:{}", Dex::MOCK_GROUP)] {
        assert!(page.text.contains(expected), "{expected}: {}", page.text);
    }
}

#[tokio::test]
async fn a_person_of_the_directory_logs_in_and_out() {
    let port = Port::free().unwrap();
    let Some(people) = People::start(&port).await else {
        return;
    };
    let world = World::start(port, &people.setup()).await;
    let browser = world.browser();
    let page = log_in_as_alice(&world, &browser).await;
    assert_eq!(page.url.as_str(), world.url("/"));
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(page.text.contains("You are alice<"), "{}", page.text);
    let mut query = callback(&page).query_pairs();
    let (_, code) = query.find(|(name, _)| name == "code").expect("dex gave a code");
    let code = code.into_owned();
    for group in ["corp:platform", "corp:developers"] {
        assert!(page.text.contains(&format!("<li>{group}</li>")), "{}", page.text);
    }

    let cookie = page.cookie(SESSION).expect("there is a session");
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    let attributes: Vec<_> = attributes.split("; ").collect();
    for attribute in ["Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(attributes.contains(&attribute), "{attributes:?}");
    }
    assert!(
        !attributes.iter().any(|attribute| attribute.starts_with("Domain")),
        "{attributes:?}"
    );
    assert!(
        world
            .get("/")
            .header(COOKIE, pair)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .contains("You are alice<")
    );

    let page = browser.submit(&page, &[]).await;
    assert!(page.text.contains("Log in with dex"), "{}", page.text);
    let page = browser.open(&world.url("/")).await;
    assert!(!page.text.contains("You are"), "{}", page.text);
    // Who kept a copy of the cookie has nothing either.
    let kept = world.get("/").header(COOKIE, pair).send().await.unwrap();
    assert!(!kept.text().await.unwrap().contains("You are"));

    let written = world.written();
    let (_, id) = pair.split_once('=').unwrap();
    for secret in [id, code.as_str(), "alice-password", Dex::CLIENT_SECRET] {
        assert!(!written.contains(secret), "{secret} is in: {written}");
    }
}

#[tokio::test]
async fn a_user_of_the_password_database_logs_in() {
    let port = Port::free().unwrap();
    let Some(people) = People::start(&port).await else {
        return;
    };
    let world = World::start(port, &people.setup()).await;
    let browser = world.browser();
    let [(address, password), _] = Dex::LOCAL_USERS;
    let page = log_in(&world, &browser, "/auth/local", address, password).await;
    assert_eq!(page.url.as_str(), world.url("/"));
    assert!(page.text.contains("You are dana<"), "{}", page.text);
    assert!(!page.text.contains("corp:"), "{}", page.text);
}

#[tokio::test]
async fn a_wrong_password_opens_no_session() {
    let port = Port::free().unwrap();
    let Some(people) = People::start(&port).await else {
        return;
    };
    let world = World::start(port, &people.setup()).await;
    let browser = world.browser();
    let page = log_in(&world, &browser, "/auth/ldap", "alice", "bob-password").await;
    assert!(page.url.as_str().starts_with(people.dex.issuer()), "{}", page.url);
    assert!(!browser.open(&world.url("/")).await.text.contains("You are"));
}

#[tokio::test]
async fn an_answer_of_the_issuer_is_good_once_and_for_one_browser() {
    let port = Port::free().unwrap();
    let Some(people) = People::start(&port).await else {
        return;
    };
    let world = World::start(port, &people.setup()).await;
    let browser = world.browser();
    let page = log_in_as_alice(&world, &browser).await;
    let answer = callback(&page);

    for (who, client) in [("the same", &browser), ("another", &world.browser())] {
        let replayed = client.fetch(answer.as_str()).await;
        assert_eq!(replayed.status(), StatusCode::BAD_REQUEST, "{who} browser");
        assert!(!opens_session(&replayed), "{who} browser");
        // The gateway's own no: the issuer would take the code twice just as little.
        let said = replayed.text().await.unwrap();
        assert!(said.contains("this login is over"), "{who} browser: {said}");
    }

    // In a browser with a login under way, whose state is another one.
    let fresh = world.browser();
    let form = form_of(&world, &fresh, "/auth/ldap").await;
    let mut forged = answer.clone();
    forged
        .query_pairs_mut()
        .clear()
        .extend_pairs([("code", "made-up"), ("state", "made-up")]);
    let refused = fresh.fetch(forged.as_str()).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert!(!opens_session(&refused));

    let page = fresh
        .submit(&form, &[("login", "alice"), ("password", "alice-password")])
        .await;
    assert!(page.text.contains("You are alice<"), "{}", page.text);
}

#[tokio::test]
async fn a_login_leads_back_to_where_it_began_and_nowhere_else() {
    let port = Port::free().unwrap();
    let Some(people) = People::start(&port).await else {
        return;
    };
    let world = World::start(port, &people.setup()).await;
    for target in [
        "https://elsewhere.invalid/",
        "//elsewhere.invalid/",
        "/\\elsewhere.invalid",
        "/%2Felsewhere.invalid",
    ] {
        let mut url = Url::parse(&world.url("/login")).unwrap();
        url.query_pairs_mut()
            .extend_pairs([("issuer", "dex"), ("return_to", target)]);
        let refused = world.browser().fetch(url.as_str()).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{target}");
        assert!(!refused.headers().contains_key("location"), "{target}");
    }

    let browser = world.browser();
    let connectors = browser
        .open(&world.url("/login?issuer=dex&return_to=%2F%3Ftab%3Dclusters"))
        .await;
    let form = browser
        .open(connectors.link("/auth/ldap").unwrap().as_str())
        .await;
    let page = browser
        .submit(&form, &[("login", "alice"), ("password", "alice-password")])
        .await;
    assert_eq!(page.url.as_str(), world.url("/?tab=clusters"));
}

#[tokio::test]
async fn another_site_cannot_log_anybody_out() {
    let port = Port::free().unwrap();
    let Some(people) = People::start(&port).await else {
        return;
    };
    let world = World::start(port, &people.setup()).await;
    let browser = world.browser();
    let page = log_in_as_alice(&world, &browser).await;
    let (cookie, _) = page.cookie(SESSION).unwrap().split_once("; ").unwrap();
    let forged = world
        .post("/logout")
        .header(COOKIE, cookie)
        .header(ORIGIN, "https://elsewhere.invalid");
    assert_eq!(forged.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    assert!(
        browser
            .open(&world.url("/"))
            .await
            .text
            .contains("You are alice<")
    );
}

fn opens_session(answer: &reqwest::Response) -> bool {
    let cookies = answer.headers().get_all(SET_COOKIE);
    cookies
        .iter()
        .any(|cookie| cookie.to_str().unwrap().starts_with(&format!("{SESSION}=")))
}
