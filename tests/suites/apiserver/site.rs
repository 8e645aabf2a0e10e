//! A company's login in front of a cluster: dex with a directory behind it, kube-apiserver, and the
//! gateway between them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Certificate, Client, ClientBuilder};
use witgate_lab::{
    Authority, Component, Dex, DexOptions, Gateway, Kubectl, Kubernetes, OpenLdap, Port, eventually, http,
    require,
};
use witgate_tests::browser::{Browser, Page};

/// How long a changed configuration may take to be in service: the gateway looks every second.
const RELOAD: Duration = Duration::from_secs(30);

/// The site.
pub(crate) struct Site {
    /// The cluster, called `lab`.
    pub(crate) kubernetes: Kubernetes,
    /// The gateway.
    pub(crate) gateway: Gateway,
    /// Trusts the gateway's certificate.
    pub(crate) client: Client,
    /// The configuration that the gateway was started with.
    pub(crate) config: String,
    dex: Dex,
    pub(crate) ldap: OpenLdap,
    pub(crate) authority: Authority,
    /// Of the gateway, of the cluster at the root, and of metrics.
    ports: [Port; 3],
}

impl Site {
    /// The token of the machine that may ask about tokens.
    pub(crate) const APISERVER: &str = "the-token-of-an-apiserver-that-asks";

    /// The issuer of the cluster's service accounts.
    const SERVICE_ACCOUNTS: &str = "https://kubernetes.default.svc.cluster.local";

    /// A site, unless something that it takes is missing.
    pub(crate) async fn start() -> Option<Self> {
        Self::with_tokens_for(Duration::from_secs(3600)).await
    }

    /// A site whose id_tokens end so soon.
    pub(crate) async fn with_tokens_for(id_tokens: Duration) -> Option<Self> {
        let needed = [Component::Kubernetes, Component::Dex, Component::OpenLdap];
        if needed.map(require).iter().any(Result::is_err) {
            return None;
        }
        let ports = [
            Port::free().unwrap(),
            Port::free().unwrap(),
            Port::free().unwrap(),
        ];
        let url = format!("https://localhost:{}", ports[0].number());
        let (kubernetes, ldap) = tokio::join!(Kubernetes::start(), OpenLdap::start());
        let (kubernetes, ldap) = (kubernetes.unwrap(), ldap.unwrap());
        let dex = Dex::start(DexOptions {
            redirect_uris: vec![format!("{url}/callback")],
            ldap: Some(&ldap),
            id_tokens,
            ..DexOptions::default()
        })
        .await
        .unwrap();

        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new("the suite's authority").unwrap();
        authority
            .server(&["localhost", "127.0.0.1"])
            .unwrap()
            .write(dir.path(), "gateway")
            .unwrap();
        fs::write(dir.path().join("ca.pem"), authority.certificate()).unwrap();
        fs::write(dir.path().join("dex-client"), Dex::CLIENT_SECRET).unwrap();
        let tls = "tls: {certificateFile: gateway.crt, keyFile: gateway.key, clientCaFile: ca.pem}";
        let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist/claims-rules.wasm");
        let config = format!(
            "listeners:\n\
             - address: {}\n  {tls}\n\
             - address: {}\n  {tls}\n  serves: {{cluster: lab}}\n\
             - {{address: '{}', serves: admin}}\n\
             state: {{directory: state}}\n\
             plugins:\n  company:\n    kind: claims\n    file: {plugin:?}\n    \
               config: {{user: {{claim: email}}, groups: {{claim: groups, rules: [{{prefix: 'corp:'}}]}}}}\n\
             identity:\n  publicUrl: {url}\n  issuers:\n  \
             - {{name: dex, url: '{}', clientId: {}, clientSecretFile: dex-client, claims: company}}\n  \
               tokens: [{{name: apiserver, sha256: {}}}]\n  \
               serviceAccounts: [{{cluster: lab, issuer: '{}'}}]\n\
             clusters:\n- {{name: lab, kubeconfig: {:?}}}\n\
             admin: {{groups: ['corp:platform']}}\n\
             webhooks: {{users: [apiserver]}}\n\
             publicCaFile: ca.pem\n\
             audit: {{file: audit.log}}\n",
            ports[0].address(),
            ports[1].address(),
            ports[2].address(),
            dex.issuer(),
            Dex::CLIENT_ID,
            digest(Self::APISERVER),
            Self::SERVICE_ACCOUNTS,
            kubernetes.gateway_kubeconfig().await.unwrap(),
        );
        let gateway = Gateway::start_in(dir, &config).await.unwrap();
        let client = http::client_trusting(authority.certificate()).unwrap();
        Some(Self {
            kubernetes,
            gateway,
            client,
            config,
            dex,
            ldap,
            authority,
            ports,
        })
    }

    /// The gateway's URL.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.ports[0].number())
    }

    /// The URL of the cluster below the gateway's.
    pub(crate) fn cluster_path(&self) -> String {
        format!("{}/clusters/lab", self.url())
    }

    /// The URL at whose root the cluster is.
    pub(crate) fn root(&self) -> String {
        format!("https://localhost:{}", self.ports[1].number())
    }

    /// The file with the authority to trust.
    pub(crate) fn authority(&self) -> PathBuf {
        self.gateway.dir().join("ca.pem")
    }

    /// A client of another kind that trusts the gateway's certificate.
    pub(crate) fn client_with(&self, kind: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
        let root = Certificate::from_pem(self.authority.certificate().as_bytes()).unwrap();
        kind(Client::builder().tls_certs_only([root])).build().unwrap()
    }

    /// The id_token of somebody of the directory.
    pub(crate) async fn token(&self, user: &str) -> String {
        self.dex
            .id_token(user, &format!("{user}-password"))
            .await
            .unwrap()
    }

    /// A certificate of an authority that the gateway takes.
    pub(crate) fn certificate(&self, user: &str, group: &str) -> (PathBuf, PathBuf) {
        let certified = self.authority.client(user, Some(group)).unwrap();
        certified.write(self.gateway.dir(), user).unwrap()
    }

    /// A browser in which somebody of the directory has logged in.
    pub(crate) async fn browser(&self, user: &str) -> (Browser, Page) {
        let browser = Browser::new(&self.authority());
        let page = self
            .log_in(&browser, &format!("{}/login", self.url()), user)
            .await;
        assert!(page.text.contains("Your sessions"), "{}", page.text);
        (browser, page)
    }

    /// Logs somebody of the directory in, from an address of the gateway's that leads to dex.
    pub(crate) async fn log_in(&self, browser: &Browser, way_in: &str, user: &str) -> Page {
        let connectors = browser.open(way_in).await;
        let form = match connectors.link("/auth/ldap") {
            Some(chosen) => browser.open(chosen.as_str()).await,
            None => connectors,
        };
        let password = format!("{user}-password");
        let fields = [("login", user), ("password", password.as_str())];
        browser.submit(&form, &fields).await
    }

    /// kubectl with nothing but a server and a token.
    pub(crate) fn kubectl(&self, server: &str, token: &str) -> Kubectl {
        Kubectl::with_token(server, token, Some(&self.authority())).unwrap()
    }

    /// Writes another configuration and waits until it was put in service, or refused.
    pub(crate) async fn reconfigure(&self, config: &str) {
        let before = self.reloads().await;
        self.gateway.write_config(config).unwrap();
        eventually("the gateway reads its configuration", RELOAD, async || {
            let now = self.reloads().await;
            if now > before {
                Ok(())
            } else {
                Err(format!("{now} reloads"))
            }
        })
        .await
        .unwrap();
    }

    /// How many configurations were put in service or refused.
    pub(crate) async fn reloads(&self) -> u64 {
        let metrics = self
            .client
            .get(format!("http://{}/metrics", self.ports[2].address()))
            .send()
            .await
            .unwrap();
        let text = metrics.text().await.unwrap();
        let counts = ["witgate_reloads_total ", "witgate_refused_reloads_total "].map(|name| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.expect("the metric is there").parse::<u64>().unwrap()
        });
        counts.iter().sum()
    }

    /// All that the gateway has written: log, output and audit lines.
    pub(crate) fn written(&self) -> String {
        let audit = fs::read_to_string(self.gateway.dir().join("audit.log")).unwrap_or_default();
        let process = self.gateway.process();
        format!("{}{}{audit}", process.stdout(), process.stderr())
    }

    /// The audit lines so far.
    pub(crate) fn audit(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.gateway.dir().join("audit.log")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

pub(crate) fn digest(token: &str) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(token);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
