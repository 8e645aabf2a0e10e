//! What people do in their browser, in a real one: log in with nothing but the keyboard, download a
//! kubeconfig, let a command line act for them, end its session, log out.

use std::{fs, path::Path, time::Duration};

use fantoccini::{Client, Locator, elements::Element, key::Key};
use witgate_lab::{Chromium, Component, eventually, require};

use crate::{SOON, command_line::Machine, complaint, grant, site::Site};

async fn wait_for(client: &Client, css: &str) -> Element {
    let wait = client.wait().at_most(Duration::from_secs(30));
    match wait.for_element(Locator::Css(css)).await {
        Ok(element) => element,
        Err(error) => panic!("{css}: {error}: {}", client.source().await.unwrap()),
    }
}

/// What the page says; nothing while the browser goes from one page to another.
async fn text(client: &Client) -> Result<String, String> {
    let main = client.find(Locator::Css("main")).await;
    let main = main.map_err(|error| error.to_string())?;
    main.text().await.map_err(|error| error.to_string())
}

async fn wait_for_text(client: &Client, expected: &str) {
    eventually(expected, SOON, async || {
        let found = text(client).await?;
        if found.contains(expected) {
            Ok(())
        } else {
            Err(found)
        }
    })
    .await
    .unwrap();
}

/// Presses a key wherever the focus is.
async fn press(client: &Client, key: Key) {
    let focused = client.active_element().await.unwrap();
    focused.send_keys(&char::from(key).to_string()).await.unwrap();
}

/// Texts whose contrast is below what WCAG 2.2 asks for (1.4.3), with their contrast.
const FAINT: &str = r"
    const luminance = color => {
        const [r, g, b] = color.match(/[\d.]+/g).map(part => part / 255)
            .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = element => {
        for (; element; element = element.parentElement) {
            const color = getComputedStyle(element).backgroundColor;
            if (!color.endsWith(', 0)')) return color;
        }
        return 'rgb(255, 255, 255)';
    };
    const faint = [];
    for (const element of document.querySelectorAll('body *')) {
        if (![...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())) continue;
        const pair = [getComputedStyle(element).color, ground(element)].map(luminance).sort((a, b) => b - a);
        const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
        if (contrast < 4.5) faint.push(`${element.textContent.trim().slice(0, 40)}: ${contrast.toFixed(1)}`);
    }
    return faint;";

/// Looks at a page as people do, by day and by night and on a telephone: every text can be read and
/// nothing sticks out. Leaves screenshots for people to look at.
async fn look_at(chromium: &Chromium, name: &str) {
    let client = chromium.client();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    fs::create_dir_all(&directory).unwrap();
    for (width, scheme) in [(390, "light"), (390, "dark"), (1100, "dark"), (1100, "light")] {
        client.set_window_size(width, 1200).await.unwrap();
        chromium.prefer(scheme).await.unwrap();
        let faint = client.execute(FAINT, Vec::new()).await.unwrap();
        assert_eq!(faint, serde_json::json!([]), "{name}, {scheme}");
        let beyond = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        let beyond = client.execute(beyond, Vec::new()).await.unwrap();
        assert_eq!(beyond, 0, "{name} at {width}");
        let png = client.screenshot().await.unwrap();
        fs::write(directory.join(format!("{name}-{width}-{scheme}.png")), png).unwrap();
    }
}

#[tokio::test]
async fn a_person_gets_from_the_login_form_to_kubectl_and_out_again() {
    let Ok(()) = require(Component::Chromium) else {
        return;
    };
    let Some(site) = Site::start().await else { return };
    grant(&site.kubernetes, "corp:platform").await;
    let chromium = Chromium::start(&site.authority).await.unwrap();
    let client = chromium.client();

    client.goto(&site.url()).await.unwrap();
    wait_for_text(client, "Log in with dex").await;
    look_at(&chromium, "1-welcome").await;
    // The link that skips to the content, the name, the button: three steps with the keyboard.
    for _ in 0..3 {
        press(client, Key::Tab).await;
    }
    assert_eq!(
        client.active_element().await.unwrap().text().await.unwrap(),
        "Log in with dex"
    );
    press(client, Key::Enter).await;
    let chosen = client.wait().at_most(Duration::from_secs(10));
    if let Ok(connector) = chosen.for_element(Locator::Css("a[href*='/auth/ldap']")).await {
        connector.click().await.unwrap();
    }
    wait_for(client, "input[name=login]")
        .await
        .send_keys("alice")
        .await
        .unwrap();
    let password = wait_for(client, "input[name=password]").await;
    password.send_keys("alice-password").await.unwrap();
    press(client, Key::Enter).await;
    wait_for_text(client, "You are alice@example.org").await;
    look_at(&chromium, "2-home").await;
    let page = text(client).await.unwrap();
    for expected in [
        "corp:platform",
        "Your sessions",
        "Everybody's sessions",
        "this one",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    let cookie = client.get_named_cookie("__Host-witgate").await.unwrap();
    assert_eq!(
        (cookie.http_only(), cookie.secure(), cookie.path()),
        (Some(true), Some(true), Some("/"))
    );

    wait_for(client, "a[download]").await.click().await.unwrap();
    let kubeconfig = chromium.downloads().join("kubeconfig");
    eventually(
        "the kubeconfig is downloaded",
        SOON,
        async || match fs::read_to_string(&kubeconfig) {
            Ok(text) if text.contains("client.authentication.k8s.io/v1") => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await
    .unwrap();

    let machine = Machine::new(&site).await;
    let kubectl = machine.kubectl_with(&kubeconfig);
    let said = complaint(&kubectl, &["get", "namespaces"]).await;
    assert!(said.contains("run `witgate login"), "{said}");
    let (mut running, url) = machine.begin_login().await;
    client.goto(&url).await.unwrap();
    wait_for_text(client, "Let a command line act for you?").await;
    look_at(&chromium, "3-consent").await;
    wait_for(client, "button[value=allow]")
        .await
        .click()
        .await
        .unwrap();
    wait_for_text(client, "You are logged in.").await;
    assert!(running.wait().await.unwrap().success());
    let found = kubectl
        .succeed(&["get", "namespace", "default", "-o", "name"])
        .await
        .unwrap();
    assert_eq!(found, "namespace/default\n");

    // The session is in the list, and its button ends it.
    client.goto(&site.url()).await.unwrap();
    wait_for_text(client, "Command line:").await;
    wait_for(client, "button[aria-label^='End the session of Command line']")
        .await
        .click()
        .await
        .unwrap();
    eventually("the session is gone from the list", SOON, async || {
        let page = text(client).await?;
        if page.contains("Command line:") {
            Err(page)
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
    let said = complaint(&kubectl, &["get", "namespaces"]).await;
    assert!(said.contains("the session was ended"), "{said}");

    client.goto(&format!("{}/device", site.url())).await.unwrap();
    wait_for_text(client, "Log in another machine").await;
    look_at(&chromium, "5-device").await;
    client.goto(&site.url()).await.unwrap();

    // An administrator shuts bob out, and lets him in again.
    let bob = site.kubectl(&site.cluster_path(), &site.token("bob").await);
    bob.succeed(&["auth", "whoami"]).await.unwrap();
    for (field, text) in [("value", "bob@example.org"), ("reason", "left the company")] {
        let field = wait_for(client, &format!("input[name={field}]")).await;
        field.send_keys(text).await.unwrap();
    }
    wait_for(client, "input[name=block]").await.click().await.unwrap();
    look_at(&chromium, "4-revocations").await;
    wait_for(client, "form[action='/revocations'] button")
        .await
        .click()
        .await
        .unwrap();
    wait_for_text(client, "User bob@example.org").await;
    let said = complaint(&bob, &["auth", "whoami"]).await;
    assert!(said.contains("must be logged in"), "{said}");
    wait_for(
        client,
        "button[aria-label='Lift the revocation of User bob@example.org']",
    )
    .await
    .click()
    .await
    .unwrap();
    eventually("bob is let in again", SOON, async || {
        let said = bob.run(&["auth", "whoami"]).await.unwrap();
        if said.status.success() {
            Ok(())
        } else {
            Err(said.stderr)
        }
    })
    .await
    .unwrap();

    wait_for(client, "header button").await.click().await.unwrap();
    wait_for_text(client, "Log in with dex").await;
    client
        .goto(&format!("{}/callback?state=none", site.url()))
        .await
        .unwrap();
    wait_for_text(client, "You are not logged in").await;
    look_at(&chromium, "6-not-logged-in").await;
    client.goto(&format!("{}/device", site.url())).await.unwrap();
    wait_for_text(client, "Log in with dex").await;
    chromium.close().await.unwrap();
}
