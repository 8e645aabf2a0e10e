//! Who writes a plugin has the binary and Rust, and nothing of this repository.
//!
//! A suite of its own, because compilers run in it: others measure how fast they are answered.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{process::Command, sync::Mutex};
use witgate_lab::{Component, Dex, DexOptions, Gateway, OpenLdap, Port, http, require};

/// Whoever builds: each project's SDK has the same place in what they share.
static BUILDING: Mutex<()> = Mutex::const_new(());

/// A project, as `witgate plugin new` makes it.
struct Project {
    name: String,
    directory: TempDir,
}

/// What a command has said, and its status.
#[derive(Debug)]
struct Said {
    status: Option<i32>,
    out: String,
    err: String,
}

impl Project {
    /// Makes one outside of this repository.
    async fn new(kind: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let name = format!("my-{kind}");
        let project = Self { name, directory };
        let arguments = ["plugin", "new", &project.name, "--kind", kind];
        let made = said(project.directory.path(), &witgate(), &arguments).await;
        made.succeeded();
        project
    }

    fn folder(&self) -> PathBuf {
        self.directory.path().join(&self.name)
    }

    /// The path of its component, as seen from its folder.
    fn component(&self) -> String {
        format!("dist/{}.wasm", self.name)
    }

    /// Runs `witgate plugin` in its folder.
    async fn plugin(&self, arguments: &[&str]) -> Said {
        let arguments: Vec<_> = ["plugin"].iter().chain(arguments).copied().collect();
        said(&self.folder(), &witgate(), &arguments).await
    }

    async fn cargo(&self, arguments: &[&str]) -> Said {
        let cargo = std::env::var_os("CARGO").map_or("cargo".into(), PathBuf::from);
        said(&self.folder(), &cargo, arguments).await
    }

    /// Builds, checks and tests it, as its README says.
    async fn works(&self) {
        let building = BUILDING.lock().await;
        self.cargo(&["test", "--locked"]).await.succeeded();
        let built = self.plugin(&["build", "--locked"]).await.succeeded();
        drop(building);
        assert!(built.contains(&self.component()), "{built}");
        let checked = self
            .plugin(&["check", &self.component(), "--config", "config.json"])
            .await;
        let checked = checked.succeeded();
        assert!(checked.contains("built with witgate-sdk 0.1.0"), "{checked}");
        assert!(checked.contains("it starts with that configuration"), "{checked}");
        let tested = self.plugin(&["test"]).await.succeeded();
        assert!(tested.contains(" passed, 0 failed"), "{tested}");
    }

    /// Replaces something in one of its files.
    fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.folder().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from:?} is not in {text}");
        fs::write(path, text.replace(from, to)).unwrap();
    }
}

impl Said {
    #[track_caller]
    fn succeeded(self) -> String {
        assert_eq!(self.status, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    #[track_caller]
    fn failed(self) -> String {
        assert_eq!(self.status, Some(1), "{}{}", self.out, self.err);
        format!("{}{}", self.out, self.err)
    }
}

/// Runs a program. Cargo finds all that it needs on this machine, where the SDK has been built before; what
/// it makes is kept, so that the projects and the next run share it.
async fn said(folder: &Path, program: &Path, arguments: &[&str]) -> Said {
    let target = witgate().with_file_name("plugin-projects");
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_NET_OFFLINE", "true")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    Said {
        status: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A plugin's component, of those that `plugins/build` has made.
fn plugin(name: &str) -> PathBuf {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist");
    dist.canonicalize().unwrap().join(name).with_extension("wasm")
}

fn witgate() -> PathBuf {
    Gateway::binary().unwrap()
}

#[tokio::test]
async fn a_new_claims_plugin_is_built_tested_and_serves() {
    let project = Project::new("claims").await;
    project.works().await;

    // What is expected and does not come is shown.
    project.edit("cases/example.yaml", "groups: [dev]}", "groups: [ops]}");
    let tested = project.plugin(&["test"]).await.failed();
    assert!(tested.contains("2 passed, 1 failed"), "{tested}");
    let marked = |mark: char, text: &str| {
        let line = |line: &str| line.trim_start().starts_with(mark) && line.ends_with(text);
        assert!(tested.lines().any(line), "{mark} {text} is not in {tested}");
    };
    marked('-', "\"ops\"");
    marked('+', "\"dev\"");
    // What a plugin says is seen, and what it may not say is refused as in a gateway.
    project.edit("cases/example.yaml", "k8s-dev", "k8s-system:masters");
    let tested = project.plugin(&["test"]).await.failed();
    assert!(tested.contains("1 of its groups count"), "{tested}");
    assert!(tested.contains("system:masters\\\" is reserved"), "{tested}");

    let inspected = project
        .plugin(&["inspect", &project.component()])
        .await
        .succeeded();
    let (_, section) = inspected.split_once("plugins:\n").unwrap();
    serve(&project, section).await;
}

/// Puts into a configuration what `inspect` has printed for it, and logs in.
async fn serve(project: &Project, section: &str) {
    let (Ok(()), Ok(())) = (require(Component::Dex), require(Component::OpenLdap)) else {
        return;
    };
    let ldap = OpenLdap::start().await.unwrap();
    let dex = Dex::start(DexOptions {
        ldap: Some(&ldap),
        ..DexOptions::default()
    });
    let dex = dex.await.unwrap();
    let port = Port::free().unwrap();
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("dist")).unwrap();
    fs::copy(
        project.folder().join(project.component()),
        directory.path().join(project.component()),
    )
    .unwrap();
    let configuration = format!(
        "listeners: [{{address: '{}'}}]\nstate: {{directory: state}}\n\
         identity:\n  publicUrl: http://localhost:{}\n  \
         issuers: [{{name: dex, url: '{}', clientId: witgate, claims: {}}}]\n\
         plugins:\n{section}    config: {{prefix: plat}}\n",
        port.address(),
        port.number(),
        dex.issuer(),
        project.name,
    );
    let _gateway = Gateway::start_in(directory, &configuration).await.unwrap();
    let ask = async |user: &str| {
        let token = dex.id_token(user, &format!("{user}-password")).await.unwrap();
        let request = http::client().get(format!("http://{}/gateway/v1/whoami", port.address()));
        let answer = request.bearer_auth(token).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, said) = ask("alice").await;
    assert_eq!(status, 200, "{said}");
    let whoami: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(whoami["user"], "alice@example.org");
    assert_eq!(whoami["groups"], serde_json::json!(["form"]));
    let (status, said) = ask("bob").await;
    assert_eq!(status, 403, "{said}");
    assert!(
        said.contains("you are in no group whose name begins with `plat`"),
        "{said}"
    );
}

#[tokio::test]
async fn a_new_storage_plugin_is_built_and_tested() {
    let project = Project::new("storage").await;
    project.works().await;
    let inspected = project
        .plugin(&["inspect", &project.component(), "--json"])
        .await
        .succeeded();
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["contract"]["kind"], "storage");
    let imports = inspected["imports"].as_array().unwrap();
    let granted: Vec<_> = imports
        .iter()
        .filter(|import| import.get("grant").is_some())
        .collect();
    assert!(
        matches!(granted.as_slice(), [one] if one["name"] == "witgate:host/key-value@0.1.0"),
        "{granted:?}"
    );

    // A value that differs in a bit, and a grant that is missing.
    let found = |last: &str| {
        format!("found:\n          'room_temperature{{room=\"lab\"}}': [[1000, 21.5], [2000, {last}]]")
    };
    project.edit("cases/example.yaml", &found("stale"), &found("NaN"));
    let tested = project.plugin(&["test"]).await.failed();
    assert!(
        tested.contains("[2000, NaN]") && tested.contains("[2000, stale]"),
        "{tested}"
    );
    project.edit(
        "cases/example.yaml",
        "grants: {keyValue: {maxBytes: 64MiB}}",
        "grants: {}",
    );
    let tested = project.plugin(&["test"]).await.failed();
    assert!(tested.contains("has to be granted"), "{tested}");
}

#[tokio::test]
async fn a_new_recovery_plugin_is_built_and_tested() {
    let project = Project::new("recovery").await;
    project.works().await;
    project.edit(
        "cases/example.yaml",
        "byHand: {machine: cp-2}",
        "byHand: {machine: cp-3}",
    );
    let tested = project.plugin(&["test"]).await.failed();
    assert!(
        tested.contains("\"cp-2\"") && tested.contains("\"cp-3\""),
        "{tested}"
    );
}

#[tokio::test]
async fn a_new_claims_plugin_in_python_is_built_and_tested() {
    let Ok(()) = require(Component::ComponentizePy) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let project = Project {
        name: "my-python".to_owned(),
        directory,
    };
    let made = [
        "plugin",
        "new",
        &project.name,
        "--kind",
        "claims",
        "--lang",
        "python",
    ];
    said(project.directory.path(), &witgate(), &made)
        .await
        .succeeded();
    let tests = ["-m", "unittest"];
    said(&project.folder(), Path::new("python3"), &tests)
        .await
        .succeeded();

    // Without what makes components of Python it is said how to get it.
    let build = async |program: &Path| {
        let built = Command::new(witgate())
            .args(["plugin", "build"])
            .current_dir(project.folder())
            .env("COMPONENTIZE_PY", program)
            .output();
        let built = built.await.unwrap();
        (built.status.success(), String::from_utf8(built.stderr).unwrap())
    };
    let (_, said) = build(Path::new("/nowhere/componentize-py")).await;
    assert!(said.contains("pip install -r requirements.txt"), "{said}");
    let (succeeded, said) = build(&Component::ComponentizePy.find("bin/componentize-py").unwrap()).await;
    assert!(succeeded, "{said}");

    // CPython takes its time to begin where others take the processor.
    let limits = "\n  limits: {cpu: 20s, time: 60s}";
    project.edit(
        "cases/example.yaml",
        "config: {prefix: k8s-}",
        &format!("config: {{prefix: k8s-}}{limits}"),
    );
    let tested = project.plugin(&["test"]).await.succeeded();
    assert!(tested.contains("3 passed, 0 failed"), "{tested}");
}

/// The plugins of this repository, with the cases that are beside them.
#[tokio::test]
async fn recorded_inputs_come_to_what_they_say() {
    let test = async |component: &Path, cases: &Path| {
        let arguments = [
            Path::new("plugin"),
            "test".as_ref(),
            component,
            "--cases".as_ref(),
            cases,
        ];
        let arguments = arguments.map(|argument| argument.to_str().unwrap());
        said(Path::new("/"), &witgate(), &arguments).await
    };
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    for (name, passed) in [("claims-lookup", 3), ("claims-rules", 2), ("storage-local", 1)] {
        let cases = sources.join(name).join("cases");
        let tested = test(&plugin(name), &cases).await.succeeded();
        assert!(tested.contains(&format!("{passed} passed, 0 failed")), "{tested}");
    }

    // What a plugin asks its backend is compared, and what it asks beyond that is refused.
    let folder = tempfile::tempdir().unwrap();
    let cases = sources.join("claims-lookup/cases");
    let text = fs::read_to_string(cases.join("directory.yaml")).unwrap();
    fs::write(
        folder.path().join("directory.yaml"),
        text.replace("/users/joe/", "/users/jim/"),
    )
    .unwrap();
    fs::write(folder.path().join("directory-token"), "another").unwrap();
    let tested = test(&plugin("claims-lookup"), folder.path()).await.failed();
    assert!(tested.contains("0 passed, 3 failed"), "{tested}");
    for difference in [
        "-         \"authorization\": \"Bearer made-up-for-this-case\"",
        "+         \"authorization\": \"Bearer another\"",
        "-       \"path\": \"/users/jim/groups\"",
        "+       \"path\": \"/users/joe/groups\"",
    ] {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let wanted = words(difference);
        assert!(
            tested
                .lines()
                .any(|line| words(line.trim_end_matches(',')) == wanted),
            "{difference} is not in {tested}"
        );
    }
}

#[tokio::test]
async fn what_does_not_fit_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let path = |path: PathBuf| path.into_os_string().into_string().unwrap();
    let check = async |file: &str, more: &[&str]| {
        let arguments: Vec<_> = ["plugin", "check", file].iter().chain(more).copied().collect();
        said(folder.path(), &witgate(), &arguments).await
    };
    let rules = path(plugin("claims-rules"));
    check(&rules, &[]).await.succeeded();
    let text = folder.path().join("text.wasm");
    fs::write(&text, "no component").unwrap();
    for (file, more, words) in [
        (
            path(plugin("guests/wrong-version")),
            &[][..],
            &[
                "(witgate:claims 0.9.0)",
                "built with",
                "it exports witgate:claims/mapping@0.9.0",
                "this gateway offers 0.1.0",
            ][..],
        ),
        (
            rules.clone(),
            &["--kind", "storage"],
            &["it is a claims plugin", "can't be loaded by witgate 0.1.0"],
        ),
        (
            rules.clone(),
            &["--config", "{\"usr\": {}}"],
            &["it refuses its configuration", "`usr`"],
        ),
        (path(text), &[], &["it is not a WebAssembly file"]),
        ("missing.wasm".to_owned(), &[], &["missing.wasm", "can't be read"]),
    ] {
        let said = check(&file, more).await.failed();
        for word in words {
            assert!(said.contains(word), "{file} {more:?}: {word:?} is not in: {said}");
        }
    }
    let build = ["plugin", "build", "--project", "."];
    let built = said(folder.path(), &witgate(), &build).await.failed();
    assert!(built.contains("run this in a plugin's project"), "{built}");

    // A Rust without the target.
    let project = Project::new("claims").await;
    let rustc = folder.path().join("rustc");
    fs::write(&rustc, "#!/bin/sh\necho /nowhere/lib\n").unwrap();
    fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755)).unwrap();
    let built = Command::new(witgate())
        .args(["plugin", "build"])
        .current_dir(project.folder())
        .env("RUSTC", rustc)
        .output();
    let built = String::from_utf8(built.await.unwrap().stderr).unwrap();
    assert!(built.contains("run `rustup target add wasm32-wasip2`"), "{built}");
}
