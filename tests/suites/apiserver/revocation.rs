//! What is revoked ends: for new requests at once, and for open streams within a second.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::TcpStream};
use witgate_lab::eventually;

use crate::{
    SOON,
    command_line::Machine,
    complaint, grant,
    site::Site,
    streams::{echo, forwarded, with_a_pod},
};

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

/// Waits for the end of so many streams, and checks why and when they ended.
async fn streams_end(site: &Site, count: usize, since: f64, reason: &str) {
    let ends = eventually("the streams have ended", SOON, async || {
        let ends: Vec<Value> = { site.audit() }
            .into_iter()
            .filter(|line| line["event"] == "streamEnd" && line["time"].as_f64() >= Some(since))
            .collect();
        if ends.len() >= count {
            Ok(ends)
        } else {
            Err(format!("{ends:?}"))
        }
    })
    .await
    .unwrap();
    for end in &ends {
        assert_eq!(end["reason"], reason, "{end}");
        let took = end["time"].as_f64().unwrap() - since;
        assert!(took < 1.0, "{took} s: {end}");
    }
}

#[tokio::test]
async fn an_ended_session_loses_its_watches_execs_and_port_forwards() {
    let Some((site, _kubelet)) = with_a_pod(Duration::from_secs(3600)).await else {
        return;
    };
    let machine = Machine::new(&site).await;
    let (browser, _) = site.browser("alice").await;
    machine.log_in(&browser).await;
    let kubectl = machine.kubectl();
    let mut exec = kubectl
        .start(&["exec", "p", "--", "sh", "-c", "echo ready; sleep 600"])
        .unwrap();
    let watch = kubectl.start(&["get", "pods", "--watch", "-o", "name"]).unwrap();
    let port = echo().await;
    let forward = kubectl
        .start(&["port-forward", "p", &format!(":{port}")])
        .unwrap();
    let mut through = TcpStream::connect(("127.0.0.1", forwarded(&forward).await))
        .await
        .unwrap();
    eventually("all of them run", SOON, async || {
        let texts = (exec.stdout(), watch.stdout());
        match texts.0.contains("ready") && texts.1.contains("pod/p") {
            true => Ok(()),
            false => Err(format!("{texts:?} {} {}", exec.stderr(), watch.stderr())),
        }
    })
    .await
    .unwrap();

    // Ended in the browser, by the button beside it.
    let page = browser.open(&site.url()).await;
    let id = page
        .text
        .split("<tr>")
        .find(|row| row.contains("Command line:"))
        .and_then(|row| row.split("value=\"").nth(1)?.split('"').next())
        .unwrap()
        .to_owned();
    let since = now();
    browser.submit_to(&page, "/sessions/end", &[("id", &id)]).await;
    streams_end(&site, 3, since, "the session was ended: log in again").await;
    exec.wait(SOON).await.unwrap();
    assert_eq!(through.read(&mut [0; 1]).await.unwrap_or_default(), 0);
    let said = complaint(&kubectl, &["get", "pods"]).await;
    assert!(said.contains("the session was ended: log in again"), "{said}");
}

#[tokio::test]
async fn users_and_tokens_can_be_revoked_by_who_may() {
    let Some(site) = Site::start().await else { return };
    grant(&site.kubernetes, "corp:platform").await;
    let machine = Machine::new(&site).await;
    let (browser, _) = site.browser("alice").await;
    machine.log_in(&browser).await;
    let (bob, bob_again) = (site.token("bob").await, site.token("bob").await);
    let status = async |token: &str| {
        let request = site.client.get(format!("{}/api", site.cluster_path()));
        request.bearer_auth(token).send().await.unwrap().status()
    };
    assert_eq!(status(&bob).await, StatusCode::OK);

    std::fs::write(site.gateway.dir().join("token"), &bob).unwrap();
    let file = site.gateway.dir().join("token");
    let revoked = machine
        .witgate(&["revoke", "token", file.to_str().unwrap()])
        .await;
    assert!(revoked.status.success(), "{revoked:?}");
    assert_eq!(status(&bob).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&bob_again).await, StatusCode::OK);

    let watch = {
        site.client
            .get(format!("{}/api/v1/namespaces?watch=true", site.cluster_path()))
    }
    .bearer_auth(site.token("alice").await)
    .send()
    .await
    .unwrap();
    assert_eq!(watch.status(), StatusCode::OK);
    let since = now();
    let args = [
        "revoke",
        "--block",
        "--reason",
        "left the company",
        "user",
        "bob@example.org",
    ];
    let revoked = machine.witgate(&args).await;
    assert!(revoked.status.success(), "{revoked:?}");
    assert_eq!(status(&bob_again).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&site.token("bob").await).await, StatusCode::UNAUTHORIZED);
    let listed = machine.witgate(&["revocations"]).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let of_bob = { listed.as_array().unwrap() }
        .iter()
        .find(|entry| entry["revoked"]["kind"] == "user")
        .unwrap();
    assert_eq!(
        (&of_bob["reason"], &of_bob["by"], &of_bob["until"]),
        (
            &json!("left the company"),
            &json!("alice@example.org"),
            &Value::Null
        )
    );
    let lifted = machine
        .witgate(&["revocations", "lift", "user", "bob@example.org"])
        .await;
    assert!(lifted.status.success(), "{lifted:?}");
    assert_eq!(status(&bob_again).await, StatusCode::OK);

    // Whoever does not administer sessions can't end others'.
    for (method, path) in [
        (reqwest::Method::GET, "/gateway/v1/revocations"),
        (reqwest::Method::POST, "/gateway/v1/revocations"),
        (reqwest::Method::GET, "/gateway/v1/sessions?all"),
        (
            reqwest::Method::DELETE,
            "/gateway/v1/sessions/00000000000000000000000000000000",
        ),
    ] {
        let request = site.client.request(method, format!("{}{path}", site.url()));
        let answer = request.bearer_auth(&bob_again).body("{}").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}");
    }
    // Alice's stream was none of bob's; everything is everybody's.
    assert!(
        site.audit().iter().all(|line| line["event"] != "streamEnd"),
        "since {since}"
    );
    let since = now();
    let revoked = machine.witgate(&["revoke", "everything"]).await;
    assert!(revoked.status.success(), "{revoked:?}");
    let reason = "everything given out until then was revoked: log in again";
    streams_end(&site, 1, since, reason).await;
    let mut watch = watch;
    while watch.chunk().await.unwrap().is_some() {}
    let page = browser.open(&site.url()).await;
    assert!(page.text.contains("Log in with dex"), "{}", page.text);
}

#[tokio::test]
async fn a_killed_gateway_remembers_sessions_and_revocations() {
    let Some(mut site) = Site::start().await else {
        return;
    };
    grant(&site.kubernetes, "corp:platform").await;
    let machine = Machine::new(&site).await;
    let (browser, _) = site.browser("alice").await;
    machine.log_in(&browser).await;
    let (alice, bob) = (site.token("alice").await, site.token("bob").await);
    let args = ["revoke", "user", "bob@example.org"];
    assert!(machine.witgate(&args).await.status.success());

    let client = site.client.clone();
    let url = format!("{}/api/v1/namespaces?watch=true", site.cluster_path());
    let watch = async || {
        let answer = client.get(&url).bearer_auth(&alice).send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer
    };
    let watches = join_all((0..200).map(|_| watch())).await;
    site.gateway.kill();
    for mut watch in watches {
        // Whatever was on its way, and then the end.
        while let Ok(Some(_)) = watch.chunk().await {}
    }
    site.gateway.restart().await.unwrap();
    join_all((0..200).map(|_| watch())).await;
    let found = machine
        .kubectl()
        .succeed(&["get", "namespace", "default", "-o", "name"])
        .await;
    assert_eq!(found.unwrap(), "namespace/default\n");
    let page = browser.open(&site.url()).await;
    assert!(page.text.contains("You are alice@example.org"), "{}", page.text);
    let refused = site
        .client
        .get(format!("{}/api", site.cluster_path()))
        .bearer_auth(&bob)
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
}
