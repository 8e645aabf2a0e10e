//! Changed rules of the claims plugin: they hold for the next request, with the same credential.

use reqwest::StatusCode;
use witgate_lab::{Port, eventually};

use crate::{
    login::log_in_as_alice,
    world::{People, SOON, Setup, World},
};

#[tokio::test]
async fn edited_rules_hold_for_tokens_and_sessions_that_are_in_use() {
    let port = Port::free().unwrap();
    let Some(people) = People::start(&port).await else {
        return;
    };
    let setup = people.setup();
    let world = World::start(port, &setup).await;
    let token = people.dex.id_token("alice", "alice-password").await.unwrap();
    assert!(world.home(&token).await.1.contains("<li>corp:platform</li>"));
    let browser = world.browser();
    let page = log_in_as_alice(&world, &browser).await;
    assert!(page.text.contains("<li>corp:platform</li>"), "{}", page.text);

    world.reconfigure(&Setup {
        rules: "[dnToCn, {keep: [platform]}, {rename: {platform: operators}}]".to_owned(),
        ..setup.clone()
    });
    eventually("the new rules hold", SOON, async || {
        let (_, page) = world.home(&token).await;
        match page.contains("<li>operators</li>") && !page.contains("corp:") {
            true => Ok(()),
            false => Err(page),
        }
    })
    .await
    .unwrap();
    let page = browser.open(&world.url("/")).await;
    assert!(page.text.contains("<li>operators</li>"), "{}", page.text);
    assert!(!page.text.contains("<li>corp:developers</li>"), "{}", page.text);

    world.reconfigure(&Setup {
        rules: "[dnToCn, {deny: {group: platform, reason: the platform team is on holiday}}]".to_owned(),
        ..setup
    });
    eventually("she is not let in any more", SOON, async || {
        match world.home(&token).await {
            (StatusCode::FORBIDDEN, page) if page.contains("the platform team is on holiday") => Ok(()),
            (status, page) => Err(format!("{status}: {page}")),
        }
    })
    .await
    .unwrap();
    assert_eq!(browser.open(&world.url("/")).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn rules_that_cannot_be_leave_those_before_in_service() {
    let port = Port::free().unwrap();
    let Some(people) = People::start(&port).await else {
        return;
    };
    let setup = people.setup();
    let world = World::start(port, &setup).await;
    let token = people.dex.id_token("alice", "alice-password").await.unwrap();
    world.reconfigure(&Setup {
        rules: "[{shout: loudly}]".to_owned(),
        ..setup
    });
    eventually("the gateway says what is wrong", SOON, async || {
        let written = world.written();
        match written.contains("is refused") && written.contains("shout") {
            true => Ok(()),
            false => Err(written),
        }
    })
    .await
    .unwrap();
    assert!(world.home(&token).await.1.contains("<li>corp:platform</li>"));
}
