//! The other ways in: certificates, service accounts, an apiserver that asks, dashboards; and what
//! happens to who comes too often.

use std::{fs, time::Duration};

use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use witgate_lab::{Authority, Kubectl, Kubernetes, OpenLdap, eventually};

use crate::{SOON, complaint, grant, site::Site};

#[tokio::test]
async fn service_accounts_come_with_their_own_tokens_to_their_own_cluster() {
    let Some(site) = Site::start().await else { return };
    let token = site
        .kubernetes
        .service_account_token("default", "robot")
        .await
        .unwrap();
    let robot = site.kubectl(&site.cluster_path(), &token);
    let who = robot.succeed(&["auth", "whoami", "-o", "json"]).await.unwrap();
    let who: Value = serde_json::from_str(&who).unwrap();
    let user = &who["status"]["userInfo"];
    assert_eq!(user["username"], "system:serviceaccount:default:robot");
    let groups = user["groups"].as_array().unwrap();
    assert!(
        groups.contains(&json!("system:serviceaccounts:default")),
        "{groups:?}"
    );

    // A token that the cluster gave for somebody else's eyes is none for here.
    let admin = site.kubernetes.kubectl().unwrap();
    let for_others = { admin.succeed(&["create", "token", "robot", "--audience=vault"]) }
        .await
        .unwrap();
    let said = complaint(
        &site.kubectl(&site.cluster_path(), for_others.trim()),
        &["get", "pods"],
    )
    .await;
    assert!(said.contains("must be logged in"), "{said}");

    // The same name in another cluster would be somebody else.
    let other = site.config.replace(
        "clusters:\n",
        &format!(
            "clusters:\n- {{name: other, kubeconfig: {:?}}}\n",
            site.kubernetes.admin_kubeconfig()
        ),
    );
    site.reconfigure(&other).await;
    let elsewhere = site.kubectl(&format!("{}/clusters/other", site.url()), &token);
    let said = complaint(&elsewhere, &["get", "pods"]).await;
    assert!(said.contains("is a service account of cluster lab"), "{said}");

    // Nor is another cluster told that it knows this one.
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token},
    });
    let answer = { site.client.post(format!("{}/webhooks/token-review", site.url())) }
        .bearer_auth(Site::APISERVER)
        .body(review.to_string())
        .send()
        .await
        .unwrap();
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(answer["status"]["authenticated"], false, "{answer}");

    // A deleted one is out as soon as its cluster is asked again.
    admin
        .succeed(&["delete", "serviceaccount", "robot"])
        .await
        .unwrap();
    eventually("the service account is out", SOON, async || {
        let said = robot.run(&["get", "pods"]).await.unwrap();
        match said.stderr.contains("must be logged in") {
            true => Ok(()),
            false => Err(said.stderr),
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn certificates_are_read_as_kubernetes_reads_them() {
    let Some(site) = Site::start().await else { return };
    let with = |user: &str, group: &str| {
        let (certificate, key) = site.certificate(user, group);
        let file = site.gateway.dir().join(format!("{user}.kubeconfig"));
        let cluster = json!({"server": site.cluster_path(), "certificate-authority": site.authority()});
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "c", "user": {"client-certificate": certificate, "client-key": key}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        });
        fs::write(&file, config.to_string()).unwrap();
        Kubectl::with_kubeconfig(&file).unwrap()
    };
    let carol = with("carol", "corp:machines");
    let who = carol.succeed(&["auth", "whoami", "-o", "json"]).await.unwrap();
    let who: Value = serde_json::from_str(&who).unwrap();
    let user = &who["status"]["userInfo"];
    assert_eq!(user["username"], "carol");
    assert!(
        user["groups"]
            .as_array()
            .unwrap()
            .contains(&json!("corp:machines"))
    );
    // Names are bytes to Kubernetes, and come through as they are.
    let zoe = with("zoë", "corp:maschinen");
    let who = zoe.succeed(&["auth", "whoami", "-o", "json"]).await.unwrap();
    let who: Value = serde_json::from_str(&who).unwrap();
    assert_eq!(who["status"]["userInfo"]["username"], "zoë");
    // Whoever had the gateway's name would have its rights.
    let gateway = with("witgate", "corp:machines");
    let said = complaint(&gateway, &["get", "nodes"]).await;
    assert!(said.contains("the gateway's own name in cluster lab"), "{said}");
    let master = with("root", "system:masters");
    let said = complaint(&master, &["get", "nodes"]).await;
    assert!(
        said.contains("the client certificate's names are refused"),
        "{said}"
    );
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_none() {
    let Some(site) = Site::start().await else { return };
    let other = Authority::new("somebody else's").unwrap();
    let certified = other.client("alice@example.org", Some("corp:platform")).unwrap();
    let identity = format!("{}{}", certified.certificate, certified.key);
    let identity = reqwest::Identity::from_pem(identity.as_bytes()).unwrap();
    let client = site.client_with(|client| client.identity(identity));
    // What the handshake itself makes of it shows with TLS 1.3 when something is read.
    let answer = client.get(format!("{}/api", site.cluster_path())).send().await;
    assert!(answer.is_err(), "{answer:?}");
}

#[tokio::test]
async fn whoever_is_called_as_the_gateway_is_does_not_have_its_rights() {
    let Some(site) = Site::start().await else { return };
    // A directory in which people choose their addresses; the cluster knows the gateway as `witgate`.
    let base = OpenLdap::BASE;
    let chosen = format!("dn: uid=bob,ou=people,{base}\nchangetype: modify\nreplace: mail\nmail: witgate\n");
    site.ldap.modify(&chosen).await.unwrap();
    let token = site.token("bob").await;
    let bob = site.kubectl(&site.cluster_path(), &token);
    for args in [
        &["get", "nodes"][..],
        &["get", "nodes", "--as=admin", "--as-group=system:masters"],
    ] {
        let said = complaint(&bob, args).await;
        assert!(said.contains("the gateway's own name in cluster lab"), "{said}");
    }
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token},
    });
    let answer = { site.client.post(format!("{}/webhooks/token-review", site.url())) }
        .bearer_auth(Site::APISERVER)
        .body(review.to_string())
        .send()
        .await
        .unwrap();
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(answer["status"]["authenticated"], false, "{answer}");
}

#[tokio::test]
async fn an_apiserver_that_asks_the_gateway_knows_the_same_people() {
    let Some(site) = Site::start().await else { return };
    let directory = tempfile::tempdir().unwrap();
    let webhook = directory.path().join("webhook.kubeconfig");
    let server = format!("{}/webhooks/token-review", site.url());
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority": site.authority()}}],
        "users": [{"name": "c", "user": {"token": Site::APISERVER}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    });
    fs::write(&webhook, config.to_string()).unwrap();
    for version in ["v1", "v1beta1"] {
        let asking = Kubernetes::start_with(&[
            &format!("--authentication-token-webhook-config-file={}", webhook.display()),
            &format!("--authentication-token-webhook-version={version}"),
            "--authentication-token-webhook-cache-ttl=1s",
        ])
        .await
        .unwrap();
        grant(&asking, "corp:platform").await;
        let token = site.token("alice").await;
        let alice = Kubectl::with_token(&asking.server(), &token, Some(&asking.authority_path())).unwrap();
        let found = alice
            .succeed(&["get", "namespace", "default", "-o", "name"])
            .await
            .unwrap();
        assert_eq!(found, "namespace/default\n");
        let bob = site.token("bob").await;
        let bob = Kubectl::with_token(&asking.server(), &bob, Some(&asking.authority_path())).unwrap();
        let said = complaint(&bob, &["get", "nodes"]).await;
        assert!(said.contains(r#"User "bob@example.org" cannot list"#), "{said}");

        // Proxied with one's own token, which the apiserver asks about.
        let with_passthrough = site.config.replace(
            "clusters:\n",
            &format!(
                "clusters:\n- {{name: asking, kubeconfig: {:?}, mode: passthrough}}\n",
                asking.admin_kubeconfig()
            ),
        );
        site.reconfigure(&with_passthrough).await;
        let through = format!("{}/clusters/asking", site.url());
        let alice_through = site.kubectl(&through, &token);
        let who = alice_through.succeed(&["auth", "whoami"]).await.unwrap();
        assert!(who.contains("alice@example.org"), "{who}");
        // Not with the gateway's own credential, which is an administrator's here.
        let machine = site.kubectl(&through, Site::APISERVER);
        let said = complaint(&machine, &["get", "nodes"]).await;
        assert!(said.contains("handed your own token"), "{said}");

        let revoked = site
            .client
            .post(format!("{}/oauth/revoke", site.url()))
            .body(format!("token={token}"))
            .send()
            .await
            .unwrap();
        assert_eq!(revoked.status(), StatusCode::OK);
        eventually("the apiserver has asked again", SOON, async || {
            let said = alice.run(&["get", "namespaces"]).await.unwrap();
            match said.stderr.contains("must be logged in") {
                true => Ok(()),
                false => Err(format!("{said:?}")),
            }
        })
        .await
        .unwrap();
    }
    // Not everybody may ask.
    for (token, expected) in [
        (site.token("alice").await.as_str(), 403),
        ("nonsense", 401),
        (Site::APISERVER, 400),
    ] {
        let request = site.client.post(&server).bearer_auth(token).body("{}");
        assert_eq!(request.send().await.unwrap().status().as_u16(), expected);
    }
}

#[tokio::test]
async fn a_dashboard_of_a_listed_origin_uses_the_browsers_session() {
    const DASHBOARD: &str = "https://dashboard.localhost";
    let Some(site) = Site::start().await else { return };
    let listed = format!("{}dashboards: {{origins: ['{DASHBOARD}']}}\n", site.config);
    site.reconfigure(&listed).await;
    let (_, page) = site.browser("alice").await;
    let cookie = page
        .cookie("__Host-witgate")
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let ask = async |method: Method, lines: &[(&str, &str)]| {
        let mut request = site
            .client
            .request(method, format!("{}/api", site.cluster_path()));
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    };
    let own = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin")];
    assert_eq!(ask(Method::GET, &own).await.status(), StatusCode::OK);
    let dashboard = [
        ("cookie", cookie.as_str()),
        ("origin", DASHBOARD),
        ("sec-fetch-site", "same-site"),
    ];
    let answer = ask(Method::GET, &dashboard).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], DASHBOARD);
    assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
    let preflight = [
        ("origin", DASHBOARD),
        ("access-control-request-method", "PATCH"),
        ("access-control-request-headers", "content-type"),
    ];
    let answer = ask(Method::OPTIONS, &preflight).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(answer.headers()["access-control-allow-methods"], "PATCH");

    for strange in [
        &[("cookie", cookie.as_str())][..],
        &[("cookie", &cookie), ("origin", "https://evil.example")],
        &[("cookie", &cookie), ("origin", "null")],
        &[("cookie", &cookie), ("sec-fetch-site", "cross-site")],
        &[("cookie", &cookie), ("sec-fetch-site", "none")],
        &[
            ("cookie", &cookie),
            ("origin", "https://dashboard.localhost.evil.example"),
        ],
        &[
            ("cookie", &cookie),
            ("origin", "https://evil.example"),
            ("connection", "Upgrade"),
        ],
    ] {
        let answer = ask(Method::GET, strange).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{strange:?}");
        assert!(!answer.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    }
}

#[tokio::test]
async fn whoever_asks_too_often_is_told_when_to_come_again() {
    let Some(site) = Site::start().await else { return };
    let limited = format!(
        "{}limits: {{perUser: {{requestsPerSecond: 1, burst: 3}}}}\n",
        site.config
    );
    site.reconfigure(&limited).await;
    let (alice, bob) = (site.token("alice").await, site.token("bob").await);
    let ask = async |token: &str| {
        let request = site.client.get(format!("{}/version", site.cluster_path()));
        request.bearer_auth(token).send().await.unwrap()
    };
    let mut refused = None;
    for _ in 0..50 {
        let answer = ask(&alice).await;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("fifty at once are too many");
    let wait: u64 = refused.headers()[header::RETRY_AFTER]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    let status: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    assert_eq!(status["reason"], "TooManyRequests");
    assert_eq!(ask(&bob).await.status(), StatusCode::OK);
    eventually(
        "alice may ask again",
        Duration::from_secs(30),
        async || match ask(&alice).await.status() {
            StatusCode::OK => Ok(()),
            status => Err(status.to_string()),
        },
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn an_address_that_asks_too_often_is_told_so_whoever_asks() {
    let Some(site) = Site::start().await else { return };
    let limited = format!(
        "{}limits: {{perAddress: {{requestsPerSecond: 1, burst: 5}}}}\n",
        site.config
    );
    site.reconfigure(&limited).await;
    for path in ["/clusters/lab/version", "/oauth/token"] {
        let mut refused = None;
        for number in 0..50 {
            let request = match path {
                "/oauth/token" => site.client.post(format!("{}{path}", site.url())),
                _ => site.client.get(format!("{}{path}", site.url())),
            };
            // Where a request says that it comes from does not count.
            let request = request
                .header("x-forwarded-for", format!("192.0.2.{number}"))
                .header("forwarded", format!("for=192.0.2.{number}"));
            let answer = request.send().await.unwrap();
            if answer.status() == StatusCode::TOO_MANY_REQUESTS {
                refused = Some(answer);
                break;
            }
        }
        let refused = refused.expect("fifty at once are too many");
        let wait = refused.headers()[header::RETRY_AFTER].to_str().unwrap();
        assert!((1..=2).contains(&wait.parse::<u64>().unwrap()), "{wait}");
    }
}
