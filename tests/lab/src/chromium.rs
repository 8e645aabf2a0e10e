//! Defines a headless Chromium, driven through chromedriver (W3C WebDriver).

use std::{
    fs,
    path::{Path, PathBuf},
};

use fantoccini::{Client, ClientBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    component::Component,
    error::Error,
    pki::Authority,
    port::Port,
    process::Launch,
    service::{Readiness, Service, lifecycle},
};

/// A browser with a profile of its own, which trusts an authority of the lab's.
#[derive(Debug)]
pub struct Chromium {
    service: Service,
    client: Client,
    url: String,
    dir: TempDir,
}

impl Chromium {
    /// Starts a browser with an empty page.
    ///
    /// # Errors
    /// If a program is missing, or the browser does not come up.
    pub async fn start(authority: &Authority) -> Result<Self, Error> {
        let driver = Component::Chromium.find("chromedriver")?;
        let browser = Component::Chromium.find("chromium")?;
        let dir = tempfile::tempdir().map_err(Error::io("a directory for Chromium"))?;
        for name in ["downloads", ".pki/nssdb"] {
            let path = dir.path().join(name);
            fs::create_dir_all(&path).map_err(Error::io(path.display().to_string()))?;
        }
        trust(dir.path(), authority).await?;
        let port = Port::free()?;
        let mut launch =
            Launch::new("chromedriver", driver, dir.path()).flag("port", port.number().to_string());
        launch.envs = vec![
            ("HOME".into(), dir.path().into()),
            ("XDG_CONFIG_HOME".into(), dir.path().join("config").into()),
            ("XDG_CACHE_HOME".into(), dir.path().join("cache").into()),
        ];
        let url = format!("http://{}", port.address());
        let service = Service::start(launch, Readiness::http(format!("{url}/status"))).await?;
        let failed = |problem: &dyn std::fmt::Display| Error::Answer {
            what: "chromedriver",
            problem: problem.to_string(),
        };
        let capabilities = capabilities(&browser, dir.path());
        let Value::Object(capabilities) = capabilities else {
            return Err(failed(&"its capabilities are no object"));
        };
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&url)
            .await
            .map_err(|error| failed(&error))?;
        Ok(Self {
            service,
            client,
            url,
            dir,
        })
    }

    /// What drives it.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Has pages see that their reader prefers `light` or `dark`.
    ///
    /// # Errors
    /// If the browser does not take that.
    pub async fn prefer(&self, scheme: &str) -> Result<(), Error> {
        let failed = |problem: &dyn std::fmt::Display| Error::Answer {
            what: "chromedriver",
            problem: problem.to_string(),
        };
        let session = self.client.session_id().await;
        let session = session.map_err(|error| failed(&error))?.unwrap_or_default();
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        let command = json!({"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}});
        let url = format!("{}/session/{session}/goog/cdp/execute", self.url);
        let client = reqwest::Client::builder().no_proxy().build();
        let client = client.map_err(|error| failed(&error))?;
        let sent = client.post(url).body(command.to_string()).send().await;
        let answer = sent.and_then(reqwest::Response::error_for_status);
        answer.map(drop).map_err(|error| failed(&error))
    }

    /// Where downloads go.
    #[must_use]
    pub fn downloads(&self) -> PathBuf {
        self.dir.path().join("downloads")
    }

    /// Ends the browser in order. One that is only dropped is killed.
    ///
    /// # Errors
    /// If it does not answer any more.
    pub async fn close(self) -> Result<(), Error> {
        let closed = self.client.clone().close().await;
        closed.map_err(|error| Error::Answer {
            what: "chromedriver",
            problem: error.to_string(),
        })
    }
}

lifecycle!(Chromium);

/// The sandbox needs what a container or root does not have.
fn capabilities(browser: &Path, dir: &Path) -> Value {
    let profile = format!("--user-data-dir={}", dir.join("profile").display());
    json!({
        "browserName": "chrome",
        "goog:chromeOptions": {
            "binary": browser,
            "args": [
                "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                "--no-first-run", "--disable-background-networking", "--window-size=1100,1200", profile,
            ],
            "prefs": {"download.default_directory": dir.join("downloads")},
        },
    })
}

/// Chromium takes authorities from the NSS database of its user.
async fn trust(home: &Path, authority: &Authority) -> Result<(), Error> {
    let program = Component::Chromium.find("certutil")?;
    let file = home.join("authority.pem");
    fs::write(&file, authority.certificate()).map_err(Error::io(file.display().to_string()))?;
    let database = format!("sql:{}", home.join(".pki/nssdb").display());
    let file = file.display().to_string();
    for args in [
        vec!["-N", "--empty-password", "-d", &database],
        vec!["-A", "-n", "lab", "-t", "C,,", "-i", &file, "-d", &database],
    ] {
        let output = Command::new(&program)
            .args(&args)
            .kill_on_drop(true)
            .output()
            .await;
        let output = output.map_err(Error::io("starting certutil"))?;
        if !output.status.success() {
            return Err(Error::Answer {
                what: "certutil",
                problem: String::from_utf8_lossy(&output.stderr).into_owned(),
            });
        }
    }
    Ok(())
}
