//! A gateway with a certificate, in front of the backends that a test has.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
    time::Duration,
};

use reqwest::{Client, RequestBuilder, StatusCode, header};
use serde_json::Value;
use witgate_lab::{Authority, Gateway, Port, eventually, http};
use witgate_prometheus::proto::MatchType;
use witgate_tests::remote::{Series, read_answer, read_body, write_body};

/// Longer than anything here takes on a machine that is compiling as well.
pub(crate) const SOON: Duration = Duration::from_secs(90);

/// Who may write and read.
pub(crate) const USER: &str = "prometheus";
/// Their password, which must not be in any log.
pub(crate) const PASSWORD: &str = "correct-horse";
/// Somebody with the same password whom no tenant grants anything.
pub(crate) const STRANGER: &str = "stranger";

/// What differs between the tests' configurations.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Where the plugin `influx` finds InfluxDB; nowhere by default.
    pub(crate) influx: SocketAddr,
    /// The plugin that the tenant's samples are in; none if `tenant` says more.
    pub(crate) storage: &'static str,
    /// The section `prometheus.limits`.
    pub(crate) limits: &'static str,
    pub(crate) url_credentials: bool,
    /// More of the tenant `lab`.
    pub(crate) tenant: &'static str,
    /// More tenants, and more of the section `prometheus`.
    pub(crate) more: &'static str,
    /// Users with the same password, and each one's groups.
    pub(crate) users: &'static [(&'static str, &'static str)],
    /// More of the sections of the plugins `influx` and `local`.
    pub(crate) plugin: &'static str,
    /// More plugins.
    pub(crate) plugins: &'static str,
}

/// A running gateway, and a client that trusts its certificate.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    port: Port,
    admin: Port,
    client: Client,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            influx: SocketAddr::from(([127, 0, 0, 1], 9)),
            storage: "influx",
            limits: "{}",
            url_credentials: false,
            tenant: "",
            more: "",
            users: &[],
            plugin: "",
            plugins: "",
        }
    }
}

impl Setup {
    pub(crate) fn influx(address: SocketAddr) -> Self {
        Self {
            influx: address,
            ..Self::default()
        }
    }

    pub(crate) fn local() -> Self {
        Self {
            storage: "local",
            ..Self::default()
        }
    }

    fn render(&self, port: u16, admin: u16) -> String {
        let dist = root().join("plugins/dist");
        let dist = dist.display();
        let Self {
            influx,
            storage,
            limits,
            url_credentials,
            tenant,
            more,
            users,
            plugin,
            plugins,
        } = self;
        let hash = &*HASH;
        // Of the components that do wrong there is one only where a test wants it.
        let misbehave = match *storage {
            "misbehave" => format!(
                "  misbehave:\n    kind: storage\n    file: '{dist}/guests/storage-misbehave.wasm'\n    \
                 config: {{always: trap}}\n    grants: {{http: ['http://localhost:9']}}"
            ),
            _ => String::new(),
        };
        let storage = match *storage {
            "" => String::new(),
            plugin => format!("storage: {plugin}"),
        };
        let users = users.iter().map(|(user, groups)| {
            format!("  - {{username: {user}, passwordHash: '{hash}', groups: [{groups}]}}\n")
        });
        let users: String = users.collect();
        format!(
            r"
listeners:
- {{address: '127.0.0.1:{port}', tls: {{certificateFile: gateway.crt, keyFile: gateway.key}}}}
- {{address: '127.0.0.1:{admin}', serves: admin}}
state: {{directory: state}}
plugins:
  influx:
    kind: storage
    file: '{dist}/storage-influxdb.wasm'
    config: {{url: 'http://{influx}', database: prometheus}}
    grants: {{http: [{{origin: 'http://{influx}', addresses: private}}]}}
    {plugin}
  local:
    kind: storage
    file: '{dist}/storage-local.wasm'
    config: {{retention: forever}}
    grants: {{keyValue: {{maxBytes: 1GiB}}}}
    {plugin}
{misbehave}
{plugins}
identity:
  publicUrl: https://localhost:{port}
  basic:
  - {{username: {USER}, passwordHash: '{hash}', groups: [metrics]}}
  - {{username: {STRANGER}, passwordHash: '{hash}', groups: [others]}}
{users}prometheus:
  tenants:
  - name: lab
    {storage}
    attributes: {{db: prometheus}}
    write: {{groups: [metrics]}}
    read: {{groups: [metrics]}}
    {tenant}
{more}
  limits: {limits}
urlCredentials: {url_credentials}
audit: {{file: audit.log}}
"
        )
    }
}

impl World {
    pub(crate) async fn start(setup: &Setup) -> Self {
        let (port, admin) = (Port::free().unwrap(), Port::free().unwrap());
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new("the suite's authority").unwrap();
        let certified = authority.server(&["localhost", "127.0.0.1"]).unwrap();
        certified.write(directory.path(), "gateway").unwrap();
        fs::write(directory.path().join("authority.pem"), authority.certificate()).unwrap();
        let client = http::client_trusting(authority.certificate()).unwrap();
        let config = setup.render(port.number(), admin.number());
        Self {
            gateway: Gateway::start_in(directory, &config).await.unwrap(),
            port,
            admin,
            client,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port.number())
    }

    /// What a sender needs that goes on while the gateway is away: a client, and where to write.
    pub(crate) fn sender(&self) -> (Client, String) {
        (self.client.clone(), self.url("/api/v1/write"))
    }

    /// A file with the authority that signed the gateway's certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.gateway.dir().join("authority.pem")
    }

    /// Changes the configuration file, and waits until the change is in service.
    pub(crate) async fn reconfigure(&self, setup: &Setup) {
        assert!(self.is_reconfigured(setup).await, "{}", self.written());
    }

    /// Changes the configuration file, and waits until the change is in service or refused.
    pub(crate) async fn is_reconfigured(&self, setup: &Setup) -> bool {
        const COUNTS: [&str; 2] = [
            "witgate_configuration_generation",
            "witgate_refused_reloads_total",
        ];
        let before = [self.metric(COUNTS[0]).await, self.metric(COUNTS[1]).await];
        let config = setup.render(self.port.number(), self.admin.number());
        self.gateway.write_config(&config).unwrap();
        let changed = async || {
            let now = [self.metric(COUNTS[0]).await, self.metric(COUNTS[1]).await];
            if now == before {
                Err(format!("generation {}", now[0]))
            } else {
                Ok(now[0] > before[0])
            }
        };
        eventually("the changed configuration is looked at", SOON, changed)
            .await
            .unwrap()
    }

    /// The first value of one of the gateway's metrics.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let url = format!("http://{}/metrics", self.admin.address());
        let text = http::client()
            .get(url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_default();
        let value = line.rsplit(' ').next().unwrap_or_default();
        value.parse().unwrap_or_else(|_| panic!("no {name} in {text}"))
    }

    /// A request of nobody, without any header.
    pub(crate) fn bare(&self, path: &str, body: Vec<u8>) -> RequestBuilder {
        self.client.post(self.url(path)).body(body)
    }

    /// A request as Prometheus sends it.
    pub(crate) fn post(&self, path: &str, body: Vec<u8>) -> RequestBuilder {
        self.post_as(USER, path, body)
    }

    /// The same of another user with the same password.
    pub(crate) fn post_as(&self, user: &str, path: &str, body: Vec<u8>) -> RequestBuilder {
        self.bare(path, body)
            .basic_auth(user, Some(PASSWORD))
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::CONTENT_ENCODING, "snappy")
    }

    /// Writes series: the status, and what the gateway said.
    pub(crate) async fn write(&self, series: &[Series]) -> (StatusCode, String) {
        let answer = self
            .post("/api/v1/write", write_body(series))
            .send()
            .await
            .unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    /// Reads what matches, between two moments in milliseconds.
    pub(crate) async fn read(
        &self,
        matchers: &[(&str, MatchType, &str)],
        start: i64,
        end: i64,
    ) -> Vec<Series> {
        let request = self.post("/api/v1/read", read_body(matchers, start, end));
        let answer = request.send().await.unwrap();
        let (status, body) = (answer.status(), answer.bytes().await.unwrap());
        assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
        read_answer(&body)
    }

    /// The audit lines so far.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.gateway.dir().join("audit.log")).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The audit line of one request.
    pub(crate) async fn audited(&self, request_id: &str) -> Value {
        let line = async || {
            let line = self
                .audit()
                .into_iter()
                .find(|line| line["requestId"] == request_id);
            line.ok_or_else(|| format!("no line for {request_id}"))
        };
        eventually("the audit line is written", SOON, line).await.unwrap()
    }

    /// All that the gateway has written for people to read.
    pub(crate) fn written(&self) -> String {
        let process = self.gateway.process();
        let audit = fs::read_to_string(self.gateway.dir().join("audit.log")).unwrap_or_default();
        [process.stdout(), process.stderr(), audit].concat()
    }
}

/// The password's hash, by the command that an operator uses.
static HASH: LazyLock<String> = LazyLock::new(|| {
    let mut command = Command::new(Gateway::binary().unwrap());
    command
        .args(["hash", "password"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), PASSWORD.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
});

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
