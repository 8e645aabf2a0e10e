//! Plugins that are wrong, and plugins that do wrong: each gets its own clear answer, and the gateway
//! goes on.

#[path = "plugins/world.rs"]
mod world;

use std::{
    fs,
    time::{Duration, Instant},
};

use witgate_lab::{Component, Dex, DexOptions, Gateway, Port, eventually, http, require};
use witgate_tests::remote::{self, labels};

use self::world::{TOKEN, World, configuration, guest, plugin};

/// Longer than a changed file needs to be noticed, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// What `config check` and `serve` say of a configuration, each with its status.
async fn both_say(text: &str) -> [(Option<i32>, String); 2] {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("witgate.yaml");
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let mut said = Vec::new();
    for command in [
        &["config", "check", "--config", file][..],
        &["serve", "--config", file],
    ] {
        let out = Gateway::run(command).await.unwrap();
        assert!(
            !String::from_utf8_lossy(&out.stdout).contains("ready"),
            "a port was opened"
        );
        said.push((out.status.code(), String::from_utf8(out.stderr).unwrap()));
    }
    said.try_into().unwrap()
}

#[tokio::test]
async fn what_can_not_be_loaded_is_named_before_a_port_opens() {
    let files = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let file = files.path().join(name);
        fs::write(&file, bytes).unwrap();
        file
    };
    let good = fs::read(plugin("claims-rules")).unwrap();
    let truncated = write("truncated.wasm", &good[..good.len() / 2]);
    let text = write("text.wasm", b"not a component");
    let module = write("module.wasm", b"\0asm\x01\0\0\0");
    let missing = files.path().join("missing.wasm");
    for (name, config, words) in [
        (
            "an unknown key",
            configuration().replace("state:", "stats:"),
            &["stats"][..],
        ),
        (
            "a missing file",
            configuration().replace(
                plugin("claims-rules").to_str().unwrap(),
                missing.to_str().unwrap(),
            ),
            &["plugin rules", "missing.wasm"],
        ),
        (
            "half a component",
            configuration().replace(
                plugin("claims-rules").to_str().unwrap(),
                truncated.to_str().unwrap(),
            ),
            &["plugin rules", "truncated.wasm"],
        ),
        (
            "text",
            configuration().replace(plugin("claims-rules").to_str().unwrap(), text.to_str().unwrap()),
            &["plugin rules", "text.wasm"],
        ),
        (
            "a module that is no component",
            configuration().replace(plugin("claims-rules").to_str().unwrap(), module.to_str().unwrap()),
            &["plugin rules", "module.wasm", "component"],
        ),
        (
            "another version of the contract",
            configuration().replace(
                plugin("claims-rules").to_str().unwrap(),
                guest("wrong-version").to_str().unwrap(),
            ),
            &[
                "plugin rules",
                "it exports witgate:claims/mapping@0.9.0",
                "this gateway offers 0.1.0",
            ],
        ),
        (
            "a plugin of another kind",
            configuration().replace(
                plugin("storage-local").to_str().unwrap(),
                plugin("claims-rules").to_str().unwrap(),
            ),
            &["plugin local", "set `kind: claims`"],
        ),
        (
            "a grant that is missing",
            configuration().replace("grants: {keyValue: {maxBytes: 1GiB}}", "grants: {}"),
            &["plugin local", "keyValue"],
        ),
        (
            "a configuration that the plugin refuses",
            configuration().replace("retention: 15d", "retention: soon"),
            &["plugin local", "retention", "15d"],
        ),
        (
            "another digest",
            configuration().replace(
                "kind: claims",
                &format!("kind: claims\n    sha256: {}", "0".repeat(64)),
            ),
            &["plugin rules", "sha256"],
        ),
    ] {
        for (status, said) in both_say(&config).await {
            assert_eq!(status, Some(64), "{name}: {said}");
            for word in words {
                assert!(said.contains(word), "{name}: {word:?} is not in: {said}");
            }
        }
    }
}

#[tokio::test]
async fn a_storage_plugin_that_does_wrong_costs_one_request() {
    let world = World::start().await;
    let good = [(labels(&[("__name__", "good")]), vec![(1, 1)])];
    for (wrong, words) in [
        ("spin", "processor time of 200ms"),
        ("eat-memory", "memory limit of 16MiB"),
        ("trap", "trapped"),
        ("fetch", "is not granted to this plugin"),
    ] {
        let bad = [(labels(&[("__name__", "bad"), ("do", wrong)]), vec![(1, 1)])];
        let began = Instant::now();
        let (status, said) = world.write("bad", &bad).await;
        // Never a 4xx: a sender would throw its samples away.
        assert_eq!(status, 503, "{wrong}: {said}");
        assert!(said.contains(words), "{wrong}: {said}");
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{wrong} took {:?}",
            began.elapsed()
        );
        let (status, said) = world.write("bad", &good).await;
        assert!(status < 300, "after {wrong}: {status} {said}");
    }
    for (wrong, words) in [
        ("endless", "the storage looks through over"),
        ("malformed", "plugin misbehave"),
        ("trap", "trapped"),
    ] {
        let (status, said) = world.read("bad", "do", wrong).await;
        assert!(
            status == 503 || status == 400 || status == 413,
            "{wrong}: {status} {said}"
        );
        assert!(said.contains(words), "{wrong}: {said}");
        let (status, said) = world.read("bad", "__name__", "good").await;
        assert_eq!(status, 200, "after {wrong}: {said}");
    }
    let written = world.written();
    assert!(!written.contains(TOKEN), "{written}");
}

#[tokio::test]
async fn a_claims_plugin_that_does_wrong_lets_nobody_in() {
    let Ok(()) = require(Component::Dex) else {
        return;
    };
    let dex = Dex::start(DexOptions::default()).await.unwrap();
    let [dana, erin] = Dex::LOCAL_USERS;
    let bad = dex.id_token(dana.0, dana.1).await.unwrap();
    let good = dex.id_token(erin.0, erin.1).await.unwrap();
    let port = Port::free().unwrap();
    let configuration = |wrong: &str| world::claims_configuration(&port, dex.issuer(), dana.0, wrong);
    let gateway = Gateway::start(&configuration("trap")).await.unwrap();
    let ask = async |token: &str| {
        let request = http::client().get(format!("http://{}/", port.address()));
        let answer = request.bearer_auth(token).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for (wrong, status, words) in [
        ("trap", 503, "it trapped: wasm `unreachable`"),
        ("spin", 503, "its processor time of 200ms was spent"),
        ("eat-memory", 503, "its memory limit of 16MiB was reached"),
        ("recurse", 503, "it trapped: out of bounds memory access"),
        ("answer-much", 503, "its memory limit of 16MiB was reached"),
        ("fetch", 403, "is not granted to this plugin"),
    ] {
        let before = gateway.process().stderr().len();
        gateway.write_config(&configuration(wrong)).unwrap();
        eventually(wrong, SOON, async || {
            let (answered, text) = ask(&bad).await;
            let log = gateway.process().stderr();
            match answered == status && (text.contains(words) || log[before..].contains(words)) {
                true => Ok(()),
                false => Err(format!("{answered}: {text}")),
            }
        })
        .await
        .unwrap();
        let (status, text) = ask(&good).await;
        assert!(
            status == 200 && text.contains("You are erin@example.org"),
            "after {wrong}: {status} {text}"
        );
    }
}

#[tokio::test]
async fn others_are_served_while_one_plugin_spins() {
    let world = World::start().await;
    let good = [(labels(&[("__name__", "good")]), vec![(now(), 1)])];
    let bad = [(labels(&[("__name__", "bad"), ("do", "spin")]), vec![(1, 1)])];
    let spinning = async {
        for _ in 0..10 {
            assert_eq!(world.write("bad", &bad).await.0, 503);
        }
    };
    let serving = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..50 {
            let began = Instant::now();
            let (status, said) = world.write("good", &good).await;
            assert!(status < 300, "{status} {said}");
            slowest = slowest.max(began.elapsed());
        }
        slowest
    };
    let ((), slowest) = tokio::join!(spinning, serving);
    assert!(
        slowest < Duration::from_secs(2),
        "a good request took {slowest:?}"
    );
}

#[tokio::test]
async fn a_component_is_swapped_under_load_and_a_bad_one_is_not() {
    let world = World::start().await;
    let sample = |at: i64| [(labels(&[("__name__", "swapped")]), vec![(at, 1)])];
    let begin = now();
    let swapping = async {
        // Another component with the same behaviour: the same bytes, and a section that says nothing.
        let file = world.gateway.dir().join("local.wasm");
        let mut bytes = fs::read(&file).unwrap();
        bytes.extend_from_slice(b"\0\x05\x04note");
        for (bytes, words) in [
            (&bytes[..], "the changed configuration is in service"),
            (b"broken", "is refused"),
        ] {
            fs::write(file.with_extension("new"), bytes).unwrap();
            fs::rename(file.with_extension("new"), &file).unwrap();
            eventually("the gateway has looked at the file", SOON, async || {
                match world.written() {
                    written if written.contains(words) => Ok(()),
                    written => Err(written),
                }
            })
            .await
            .unwrap();
        }
    };
    let mut written = 0;
    let load = async {
        loop {
            let (status, said) = world.write("good", &sample(begin + written)).await;
            assert!(status < 300, "{status} {said}");
            written += 1;
        }
    };
    tokio::select! {
        () = swapping => {}
        () = load => {}
    }
    assert!(written > 10);
    let body = remote::read_body(
        &[("__name__", witgate_prometheus::proto::MatchType::Eq, "swapped")],
        0,
        i64::MAX,
    );
    let (status, answer) = world.post("good", "/api/v1/read", body).await;
    assert_eq!(status, 200);
    let [(_, samples)] = remote::read_answer(&answer).try_into().unwrap();
    let count = i64::try_from(samples.len()).unwrap();
    assert!(
        count == written || count == written + 1,
        "{count} of {written} samples, one of them under way"
    );
}

fn now() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(since.as_millis()).unwrap()
}
