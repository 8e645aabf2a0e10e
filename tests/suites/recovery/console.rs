//! The way as people go it with a browser: the console's pages of a control plane's repair, whose forms
//! nobody else can send; and the bundle of an incident, which holds by itself.

use std::fs;

use reqwest::{Method, Response, StatusCode, header};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use witgate_lab::{Component, Etcd, Gateway, eventually, http, require};

use super::{desk::Desk, site::SOON};

/// A page as somebody sees it.
struct Page {
    /// Where it is, after what led on.
    path: String,
    status: StatusCode,
    headers: header::HeaderMap,
    text: String,
}

struct Browser<'a> {
    desk: &'a Desk,
    user: &'a str,
}

impl Browser<'_> {
    async fn send(&self, method: Method, path: &str, origin: Option<&str>, form: &[(&str, &str)]) -> Page {
        let url = format!("http://{}{path}", self.desk.port.address());
        let password = format!("the password of {}", self.user);
        let mut request = http::client()
            .request(method, url)
            .basic_auth(self.user, Some(password));
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin).form(form);
        }
        Page::of(request.send().await.unwrap()).await
    }

    async fn open(&self, path: &str) -> Page {
        self.send(Method::GET, path, None, &[]).await
    }

    async fn press(&self, path: &str, form: &[(&str, &str)]) -> Page {
        let origin = format!("https://localhost:{}", self.desk.port.address().port());
        self.send(Method::POST, path, Some(&origin), form).await
    }

    /// Opens a page again and again until it says something.
    async fn reads(&self, path: &str, words: &str) -> Page {
        let look = async || {
            let page = self.open(path).await;
            // It comes again by itself as long as there is something to wait for, and no longer.
            let waits = page.text.contains("is carried out</span>");
            assert_eq!(page.headers.contains_key("refresh"), waits, "{}", page.text);
            if page.text.contains(words) {
                Ok(page)
            } else {
                Err(page.text)
            }
        };
        eventually(words, SOON, look).await.unwrap()
    }
}

impl Page {
    async fn of(response: Response) -> Self {
        Self {
            path: response.url().path().to_owned(),
            status: response.status(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    /// The page that a button led to.
    fn place(&self) -> &str {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        &self.path
    }

    fn assert_has(&self, words: &[&str]) {
        for words in words {
            assert!(self.text.contains(words), "no {words:?} in {}", self.text);
        }
    }
}

fn digest(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// By nothing but what the document says of itself.
fn assert_chain_holds(journal: &Value) -> usize {
    let entries = journal["entries"].as_array().unwrap();
    let mut previous = String::new();
    for entry in entries {
        let text = entry.as_str().unwrap();
        let entry: Value = serde_json::from_str(text).unwrap();
        assert_eq!(entry["previous"], previous.as_str(), "{text}");
        previous = digest(text);
    }
    assert_eq!(journal["digest"], previous.as_str());
    entries.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_member_is_repaired_by_two_people_without_a_script() {
    let Ok(()) = require(Component::Etcd) else { return };
    let mut members = Etcd::cluster(3, None).await.unwrap();
    let desk = Desk::start(&members, "silenceSeconds: 1").await;
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|user| Browser { desk: &desk, user });

    let well = alice.open("/recovery").await;
    well.assert_has(&["3 of 3 voters are alive", "Nothing that the plugins look for"]);
    let policy = well.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(
        !well.text.contains("<script") && !well.text.contains("style="),
        "{}",
        well.text
    );
    alice.open("/").await.assert_has(&["href=\"/recovery\""]);
    // Whoever may not use the API may not use the pages.
    for path in ["/recovery", "/recovery/journal", "/recovery/bundle"] {
        let refused = carol.open(path).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}: {}", refused.text);
        let url = format!("http://{}{path}", desk.port.address());
        let nobody = Page::of(http::client().get(url).send().await.unwrap()).await;
        nobody.assert_has(&["Log in"]);
    }
    assert!(!carol.open("/").await.text.contains("href=\"/recovery\""));

    members[1].kill();
    let found = alice.reads("/recovery", "dead-member: member etcd-2").await;
    found.assert_has(&[
        "2 of 3 voters are alive",
        "member etcd-3",
        "etcd_network_active_peers",
    ]);
    let subject = found.text.split("name=\"subject\" value=\"").nth(1).unwrap();
    let subject = subject.split('"').next().unwrap();
    let form = [("class", "dead-member"), ("subject", subject)];
    for origin in [None, Some("https://evil.example.com")] {
        let refused = alice.send(Method::POST, "/recovery/plans", origin, &form).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    }
    alice.open("/recovery").await.assert_has(&["There are none."]);
    let planned = async || {
        let page = alice.press("/recovery/plans", &form).await;
        if page.status == StatusCode::OK {
            Ok(page)
        } else {
            Err(page.text)
        }
    };
    let planned = eventually("there is a plan", SOON, planned).await.unwrap();
    let place = planned.place().to_owned();

    let asked = alice.open(&place).await;
    asked.assert_has(&[
        "alice asked for the plan, and 1 others have to approve it",
        "</span>member etcd-2 (",
        "</span>quorum: 2 of 2 voters alive, 2 needed, 0 more may fail</ins>",
        "to be taken</ins>",
    ]);
    assert!(!asked.text.contains("Carry it out"), "{}", asked.text);
    assert!(!asked.text.contains("Approve this plan"), "{}", asked.text);
    let unapproved = alice.press(&format!("{place}/apply"), &[]).await;
    assert_eq!(unapproved.status, StatusCode::CONFLICT);
    unapproved.assert_has(&["approved-as-is: 0 approvals count, 1 are needed"]);
    let own = alice.press(&format!("{place}/approve"), &[]).await;
    assert_eq!(own.status, StatusCode::CONFLICT, "{}", own.text);
    let stranger = carol.press(&format!("{place}/approve"), &[]).await;
    assert_eq!(stranger.status, StatusCode::FORBIDDEN, "{}", stranger.text);
    bob.open(&place)
        .await
        .assert_has(&["Approve this plan", "Nobody yet"]);
    assert_eq!(bob.press(&format!("{place}/approve"), &[]).await.place(), place);
    alice.open(&place).await.assert_has(&["Carry it out"]);
    assert_eq!(alice.press(&format!("{place}/apply"), &[]).await.place(), place);
    let done = alice.reads(&place, "finished</span>").await;
    done.assert_has(&["2 of 2 steps done", "bob approved it", "step 2 is done"]);
    assert!(
        !done.text.contains("<form method=\"post\" action=\"/recovery"),
        "{}",
        done.text
    );
    alice
        .open("/recovery")
        .await
        .assert_has(&["2 of 2 voters are alive", "2 of 2", "verified"]);
    alice.open("/recovery/journal").await.assert_has(&[
        "entries follow one another",
        "alice asked for it",
        "all steps are done",
    ]);
    bundle_holds(&alice).await;
}

async fn bundle_holds(alice: &Browser<'_>) {
    let desk = alice.desk;
    let page = alice.open("/recovery/bundle").await;
    let disposition = page.headers[header::CONTENT_DISPOSITION].to_str().unwrap();
    assert_eq!(disposition, "attachment; filename=\"incident.json\"");
    let bundle: Value = serde_json::from_str(&page.text).unwrap();
    assert!(assert_chain_holds(&bundle["journal"]) > 6, "{bundle:#}");
    assert_eq!(bundle["plans"][0]["progress"], "finished");
    assert_eq!(bundle["plans"][0]["approvals"][0]["by"], "bob");
    assert_eq!(bundle["by"], "alice");
    assert_eq!(bundle["troubles"], serde_json::json!([]));
    assert!(
        bundle["observation"]["survey"]["members"].is_array(),
        "{bundle:#}"
    );
    assert!(!bundle["snapshots"].as_array().unwrap().is_empty(), "{bundle:#}");
    assert!(!page.text.contains("the password of"), "{bundle:#}");

    // The command line's is the same, and checks one that lies on a disk.
    let printed = desk.says("alice", &["bundle"]).await.unwrap();
    let file = desk.gateway.dir().join("incident.json");
    let verify = async |text: &str| {
        fs::write(&file, text).unwrap();
        Gateway::run(&["recovery", "verify", file.to_str().unwrap()])
            .await
            .unwrap()
    };
    for text in [&printed, &page.text] {
        let checked = verify(text).await;
        let said = String::from_utf8(checked.stdout).unwrap();
        assert!(said.contains("1 plans are what was approved"), "{said}");
    }
    for (was, is) in [
        ("\\\"by\\\":\\\"bob\\\"", "\\\"by\\\":\\\"eve\\\""),
        ("\"requester\":\"alice\"", "\"requester\":\"carol\""),
    ] {
        assert!(printed.contains(was), "{was}");
        let checked = verify(&printed.replace(was, is)).await;
        let said = String::from_utf8(checked.stderr).unwrap();
        assert!(!checked.status.success(), "{was}");
        assert!(said.contains("was changed"), "{said}");
    }
}
