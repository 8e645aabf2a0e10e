//! The same with an issuer of another make: other pages, other keys, refresh tokens that end when they
//! are used twice, and a back channel.

use reqwest::StatusCode;
use witgate_lab::{
    Authority, Component, Kubernetes, OidcProvider, OidcProviderOptions, Port, eventually, require,
};
use witgate_tests::browser::{Browser, Page};

use crate::world::{SOON, Setup, World};

/// A gateway for users of the provider.
async fn start() -> Option<(World, OidcProvider)> {
    start_with("").await
}

/// The same with more sections in its configuration.
async fn start_with(sections: &str) -> Option<(World, OidcProvider)> {
    let port = Port::free().unwrap();
    let authority = Authority::new("the suite's authority").unwrap();
    let (setup, provider) = set_up(&port, &authority).await?;
    let setup = Setup {
        sections: sections.to_owned(),
        ..setup
    };
    Some((World::start_with(port, &setup, &authority).await, provider))
}

/// A provider for a gateway on that port, and what the gateway is told of it.
pub(crate) async fn set_up(port: &Port, authority: &Authority) -> Option<(Setup, OidcProvider)> {
    require(Component::OidcProvider).ok()?;
    let client = format!("https://localhost:{}", port.number());
    let options = OidcProviderOptions {
        client: &client,
        authority,
    };
    let provider = OidcProvider::start(options).await.unwrap();
    let setup = Setup::with_issuer("company", &provider.issuer());
    let setup = Setup {
        issuers: vec![setup.issuers[0].replace("claims: people", "claims: people, prompt: consent")],
        session: "{refresh: 1s}".to_owned(),
        ..setup
    };
    Some((setup, provider))
}

/// Through the provider's two forms: who, and whether the gateway may know.
pub(crate) async fn log_in(world: &World, browser: &Browser, user: &str) -> Page {
    let form = browser.open(&world.url("/login")).await;
    let fields = [("login", user), ("password", "any")];
    let consent = browser.submit_to(&form, "/interaction/", &fields).await;
    assert!(consent.text.contains("offline"), "{}", consent.text);
    browser.submit_to(&consent, "/interaction/", &[]).await
}

async fn is_out(world: &World, browser: &Browser) {
    eventually("the session has ended", SOON, async || {
        let page = browser.open(&world.url("/")).await;
        if page.text.contains("Log in with company") {
            Ok(())
        } else {
            Err(page.text)
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn people_of_another_issuer_log_in_and_stay_in() {
    let Some((world, _provider)) = start().await else {
        return;
    };
    let browser = world.browser();
    let mut page = log_in(&world, &browser, "alice").await;
    assert!(
        page.text.contains("You are alice<") && page.text.contains("<li>corp:platform</li>"),
        "{}",
        page.text
    );
    // A refresh token that is used twice ends everything at this issuer, so each is kept.
    for _ in 0..3 {
        page = world.refreshed(&browser, &page).await;
        assert!(page.text.contains("You are alice<"), "{}", page.text);
    }
    assert!(!world.written().contains("a refresh"), "{}", world.written());
    let out = browser.submit_to(&page, "/logout", &[]).await;
    assert!(out.text.contains("Log out of company too"), "{}", out.text);
    is_out(&world, &browser).await;
    // There too, and back here. The next login asks who it is.
    let way_out = out.link("/session/end").expect("there is a way out");
    let asked = browser.open(way_out.as_str()).await;
    let back = browser
        .submit_to(&asked, "/session/end/confirm", &[("logout", "yes")])
        .await;
    assert_eq!(back.url.as_str(), world.url("/"), "{}", back.text);
    let form = browser.open(&world.url("/login")).await;
    assert!(form.text.contains("name=\"login\""), "{}", form.text);
}

#[tokio::test]
async fn whoever_is_disabled_at_the_issuer_is_out_here() {
    let Some((world, provider)) = start().await else {
        return;
    };
    let (alice, bob) = (world.browser(), world.browser());
    log_in(&world, &alice, "alice").await;
    log_in(&world, &bob, "bob").await;
    let disable = format!("{}/lab/users/alice/disable", provider.issuer());
    let answer = reqwest::Client::new().post(disable).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    is_out(&world, &alice).await;
    let page = bob.open(&world.url("/")).await;
    assert!(page.text.contains("You are bob<"), "{}", page.text);
}

#[tokio::test]
async fn whoever_is_disabled_or_logged_out_at_the_issuer_loses_open_streams() {
    if require(Component::Kubernetes).is_err() {
        return;
    }
    let kubernetes = Kubernetes::start().await.unwrap();
    let binding = [
        "create",
        "clusterrolebinding",
        "all",
        "--clusterrole=cluster-admin",
        "--group=system:authenticated",
    ];
    kubernetes.kubectl().unwrap().succeed(&binding).await.unwrap();
    let cluster = kubernetes.gateway_kubeconfig().await.unwrap();
    let clusters = format!("clusters: [{{name: lab, kubeconfig: {cluster:?}}}]\n");
    let Some((world, provider)) = start_with(&clusters).await else {
        return;
    };
    let watch = async |browser: &Browser| {
        let url = world.url("/clusters/lab/api/v1/namespaces?watch=1");
        let answer = browser.fetch_from_own_page(&url).await;
        assert_eq!(answer.status(), StatusCode::OK);
        answer
    };
    let (alice, bob) = (world.browser(), world.browser());
    log_in(&world, &alice, "alice").await;
    log_in(&world, &bob, "bob").await;
    let (of_alice, of_bob) = (watch(&alice).await, watch(&bob).await);

    let disable = format!("{}/lab/users/alice/disable", provider.issuer());
    let answer = reqwest::Client::new().post(disable).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    ends(of_alice).await;
    log_out_there(&provider, &bob).await;
    ends(of_bob).await;
    let written = world.written();
    let ends: Vec<_> = written
        .lines()
        .filter(|line| line.contains("\"streamEnd\""))
        .collect();
    assert_eq!(ends.len(), 2, "{ends:?}");
    for (end, user) in ends.iter().zip(["alice", "bob"]) {
        let user = format!("\"user\":\"{user}\"");
        assert!(end.contains(&user) && end.contains("log in again"), "{end}");
    }
}

/// Reads a stream to its end.
async fn ends(mut stream: reqwest::Response) {
    let end = async { while let Ok(Some(_)) = stream.chunk().await {} };
    tokio::time::timeout(SOON, end).await.expect("the stream ends");
}

async fn log_out_there(provider: &OidcProvider, browser: &Browser) {
    let end = format!(
        "{}/session/end?client_id={}",
        provider.issuer(),
        OidcProvider::CLIENT_ID
    );
    let asked = browser.open(&end).await;
    browser
        .submit_to(&asked, "/session/end/confirm", &[("logout", "yes")])
        .await;
}

#[tokio::test]
async fn whoever_logs_out_at_the_issuer_is_out_here() {
    let Some((world, provider)) = start().await else {
        return;
    };
    let (alice, elsewhere) = (world.browser(), world.browser());
    log_in(&world, &alice, "alice").await;
    log_in(&world, &elsewhere, "alice").await;
    log_out_there(&provider, &alice).await;
    is_out(&world, &alice).await;
    let audit = world.written();
    assert!(audit.contains("\"path\":\"/backchannel-logout\""), "{audit}");
    // The other session there, in another browser, was not ended.
    let page = elsewhere.open(&world.url("/")).await;
    assert!(page.text.contains("You are alice<"), "{}", page.text);
}
