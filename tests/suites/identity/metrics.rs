//! The page of a person's tenants, with its button, and `witgate doctor` with the login of a person.

use std::{fs, path::Path, process::Stdio, time::Duration};

use fantoccini::{Client, Locator, key::Key};
use reqwest::{
    StatusCode,
    header::{COOKIE, ORIGIN},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, Command},
};
use witgate_lab::{Authority, Chromium, Component, Gateway, Port, require};
use witgate_tests::browser::Browser;

use crate::{
    login::log_in_as_alice,
    world::{People, Setup, World},
};

/// Tenants of which alice may use the first two, bob none and the last belongs to others.
fn tenants() -> Vec<String> {
    let tenant = |name: &str, write: &str, read: &str| {
        format!(
            "{{name: {name}, storage: samples, write: {{groups: ['{write}']}}, read: {{groups: ['{read}']}}}}"
        )
    };
    vec![
        tenant("platform", "corp:platform", "corp:platform"),
        tenant("readable", "machines", "corp:developers"),
        tenant("foreign", "machines", "machines"),
    ]
}

async fn start() -> Option<(People, World, Authority)> {
    let port = Port::free().unwrap();
    let people = People::start(&port).await?;
    let authority = Authority::new("the suite's authority").unwrap();
    let setup = Setup {
        tenants: tenants(),
        ..people.setup()
    };
    let world = World::start_with(port, &setup, &authority).await;
    Some((people, world, authority))
}

#[tokio::test]
async fn a_person_sees_their_tenants_and_no_others_and_examines_one_without_a_script() {
    let Some((_people, world, _)) = start().await else {
        return;
    };
    let browser = world.browser();
    let home = log_in_as_alice(&world, &browser).await;
    let link = home.link("/prometheus").expect("the first page leads there");
    let page = browser.open(link.as_str()).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    for expected in [
        "Tenant platform",
        "by the group corp:platform",
        "Tenant readable",
        "by the group corp:developers",
        &world.url("/api/v1/write"),
        "any number of samples",
        "samples, native histograms",
        "can be used",
    ] {
        assert!(page.text.contains(expected), "{expected}: {}", page.text);
    }
    assert!(!page.text.contains("foreign"), "{}", page.text);
    assert_eq!(
        page.text.matches("action=\"/prometheus/doctor\"").count(),
        1,
        "one may be written to: {}",
        page.text
    );

    let result = browser.submit_to(&page, "/prometheus/doctor", &[]).await;
    assert_eq!(result.status, StatusCode::OK, "{}", result.text);
    for expected in [
        "everything arrives",
        "stale marker",
        "the same bits came back as a sample and as a chunk",
        "not stored: 1 exemplar with",
    ] {
        assert!(result.text.contains(expected), "{expected}: {}", result.text);
    }
    // What it wrote and read is in the audit log under alice's name.
    let audit = fs::read_to_string(world.gateway.dir().join("audit.log")).unwrap();
    let written = audit.lines().filter(|line| line.contains("\"prometheus-write\""));
    let own = written
        .filter(|line| line.contains("\"user\":\"alice\"") && line.contains("\"tenant\":\"platform\""));
    assert_eq!(own.count(), 7, "{audit}");
}

#[tokio::test]
async fn another_site_can_not_press_the_button() {
    let Some((_people, world, _)) = start().await else {
        return;
    };
    let browser = world.browser();
    let home = log_in_as_alice(&world, &browser).await;
    let cookie = home.cookie("__Host-witgate").unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let press = || world.post("/prometheus/doctor").header(COOKIE, &cookie);
    for request in [press(), press().header(ORIGIN, "https://evil.example.com")] {
        let answer = request.form(&[("tenant", "platform")]).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    }
    let own = press()
        .header(ORIGIN, world.url(""))
        .form(&[("tenant", "platform")]);
    assert_eq!(own.send().await.unwrap().status(), StatusCode::OK);
    // Whoever has not logged in is shown the way in.
    let nobody = world.post("/prometheus/doctor").header(ORIGIN, world.url(""));
    let said = nobody.send().await.unwrap().text().await.unwrap();
    assert!(said.contains("Log in with dex"), "{said}");
}

#[tokio::test]
async fn the_doctor_examines_with_the_login_of_a_person() {
    let Some((_people, world, _)) = start().await else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let witgate = |args: &[&str]| {
        let mut command = Command::new(Gateway::binary().unwrap());
        command
            .args(args)
            .args(["--server", &world.url(""), "--ca-file"])
            .arg(world.gateway.dir().join("authority.pem"))
            .env("WITGATE_HOME", home.path())
            .kill_on_drop(true);
        command
    };
    let before = witgate(&["doctor", "prometheus"]).output().await.unwrap();
    let said = String::from_utf8(before.stdout).unwrap();
    assert!(
        !before.status.success() && said.contains("It fails at: credential"),
        "{said}"
    );
    assert!(said.contains("run `witgate login --server"), "{said}");

    let browser = world.browser();
    log_in_as_alice(&world, &browser).await;
    let mut login = witgate(&["login", "--no-browser"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Kept until it ends: it has more to say.
    let _said = allow(&world, &browser, &mut login).await;
    assert!(login.wait().await.unwrap().success());
    let examined = witgate(&["doctor", "prometheus"]).output().await.unwrap();
    let said = String::from_utf8(examined.stdout).unwrap();
    assert!(examined.status.success(), "{said}");
    assert!(said.contains("by the login of `witgate login`"), "{said}");
}

/// Types the code that a command line shows into a browser in which somebody is logged in.
async fn allow(world: &World, browser: &Browser, login: &mut Child) -> Lines<BufReader<ChildStderr>> {
    let mut lines = BufReader::new(login.stderr.take().unwrap()).lines();
    let code = loop {
        let line = lines.next_line().await.unwrap().expect("it shows a code");
        let line = line.trim();
        if line.len() == 9 && line.contains('-') {
            break line.to_owned();
        }
    };
    let asked = browser
        .open(&world.url(&format!("/device?user_code={code}")))
        .await;
    let decided = browser
        .submit_to(&asked, "/device", &[("decision", "allow")])
        .await;
    assert!(decided.text.contains("It is logged in"), "{}", decided.text);
    lines
}

#[tokio::test]
async fn the_page_can_be_read_and_used_with_the_keyboard() {
    if require(Component::Chromium).is_err() {
        return;
    }
    let Some((_people, world, authority)) = start().await else {
        return;
    };
    let chromium = Chromium::start(&authority).await.unwrap();
    let client = chromium.client();
    client.goto(&world.url("/login")).await.unwrap();
    let wait = || client.wait().at_most(Duration::from_secs(30));
    let ldap = wait()
        .for_element(Locator::Css("a[href*='/auth/ldap']"))
        .await
        .unwrap();
    ldap.click().await.unwrap();
    let name = wait()
        .for_element(Locator::Css("input[name=login]"))
        .await
        .unwrap();
    name.send_keys("alice").await.unwrap();
    let password = client.find(Locator::Css("input[name=password]")).await.unwrap();
    password.send_keys("alice-password").await.unwrap();
    press(client, Key::Enter).await;
    wait().for_element(Locator::Css("#sessions")).await.unwrap();

    client.goto(&world.url("/prometheus")).await.unwrap();
    screenshot(client, "metrics").await;
    // To the button with nothing but the keyboard, where the focus can be seen.
    for _ in 0..10 {
        press(client, Key::Tab).await;
        if focused(client).await == "Run the doctor" {
            break;
        }
    }
    assert_eq!(focused(client).await, "Run the doctor");
    screenshot(client, "metrics-focus").await;
    press(client, Key::Enter).await;
    wait().for_element(Locator::Css("#findings .good")).await.unwrap();
    screenshot(client, "metrics-doctor").await;
    let main = client.find(Locator::Css("main")).await.unwrap();
    let text = main.text().await.unwrap();
    assert!(text.contains("Doctor: everything arrives"), "{text}");
    chromium.close().await.unwrap();
}

async fn press(client: &Client, key: Key) {
    let focused = client.active_element().await.unwrap();
    focused.send_keys(&char::from(key).to_string()).await.unwrap();
}

async fn focused(client: &Client) -> String {
    client.active_element().await.unwrap().text().await.unwrap()
}

/// For people to look at, in light and in dark.
async fn screenshot(client: &Client, name: &str) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    fs::create_dir_all(&directory).unwrap();
    client.set_window_size(1100, 1500).await.unwrap();
    for scheme in ["dark", "light"] {
        let script = format!("document.documentElement.style.colorScheme = '{scheme}'");
        client.execute(&script, Vec::new()).await.unwrap();
        let png = client.screenshot().await.unwrap();
        fs::write(directory.join(format!("{name}-{scheme}.png")), png).unwrap();
    }
}
