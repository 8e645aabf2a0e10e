//! What changes in the directory reaches people who are logged in, through dex.

use witgate_lab::{OpenLdap, Port, eventually};

use crate::{
    login::log_in_as_alice,
    world::{People, SOON, Setup, World},
};

#[tokio::test]
async fn a_group_that_is_left_in_the_directory_is_left_here() {
    let port = Port::free().unwrap();
    let Some(people) = People::start(&port).await else {
        return;
    };
    let setup = Setup {
        session: "{refresh: 1s}".to_owned(),
        ..people.setup()
    };
    let world = World::start(port, &setup).await;
    // Two sessions of one user: dex keeps one refresh token for both.
    let (browser, other) = (world.browser(), world.browser());
    let page = log_in_as_alice(&world, &browser).await;
    assert!(page.text.contains("<li>corp:platform</li>"), "{}", page.text);
    log_in_as_alice(&world, &other).await;

    let base = OpenLdap::BASE;
    let left = format!(
        "dn: cn=platform,ou=groups,{base}\nchangetype: modify\nreplace: member\nmember: uid=carol,ou=people,{base}\n"
    );
    people.ldap.modify(&left).await.unwrap();
    for browser in [&browser, &other] {
        eventually("the group is gone", SOON, async || {
            let page = browser.open(&world.url("/")).await;
            let gone = page.text.contains("You are alice<") && !page.text.contains("<li>corp:platform</li>");
            if gone { Ok(()) } else { Err(page.text) }
        })
        .await
        .unwrap();
    }
    // dex rotates the refresh token each time, so this goes on only if each one is kept.
    let mut page = browser.open(&world.url("/")).await;
    for _ in 0..3 {
        page = world.refreshed(&browser, &page).await;
        assert!(page.text.contains("You are alice<"), "{}", page.text);
    }
    let written = world.written();
    assert!(!written.contains("a refresh"), "{written}");
}

#[tokio::test]
async fn sessions_end_when_the_issuer_has_lost_their_refresh_tokens() {
    let port = Port::free().unwrap();
    let Some(mut people) = People::start(&port).await else {
        return;
    };
    let setup = Setup {
        session: "{refresh: 1s}".to_owned(),
        ..people.setup()
    };
    let world = World::start(port, &setup).await;
    let browser = world.browser();
    log_in_as_alice(&world, &browser).await;
    // It keeps them in memory, so afterwards it does not know any: as if they had been revoked there.
    people.dex.restart().await.unwrap();
    eventually("the session has ended", SOON, async || {
        let page = browser.open(&world.url("/")).await;
        if page.text.contains("Log in with dex") {
            Ok(())
        } else {
            Err(page.text)
        }
    })
    .await
    .unwrap();
    let written = world.written();
    assert!(written.contains("a refresh was refused"), "{written}");
}

#[tokio::test]
async fn sessions_outlive_an_issuer_that_is_away_for_a_while() {
    let port = Port::free().unwrap();
    let Some(mut people) = People::start(&port).await else {
        return;
    };
    let setup = Setup {
        session: "{refresh: 1s}".to_owned(),
        ..people.setup()
    };
    let world = World::start(port, &setup).await;
    let browser = world.browser();
    log_in_as_alice(&world, &browser).await;
    people.dex.kill();
    eventually("a refresh was tried", SOON, async || {
        let page = browser.open(&world.url("/")).await;
        assert!(page.text.contains("You are alice<"), "{}", page.text);
        let written = world.written();
        if written.contains("a refresh is put off") {
            Ok(())
        } else {
            Err(written)
        }
    })
    .await
    .unwrap();
}
