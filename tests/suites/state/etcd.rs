//! A real etcd of three members, as several replicas use it, and what happens when one is away.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;
use witgate_lab::{
    Component, ControlPlane, ControlPlaneOptions, Etcd as Member, FaultProxy, eventually, require,
};
use witgate_state::{Change, Etcd, EtcdConfig, Outcome, ScanLimit, State as _, Transaction};

use super::{SOON, changes, demand_all, put};

/// How long connections are cut.
const OUTAGE: Duration = Duration::from_millis(50);

async fn open(endpoints: &[String]) -> Etcd {
    Etcd::open(&config(endpoints)).await.unwrap()
}

fn config(endpoints: &[String]) -> EtcdConfig {
    serde_json::from_value(json!({ "endpoints": endpoints })).unwrap()
}

fn endpoints(members: &[Member]) -> Vec<String> {
    members.iter().map(Member::endpoint).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_does_what_is_demanded() {
    let Ok(()) = require(Component::Etcd) else { return };
    let members = Member::cluster(3, None).await.unwrap();
    demand_all(&open(&endpoints(&members)).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_go_on_without_one_member_and_lose_nothing() {
    let Ok(()) = require(Component::Etcd) else { return };
    let mut members = Member::cluster(3, None).await.unwrap();
    let endpoints = endpoints(&members);
    let (one, other) = (open(&endpoints).await, open(&endpoints).await);
    let (writes, reads) = (one.space("a").unwrap(), other.space("a").unwrap());
    let mut told = reads.watch();
    let mut acknowledged = BTreeSet::new();
    for number in 0..60 {
        match number {
            10 => members[0].kill(),
            30 => {
                members[0].restart().await.unwrap();
                members[1].kill();
            }
            50 => members[1].restart().await.unwrap(),
            _ => {}
        }
        let key = format!("{number:02}");
        // Nobody else writes it, so that a conflict would be its own write, taken for another's.
        let transaction = Transaction {
            expect: vec![(key.clone().into_bytes(), None)],
            changes: vec![put(&key, "v")],
        };
        match writes.commit(transaction).await {
            Ok(outcome) => {
                assert_eq!(outcome, Outcome::Committed, "{key}");
                assert!(reads.get(key.as_bytes()).await.unwrap().is_some(), "{key}");
                acknowledged.insert(key);
            }
            Err(error) => assert!(error.to_string().contains("can't commit"), "{error}"),
        }
    }
    assert!(acknowledged.len() > 50, "{acknowledged:?}");
    let all = ScanLimit {
        pairs: usize::MAX,
        bytes: usize::MAX,
    };
    let there = reads.scan(b"", b"", all).await.unwrap();
    let there: BTreeSet<_> = there
        .into_iter()
        .map(|(key, _)| String::from_utf8(key).unwrap())
        .collect();
    assert!(acknowledged.is_subset(&there));

    // Whichever member its watch was at, it goes on elsewhere.
    told.mark_unchanged();
    let heard = async || {
        let _ = writes
            .commit(changes([put("last", "v")]))
            .await
            .map_err(|error| error.to_string())?;
        tokio::time::timeout(Duration::from_millis(500), told.changed())
            .await
            .map_err(|_| "nothing is told".to_owned())?
            .map_err(|error| error.to_string())
    };
    eventually("a change is told", SOON, heard).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_it_says_so_and_with_one_it_goes_on() {
    let Ok(()) = require(Component::Etcd) else { return };
    let mut members = Member::cluster(3, None).await.unwrap();
    let state = open(&endpoints(&members)).await;
    let space = state.space("a").unwrap();
    let _ = space.commit(changes([put("k", "v")])).await.unwrap();
    members[1].kill();
    members[2].kill();
    let error = space
        .commit(changes([put("k", "w")]))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("etcd at http://127.0.0.1:"), "{error}");
    // What a quorum does not confirm may be old, and is not told.
    space.get(b"k").await.unwrap_err();
    let refused = Etcd::open(&config(&endpoints(&members))).await.unwrap_err();
    assert!(refused.to_string().contains("can't be opened"), "{refused}");

    members[1].restart().await.unwrap();
    let back = async || space.commit(changes([put("k", "x")])).await;
    let outcome = eventually("it commits", SOON, back).await.unwrap();
    assert_eq!(outcome, Outcome::Committed);
    assert_eq!(space.get(b"k").await.unwrap(), Some(b"x".to_vec()));
}

/// A commit whose answer is lost has happened: that is said, and not that another came first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_not_called_a_conflict() {
    let Ok(()) = require(Component::Etcd) else { return };
    let member = Member::start().await.unwrap();
    let address = member.endpoint().trim_start_matches("http://").parse().unwrap();
    let proxy = FaultProxy::start(address).await.unwrap();
    let space = open(&[format!("http://{}", proxy.address())])
        .await
        .space("a")
        .unwrap();
    let direct = open(&[member.endpoint()]).await.space("a").unwrap();
    let mut lost = 0;
    // Somewhere among these the answer to what is looked at first passes, and that to the commit does not.
    for bytes in (0..800).step_by(8) {
        let key = format!("{bytes}");
        let transaction = Transaction {
            expect: vec![(key.clone().into_bytes(), None)],
            changes: vec![put(&key, "v")],
        };
        proxy.cut_after(bytes);
        let outage = async {
            tokio::time::sleep(OUTAGE).await;
            proxy.pass();
        };
        match futures::join!(space.commit(transaction), outage).0 {
            Ok(outcome) => assert_eq!(outcome, Outcome::Committed, "{key}"),
            Err(error) => {
                assert!(error.to_string().contains("may have happened"), "{error}");
                lost += 1;
            }
        }
        assert!(direct.get(key.as_bytes()).await.unwrap().is_some(), "{key}");
    }
    assert!(lost > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_expired_leaves_etcd_too() {
    let Ok(()) = require(Component::Etcd) else { return };
    let member = Member::start().await.unwrap();
    let space = open(&[member.endpoint()]).await.space("a").unwrap();
    let short = |key: &str| Change::Put {
        key: key.into(),
        value: b"v".to_vec(),
        lifetime: Some(Duration::from_secs(1)),
    };
    let _ = space.commit(changes([short("a"), short("b")])).await.unwrap();
    let all = json!({"key": "AA==", "range_end": "AA==", "count_only": true});
    let url = format!("{}/v3/kv/range", member.endpoint());
    let empty = async || {
        let answer = witgate_lab::http::client().post(&url).json(&all).send().await;
        let answer = answer.unwrap().text().await.unwrap();
        if answer.contains("count") {
            Err(answer)
        } else {
            Ok(())
        }
    };
    eventually("etcd is empty", SOON, empty).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_it_is_is_shown_where_etcd_asks_and_again_when_etcd_has_forgotten() {
    let Ok(()) = require(Component::Etcd) else { return };
    let mut member = Member::start().await.unwrap();
    for (method, body) in [
        (
            "user/add",
            json!({"name": "root", "password": "the password of root"}),
        ),
        ("role/add", json!({"name": "root"})),
        ("user/grant", json!({"user": "root", "role": "root"})),
        ("enable", json!({})),
    ] {
        let url = format!("{}/v3/auth/{method}", member.endpoint());
        let answer = witgate_lab::http::client()
            .post(url)
            .json(&body)
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let shown = |password: &str| {
        let file = folder.path().join("password");
        std::fs::write(&file, format!("{password}\n")).unwrap();
        let config = json!({"endpoints": [member.endpoint()], "username": "root", "passwordFile": file});
        serde_json::from_value::<EtcdConfig>(config).unwrap()
    };
    let nobody = Etcd::open(&config(&[member.endpoint()])).await.unwrap_err();
    assert!(nobody.to_string().contains("user name is empty"), "{nobody}");
    let wrong = Etcd::open(&shown("a guess")).await.unwrap_err().to_string();
    assert!(
        wrong.contains("authentication failed") && !wrong.contains("a guess"),
        "{wrong}"
    );
    let space = Etcd::open(&shown("the password of root"))
        .await
        .unwrap()
        .space("a")
        .unwrap();
    let put = || space.commit(changes([put("k", "v")]));
    assert_eq!(put().await.unwrap(), Outcome::Committed);

    member.restart().await.unwrap();
    assert_eq!(
        eventually("it is known again", SOON, async || put().await)
            .await
            .unwrap(),
        Outcome::Committed
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_behind_tls_is_known_by_its_authority_and_knows_who_comes() {
    let Ok(()) = require(Component::ControlPlane) else {
        return;
    };
    let control_plane = ControlPlane::start(ControlPlaneOptions::default()).await.unwrap();
    let pki = control_plane.pki().join("etcd");
    let endpoints: Vec<_> = control_plane
        .nodes()
        .iter()
        .map(|node| node.etcd_endpoint())
        .collect();
    let reached = |authority: &str, client: Option<&str>| {
        let file = |kind| client.map(|name| pki.join(format!("{name}.{kind}")));
        let config = json!({
            "endpoints": endpoints, "caFile": pki.join(authority),
            "certificateFile": file("crt"), "keyFile": file("key"),
        });
        serde_json::from_value::<EtcdConfig>(config).unwrap()
    };
    let client = Some("healthcheck-client");
    let space = Etcd::open(&reached("ca.crt", client))
        .await
        .unwrap()
        .space("a")
        .unwrap();
    let outcome = space.commit(changes([put("k", "v")])).await.unwrap();
    assert_eq!(outcome, Outcome::Committed);
    assert_eq!(space.get(b"k").await.unwrap(), Some(b"v".to_vec()));
    for stranger in [reached("ca.crt", None), reached("../front-proxy-ca.crt", client)] {
        let refused = Etcd::open(&stranger).await.unwrap_err().to_string();
        assert!(refused.contains("can't be opened"), "{refused}");
    }
}

/// A plugin's quota is compared with it before each commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_counts_at_once_and_is_what_others_measure() {
    let Ok(()) = require(Component::Etcd) else { return };
    let member = Member::start().await.unwrap();
    let space = open(&[member.endpoint()]).await.space("a").unwrap();
    let before = space.size().await.unwrap();
    for number in 0..100 {
        let key = format!("{number:02}");
        let _ = space.commit(changes([put(&key, &"v".repeat(98))])).await.unwrap();
    }
    assert_eq!(space.size().await.unwrap(), before + 10_000);
    let other = open(&[member.endpoint()]).await.space("a").unwrap();
    assert_eq!(other.size().await.unwrap(), before + 10_000);
}
