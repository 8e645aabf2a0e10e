//! What a stranger does first: start it, and type what it prints.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use witgate_tests::browser::Browser;

/// Long enough for the lab's control plane to start.
const READY: Duration = Duration::from_secs(120);

/// `make run`, without the building.
struct Run {
    _child: Child,
    directory: tempfile::TempDir,
    printed: Vec<String>,
}

impl Run {
    async fn start(port: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(root().join("target/debug/lab"))
            .args(["run", "--"])
            .arg(root().join("target/debug/witgate"))
            .args(["dev", "--port", &port.to_string()])
            .arg("--plugins")
            .arg(root().join("plugins/dist"))
            .current_dir(&directory)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut printed = Vec::new();
        let ready = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                let ready = line.starts_with("witgate: ready");
                printed.push(line);
                if ready {
                    return true;
                }
            }
            false
        };
        let ready = tokio::time::timeout(READY, ready).await;
        assert!(matches!(ready, Ok(true)), "no ready line in: {printed:#?}");
        Self { _child: child, directory, printed }
    }

    /// The commands that are to be typed, in order.
    fn commands(&self) -> impl Iterator<Item = &str> {
        let below = self.printed.iter().skip_while(|line| !line.starts_with("In another terminal")).skip(1);
        below.map(|line| line.trim()).filter(|line| !line.is_empty() && !line.starts_with("witgate: ready"))
    }

    /// Types the commands up to and including one, and returns what the last one said.
    async fn shell(&self, commands: &[&str]) -> (bool, String) {
        let script = format!("exec 2>&1\n{}\n", commands.join("\n"));
        let mut shell = Command::new("bash");
        let out = shell.arg("-c").arg(script).current_dir(&self.directory).output().await.unwrap();
        (out.status.success(), String::from_utf8(out.stdout).unwrap())
    }
}

#[tokio::test]
async fn the_printed_commands_work_as_printed() {
    let run = Run::start(18443).await;
    let commands: Vec<_> = run.commands().collect();
    let (source, commands) = commands.split_first().expect("commands are printed");
    assert!(commands.iter().any(|command| command.contains("prometheus write")), "{commands:?}");
    for command in commands {
        let (succeeded, said) = run.shell(&[source, command]).await;
        if command.contains("# Forbidden") {
            assert!(said.contains("User \"alice@example.com\" cannot list resource"), "{command}: {said}");
            continue;
        }
        assert!(succeeded, "{command}: {said}");
        if command.contains("prometheus read") {
            assert!(said.contains("room_temperature{room=\"lab\"} 21.5"), "{said}");
        }
    }
}

#[tokio::test]
async fn somebody_logs_in_with_the_development_issuer() {
    let run = Run::start(18453).await;
    let browser = Browser::new(&run.directory.path().join(".witgate/ca.pem"));
    let chooser = browser.open("https://localhost:18453/login?issuer=dev").await;
    let page = browser.open(&format!("{}&user=alice", chooser.url)).await;
    assert_eq!(page.url.as_str(), "https://localhost:18453/");
    assert!(page.text.contains("You are alice@example.com"), "{}", page.text);
    assert!(page.text.contains("platform"), "{}", page.text);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
