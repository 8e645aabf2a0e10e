//! exec, attach, port-forward, cp and logs, over both protocols, to a kubelet.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use witgate_lab::{Component, Kubectl, Kubelet, Process, eventually, require};

use crate::{SOON, complaint, grant, site::Site};

/// The variables that have kubectl speak one protocol or the other.
const PROTOCOLS: [&str; 2] = ["true", "false"];

/// A site whose cluster has a node with a pod `p`, open to alice's group.
pub(crate) async fn with_a_pod(id_tokens: Duration) -> Option<(Site, Kubelet)> {
    require(Component::Kubelet).ok()?;
    let site = Site::with_tokens_for(id_tokens).await?;
    grant(&site.kubernetes, "corp:platform").await;
    let kubelet = Kubelet::start(&site.kubernetes).await.unwrap();
    kubelet.pod("default", "p").await.unwrap();
    Some((site, kubelet))
}

pub(crate) fn over(kubectl: &Kubectl, websockets: &str) -> Kubectl {
    kubectl
        .clone()
        .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets)
        .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets)
}

/// The port that a port-forward listens on.
pub(crate) async fn forwarded(process: &Process) -> u16 {
    eventually("the port is forwarded", SOON, async || {
        let text = process.stdout();
        let port = text
            .split("127.0.0.1:")
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .and_then(|port| port.parse().ok());
        port.ok_or(format!("{text}{}", process.stderr()))
    })
    .await
    .unwrap()
}

/// A server that sends back what it gets, to the end.
pub(crate) async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    port
}

#[tokio::test]
async fn commands_run_in_pods_over_both_protocols() {
    let Some((site, _kubelet)) = with_a_pod(Duration::from_secs(3600)).await else {
        return;
    };
    let token = site.token("alice").await;
    for server in [site.cluster_path(), site.root()] {
        for websockets in PROTOCOLS {
            let kubectl = over(&site.kubectl(&server, &token), websockets);
            let ran = kubectl
                .run(&["exec", "p", "--", "sh", "-c", "echo out; echo err >&2; exit 3"])
                .await
                .unwrap();
            assert_eq!(
                (ran.stdout.as_str(), ran.status.code()),
                ("out\n", Some(3)),
                "{ran:?}"
            );
            assert!(ran.stderr.contains("err\n"), "{ran:?}");
            // Half-closed: what was sent to the end comes back to the end.
            let sent = "a line of some length\n".repeat(20_000);
            let echoed = kubectl
                .run_with_input(&["exec", "-i", "p", "--", "cat"], &sent)
                .await
                .unwrap();
            assert_eq!(echoed.stdout.len(), sent.len(), "{}", echoed.stderr);
            assert!(echoed.stdout == sent);
            let attached = kubectl
                .run_with_input(&["attach", "-i", "p"], "hello\n")
                .await
                .unwrap();
            assert!(attached.stdout.contains("hello"), "{attached:?}");

            let port = echo().await;
            let forward = kubectl
                .start(&["port-forward", "p", &format!(":{port}")])
                .unwrap();
            let mut stream = TcpStream::connect(("127.0.0.1", forwarded(&forward).await))
                .await
                .unwrap();
            stream.write_all(b"through").await.unwrap();
            let mut back = [0; 7];
            stream.read_exact(&mut back).await.unwrap();
            assert_eq!(&back, b"through");
        }
    }
    let kubectl = site.kubectl(&site.cluster_path(), &token);
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    std::fs::write(&from, "content").unwrap();
    let target = format!("default/p:{}", to.display());
    kubectl
        .succeed(&["cp", from.to_str().unwrap(), &target])
        .await
        .unwrap();
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "content");
    assert!(!kubectl.succeed(&["logs", "p"]).await.unwrap().is_empty());

    // Whoever may not, is told so in words, over both.
    let bob = site.token("bob").await;
    for websockets in PROTOCOLS {
        let kubectl = over(&site.kubectl(&site.cluster_path(), &bob), websockets);
        let said = complaint(&kubectl, &["exec", "p", "--", "true"]).await;
        assert!(said.contains(r#"User "bob@example.org" cannot"#), "{said}");
    }
    let ends: Vec<_> = { site.audit() }
        .into_iter()
        .filter(|line| line["event"] == "streamEnd" && line["target"]["subresource"] == "exec")
        .collect();
    // Two for each server and protocol, and cp's.
    assert!(ends.len() >= 9, "{ends:?}");
    for end in &ends {
        let reason = end["reason"].as_str().unwrap();
        assert!(
            reason == "the client ended it" || reason == "the cluster ended it",
            "{end}"
        );
    }
    let cat = ends
        .iter()
        .find(|line| line["receivedBytes"].as_u64() > Some(400_000));
    let cat = cat.expect("the bytes are counted");
    assert!(cat["sentBytes"].as_u64() > Some(400_000), "{cat}");
    assert_eq!(cat["user"], "alice@example.org");
}

#[tokio::test]
async fn an_exec_ends_with_its_token() {
    // Long enough to start the command, on a busy machine.
    let Some((site, _kubelet)) = with_a_pod(Duration::from_secs(20)).await else {
        return;
    };
    let kubectl = site.kubectl(&site.cluster_path(), &site.token("alice").await);
    let mut exec = kubectl
        .start(&["exec", "p", "--", "sh", "-c", "echo ready; sleep 600"])
        .unwrap();
    eventually("the command runs", SOON, async || match exec.stdout() {
        text if text.contains("ready") => Ok(()),
        text => Err(format!("{text}{}", exec.stderr())),
    })
    .await
    .unwrap();
    exec.wait(SOON).await.unwrap();
    let audit = site.audit();
    let end = audit.iter().find(|line| line["event"] == "streamEnd").unwrap();
    assert_eq!(end["reason"], "the credential expired", "{end}");
    // 20 s, less what passed before the command, and a second.
    assert!(end["durationUs"].as_u64() < Some(21_000_000), "{end}");
}

#[tokio::test]
async fn an_upgrade_that_nobody_answers_leaves_no_tunnel() {
    let Some(site) = Site::start().await else { return };
    let token = site.token("bob").await;
    let http1 = site.client_with(|builder| builder.http1_only());
    let ask = async |path: &str, protocol: &str| {
        let request = http1
            .get(format!("{}{path}", site.cluster_path()))
            .bearer_auth(&token)
            .header("connection", "Upgrade")
            .header("upgrade", protocol)
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-version", "13");
        request.send().await.unwrap().status().as_u16()
    };
    // Bob may not; and version is nothing to upgrade.
    assert_eq!(
        ask("/api/v1/namespaces/default/pods/p/exec?command=id", "websocket").await,
        403
    );
    assert_eq!(ask("/version", "websocket").await, 200);
    assert_eq!(ask("/version", "h2c").await, 400);
    assert_eq!(ask("/version", "anything").await, 400);
    // The connection goes on as HTTP, for whoever sends the next request on it.
    let answer = http1
        .get(format!("{}/version", site.cluster_path()))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 401);
}
