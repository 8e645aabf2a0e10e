//! Groups from a directory, through the plugin that fetches them.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    task::AbortHandle,
};
use witgate_lab::{Port, eventually};

use crate::world::{People, SOON, Setup, World};

/// A directory that can be made to fail, which one that is run well can't.
struct Directory {
    origin: String,
    answers: Arc<Mutex<HashMap<String, (u16, String)>>>,
    serving: AbortHandle,
}

impl Directory {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let answers: Arc<Mutex<HashMap<String, (u16, String)>>> = Arc::default();
        let served = Arc::clone(&answers);
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut lines = BufReader::new(&mut stream).lines();
                let mut head = Vec::new();
                while let Ok(Some(line)) = lines.next_line().await {
                    if line.is_empty() {
                        break;
                    }
                    head.push(line);
                }
                let path = head
                    .first()
                    .and_then(|line| line.split(' ').nth(1))
                    .unwrap_or_default();
                let is_authorized = head
                    .iter()
                    .any(|line| line == "authorization: Bearer of-the-directory");
                let answer = served.lock().unwrap().get(path).cloned();
                let (status, body) = match answer {
                    _ if !is_authorized => (401, String::new()),
                    Some(answer) => answer,
                    None => (404, String::new()),
                };
                let answer = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _client_left = stream.write_all(answer.as_bytes()).await;
            }
        })
        .abort_handle();
        Self {
            origin,
            answers,
            serving,
        }
    }

    fn say(&self, path: &str, status: u16, body: &str) {
        let answer = (status, body.to_owned());
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tokio::test]
async fn a_directory_says_who_is_in_which_group_and_may_be_away_for_a_while() {
    let port = Port::free().unwrap();
    let Some(people) = People::start(&port).await else {
        return;
    };
    let directory = Directory::start().await;
    let origin = &directory.origin;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist/claims-lookup.wasm");
    let secrets = tempfile::tempdir().unwrap();
    let secret = secrets.path().join("token");
    std::fs::write(&secret, "of-the-directory").unwrap();
    let setup = Setup {
        plugins: format!(
            "  directory:\n    kind: claims\n    file: {file:?}\n    \
               config: {{directory: {{url: '{origin}/users/{{email}}', secret: d}}}}\n    \
               grants: {{http: ['{origin}'], secrets: {{d: {{origin: '{origin}', bearerFile: {secret:?}}}}}}}\n"
        ),
        ..people.setup()
    };
    let setup = Setup {
        issuers: vec![setup.issuers[0].replace(
            "claims: people",
            "claims: directory, claimsLifetime: 1s, claimsOutage: 1h",
        )],
        ..setup
    };
    let world = World::start(port, &setup).await;
    let token = |user: &'static str| {
        let dex = &people.dex;
        async move { dex.id_token(user, &format!("{user}-password")).await.unwrap() }
    };
    let (alice, bob) = (token("alice").await, token("bob").await);

    let (status, page) = world.home(&alice).await;
    assert!(
        status == 403 && page.contains("the directory does not know you"),
        "{page}"
    );
    directory.say(
        "/users/alice%40example.org",
        200,
        r#"{"groups":["from-the-directory"]}"#,
    );
    let (_, page) = world.home(&alice).await;
    assert!(page.contains("<li>from-the-directory</li>"), "{page}");
    directory.say("/users/alice%40example.org", 200, r#"{"groups":["another"]}"#);
    eventually("the directory is asked again", SOON, async || {
        let (_, page) = world.home(&alice).await;
        if page.contains("<li>another</li>") {
            Ok(())
        } else {
            Err(page)
        }
    })
    .await
    .unwrap();

    // Away: who is known goes on, who is not is told to come again, and nobody has "no groups".
    directory.say("/users/alice%40example.org", 500, "");
    directory.say("/users/bob%40example.org", 500, "");
    eventually("the last answer is used", SOON, async || {
        let (status, page) = world.home(&alice).await;
        assert!(status == 200 && page.contains("<li>another</li>"), "{page}");
        let written = world.written();
        if written.contains("its last answer for this user") {
            Ok(())
        } else {
            Err(written)
        }
    })
    .await
    .unwrap();
    let (status, page) = world.home(&bob).await;
    assert!(status == 503 && page.contains("did not answer"), "{page}");
    let written = world.written();
    assert!(written.contains("it answered 500"), "{written}");
    assert!(!written.contains("of-the-directory"), "{written}");

    // Back, and alice is no longer known: that counts at once.
    directory.say("/users/alice%40example.org", 404, "");
    eventually("alice is out", SOON, async || {
        let (status, page) = world.home(&alice).await;
        if status == 403 { Ok(()) } else { Err(page) }
    })
    .await
    .unwrap();
    directory.say("/users/alice%40example.org", 500, "");
    let (status, _) = world.home(&alice).await;
    assert_eq!(status, 503);
}
