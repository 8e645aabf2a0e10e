//! An issuer that changes its keys: nobody has to tell the gateway.

use reqwest::StatusCode;
use witgate_lab::{Port, eventually};

use crate::world::{People, SOON, World};

#[tokio::test]
async fn tokens_signed_with_new_keys_are_accepted_without_a_restart() {
    let port = Port::free().unwrap();
    let Some(mut people) = People::start(&port).await else {
        return;
    };
    let world = World::start(port, &people.setup()).await;
    let before = people.dex.id_token("alice", "alice-password").await.unwrap();
    let unused = people.dex.id_token("bob", "bob-password").await.unwrap();
    assert_eq!(world.home(&before).await.0, StatusCode::OK);
    let process = world.gateway.process().id();

    people.dex.restart().await.unwrap();
    let after = people.dex.id_token("alice", "alice-password").await.unwrap();
    assert_ne!(
        before.split('.').next(),
        after.split('.').next(),
        "dex signs with another key"
    );
    eventually("a token of the new key is accepted", SOON, async || {
        match world.home(&after).await {
            (StatusCode::OK, _) => Ok(()),
            (_, page) => Err(page),
        }
    })
    .await
    .unwrap();

    let (status, message) = world.cluster(&format!("Bearer {unused}")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{message}");
    assert!(message.contains("the issuer has no key "), "{message}");
    assert_eq!(
        world.gateway.process().id(),
        process,
        "the gateway was not restarted"
    );
}
