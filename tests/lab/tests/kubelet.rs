//! kubectl's streaming commands meet a node that carries them out, over SPDY and over WebSocket.

#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]

use std::{fs, path::PathBuf, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use witgate_lab::{Component, Kubectl, Kubelet, Kubernetes, Process, eventually, require};

const SOON: Duration = Duration::from_secs(30);

/// A cluster, its kubelet, and the Pod `default/web` on it; nothing if the lab is not installed.
async fn cluster() -> Option<(Kubernetes, Kubelet)> {
    require(Component::Kubelet).ok()?;
    let kubernetes = Kubernetes::start().await.unwrap();
    let kubelet = Kubelet::start(&kubernetes).await.unwrap();
    kubelet.pod("default", "web").await.unwrap();
    Some((kubernetes, kubelet))
}

async fn printed(process: &Process, what: &str) -> String {
    eventually(&format!("it prints {what:?}"), SOON, async || {
        let stdout = process.stdout();
        if stdout.contains(what) {
            Ok(stdout)
        } else {
            Err(stdout + &process.stderr())
        }
    })
    .await
    .unwrap()
}

async fn assert_that_commands_run(kubectl: &Kubectl) {
    let script = "echo out; echo err >&2; exit 3";
    let output = kubectl
        .run(&["exec", "web", "--", "sh", "-c", script])
        .await
        .unwrap();
    assert_eq!(output.stdout, "out\n", "{}", output.stderr);
    assert!(output.stderr.starts_with("err\n"), "{}", output.stderr);
    assert_eq!(output.status.code(), Some(3));

    let input = "line\n".repeat(100_000);
    let output = kubectl
        .run_with_input(&["exec", "-i", "web", "--", "cat"], &input)
        .await
        .unwrap();
    assert!(output.status.success(), "{}", output.stderr);
    assert!(output.stdout == input, "{} bytes", output.stdout.len());

    let deaf = ["exec", "-i", "web", "--", "true"];
    assert!(
        kubectl
            .run_with_input(&deaf, "unread")
            .await
            .unwrap()
            .status
            .success()
    );

    let output = kubectl
        .run(&["exec", "web", "--", "no-such-program"])
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.contains("no-such-program"), "{}", output.stderr);
}

#[tokio::test]
async fn commands_run_with_their_streams_and_exit_codes() {
    let Some((kubernetes, mut kubelet)) = cluster().await else {
        return;
    };
    for websockets in ["true", "false"] {
        let kubectl = kubernetes
            .kubectl()
            .unwrap()
            .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets);
        assert_that_commands_run(&kubectl).await;

        let attach = ["attach", "-i", "web", "-c", Kubelet::CONTAINER];
        let attached = kubectl.run_with_input(&attach, "to the cat\n").await.unwrap();
        assert!(attached.stdout.contains("to the cat\n"), "{attached:?}");
    }

    let kubectl = kubernetes.kubectl().unwrap();
    let debug = [
        "debug",
        "web",
        "--image=registry.example.org/tools:1",
        "--container=tools",
        "--attach=false",
        "--profile=general",
    ];
    kubectl.succeed(&debug).await.unwrap();
    let inside = ["exec", "web", "-c", "tools", "--", "echo", "inside"];
    assert_eq!(kubectl.succeed(&inside).await.unwrap(), "inside\n");
    let elsewhere = kubectl
        .run(&["exec", "web", "-c", "other", "--", "true"])
        .await
        .unwrap();
    assert!(
        elsewhere.stderr.contains("container other is not valid"),
        "{}",
        elsewhere.stderr
    );

    let lasting = kubectl
        .start(&["exec", "web", "--", "sh", "-c", "echo $$; exec sleep 1000"])
        .unwrap();
    let process = PathBuf::from("/proc").join(printed(&lasting, "\n").await.trim());
    assert!(process.exists());
    kubelet.kill();
    eventually("the command ends with the kubelet", SOON, async || {
        if process.exists() { Err("it runs") } else { Ok(()) }
    })
    .await
    .unwrap();
    kubelet.restart().await.unwrap();
    assert_eq!(kubectl.succeed(&inside).await.unwrap(), "inside\n");
}

/// Answers on each connection with what came, until it ends.
async fn echo(listener: TcpListener) {
    while let Ok((mut connection, _)) = listener.accept().await {
        tokio::spawn(async move {
            let (mut from, mut to) = connection.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
        });
    }
}

#[tokio::test]
async fn ports_files_and_logs_are_reached() {
    let Some((kubernetes, _kubelet)) = cluster().await else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(echo(listener));
    for websockets in ["true", "false"] {
        let kubectl = kubernetes
            .kubectl()
            .unwrap()
            .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets);
        let forward = kubectl
            .start(&["port-forward", "pod/web", &format!(":{port}")])
            .unwrap();
        let stdout = printed(&forward, " -> ").await;
        let local = stdout
            .split_whitespace()
            .find(|word| word.starts_with("127.0.0.1:"));
        for message in ["first", "other"] {
            let mut connection = TcpStream::connect(local.unwrap()).await.unwrap();
            connection.write_all(message.as_bytes()).await.unwrap();
            let mut answer = [0; 5];
            connection.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, message.as_bytes());
        }
    }

    let kubectl = kubernetes.kubectl().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs::write(path("here"), "contents").unwrap();
    fs::create_dir(path("there")).unwrap();
    let remote = format!("web:{}", path("there/copy"));
    kubectl.succeed(&["cp", &path("here"), &remote]).await.unwrap();
    assert_eq!(fs::read_to_string(path("there/copy")).unwrap(), "contents");
    kubectl.succeed(&["cp", &remote, &path("back")]).await.unwrap();
    assert_eq!(fs::read_to_string(path("back")).unwrap(), "contents");

    assert_eq!(
        kubectl.succeed(&["logs", "web"]).await.unwrap(),
        "default/web/main started\n"
    );
    let following = kubectl.start(&["logs", "web", "--follow"]).unwrap();
    printed(&following, "started\nsecond 1\nsecond 2\n").await;

    kubectl.succeed(&["delete", "pod", "web"]).await.unwrap();
    let gone = kubectl.run(&["exec", "web", "--", "true"]).await.unwrap();
    assert!(gone.stderr.contains("\"web\" not found"), "{}", gone.stderr);
}

#[tokio::test]
async fn a_kubelet_serves_the_apiserver_and_nobody_else() {
    let Some((kubernetes, kubelet)) = cluster().await else {
        return;
    };
    let port = kubelet.node().rsplit_once('-').unwrap().1.to_owned();
    let url = format!(
        "https://{}:{port}/containerLogs/default/web/main",
        kubelet.address()
    );
    let user = kubernetes
        .authority()
        .client("admin", Some("system:masters"))
        .unwrap();
    let identity = reqwest::Identity::from_pem((user.certificate + &user.key).as_bytes()).unwrap();
    let clients = [
        (reqwest::Client::builder(), "client didn't provide a certificate"),
        (
            reqwest::Client::builder().identity(identity),
            "certificate signed by unknown authority",
        ),
    ];
    for (client, reason) in clients {
        let client = client.no_proxy().tls_danger_accept_invalid_certs(true);
        assert!(client.build().unwrap().get(&url).send().await.is_err());
        eventually(reason, SOON, async || {
            let log = kubelet.process().stderr();
            if log.contains(reason) { Ok(()) } else { Err(log) }
        })
        .await
        .unwrap();
    }
}
