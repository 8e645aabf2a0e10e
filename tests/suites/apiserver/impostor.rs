//! Apiservers that do what a real one would not, and a log that can't be written.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{Client, StatusCode, header, redirect::Policy};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};
use tokio_rustls::TlsAcceptor;
use witgate_lab::{Authority, Certified, Gateway, Port, eventually};

use crate::{SOON, site::digest};

/// What the gateway shows to the apiserver.
const CREDENTIAL: &str = "the-gateways-own-credential";

/// What the client shows to the gateway.
const TOKEN: &str = "the-token-of-somebody-who-is-known";

/// What it answers to a request.
type Answer = dyn Fn(&str) -> Option<String> + Send + Sync;

/// A server with a certificate that answers as it is told; or never.
struct Impostor {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
    silences: Arc<Silences>,
    serving: AbortHandle,
}

/// Requests that wait for an answer which never comes.
#[derive(Default)]
struct Silences {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Impostor {
    /// Answers what `answer` says; nothing at all, where that is nothing. The heads of requests are kept.
    async fn start(
        certified: &Certified,
        answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let chain = CertificateDer::pem_slice_iter(certified.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(certified.key.as_bytes()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let silences: Arc<Silences> = Arc::default();
        let answer: Arc<Answer> = Arc::new(answer);
        let (kept, counted) = (Arc::clone(&heads), Arc::clone(&silences));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
                let (heads, silences) = (Arc::clone(&kept), Arc::clone(&counted));
                tokio::spawn(async move { serve(stream, &acceptor, &*answer, &heads, &silences).await });
            }
        });
        Self {
            url,
            heads,
            silences,
            serving: serving.abort_handle(),
        }
    }

    /// The heads of requests so far, but for the gateway's question who it is.
    fn heads(&self) -> Vec<String> {
        let heads = self.heads.lock().unwrap().clone();
        let own = |head: &String| head.contains("/selfsubjectreviews ");
        heads.into_iter().filter(|head| !own(head)).collect()
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    answer: &Answer,
    heads: &Mutex<Vec<String>>,
    silences: &Silences,
) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap());
        stream.read_exact(&mut vec![0; length]).await?;
        heads.lock().unwrap().push(head.clone());
        if head.contains("/selfsubjectreviews ") {
            let review = json!({"status": {"userInfo": {"username": "gateway"}}});
            stream
                .write_all(http("201 Created", &review.to_string()).as_bytes())
                .await?;
            continue;
        }
        match answer(&head) {
            Some(answer) => stream.write_all(answer.as_bytes()).await?,
            None => {
                let now = silences.now.fetch_add(1, Ordering::SeqCst) + 1;
                silences.most.fetch_max(now, Ordering::SeqCst);
                // Until the gateway hangs up.
                let _ended = stream.read_u8().await;
                silences.now.fetch_sub(1, Ordering::SeqCst);
                return Ok(());
            }
        }
    }
}

fn http(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// A gateway in front of one such apiserver, which speaks without TLS, since that is not what it is about.
struct World {
    gateway: Gateway,
    port: Port,
    client: Client,
}

impl World {
    async fn start(server: &str, authority: &Authority) -> Self {
        Self::with_audit(server, authority, "audit.log").await
    }

    async fn with_audit(server: &str, authority: &Authority, audit: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        write_kubeconfig(&directory, server, authority);
        let port = Port::free().unwrap();
        let config = format!(
            "listeners: [{{address: '{}'}}]\n\
             state: {{directory: state}}\n\
             identity: {{publicUrl: 'http://{}', tokens: [{{name: alice, sha256: {}, groups: [team]}}]}}\n\
             clusters: [{{name: lab, kubeconfig: kubeconfig}}]\n\
             audit: {{file: '{audit}'}}\n",
            port.address(),
            port.address(),
            digest(TOKEN),
        );
        let gateway = Gateway::start_in(directory, &config).await.unwrap();
        let client = Client::builder().no_proxy().redirect(Policy::none());
        Self {
            gateway,
            port,
            client: client.build().unwrap(),
        }
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.port.address());
        self.client.get(url).bearer_auth(TOKEN)
    }

    /// All that the gateway has written for people to read.
    fn written(&self) -> String {
        let audit = fs::read_to_string(self.gateway.dir().join("audit.log")).unwrap_or_default();
        let process = self.gateway.process();
        [process.stdout(), process.stderr(), audit].concat()
    }
}

fn write_kubeconfig(directory: &TempDir, server: &str, authority: &Authority) {
    write_kubeconfig_in(directory.path(), server, authority);
}

fn write_kubeconfig_in(directory: &std::path::Path, server: &str, authority: &Authority) {
    fs::write(directory.join("authority.pem"), authority.certificate()).unwrap();
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority": "authority.pem"}}],
        "users": [{"name": "c", "user": {"token": CREDENTIAL}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    });
    fs::write(directory.join("kubeconfig"), config.to_string()).unwrap();
}

#[tokio::test]
async fn nothing_that_a_client_claims_reaches_an_apiserver() {
    let authority = Authority::new("the cluster's authority").unwrap();
    let certified = authority.server(&["localhost"]).unwrap();
    let impostor = Impostor::start(&certified, |_| Some(http("200 OK", "{}"))).await;
    let world = World::start(&impostor.url, &authority).await;
    let mut request = world.get("/clusters/lab/api/v1/pods?limit=1");
    for name in [
        "cookie",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-uri",
        "x-real-ip",
        "x-remote-user",
        "x-remote-group",
        "x-remote-extra-scopes",
        "x_remote_user",
        "x-client-cert",
        "x-request-id",
        "proxy-authorization",
        "x-named",
    ] {
        request = request.header(name, "claimed");
    }
    let request = request
        .header(
            "connection",
            "X-Named, Impersonate-User, Impersonate-Group, Authorization",
        )
        .header("x-http-method-override", "DELETE");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(!format!("{:?}", answer.headers()).contains(CREDENTIAL));
    let heads = impostor.heads();
    let [head] = heads.as_slice() else {
        panic!("{heads:?}")
    };
    assert!(
        head.starts_with("get /api/v1/pods?limit=1 http/1.1\r\n"),
        "{head}"
    );
    assert!(!head.contains("claimed") && !head.contains(TOKEN), "{head}");
    let lines = |name: &str| {
        head.lines()
            .filter(|line| line.starts_with(name))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        lines("authorization"),
        [format!("authorization: bearer {CREDENTIAL}")]
    );
    let mut claims = lines("impersonate-");
    claims.sort_unstable();
    assert_eq!(
        claims,
        [
            "impersonate-group: system:authenticated",
            "impersonate-group: team",
            "impersonate-user: alice"
        ]
    );
    assert!(!world.written().contains(CREDENTIAL), "{}", world.written());
}

#[tokio::test]
async fn a_redirection_is_handed_on_and_not_followed() {
    let authority = Authority::new("the cluster's authority").unwrap();
    let certified = authority.server(&["localhost"]).unwrap();
    let elsewhere = Impostor::start(&certified, |_| Some(http("200 OK", "{}"))).await;
    let target = format!("{}/steal", elsewhere.url);
    let location = target.clone();
    let impostor = Impostor::start(&certified, move |_| {
        Some(format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        ))
    })
    .await;
    let world = World::start(&impostor.url, &authority).await;
    let answer = world.get("/clusters/lab/api").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(answer.headers()[header::LOCATION], target.as_str());
    assert!(elsewhere.heads().is_empty(), "{:?}", elsewhere.heads());
}

#[tokio::test]
async fn an_apiserver_whose_certificate_does_not_hold_gets_nothing() {
    let authority = Authority::new("the cluster's authority").unwrap();
    let other = Authority::new("somebody else's authority").unwrap();
    for (certified, why) in [
        (other.server(&["localhost"]).unwrap(), "UnknownIssuer"),
        (authority.expired_server(&["localhost"]).unwrap(), "expired"),
        (
            authority.server(&["elsewhere.example"]).unwrap(),
            "not valid for name",
        ),
    ] {
        let impostor = Impostor::start(&certified, |_| Some(http("200 OK", "{}"))).await;
        let world = World::start(&impostor.url, &authority).await;
        let answer = world.get("/clusters/lab/api").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{why}");
        let said = answer.text().await.unwrap();
        assert!(
            said.contains("cluster lab does not answer") && said.contains(why),
            "{said}"
        );
        assert!(impostor.heads.lock().unwrap().is_empty(), "{why}");
    }
}

#[tokio::test]
async fn a_changed_bundle_of_authorities_counts_without_a_restart() {
    let (before, after) = (
        Authority::new("before").unwrap(),
        Authority::new("after").unwrap(),
    );
    let certified = after.server(&["localhost"]).unwrap();
    let impostor = Impostor::start(&certified, |_| Some(http("200 OK", "{}"))).await;
    let world = World::start(&impostor.url, &before).await;
    let answer = world.get("/clusters/lab/api").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    // Only the file that the kubeconfig names.
    fs::write(world.gateway.dir().join("authority.pem"), after.certificate()).unwrap();
    eventually("the new authority is trusted", SOON, async || {
        match world.get("/clusters/lab/api").send().await.unwrap().status() {
            StatusCode::OK => Ok(()),
            status => Err(status),
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_protocol_that_nobody_asked_for_is_not_changed_to() {
    let authority = Authority::new("the cluster's authority").unwrap();
    let certified = authority.server(&["localhost"]).unwrap();
    let impostor = Impostor::start(&certified, |head| {
        Some(if head.contains("/switch ") {
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".to_owned()
        } else {
            http("200 OK", "{}")
        })
    })
    .await;
    let world = World::start(&impostor.url, &authority).await;
    let answer = world.get("/clusters/lab/switch").send().await.unwrap();
    assert!(answer.status().is_server_error(), "{}", answer.status());
    let answer = world.get("/clusters/lab/api").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn questions_about_acting_as_others_are_few_at_a_time_and_end() {
    let authority = Authority::new("the cluster's authority").unwrap();
    let certified = authority.server(&["localhost"]).unwrap();
    let impostor = Impostor::start(&certified, |_| None).await;
    let world = World::start(&impostor.url, &authority).await;
    let request = || {
        let mut request = world.get("/clusters/lab/api").header("impersonate-user", "bob");
        for number in 0..40 {
            request = request.header("impersonate-group", format!("group-{number}"));
        }
        request
    };
    let begun = Instant::now();
    let answer = request().send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(impostor.silences.most.load(Ordering::SeqCst), 8);
    let none_waits = async || {
        eventually("nothing is asked any more", SOON, async || {
            match impostor.silences.now.load(Ordering::SeqCst) {
                0 => Ok(()),
                waiting => Err(waiting),
            }
        })
        .await
        .unwrap();
    };
    none_waits().await;
    // A client that leaves takes its questions along, long before their time is up.
    let begun = Instant::now();
    let leaving = tokio::spawn(request().send());
    eventually("the questions are asked", SOON, async || {
        match impostor.silences.now.load(Ordering::SeqCst) {
            8 => Ok(()),
            waiting => Err(waiting),
        }
    })
    .await
    .unwrap();
    leaving.abort();
    none_waits().await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    // The request itself was never sent.
    assert!(
        impostor
            .heads()
            .iter()
            .all(|head| head.contains("/subjectaccessreviews "))
    );
}

#[tokio::test]
async fn nothing_is_let_through_that_can_not_be_written_down() {
    let authority = Authority::new("the cluster's authority").unwrap();
    let certified = authority.server(&["localhost"]).unwrap();
    let impostor = Impostor::start(&certified, |_| Some(http("200 OK", "{}"))).await;
    let world = World::with_audit(&impostor.url, &authority, "/dev/full").await;
    // The first one is decided before anything shows; its line waits.
    let refused = eventually("requests are refused", SOON, async || {
        let answer = world.get("/clusters/lab/api").send().await.unwrap();
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            Ok(answer)
        } else {
            Err(answer.status())
        }
    })
    .await
    .unwrap();
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    let said = refused.text().await.unwrap();
    assert!(said.contains("the audit log can't be written"), "{said}");
    let before = impostor.heads().len();
    for (path, expected) in [
        ("/clusters/lab/api", 503),
        ("/gateway/v1/whoami", 503),
        ("/api/v1/write", 503),
        ("/", 503),
        ("/readyz", 503),
        ("/livez", 200),
    ] {
        let answer = world.get(path).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{path}");
    }
    assert_eq!(impostor.heads().len(), before);
    assert!(
        world.written().contains("audit lines can't be written"),
        "{}",
        world.written()
    );
}
