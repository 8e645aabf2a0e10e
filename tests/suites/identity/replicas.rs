//! Two gateways that share an etcd are one to whoever uses them.

use std::time::Instant;

use reqwest::{StatusCode, header::COOKIE};
use serde_json::json;
use witgate_lab::{Authority, Component, Etcd, Port, eventually, require};

use crate::{
    other_issuer::{log_in, set_up},
    world::{SOON, Setup, World, hash},
};

const PASSWORD: &str = "a password of many words";

#[tokio::test]
async fn what_is_opened_or_revoked_at_one_is_at_the_other() {
    let Ok(()) = require(Component::Etcd) else { return };
    let (port, other) = (Port::free().unwrap(), Port::free().unwrap());
    let authority = Authority::new("the suite's authority").unwrap();
    let Some((setup, _provider)) = set_up(&port, &authority).await else {
        return;
    };
    let mut members = Etcd::cluster(3, None).await.unwrap();
    let endpoints: Vec<_> = members.iter().map(Etcd::endpoint).collect();
    let state = json!({
        "directory": "state", "etcd": {"endpoints": endpoints}, "sealingKeyFile": "shared.key",
    });
    let password = hash("password", PASSWORD).await;
    let machine = |name: &str| format!("{{username: {name}, passwordHash: '{password}'}}");
    let setup = Setup {
        state: state.to_string(),
        public_port: Some(port.number()),
        basic: vec![machine("root"), machine("scraper")],
        sections: "admin: {users: [root]}\n".to_owned(),
        ..setup
    };
    let one = World::start_with(port, &setup, &authority).await;
    let other = World::start_with(other, &setup, &authority).await;

    let browser = one.browser();
    let login = log_in(&one, &browser, "alice").await;
    let mut page = browser.open(&other.url("/")).await;
    assert!(page.text.contains("You are alice<"), "{}", page.text);
    // Both are asked all the time, and the issuer ends everything if a refresh token comes twice.
    for _ in 0..3 {
        let (_, there) = futures::join!(one.refreshed(&browser, &page), other.refreshed(&browser, &page));
        page = there;
        assert!(page.text.contains("You are alice<"), "{}", page.text);
    }
    for world in [&one, &other] {
        assert!(!world.written().contains("a refresh"), "{}", world.written());
    }

    let whoami = async || {
        let request = other
            .get("/gateway/v1/whoami")
            .basic_auth("scraper", Some(PASSWORD));
        request.send().await.unwrap().status()
    };
    assert_eq!(whoami().await, StatusCode::OK);
    let revoke = one
        .post("/gateway/v1/revocations")
        .basic_auth("root", Some(PASSWORD));
    let revoke = revoke.json(&json!({"revoked": {"kind": "user", "name": "scraper"}}));
    let begun = Instant::now();
    assert_eq!(revoke.send().await.unwrap().status(), StatusCode::CREATED);
    let refused = async || match whoami().await {
        StatusCode::UNAUTHORIZED => Ok(()),
        other => Err(other),
    };
    eventually("the other refuses", SOON, refused).await.unwrap();
    println!("revoked at the other within {:?}", begun.elapsed());

    // Without a quorum nothing new is believed, and nothing is forgotten.
    members[0].kill();
    members[1].kill();
    let ready = async || {
        let ready = other.get("/readyz").send().await.unwrap().text().await.unwrap();
        if ready.contains("sessions go on for a while") {
            Ok(())
        } else {
            Err(ready)
        }
    };
    eventually("the gateway says that its state is away", SOON, ready)
        .await
        .unwrap();
    let known = browser
        .fetch_from_own_page(&other.url("/gateway/v1/whoami"))
        .await;
    assert_eq!(known.status(), StatusCode::OK);
    assert!(known.text().await.unwrap().contains("alice"));
    let revoke = one
        .post("/gateway/v1/revocations")
        .basic_auth("root", Some(PASSWORD));
    let revoke = revoke.json(&json!({"revoked": {"kind": "user", "name": "bob"}}));
    let revoked = revoke.send().await.unwrap().status();
    assert_eq!(revoked, StatusCode::SERVICE_UNAVAILABLE);
    let page = one.browser().open(&one.url("/login")).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{}", page.text);
    members[0].restart().await.unwrap();

    let out = browser
        .submit_to(&browser.open(&one.url("/")).await, "/logout", &[])
        .await;
    assert!(out.text.contains("Log out of company too"), "{}", out.text);
    // The cookie of before is somebody's who copied it.
    let cookies = login.cookies.iter().filter_map(|cookie| cookie.split(';').next());
    let cookies = cookies.collect::<Vec<_>>().join("; ");
    let copied = async || {
        let answer = other.get("/").header(COOKIE, &cookies).send().await.unwrap();
        let text = answer.text().await.unwrap();
        if text.contains("Log in with company") {
            Ok(())
        } else {
            Err(text)
        }
    };
    eventually("the session is over at the other", SOON, copied)
        .await
        .unwrap();
}
