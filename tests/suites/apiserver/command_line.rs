//! `witgate login` and what follows from it, for people who have nothing but a kubeconfig.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use futures::future::join_all;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use witgate_lab::{Gateway, Kubectl, eventually};
use witgate_tests::browser::{Browser, Page};

use crate::{SOON, complaint, grant, site::Site};

/// Somebody's machine.
pub(crate) struct Machine {
    home: TempDir,
    server: String,
    authority: PathBuf,
    kubeconfig: PathBuf,
}

impl Machine {
    /// A machine with a kubeconfig of the gateway's.
    pub(crate) async fn new(site: &Site) -> Self {
        let home = tempfile::tempdir().unwrap();
        // A browser that only says what it was to open.
        let browser = home.path().join("browser");
        fs::write(
            &browser,
            format!("#!/bin/sh\nprintf %s \"$1\" > {}/opened\n", home.path().display()),
        )
        .unwrap();
        fs::set_permissions(&browser, fs::Permissions::from_mode(0o755)).unwrap();
        let machine = Self {
            kubeconfig: home.path().join("kubeconfig"),
            server: site.url(),
            authority: site.authority(),
            home,
        };
        let written = machine.witgate(&["kubeconfig", "--merge", "kubeconfig"]).await;
        assert!(written.status.success(), "{written:?}");
        machine
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(Gateway::binary().unwrap());
        command
            .args(args)
            .current_dir(self.home.path())
            .env("WITGATE_HOME", self.home.path().join("state"))
            .env("WITGATE_SERVER", &self.server)
            .env("WITGATE_CA_FILE", &self.authority)
            .env("BROWSER", self.home.path().join("browser"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn witgate(&self, args: &[&str]) -> Output {
        self.command(args).output().await.unwrap()
    }

    /// A kubectl that runs `witgate credential` by itself.
    pub(crate) fn kubectl(&self) -> Kubectl {
        self.kubectl_with(&self.kubeconfig)
    }

    /// The same with another kubeconfig.
    pub(crate) fn kubectl_with(&self, kubeconfig: &Path) -> Kubectl {
        let directory = Gateway::binary().unwrap().parent().unwrap().to_owned();
        let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
        let home = self.home.path().join("state");
        Kubectl::with_kubeconfig(kubeconfig)
            .unwrap()
            .env("PATH", &path)
            .env("WITGATE_HOME", home.to_str().unwrap())
    }

    /// Runs `witgate login`, and returns what it has the browser open.
    pub(crate) async fn begin_login(&self) -> (Child, String) {
        let opened = self.home.path().join("opened");
        let running = self.command(&["login"]).stderr(Stdio::piped()).spawn().unwrap();
        let url = read_when_there(&opened).await;
        fs::remove_file(opened).unwrap();
        (running, url)
    }

    /// Logs in, in a browser in which somebody is logged in already.
    pub(crate) async fn log_in(&self, browser: &Browser) -> Page {
        let (mut running, url) = self.begin_login().await;
        let asked = browser.open(&url).await;
        assert!(
            asked.text.contains("Let a command line act for you?"),
            "{}",
            asked.text
        );
        let answered = browser
            .submit_to(&asked, "/oauth/authorize", &[("decision", "allow")])
            .await;
        let status = running.wait().await.unwrap();
        assert!(status.success(), "{status}");
        answered
    }

    /// The file with the tokens.
    fn store(&self) -> PathBuf {
        let files = fs::read_dir(self.home.path().join("state")).unwrap();
        let mut files = files.map(|file| file.unwrap().path());
        files
            .find(|file| file.extension().is_some_and(|extension| extension == "json"))
            .unwrap()
    }

    /// Makes the access token look as if it had expired.
    fn let_token_expire(&self) {
        let store = self.store();
        let mut content: serde_json::Value = serde_json::from_slice(&fs::read(&store).unwrap()).unwrap();
        content["expires"] = 0.into();
        fs::write(&store, content.to_string()).unwrap();
    }
}

async fn read_when_there(file: &Path) -> String {
    eventually("the browser is opened", SOON, async || {
        match fs::read_to_string(file) {
            Ok(text) if text.contains("://") => Ok(text),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_kubeconfig_without_a_secret_logs_in_and_stays_in() {
    let Some(site) = Site::start().await else { return };
    grant(&site.kubernetes, "corp:platform").await;
    let machine = Machine::new(&site).await;
    let kubectl = machine.kubectl();
    let said = complaint(&kubectl, &["get", "namespaces"]).await;
    assert!(said.contains("run `witgate login --server"), "{said}");

    let (browser, _) = site.browser("alice").await;
    let back = machine.log_in(&browser).await;
    assert!(back.text.contains("You are logged in."), "{}", back.text);
    assert_eq!(
        fs::metadata(machine.store()).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let found = kubectl
        .succeed(&["get", "namespaces", "-o", "name"])
        .await
        .unwrap();
    assert!(found.contains("namespace/default"), "{found}");
    let who = machine.witgate(&["whoami"]).await;
    let who = String::from_utf8(who.stdout).unwrap();
    assert!(
        who.starts_with("alice@example.org\n") && who.contains("corp:platform"),
        "{who}"
    );

    // Twenty at once, with a token that has expired: one refresh.
    machine.let_token_expire();
    let refreshes = |site: &Site| {
        let audit = site.audit();
        audit.iter().filter(|line| line["path"] == "/oauth/token").count()
    };
    let before = refreshes(&site);
    let all = (0..20).map(|_| kubectl.succeed(&["get", "namespace", "default", "-o", "name"]));
    for found in join_all(all).await {
        assert_eq!(found.unwrap(), "namespace/default\n");
    }
    assert_eq!(refreshes(&site), before + 1);

    let sessions = machine.witgate(&["sessions"]).await;
    let sessions = String::from_utf8(sessions.stdout).unwrap();
    assert_eq!(sessions.lines().count(), 2, "{sessions}");
    assert!(
        sessions.contains("  browser ") && sessions.contains("  command line "),
        "{sessions}"
    );

    let out = machine.witgate(&["logout"]).await;
    assert!(out.status.success(), "{out:?}");
    let said = complaint(&kubectl, &["get", "namespaces"]).await;
    assert!(said.contains("run `witgate login --server"), "{said}");
    let page = browser.open(&site.url()).await;
    assert!(!page.text.contains("Command line:"), "{}", page.text);
    let written = site.written();
    for secret in ["wga_", "wgr_"] {
        assert!(!written.contains(secret), "{written}");
    }
}

#[tokio::test]
async fn a_machine_without_a_browser_shows_a_code() {
    let Some(site) = Site::start().await else { return };
    let machine = Machine::new(&site).await;
    let log = machine.home.path().join("log");
    let mut running = machine
        .command(&["login", "--no-browser"])
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let (address, code) = eventually("the code is shown", SOON, async || {
        let text = fs::read_to_string(&log).unwrap();
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("  "));
        match (lines.next(), lines.next()) {
            (Some(address), Some(code)) => Ok((address.to_owned(), code.to_owned())),
            _ => Err(text),
        }
    })
    .await
    .unwrap();
    assert_eq!(address, format!("{}/device", site.url()));
    // Whoever has to log in first comes back to the code.
    let browser = Browser::new(&site.authority());
    let typed = code.to_lowercase();
    let welcome = browser.open(&format!("{address}?user_code={typed}")).await;
    let way_in = welcome.link("/login?").unwrap();
    let asked = site.log_in(&browser, way_in.as_str(), "bob").await;
    assert!(
        asked.text.contains("Let a command line act for you?"),
        "{}",
        asked.text
    );
    let wrong = browser.open(&format!("{address}?user_code=BCDF-GHJK")).await;
    assert!(wrong.text.contains("there is no such code"), "{}", wrong.text);
    assert!(asked.text.contains(&code), "{}", asked.text);
    let done = browser
        .submit_to(&asked, "/device", &[("decision", "allow")])
        .await;
    assert!(done.text.contains("It is logged in"), "{}", done.text);
    let status = tokio::time::timeout(SOON, running.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{}", fs::read_to_string(&log).unwrap());
    let who = machine.witgate(&["whoami"]).await;
    assert!(
        String::from_utf8(who.stdout)
            .unwrap()
            .starts_with("bob@example.org")
    );
}

#[tokio::test]
async fn pages_of_others_can_not_hand_the_command_line_a_code() {
    let Some(site) = Site::start().await else { return };
    let machine = Machine::new(&site).await;
    let (mut running, url) = machine.begin_login().await;
    let asked: url::Url = url.parse().unwrap();
    let get = |name: &str| {
        let mut pairs = asked.query_pairs();
        pairs.find(|(key, _)| key == name).unwrap().1.into_owned()
    };
    let (callback, state) = (get("redirect_uri"), get("state"));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for (query, host) in [
        ("code=stolen&state=guessed".to_owned(), None),
        ("code=stolen".to_owned(), None),
        (format!("code=stolen&state={state}"), Some("evil.example:80")),
    ] {
        let mut request = http.get(format!("{callback}?{query}"));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        assert_eq!(request.send().await.unwrap().status(), 400, "{query}");
    }
    // Nor is a login that somebody else began of use: nobody is asked without a click.
    let (browser, _) = site.browser("alice").await;
    let page = browser.open(&url).await;
    let cross_site = site
        .client
        .post(format!("{}/oauth/authorize", site.url()))
        .header("origin", "https://evil.example")
        .header("sec-fetch-site", "cross-site")
        .body("decision=allow")
        .send()
        .await
        .unwrap();
    assert_eq!(cross_site.status(), 403);
    let answered = browser
        .submit_to(&page, "/oauth/authorize", &[("decision", "deny")])
        .await;
    assert!(
        answered.text.contains("You are not logged in"),
        "{}",
        answered.text
    );
    let status = tokio::time::timeout(Duration::from_secs(30), running.wait()).await;
    assert!(!status.unwrap().unwrap().success());
}
