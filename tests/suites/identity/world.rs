//! A gateway with a certificate, in front of whichever issuers a test has.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use reqwest::{Certificate, Client, RequestBuilder, StatusCode, header::AUTHORIZATION};
use tokio::{io::AsyncWriteExt, process::Command};
use witgate_lab::{
    Authority, Component, Dex, DexOptions, Gateway, GroupNames, OpenLdap, Port, eventually, http, require,
};
use witgate_tests::browser::{Browser, Page};

/// Longer than a changed file or key needs to be noticed, on a machine that is compiling as well.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// What the groups of a directory become, unless a test says otherwise.
pub(crate) const RULES: &str = "[dnToCn, {prefix: 'corp:'}]";

/// What a test configures besides the certificate and the plugins.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Entries of `identity.issuers`, each a line of YAML.
    pub(crate) issuers: Vec<String>,
    /// `groups.rules` of the claims plugin.
    pub(crate) rules: String,
    /// Entries of `identity.tokens`.
    pub(crate) tokens: Vec<String>,
    /// Entries of `identity.basic`.
    pub(crate) basic: Vec<String>,
    /// Entries of `prometheus.tenants`.
    pub(crate) tenants: Vec<String>,
    /// `identity.session`.
    pub(crate) session: String,
    /// `state`.
    pub(crate) state: String,
    /// The port in `identity.publicUrl`, if it is not the listener's.
    pub(crate) public_port: Option<u16>,
    /// More entries of `plugins`, each a line of YAML.
    pub(crate) plugins: String,
    /// More sections.
    pub(crate) sections: String,
}

/// A running gateway, and clients that trust its certificate.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    port: Port,
    pub(crate) client: Client,
}

/// The real issuer with the real directory behind it.
#[derive(Debug)]
pub(crate) struct People {
    pub(crate) dex: Dex,
    pub(crate) ldap: OpenLdap,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            issuers: Vec::new(),
            rules: RULES.to_owned(),
            tokens: Vec::new(),
            basic: Vec::new(),
            tenants: Vec::new(),
            session: "{}".to_owned(),
            state: "{directory: state}".to_owned(),
            public_port: None,
            plugins: String::new(),
            sections: String::new(),
        }
    }
}

impl Setup {
    pub(crate) fn with_issuer(name: &str, url: &str) -> Self {
        Self {
            issuers: vec![issuer(name, url)],
            ..Self::default()
        }
    }

    fn render(&self, port: u16) -> String {
        let plugins = root().join("plugins/dist");
        let plugins = plugins.display();
        let Self {
            rules,
            session,
            state,
            plugins: more,
            sections,
            ..
        } = self;
        let lists = [&self.issuers, &self.tokens, &self.basic, &self.tenants].map(|list| list.join(", "));
        let [issuers, tokens, basic, tenants] = lists;
        let public = self.public_port.unwrap_or(port);
        format!(
            "listeners:\n\
             - {{address: '127.0.0.1:{port}', tls: {{certificateFile: gateway.crt, keyFile: gateway.key}}}}\n\
             state: {state}\n\
             plugins:\n\
             {more}  \
               people:\n    \
                 kind: claims\n    \
                 file: '{plugins}/claims-rules.wasm'\n    \
                 config:\n      \
                   user: {{claim: email, rules: [{{stripDomain: example.org}}]}}\n      \
                   groups: {{claim: groups, rules: {rules}}}\n  \
               samples:\n    \
                 kind: storage\n    \
                 file: '{plugins}/storage-local.wasm'\n    \
                 grants: {{keyValue: {{maxBytes: 1GiB}}}}\n\
             identity:\n  \
               publicUrl: https://localhost:{public}\n  \
               issuers: [{issuers}]\n  \
               tokens: [{tokens}]\n  \
               basic: [{basic}]\n  \
               session: {session}\n\
             prometheus: {{tenants: [{tenants}]}}\n\
             audit: {{file: audit.log}}\n{sections}"
        )
    }
}

impl World {
    /// A gateway on a port that an issuer may have been told before.
    pub(crate) async fn start(port: Port, setup: &Setup) -> Self {
        let authority = Authority::new("the suite's authority").unwrap();
        Self::start_with(port, setup, &authority).await
    }

    /// The same with a certificate of an authority that an issuer trusts.
    pub(crate) async fn start_with(port: Port, setup: &Setup, authority: &Authority) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let certified = authority.server(&["localhost", "127.0.0.1"]).unwrap();
        certified.write(directory.path(), "gateway").unwrap();
        fs::write(directory.path().join("authority.pem"), authority.certificate()).unwrap();
        fs::write(directory.path().join("client-secret"), Dex::CLIENT_SECRET).unwrap();
        fs::write(directory.path().join("shared.key"), [7; 32]).unwrap();
        let client = http::client_trusting(authority.certificate()).unwrap();
        let gateway = Gateway::start_in(directory, &setup.render(port.number()))
            .await
            .unwrap();
        Self {
            gateway,
            port,
            client,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port.number())
    }

    /// A browser that nobody has used yet.
    pub(crate) fn browser(&self) -> Browser {
        Browser::new(&self.gateway.dir().join("authority.pem"))
    }

    /// A client that does not speak HTTP/2.
    pub(crate) fn http1(&self) -> Client {
        let pem = fs::read(self.gateway.dir().join("authority.pem")).unwrap();
        let authority = Certificate::from_pem(&pem).unwrap();
        let client = Client::builder().no_proxy().http1_only();
        client.tls_certs_only([authority]).build().unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path))
    }

    /// The first page as the bearer of a token sees it, which says who that is.
    pub(crate) async fn home(&self, token: &str) -> (StatusCode, String) {
        let answer = self.get("/").bearer_auth(token).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    /// The first page of somebody who is logged in, once the issuer has given another id_token than the
    /// one that `page` shows.
    pub(crate) async fn refreshed(&self, browser: &Browser, page: &Page) -> Page {
        let before = issued(page);
        assert!(before.is_some(), "{}", page.text);
        eventually("the session is refreshed", SOON, async || {
            let page = browser.open(&self.url("/")).await;
            let now = issued(&page);
            if now.is_some() && now != before {
                Ok(page)
            } else {
                Err(page.text)
            }
        })
        .await
        .unwrap()
    }

    /// What a Kubernetes client is told that sends this: the status, and the message of the answer.
    ///
    /// There is no cluster, so whoever is let in gets 404.
    pub(crate) async fn cluster(&self, authorization: &str) -> (StatusCode, String) {
        let request = self
            .get("/clusters/none/api")
            .header(AUTHORIZATION, authorization);
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let body: serde_json::Value = answer.json().await.unwrap();
        (status, body["message"].as_str().unwrap().to_owned())
    }

    /// Changes the configuration file, and nothing else.
    pub(crate) fn reconfigure(&self, setup: &Setup) {
        self.gateway
            .write_config(&setup.render(self.port.number()))
            .unwrap();
    }

    /// All that the gateway has written for people to read.
    pub(crate) fn written(&self) -> String {
        let process = self.gateway.process();
        let audit = fs::read_to_string(self.gateway.dir().join("audit.log")).unwrap_or_default();
        [process.stdout(), process.stderr(), audit].concat()
    }
}

impl People {
    /// Starts both; none if this machine lacks one of them.
    pub(crate) async fn start(gateway: &Port) -> Option<Self> {
        require(Component::OpenLdap).and(require(Component::Dex)).ok()?;
        let ldap = OpenLdap::start().await.unwrap();
        let options = DexOptions {
            redirect_uris: vec![format!("https://localhost:{}/callback", gateway.number())],
            ldap: Some(&ldap),
            group_names: GroupNames::DistinguishedName,
            mock: true,
            ..DexOptions::default()
        };
        let dex = Dex::start(options).await.unwrap();
        Some(Self { dex, ldap })
    }

    pub(crate) fn setup(&self) -> Setup {
        Setup::with_issuer("dex", self.dex.issuer())
    }
}

/// The claim `iat`, as the page shows it.
fn issued(page: &Page) -> Option<&str> {
    let (_, rest) = page.text.split_once("&quot;iat&quot;: ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()
}

/// An entry of `identity.issuers`.
fn issuer(name: &str, url: &str) -> String {
    let client = Dex::CLIENT_ID;
    format!(
        "{{name: {name}, url: '{url}', clientId: {client}, clientSecretFile: client-secret, claims: people}}"
    )
}

/// `witgate hash WHAT`, with this on its standard input.
pub(crate) async fn hash(what: &str, input: &str) -> String {
    let mut command = Command::new(Gateway::binary().unwrap());
    command.args(["hash", what]).kill_on_drop(true);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Fails when the command does not read it.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
