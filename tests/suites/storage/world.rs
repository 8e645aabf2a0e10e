//! A gateway with one storage plugin, in front of its backend.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prost::Message as _;
use reqwest::{Client, RequestBuilder, StatusCode, header};
use witgate_lab::{Authority, Gateway, Port, http};
use witgate_prometheus::proto::{MatchType, ReadResponse, TimeSeries};
use witgate_tests::remote::read_body;

use crate::backend::{Backend, Kind};

/// Longer than anything here takes on a machine that is compiling as well.
pub(crate) const SOON: Duration = Duration::from_secs(90);

const USER: &str = "prometheus";
const PASSWORD: &str = "correct-horse";

/// A running gateway and its backend.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) kind: Kind,
    pub(crate) backend: Backend,
    port: Port,
    client: Client,
    _gateway: Gateway,
}

impl World {
    pub(crate) async fn start(kind: Kind) -> Self {
        Self::before(kind, kind.start().await, |plugin| plugin).await
    }

    /// The same before a backend that runs, with another configuration of its plugin: the file, its
    /// `config` and its `grants`.
    pub(crate) async fn before(
        kind: Kind,
        backend: Backend,
        change: impl FnOnce([String; 3]) -> [String; 3],
    ) -> Self {
        let port = Port::free().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new("the suite's authority").unwrap();
        let certified = authority.server(&["localhost"]).unwrap();
        certified.write(directory.path(), "gateway").unwrap();
        let config = config(&change(backend.plugin()), port.number());
        Self {
            kind,
            backend,
            client: http::client_trusting(authority.certificate()).unwrap(),
            _gateway: Gateway::start_in(directory, &config).await.unwrap(),
            port,
        }
    }

    /// A request as a sender or a reader makes it.
    pub(crate) fn post(&self, path: &str, content_type: &str, body: Vec<u8>) -> RequestBuilder {
        let url = format!("https://localhost:{}{path}", self.port.number());
        self.client
            .post(url)
            .body(body)
            .basic_auth(USER, Some(PASSWORD))
            .header(header::CONTENT_TYPE, content_type)
            .header(header::CONTENT_ENCODING, "snappy")
    }

    /// Reads what matches, between two moments in milliseconds: series sorted by their labels.
    pub(crate) async fn read(
        &self,
        matchers: &[(&str, MatchType, &str)],
        start: i64,
        end: i64,
    ) -> Vec<TimeSeries> {
        let body = read_body(matchers, start, end);
        let request = self.post("/api/v1/read", "application/x-protobuf", body);
        let answer = request.send().await.unwrap();
        let (status, body) = (answer.status(), answer.bytes().await.unwrap());
        assert_eq!(
            status,
            StatusCode::OK,
            "{:?}: {}",
            self.kind,
            String::from_utf8_lossy(&body)
        );
        let body = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let answer = ReadResponse::decode(body.as_slice()).unwrap();
        answer.results.into_iter().next().unwrap().timeseries
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn config([file, config, grants]: &[String; 3], port: u16) -> String {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist");
    let plugins = plugins.display();
    let hash = &*HASH;
    format!(
        r"
listeners:
- {{address: '127.0.0.1:{port}', tls: {{certificateFile: gateway.crt, keyFile: gateway.key}}}}
state: {{directory: state}}
plugins:
  storage:
    kind: storage
    file: '{plugins}/{file}.wasm'
    config: {config}
    grants: {grants}
identity:
  publicUrl: https://localhost:{port}
  basic:
  - {{username: {USER}, passwordHash: '{hash}', groups: [metrics]}}
prometheus:
  tenants:
  - name: lab
    storage: storage
    write: {{groups: [metrics]}}
    read: {{groups: [metrics]}}
"
    )
}

/// The password's hash, by the command that an operator uses.
static HASH: LazyLock<String> = LazyLock::new(|| {
    let mut child = Command::new(Gateway::binary().unwrap())
        .args(["hash", "password"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(PASSWORD.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
});
