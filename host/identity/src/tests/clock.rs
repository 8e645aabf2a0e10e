//! A clock that was set back: what was given out before that is not younger than what came after.

use serde_json::{Value, json};
use witgate_state::{Change, Outcome, State, Transaction};

use super::login::{Browser, log_in};
use crate::{
    AuthError, Invalid, Revocation, Revoked,
    fixture::{World, config, identity},
};

/// Adds an hour to a time that is kept, as if the clock had been an hour ahead then.
async fn put_ahead(world: &World, kind: u8, times: &[&str]) {
    let space = world.state.space("sessions").unwrap();
    for (key, value) in world.state.dump("sessions") {
        if key.first() != Some(&kind) {
            continue;
        }
        let mut record: Value = serde_json::from_slice(&value).unwrap();
        for time in times {
            record[time] = json!(record[time].as_u64().unwrap() + 3600);
        }
        let put = Change::Put {
            key,
            value: record.to_string().into_bytes(),
            lifetime: None,
        };
        let transaction = Transaction {
            expect: Vec::new(),
            changes: vec![put],
        };
        assert_eq!(space.commit(transaction).await.unwrap(), Outcome::Committed);
    }
}

#[tokio::test]
async fn a_session_of_the_future_is_revoked_with_its_user() {
    let world = World::new().await;
    let mut browser = Browser::default();
    log_in(&world, &mut browser).await;
    put_ahead(&world, b's', &["created", "expires"]).await;
    let world = World {
        identity: identity(
            &config(&[&world.issuer], json!({})),
            &world.claims,
            &world.records,
            None,
        ),
        ..world
    };
    let headers = browser.headers();
    let principal = world.identity.authenticate(&headers, None).await.unwrap();
    let revocation = Revocation::now(Revoked::User { name: "alice".into() }, "the test");
    world.identity.revoke(&revocation).await.unwrap();
    let revoked = Err(AuthError::from(Invalid::Revoked("the user was revoked")));
    assert_eq!(world.identity.check(&principal), revoked);
    assert!(world.identity.all_sessions().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_issuer_is_asked_again_although_that_was_put_off_until_later() {
    let world = World::with(json!({"session": {"refresh": "1h"}})).await;
    world.issuer.refresh_with(Some(world.issuer.token(json!({}))));
    let mut browser = Browser::default();
    log_in(&world, &mut browser).await;
    put_ahead(&world, b'g', &["confirmed", "due"]).await;
    world
        .identity
        .authenticate(&browser.headers(), None)
        .await
        .unwrap();
    assert_eq!(world.issuer.refreshes(), 1);
}
