//! Streams that last: for as long as their session may, however long that is, and as fast as they are
//! read.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;
use witgate_lab::{OpenLdap, eventually};

use crate::{
    SOON, attacks::connect, command_line::Machine, complaint, grant, site::Site, streams::with_a_pod,
};

/// The same site, whose sessions ask the issuer at every second.
async fn refresh_often(site: &Site) {
    let often = site
        .config
        .replace("identity:\n", "identity:\n  session: {refresh: 1s}\n");
    assert!(often != site.config);
    site.reconfigure(&often).await;
}

/// The end of a stream, with its reason.
pub(crate) async fn end_of(site: &Site, what: &str) -> Value {
    eventually(what, SOON, async || {
        let audit = site.audit();
        let end = audit.iter().find(|line| line["event"] == "streamEnd").cloned();
        end.ok_or_else(|| format!("{:?}", audit.last()))
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn whoever_leaves_a_group_loses_the_watches_that_it_allowed() {
    let Some(site) = Site::start().await else { return };
    grant(&site.kubernetes, "corp:platform").await;
    refresh_often(&site).await;
    let machine = Machine::new(&site).await;
    let (browser, _) = site.browser("alice").await;
    machine.log_in(&browser).await;
    let kubectl = machine.kubectl();
    let watch = kubectl
        .start(&["get", "namespaces", "--watch", "-o", "name"])
        .unwrap();
    eventually("the watch runs", SOON, async || match watch.stdout() {
        text if text.contains("namespace/default") => Ok(()),
        text => Err(format!("{text}{}", watch.stderr())),
    })
    .await
    .unwrap();
    let base = OpenLdap::BASE;
    let left = format!(
        "dn: cn=platform,ou=groups,{base}\nchangetype: modify\nreplace: member\nmember: uid=carol,ou=people,{base}\n"
    );
    site.ldap.modify(&left).await.unwrap();
    let end = end_of(&site, "the watch ends").await;
    assert_eq!(end["reason"], "the user's name or groups have changed", "{end}");
    assert_eq!(
        (
            &end["user"],
            &end["via"],
            &end["target"]["verb"],
            &end["target"]["resource"]
        ),
        (
            &"alice@example.org".into(),
            &"session".into(),
            &"watch".into(),
            &"namespaces".into()
        )
    );
    assert!(end["durationUs"].as_u64() > Some(0), "{end}");
    let said = complaint(&kubectl, &["get", "namespaces"]).await;
    assert!(said.contains(r#"User "alice@example.org" cannot list"#), "{said}");
}

#[tokio::test]
async fn kubectl_carries_on_by_itself_when_the_id_token_has_expired() {
    let lifetime = Duration::from_secs(8);
    let Some(site) = Site::with_tokens_for(lifetime).await else {
        return;
    };
    grant(&site.kubernetes, "corp:platform").await;
    refresh_often(&site).await;
    let machine = Machine::new(&site).await;
    let (browser, _) = site.browser("alice").await;
    let begun = Instant::now();
    machine.log_in(&browser).await;
    let kubectl = machine.kubectl();
    let watch = kubectl
        .start(&["get", "configmaps", "--watch", "-o", "name"])
        .unwrap();
    let admin = site.kubernetes.kubectl().unwrap();
    let mut number = 0;
    // The watch goes on, and new commands are let in, well after what the login brought has expired.
    while begun.elapsed() < 2 * lifetime {
        number += 1;
        let name = format!("number-{number}");
        admin.succeed(&["create", "configmap", &name]).await.unwrap();
        eventually("the watch shows it", SOON, async || match watch.stdout() {
            text if text.contains(&name) => Ok(()),
            text => Err(format!("{text}{}", watch.stderr())),
        })
        .await
        .unwrap();
        kubectl.succeed(&["get", "configmap", &name]).await.unwrap();
    }
    let audit = site.audit();
    assert!(audit.iter().all(|line| line["event"] != "streamEnd"), "{audit:?}");
}

/// A pod's command over a WebSocket that a browser could have opened: the token is among the
/// subprotocols.
async fn exec(site: &Site, token: &str, command: &[&str]) -> TlsStream<TcpStream> {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let command: String = command.iter().map(|word| format!("command={word}&")).collect();
    let bearer = URL_SAFE_NO_PAD.encode(token);
    let request = format!(
        "GET /clusters/lab/api/v1/namespaces/default/pods/p/exec?{command}stdout=true HTTP/1.1\r\n\
         Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.{bearer}, v4.channel.k8s.io\r\n\r\n"
    );
    let mut stream = connect(site, b"http/1.1").await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(
        head.contains("sec-websocket-protocol: v4.channel.k8s.io\r\n"),
        "{head}"
    );
    assert!(!head.contains("bearer"), "{head}");
    stream
}

#[tokio::test]
async fn a_browsers_websocket_is_let_in_by_its_subprotocol() {
    let Some((site, _kubelet)) = with_a_pod(Duration::from_secs(3600)).await else {
        return;
    };
    let token = site.token("alice").await;
    let mut stream = exec(&site, &token, &["echo", "across"]).await;
    let mut said = Vec::new();
    // To the end, however the other side ends it.
    let _ended = tokio::time::timeout(SOON, stream.read_to_end(&mut said))
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("across\n"), "{said}");
    // Each half ends by itself; this is the other one.
    drop(stream);
    let end = end_of(&site, "the stream has ended").await;
    assert_eq!(end["user"], "alice@example.org", "{end}");
    assert!(!site.written().contains(token.rsplit('.').next().unwrap()));
}

/// How many bytes the gateway has read, of whatever.
fn read_by(site: &Site) -> u64 {
    let process = site.gateway.process().id().unwrap();
    let counts = std::fs::read_to_string(format!("/proc/{process}/io")).unwrap();
    let line = counts.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_is_not_read_is_not_fetched() {
    let Some((site, _kubelet)) = with_a_pod(Duration::from_secs(3600)).await else {
        return;
    };
    let mut stream = exec(&site, &site.token("alice").await, &["yes"]).await;
    let mut some = vec![0; 64 << 10];
    stream.read_exact(&mut some).await.unwrap();
    // What is in between fills up, and then the command waits. A busy machine may stand still for a
    // moment, so it is looked at more than once.
    let (mut before, mut looks) = (0, 0);
    eventually("nothing flows any more", SOON, async || {
        let now = read_by(&site);
        let last = std::mem::replace(&mut before, now);
        looks = if last == now { looks + 1 } else { 0 };
        if looks == 20 { Ok(()) } else { Err(now) }
    })
    .await
    .unwrap();
    drop(stream);
    let end = end_of(&site, "the stream has ended").await;
    let sent = end["sentBytes"].as_u64().unwrap();
    assert!((64 << 10..16 << 20).contains(&sent), "{end}");
}

#[tokio::test]
async fn a_command_needs_more_than_leave_to_look() {
    let Some((site, _kubelet)) = with_a_pod(Duration::from_secs(3600)).await else {
        return;
    };
    let admin = site.kubernetes.kubectl().unwrap();
    let role = [
        "create",
        "clusterrole",
        "looks",
        "--verb=get",
        "--resource=pods,pods/exec",
    ];
    admin.succeed(&role).await.unwrap();
    let binding = [
        "create",
        "clusterrolebinding",
        "looks",
        "--clusterrole=looks",
        "--user=bob@example.org",
    ];
    admin.succeed(&binding).await.unwrap();
    let bob = site.kubectl(&site.cluster_path(), &site.token("bob").await);
    bob.succeed(&["get", "pod", "p"]).await.unwrap();
    let said = complaint(&bob, &["exec", "p", "--", "true"]).await;
    assert!(
        said.contains(r#"User "bob@example.org" cannot create resource "pods/exec""#),
        "{said}"
    );
}
