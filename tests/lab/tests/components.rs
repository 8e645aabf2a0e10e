//! Each component starts, answers as what it is, and is gone once it is dropped.

#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails its test")]

use std::{net::TcpStream, path::PathBuf, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use witgate_lab::{
    Authority, Component, Dex, DexOptions, Error, Etcd, GroupNames, InfluxDb, Kubectl, Kubernetes, OpenLdap,
    Process, Prometheus, TokenRequest, VictoriaMetrics, eventually, http, require,
};

const SOON: Duration = Duration::from_secs(30);

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

fn process_directory(process: &Process) -> PathBuf {
    PathBuf::from("/proc").join(process.id().unwrap().to_string())
}

#[tokio::test]
async fn etcd_is_healthy_survives_a_kill_and_ends_with_its_value() {
    let Ok(()) = require(Component::Etcd) else { return };
    let mut etcd = Etcd::start().await.unwrap();
    let key = json!({"key": "YQ==", "value": "Yg=="});
    let post = |path: &str| {
        http::client()
            .post(format!("{}/v3/kv/{path}", etcd.endpoint()))
            .json(&key)
    };
    post("put").send().await.unwrap().error_for_status().unwrap();
    let range = post("range");
    etcd.kill();
    assert!(matches!(etcd.stop().await, Err(Error::NotRunning { .. })));
    etcd.restart().await.unwrap();
    let found: Value = range.send().await.unwrap().json().await.unwrap();
    assert_eq!(found["kvs"][0]["value"], "Yg==");
    let process = process_directory(etcd.process());
    assert!(process.exists());
    drop(etcd);
    assert!(!process.exists());
}

#[tokio::test]
async fn kubectl_talks_to_the_apiserver_as_whoever_it_is() {
    let Ok(()) = require(Component::Kubernetes) else {
        return;
    };
    let kubernetes = Kubernetes::start().await.unwrap();

    let admin = kubernetes.kubectl().unwrap();
    let version: Value =
        serde_json::from_str(&admin.succeed(&["version", "-o", "json"]).await.unwrap()).unwrap();
    assert_eq!(
        version["serverVersion"]["gitVersion"],
        version["clientVersion"]["gitVersion"]
    );
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: i}]}}";
    admin.apply(pod).await.unwrap();
    assert_eq!(
        admin.succeed(&["get", "pods", "-o", "name"]).await.unwrap(),
        "pod/p\n"
    );

    let gateway = Kubectl::with_kubeconfig(&kubernetes.gateway_kubeconfig().await.unwrap()).unwrap();
    let alone = gateway.run(&["get", "pods"]).await.unwrap();
    assert!(
        alone
            .stderr
            .contains(r#"User "witgate" cannot list resource "pods""#),
        "{}",
        alone.stderr
    );
    let as_admin = [
        "get",
        "pods",
        "--as=alice",
        "--as-group=system:masters",
        "--as-uid=7",
    ];
    assert!(gateway.succeed(&as_admin).await.unwrap().contains('p'));

    let token = kubernetes
        .service_account_token("default", "robot")
        .await
        .unwrap();
    let robot =
        Kubectl::with_token(&kubernetes.server(), &token, Some(&kubernetes.authority_path())).unwrap();
    let who = robot
        .succeed(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"])
        .await
        .unwrap();
    assert_eq!(who, "system:serviceaccount:default:robot");
    let nobody =
        Kubectl::with_token(&kubernetes.server(), "wrong", Some(&kubernetes.authority_path())).unwrap();
    assert!(
        nobody
            .run(&["get", "pods"])
            .await
            .unwrap()
            .stderr
            .contains("must be logged in")
    );
}

#[tokio::test]
async fn a_watch_shows_what_happens_while_it_runs() {
    let Ok(()) = require(Component::Kubernetes) else {
        return;
    };
    let kubernetes = Kubernetes::start().await.unwrap();
    let kubectl = kubernetes.kubectl().unwrap();
    let watch = kubectl
        .start(&["get", "configmaps", "--watch", "-o", "name"])
        .unwrap();
    kubectl.succeed(&["create", "configmap", "later"]).await.unwrap();
    eventually("the watch shows it", SOON, async || {
        let stdout = watch.stdout();
        if stdout.contains("configmap/later") {
            Ok(())
        } else {
            Err(stdout + &watch.stderr())
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_person_of_the_directory_gets_a_token_with_her_groups() {
    let (Ok(()), Ok(())) = (require(Component::OpenLdap), require(Component::Dex)) else {
        return;
    };
    let ldap = OpenLdap::start().await.unwrap();
    let dex = Dex::start(DexOptions {
        ldap: Some(&ldap),
        ..DexOptions::default()
    })
    .await
    .unwrap();

    let alice = claims(&dex.id_token("alice", "alice-password").await.unwrap());
    assert_eq!(alice["iss"], dex.issuer());
    assert_eq!(alice["aud"], Dex::CLIENT_ID);
    assert_eq!(alice["email"], "alice@example.org");
    assert_eq!(alice["groups"], json!(["platform", "developers"]));
    assert!(claims(&dex.id_token("carol", "carol-password").await.unwrap())["groups"].is_null());

    let refused = dex.id_token("alice", "bob-password").await.unwrap_err();
    assert!(matches!(refused, Error::Refused { status: 401, .. }), "{refused}");

    let public = TokenRequest {
        client_id: Dex::PUBLIC_CLIENT_ID,
        client_secret: "",
        username: "bob",
        password: "bob-password",
        scope: "openid groups offline_access audience:server:client_id:witgate",
    };
    let tokens = dex.tokens(public).await.unwrap();
    assert!(
        claims(&tokens.id_token)["aud"]
            .as_array()
            .unwrap()
            .contains(&json!(Dex::CLIENT_ID))
    );
    assert!(tokens.refresh_token.is_some());

    let member = format!("member: uid=carol,ou=people,{}", OpenLdap::BASE);
    let group = format!("dn: cn=platform,ou=groups,{}", OpenLdap::BASE);
    ldap.modify(&format!("{group}\nchangetype: modify\nadd: member\n{member}\n"))
        .await
        .unwrap();
    let carol = claims(&dex.id_token("carol", "carol-password").await.unwrap());
    assert_eq!(carol["groups"], json!(["platform"]));
}

#[tokio::test]
async fn groups_can_be_distinguished_names() {
    let (Ok(()), Ok(())) = (require(Component::OpenLdap), require(Component::Dex)) else {
        return;
    };
    let ldap = OpenLdap::start().await.unwrap();
    let group_names = GroupNames::DistinguishedName;
    let dex = Dex::start(DexOptions {
        ldap: Some(&ldap),
        group_names,
        ..DexOptions::default()
    })
    .await
    .unwrap();
    let bob = claims(&dex.id_token("bob", "bob-password").await.unwrap());
    assert_eq!(
        bob["groups"],
        json!([format!("cn=developers,ou=groups,{}", OpenLdap::BASE)])
    );
}

#[tokio::test]
async fn the_password_database_logs_in_over_tls_and_a_restart_brings_new_keys() {
    let Ok(()) = require(Component::Dex) else { return };
    let authority = Authority::new("lab").unwrap();
    let id_tokens = Duration::from_secs(90);
    let options = DexOptions {
        authority: Some(&authority),
        id_tokens,
        ..DexOptions::default()
    };
    let mut dex = Dex::start(options).await.unwrap();
    assert!(dex.issuer().starts_with("https://127.0.0.1:"));
    let key_id = |token: &str| {
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        serde_json::from_slice::<Value>(&header).unwrap()["kid"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let [(user, password), (other, other_password)] = Dex::LOCAL_USERS;
    let before = dex.id_token(user, password).await.unwrap();
    let body = claims(&before);
    assert_eq!(body["exp"].as_u64().unwrap() - body["iat"].as_u64().unwrap(), 90);
    dex.restart().await.unwrap();
    let after = dex.id_token(other, other_password).await.unwrap();
    assert_ne!(key_id(&before), key_id(&after));
}

#[tokio::test]
async fn prometheus_scrapes_itself_and_keeps_its_samples_over_a_restart() {
    let Ok(()) = require(Component::Prometheus) else {
        return;
    };
    let config = |address| {
        format!(
            "global: {{scrape_interval: 1s}}\n\
             scrape_configs: [{{job_name: itself, static_configs: [{{targets: ['{address}']}}]}}]\n"
        )
    };
    let mut prometheus = Prometheus::start(config).await.unwrap();
    let count = async |prometheus: &Prometheus| -> Result<f64, Error> {
        let found = prometheus.query("count_over_time(up[5m])", None).await?;
        Ok(found["result"][0]["value"][1]
            .as_str()
            .and_then(|count| count.parse().ok())
            .unwrap_or(0.0))
    };
    let scraped = eventually("three scrapes", SOON, async || match count(&prometheus).await {
        Ok(count) if count >= 3.0 => Ok(count),
        other => Err(format!("{other:?}")),
    })
    .await
    .unwrap();
    prometheus.stop().await.unwrap();
    prometheus.restart().await.unwrap();
    assert!(count(&prometheus).await.unwrap() >= scraped);
    assert!(matches!(
        prometheus.query("up{", None).await,
        Err(Error::Refused { status: 400, .. })
    ));
    let refused = prometheus.reconfigure("scrape_configs: 7\n").await;
    assert!(matches!(refused, Err(Error::Refused { status: 500, .. })));
}

#[tokio::test]
async fn victoriametrics_shows_what_it_was_sent_once_it_is_flushed() {
    let Ok(()) = require(Component::VictoriaMetrics) else {
        return;
    };
    let victoria = VictoriaMetrics::start(&[("retentionPeriod", "10y")])
        .await
        .unwrap();
    let import = http::client()
        .post(format!("{}/api/v1/import/prometheus", victoria.url()))
        .body("up{job=\"a\"} 1.5 1700000000000");
    import.send().await.unwrap().error_for_status().unwrap();
    victoria.flush().await.unwrap();
    let query = [("match[]", "up"), ("start", "0"), ("max_rows_per_line", "1")];
    let found = victoria.api("export", &query).await.unwrap();
    assert_eq!(
        (&found["values"], &found["timestamps"]),
        (&json!([1.5]), &json!([1_700_000_000_000_u64]))
    );
    let process = process_directory(victoria.process());
    drop(victoria);
    assert!(!process.exists());
}

#[tokio::test]
async fn influxdb_keeps_what_it_acknowledged_over_a_kill() {
    let Ok(()) = require(Component::InfluxDb) else {
        return;
    };
    let mut influxdb = InfluxDb::start().await.unwrap();
    influxdb.create_database("lab").await.unwrap();
    influxdb
        .write("lab", "m,host=a value=1.5 1700000000000000001")
        .await
        .unwrap();
    influxdb.kill();
    assert!(TcpStream::connect(influxdb.address()).is_err());
    influxdb.restart().await.unwrap();
    let found = influxdb.query("lab", "SELECT value FROM m").await.unwrap();
    assert_eq!(
        found[0]["series"][0]["values"],
        json!([[1_700_000_000_000_000_001_u64, 1.5]])
    );
    let refused = influxdb.query("lab", "SELECT FROM").await.unwrap_err();
    assert!(matches!(refused, Error::Refused { .. }), "{refused}");
}

#[tokio::test]
async fn an_authenticating_influxdb_knows_its_users() {
    let Ok(()) = require(Component::InfluxDb) else {
        return;
    };
    let influxdb = InfluxDb::start_authenticated().await.unwrap();
    influxdb.create_database("lab").await.unwrap();
    influxdb
        .create_user("writer", "writer-password", "lab")
        .await
        .unwrap();
    let write = |password| {
        let request = http::client().post(format!("{}/write?db=lab", influxdb.url()));
        request
            .basic_auth("writer", Some(password))
            .body("m value=1")
            .send()
    };
    assert_eq!(write("writer-password").await.unwrap().status(), 204);
    assert_eq!(write("wrong").await.unwrap().status(), 401);
}
