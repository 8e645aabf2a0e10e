//! What a stranger does first: start it, and type what it prints.

use std::{
    fs,
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
    child: Child,
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
        Self {
            child,
            directory,
            printed,
        }
    }

    /// The commands that are to be typed, in order.
    fn commands(&self) -> impl Iterator<Item = &str> {
        let below = self
            .printed
            .iter()
            .skip_while(|line| !line.starts_with("In another terminal"))
            .skip(1);
        below
            .map(|line| line.trim())
            .filter(|line| !line.is_empty() && !line.starts_with("witgate: ready"))
    }

    /// Types the commands up to and including one, and returns what the last one said.
    async fn shell(&self, commands: &[&str]) -> (bool, String) {
        let script = format!("exec 2>&1\n{}\n", commands.join("\n"));
        let mut shell = Command::new("bash");
        let out = shell
            .arg("-c")
            .arg(script)
            .current_dir(&self.directory)
            .output()
            .await
            .unwrap();
        (out.status.success(), String::from_utf8(out.stdout).unwrap())
    }
}

/// As Ctrl-C does: the command ends first, and then its cluster. A kill would leave both behind.
impl Drop for Run {
    fn drop(&mut self) {
        let Some(id) = self.child.id() else { return };
        let told = std::process::Command::new("kill").arg(id.to_string()).status();
        while told.is_ok() && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

// Connections are answered while the gateway is waited for at the end.
#[tokio::test(flavor = "multi_thread")]
async fn the_printed_commands_work_as_printed() {
    let run = Run::start(18443).await;
    let commands: Vec<_> = run.commands().collect();
    let (source, commands) = commands.split_first().expect("commands are printed");
    assert!(
        commands
            .iter()
            .any(|command| command.contains("prometheus write")),
        "{commands:?}"
    );
    for command in commands {
        let (succeeded, said) = run.shell(&[source, command]).await;
        if command.contains("# Forbidden") {
            let user = if command.contains("bob") {
                "bob@example.com"
            } else {
                "alice@example.com"
            };
            let expected = format!("User \"{user}\" cannot list resource \"namespaces\"");
            assert!(said.contains(&expected), "{command}: {said}");
            continue;
        }
        assert!(succeeded, "{command}: {said}");
        if command.contains("prometheus read") {
            assert!(said.contains("room_temperature{room=\"lab\"} 21.5"), "{said}");
        }
    }
}

// Connections are answered while the gateway is waited for at the end.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_logs_in_with_the_development_issuer() {
    let run = Run::start(18453).await;
    let browser = Browser::new(&run.directory.path().join(".witgate/ca.pem"));
    let chooser = browser.open("https://localhost:18453/login?issuer=dev").await;
    let page = browser.open(&format!("{}&user=alice", chooser.url)).await;
    assert_eq!(page.url.as_str(), "https://localhost:18453/");
    assert!(page.text.contains("You are alice@example.com"), "{}", page.text);
    assert!(page.text.contains("platform"), "{}", page.text);
}

/// The annotated example, with the files beside it that it names.
#[test]
fn the_example_configuration_is_valid() {
    let directory = tempfile::tempdir().unwrap();
    let deploy = directory.path().join("deploy");
    for folder in ["tls", "secrets"] {
        fs::create_dir_all(deploy.join(folder)).unwrap();
    }
    std::os::unix::fs::symlink(root().join("plugins"), directory.path().join("plugins")).unwrap();
    fs::copy(
        root().join("deploy/witgate.example.yaml"),
        deploy.join("witgate.yaml"),
    )
    .unwrap();
    let certified = rcgen::generate_simple_self_signed(["gateway.example.com".to_owned()]).unwrap();
    let kubeconfig = "apiVersion: v1\nkind: Config\ncurrent-context: prod\n\
        clusters: [{name: prod, cluster: {server: 'https://10.0.0.1:6443'}}]\n\
        users: [{name: witgate, user: {token: the-gateways-own}}]\n\
        contexts: [{name: prod, context: {cluster: prod, user: witgate}}]\n";
    for (file, content) in [
        ("tls/certificate.pem", certified.cert.pem().as_str()),
        ("tls/key.pem", &certified.signing_key.serialize_pem()),
        ("secrets/influxdb-password", "influxdb-password"),
        ("secrets/dex-client", "dex-client-secret"),
        ("secrets/prod.kubeconfig", kubeconfig),
    ] {
        fs::write(deploy.join(file), content).unwrap();
    }
    let check = || {
        let mut command = std::process::Command::new(root().join("target/debug/witgate"));
        let out = command
            .args(["config", "check", "--config"])
            .arg(deploy.join("witgate.yaml"))
            .output()
            .unwrap();
        (
            out.status.code(),
            String::from_utf8(out.stdout).unwrap(),
            String::from_utf8(out.stderr).unwrap(),
        )
    };
    let (code, said, complained) = check();
    assert_eq!(code, Some(0), "{complained}");
    for plugin in ["company-claims", "influx", "local"] {
        assert!(said.contains(&format!("plugin {plugin} (0.1.0)")), "{said}");
    }

    fs::write(deploy.join("tls/key.pem"), "no key").unwrap();
    let (code, _, complained) = check();
    assert_eq!(code, Some(64), "{complained}");
    assert!(complained.contains("tls/key.pem"), "{complained}");
}

/// An editor gets every key of the example from the schema, with what it is for.
#[test]
fn the_schema_describes_every_section_of_the_example() {
    let mut command = std::process::Command::new(root().join("target/debug/witgate"));
    let out = command.args(["config", "schema"]).output().unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let example = fs::read_to_string(root().join("deploy/witgate.example.yaml")).unwrap();
    let sections = example
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    for section in sections {
        let name = section.split(':').next().unwrap();
        let description = schema.pointer(&format!("/properties/{name}/description"));
        assert!(
            description.is_some_and(|text| text.is_string()),
            "{name} is not in the schema"
        );
    }
    assert_eq!(
        schema["additionalProperties"], false,
        "an unknown key is an error in the editor too"
    );
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
