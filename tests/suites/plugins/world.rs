//! A gateway with good plugins and one that misbehaves.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use witgate_lab::{Gateway, Port, http};
use witgate_prometheus::proto::MatchType;
use witgate_tests::remote::{self, Series};

/// How the machines' bearer tokens begin; their tenants' names follow.
pub(crate) const TOKEN: &str = "a-token-of-the-plugins-suite";

/// A gateway, and who talks to it.
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    client: reqwest::Client,
    port: Port,
}

impl World {
    pub(crate) async fn start() -> Self {
        let port = Port::free().unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::copy(plugin("storage-local"), dir.path().join("local.wasm")).unwrap();
        let config = configuration()
            .replace("127.0.0.1:0", &port.address().to_string())
            .replace(plugin("storage-local").to_str().unwrap(), "local.wasm");
        let gateway = Gateway::start_in(dir, &config).await.unwrap();
        Self {
            gateway,
            client: http::client(),
            port,
        }
    }

    /// Sends a body to a tenant's endpoint.
    pub(crate) async fn post(&self, tenant: &str, path: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        let request = self.client.post(format!("http://{}{path}", self.port.address()));
        let request = request
            .bearer_auth(format!("{TOKEN}-{tenant}"))
            .header("Content-Type", "application/x-protobuf")
            .header("Content-Encoding", "snappy");
        let answer = request.body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }

    pub(crate) async fn write(&self, tenant: &str, series: &[Series]) -> (u16, String) {
        let (status, said) = self
            .post(tenant, "/api/v1/write", remote::write_body(series))
            .await;
        (status, String::from_utf8_lossy(&said).into_owned())
    }

    pub(crate) async fn read(&self, tenant: &str, name: &str, value: &str) -> (u16, String) {
        let body = remote::read_body(&[(name, MatchType::Eq, value)], 0, i64::MAX);
        let (status, said) = self.post(tenant, "/api/v1/read", body).await;
        (status, String::from_utf8_lossy(&said).into_owned())
    }

    /// All that the gateway has written.
    pub(crate) fn written(&self) -> String {
        let process = self.gateway.process();
        format!("{}{}", process.stdout(), process.stderr())
    }
}

/// Two tenants with a machine each: `good` with a plugin that works, and `bad` with one that doesn't.
pub(crate) fn configuration() -> String {
    let digest = |tenant: &str| {
        let digest = Sha256::digest(format!("{TOKEN}-{tenant}"));
        digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         state: {{directory: state}}\n\
         plugins:\n  \
           rules:\n    kind: claims\n    file: {rules:?}\n  \
           local:\n    kind: storage\n    file: {local:?}\n    \
             config: {{retention: 15d}}\n    grants: {{keyValue: {{maxBytes: 1GiB}}}}\n  \
           misbehave:\n    kind: storage\n    file: {misbehave:?}\n    \
             config: {{url: 'http://127.0.0.1:9/'}}\n    \
             grants: {{http: ['http://localhost:9']}}\n    \
             limits: {{cpu: 200ms, memory: 16MiB, instances: 4}}\n\
         identity:\n  publicUrl: https://localhost:8443\n  tokens:\n  \
         - {{name: good, sha256: {good}}}\n  \
         - {{name: bad, sha256: {bad}}}\n\
         prometheus:\n  tenants:\n  \
         - {{name: good, storage: local, write: {{users: [good]}}, read: {{users: [good]}}}}\n  \
         - {{name: bad, storage: misbehave, write: {{users: [bad]}}, read: {{users: [bad]}}}}\n",
        rules = plugin("claims-rules"),
        local = plugin("storage-local"),
        misbehave = guest("storage-misbehave"),
        good = digest("good"),
        bad = digest("bad"),
    )
}

/// An issuer whose users a plugin names that does wrong for one of them.
pub(crate) fn claims_configuration(port: &Port, issuer: &str, user: &str, wrong: &str) -> String {
    format!(
        "listeners: [{{address: '{address}'}}]\n\
         state: {{directory: state}}\n\
         plugins:\n  \
           misbehave:\n    kind: claims\n    file: {misbehave:?}\n    \
             config: {{misbehave: {{{user}: {wrong}}}, url: 'http://127.0.0.1:9/'}}\n    \
             grants: {{http: ['http://localhost:9']}}\n    \
             limits: {{cpu: 200ms, memory: 16MiB, instances: 2}}\n\
         identity:\n  publicUrl: http://localhost:{number}\n  \
           issuers: [{{name: dex, url: '{issuer}', clientId: witgate, claims: misbehave}}]\n",
        address = port.address(),
        number = port.number(),
        misbehave = guest("claims-misbehave"),
    )
}

/// A plugin's component.
pub(crate) fn plugin(name: &str) -> PathBuf {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist");
    dist.canonicalize().unwrap().join(name).with_extension("wasm")
}

/// A misbehaving plugin's component.
pub(crate) fn guest(name: &str) -> PathBuf {
    let file = plugin(name);
    file.with_file_name("guests").join(name).with_extension("wasm")
}
