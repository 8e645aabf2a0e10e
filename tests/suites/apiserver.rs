//! kubectl through the gateway, in front of a real kube-apiserver, for people of a real dex.

#[path = "apiserver/acting.rs"]
mod acting;
#[path = "apiserver/attacks.rs"]
mod attacks;
#[path = "apiserver/chromium.rs"]
mod chromium;
#[path = "apiserver/command_line.rs"]
mod command_line;
#[path = "apiserver/floods.rs"]
mod floods;
#[path = "apiserver/impostor.rs"]
mod impostor;
#[path = "apiserver/lasting.rs"]
mod lasting;
#[path = "apiserver/reach.rs"]
mod reach;
#[path = "apiserver/revocation.rs"]
mod revocation;
#[path = "apiserver/site.rs"]
mod site;
#[path = "apiserver/streams.rs"]
mod streams;
#[path = "apiserver/ways_in.rs"]
mod ways_in;

use std::{
    fs,
    time::{Duration, Instant},
};

use reqwest::{StatusCode, header};
use serde_json::Value;
use witgate_lab::{Kubectl, Kubernetes, Signal, eventually, http};

use self::site::Site;

/// Longer than a changed file needs to be noticed, or an apiserver to start, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// Gives a group of the claims plugin's everything.
async fn grant(kubernetes: &Kubernetes, group: &str) {
    let args = [
        "create",
        "clusterrolebinding",
        "company",
        "--clusterrole=cluster-admin",
    ];
    let group = format!("--group={group}");
    kubernetes
        .kubectl()
        .unwrap()
        .succeed(&[&args[..], &[&group]].concat())
        .await
        .unwrap();
}

/// What kubectl prints when it fails.
async fn complaint(kubectl: &Kubectl, args: &[&str]) -> String {
    let said = kubectl.run(args).await.unwrap();
    assert!(
        !said.status.success(),
        "kubectl {args:?} succeeds: {}",
        said.stdout
    );
    said.stderr
}

#[tokio::test]
async fn a_group_of_the_directory_opens_the_cluster() {
    let Some(site) = Site::start().await else { return };
    let token = site.token("alice").await;
    let (path, root) = (
        site.kubectl(&site.cluster_path(), &token),
        site.kubectl(&site.root(), &token),
    );
    for kubectl in [&path, &root] {
        let said = complaint(kubectl, &["get", "nodes"]).await;
        assert!(
            said.contains(r#"User "alice@example.org" cannot list resource "nodes""#),
            "{said}"
        );
    }
    grant(&site.kubernetes, "corp:platform").await;
    let bob = site.kubectl(&site.cluster_path(), &site.token("bob").await);
    assert!(
        complaint(&bob, &["get", "nodes"])
            .await
            .contains(r#"User "bob@example.org""#)
    );

    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: i}]}}";
    for kubectl in [&path, &root] {
        kubectl.succeed(&["get", "nodes"]).await.unwrap();
        let who = kubectl.succeed(&["auth", "whoami", "-o", "json"]).await.unwrap();
        let who: Value = serde_json::from_str(&who).unwrap();
        let user = &who["status"]["userInfo"];
        assert_eq!(user["username"], "alice@example.org");
        let groups: Vec<_> = user["groups"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(
            groups,
            ["corp:platform", "corp:developers", "system:authenticated"]
        );

        let apply = ["apply", "--server-side", "--filename", "-"];
        let applied = kubectl.run_with_input(&apply, pod).await.unwrap();
        assert!(applied.status.success(), "{}", applied.stderr);
        kubectl
            .succeed(&["patch", "pod", "p", "--patch", "metadata: {labels: {a: b}}"])
            .await
            .unwrap();
        assert_eq!(
            kubectl
                .succeed(&["get", "pods", "-l", "a=b", "-o", "name"])
                .await
                .unwrap(),
            "pod/p\n"
        );
        let offered = kubectl.succeed(&["api-resources", "-o", "name"]).await.unwrap();
        assert!(offered.contains("deployments.apps"), "{offered}");
        assert!(
            kubectl
                .succeed(&["explain", "pod.spec"])
                .await
                .unwrap()
                .contains("PodSpec")
        );

        // No kubelet runs: what the apiserver says to that comes through as it is.
        for args in [
            &["logs", "p"][..],
            &["logs", "p", "--container=other"],
            &["logs", "none"],
        ] {
            let direct = site.kubernetes.kubectl().unwrap().run(args).await.unwrap();
            let through = kubectl.run(args).await.unwrap();
            assert_eq!(through.status, direct.status, "{args:?}");
            assert_eq!(
                (through.stdout, through.stderr),
                (direct.stdout, direct.stderr),
                "{args:?}"
            );
        }
        kubectl
            .succeed(&["delete", "pod", "p", "--force", "--grace-period=0"])
            .await
            .unwrap();
    }

    let kubeconfig = site.gateway.dir().join("alice.kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters: [{{name: c, cluster: {{server: '{}', certificate-authority: {:?}}}}}]\n\
         users: [{{name: alice, user: {{token: {token}}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: alice}}}}]\n",
        site.cluster_path(),
        site.authority(),
    );
    fs::write(&kubeconfig, text).unwrap();
    Kubectl::with_kubeconfig(&kubeconfig)
        .unwrap()
        .succeed(&["get", "namespaces"])
        .await
        .unwrap();

    // One line for each decision, with who and what, and never a token.
    let audit = site.audit();
    let forbidden = audit.iter().find(|line| line["status"] == 403).unwrap();
    assert_eq!(
        (&forbidden["user"], &forbidden["via"]),
        (&"alice@example.org".into(), &"idToken".into())
    );
    assert_eq!(forbidden["target"]["verb"], "list");
    assert_eq!(forbidden["target"]["resource"], "nodes");
    let signature = token.rsplit('.').next().unwrap();
    assert!(!site.written().contains(signature), "a token was written down");
}

#[tokio::test]
async fn watches_show_what_happens_while_they_run() {
    let Some(site) = Site::start().await else { return };
    grant(&site.kubernetes, "corp:platform").await;
    let token = site.token("alice").await;
    let watching = site
        .kubectl(&site.cluster_path(), &token)
        .start(&["get", "configmaps", "-w", "-o", "name"])
        .unwrap();

    // As many as one HTTP/2 connection may carry to an apiserver, and more, over both versions.
    let url = format!(
        "{}/api/v1/namespaces/default/configmaps?watch=1",
        site.cluster_path()
    );
    let http1 = site.client_with(|builder| builder.http1_only());
    let http2 = site.client_with(|builder| builder.http2_prior_knowledge());
    let mut streams = Vec::new();
    for number in 0..120 {
        let client = if number % 2 == 0 { &http1 } else { &http2 };
        let stream = client.get(&url).bearer_auth(&token).send().await.unwrap();
        assert_eq!(stream.status(), StatusCode::OK);
        streams.push(stream);
    }
    site.kubernetes
        .kubectl()
        .unwrap()
        .succeed(&["create", "configmap", "later"])
        .await
        .unwrap();
    for stream in &mut streams {
        let mut seen = Vec::new();
        let found = async {
            while !String::from_utf8_lossy(&seen).contains(r#""name":"later""#) {
                seen.extend(stream.chunk().await.unwrap().expect("the watch goes on"));
            }
        };
        tokio::time::timeout(SOON, found)
            .await
            .expect("each watch shows what was created");
    }
    eventually("kubectl shows it", SOON, async || match watching.stdout() {
        shown if shown.contains("configmap/later") => Ok(()),
        shown => Err(shown),
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_watch_ends_with_its_token() {
    let lifetime = Duration::from_secs(8);
    let Some(site) = Site::with_tokens_for(lifetime).await else {
        return;
    };
    grant(&site.kubernetes, "corp:platform").await;
    let url = format!("{}/api/v1/namespaces?watch=1", site.cluster_path());
    let token = site.token("alice").await;
    let issued = Instant::now();
    let mut watch = site.client.get(&url).bearer_auth(&token).send().await.unwrap();
    assert_eq!(watch.status(), StatusCode::OK);
    while watch.chunk().await.is_ok_and(|chunk| chunk.is_some()) {}
    let lasted = issued.elapsed();
    assert!(
        lasted > lifetime - Duration::from_secs(2) && lasted < lifetime + Duration::from_secs(5),
        "it ended after {lasted:?}"
    );
    let end = lasting::end_of(&site, "the end is written down").await;
    assert_eq!(end["reason"], "the credential expired", "{end}");
}

#[tokio::test]
async fn answers_come_through_as_they_are() {
    let Some(site) = Site::start().await else { return };
    grant(&site.kubernetes, "corp:platform").await;
    let token = site.token("alice").await;
    let admin = site.kubernetes.kubectl().unwrap();
    let value = "x".repeat(900_000);
    let large =
        format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: large}}, data: {{a: {value}}}}}");
    let kubectl = site.kubectl(&site.cluster_path(), &token);
    let created = kubectl
        .run_with_input(&["create", "--filename", "-"], &large)
        .await
        .unwrap();
    assert!(created.status.success(), "{}", created.stderr);
    let read = admin
        .succeed(&["get", "configmap", "large", "-o", "jsonpath={.data.a}"])
        .await
        .unwrap();
    assert!(read == value, "{} of {} bytes", read.len(), value.len());

    let direct = http::client_trusting(site.kubernetes.authority().certificate()).unwrap();
    let robot = site
        .kubernetes
        .service_account_token("default", "robot")
        .await
        .unwrap();
    let binding = [
        "create",
        "clusterrolebinding",
        "robot",
        "--clusterrole=cluster-admin",
        "--serviceaccount=default:robot",
    ];
    admin.succeed(&binding).await.unwrap();
    for (path, accept) in [
        (
            "/api/v1/namespaces/default/configmaps/large",
            "application/vnd.kubernetes.protobuf",
        ),
        ("/api/v1/namespaces?limit=2", "application/json"),
        ("/apis/apps/v1", "application/vnd.kubernetes.protobuf"),
        ("/openapi/v3", "application/json"),
        ("/api/v1/namespaces/default/configmaps/none", "application/json"),
        ("/no/such/path", "application/json"),
        (
            "/version",
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
        ),
    ] {
        let through = site
            .client
            .get(format!("{}{path}", site.cluster_path()))
            .bearer_auth(&token);
        let through = through
            .header(header::ACCEPT, accept)
            .header(header::ACCEPT_ENCODING, "gzip");
        let there = direct
            .get(format!("{}{path}", site.kubernetes.server()))
            .bearer_auth(&robot);
        let there = there
            .header(header::ACCEPT, accept)
            .header(header::ACCEPT_ENCODING, "gzip");
        let (through, there) = (through.send().await.unwrap(), there.send().await.unwrap());
        assert_eq!(through.status(), there.status(), "{path}");
        for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::ETAG] {
            assert_eq!(
                through.headers().get(&name),
                there.headers().get(&name),
                "{path}: {name}"
            );
        }
        assert_eq!(
            through.bytes().await.unwrap(),
            there.bytes().await.unwrap(),
            "{path}"
        );
    }
}

#[tokio::test]
async fn nobody_becomes_somebody_else() {
    let Some(site) = Site::start().await else { return };
    let token = site.token("bob").await;
    let url = format!(
        "{}/apis/authentication.k8s.io/v1/selfsubjectreviews",
        site.cluster_path()
    );
    let review = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;
    let ask = async |claims: &[(&str, &str)]| {
        let http1 = site.client_with(|builder| builder.http1_only());
        let mut request = http1
            .post(&url)
            .bearer_auth(&token)
            .header(header::CONTENT_TYPE, "application/json");
        for (name, value) in claims {
            request = request.header(*name, *value);
        }
        let answer = request.body(review).send().await.unwrap();
        let status = answer.status().as_u16();
        let object: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        (status, object)
    };
    // What is asked for is refused, or so written that it asks for nothing; never granted in part.
    for (claims, expected) in [
        (
            &[
                ("Impersonate-User", "admin"),
                ("Impersonate-Group", "system:masters"),
            ][..],
            403,
        ),
        (
            &[
                ("impersonate-user", "admin"),
                ("IMPERSONATE-UID", "7"),
                ("Impersonate-Extra-a", "b"),
            ],
            403,
        ),
        (
            &[
                ("Impersonate-Group", "system:masters"),
                ("Impersonate-Group", "corp:platform"),
            ],
            400,
        ),
        (&[("Impersonate_User", "admin")], 400),
        (
            &[
                ("Impersonate-User", "bob@example.org"),
                ("impersonate_group", "system:masters"),
            ],
            400,
        ),
        (&[("Impersonate-Future", "admin")], 400),
        (
            &[
                ("Impersonate-User", "admin"),
                ("Impersonate-User", "bob@example.org"),
            ],
            400,
        ),
    ] {
        let (status, object) = ask(claims).await;
        assert_eq!(
            (status, &object["kind"]),
            (expected, &"Status".into()),
            "{claims:?}: {object}"
        );
    }
    for claims in [
        &[
            ("Connection", "Impersonate-User, Impersonate-Group"),
            ("Impersonate-Group", "system:masters"),
        ][..],
        &[("Connection", "Impersonate-User, Authorization")],
        &[("X-Remote-User", "admin"), ("X-Remote-Group", "system:masters")],
        &[("X_Remote_User", "admin"), ("X-Forwarded-User", "admin")],
    ] {
        let (status, object) = ask(claims).await;
        assert_eq!(status, 201, "{claims:?}: {object}");
        let user = &object["status"]["userInfo"];
        assert_eq!(user["username"], "bob@example.org", "{claims:?}");
        let groups = user["groups"].as_array().unwrap();
        assert!(
            groups
                .iter()
                .all(|group| group != "system:masters" && group != "corp:platform"),
            "{groups:?}"
        );
    }
    let as_admin = site.kubectl(&site.cluster_path(), &token);
    let said = complaint(
        &as_admin,
        &["get", "nodes", "--as=admin", "--as-group=system:masters"],
    )
    .await;
    assert!(
        said.contains(r#"User "bob@example.org" cannot impersonate resource"#),
        "{said}"
    );
}

#[tokio::test]
async fn refusals_are_of_the_form_that_kubectl_knows() {
    let Some(mut site) = Site::start().await else {
        return;
    };
    let token = site.token("alice").await;
    let ask = async |path: &str, token: &str| {
        let answer = site
            .client
            .get(format!("{}{path}", site.url()))
            .bearer_auth(token)
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(
            (&body["kind"], &body["code"]),
            (&"Status".into(), &status.into()),
            "{path}"
        );
        (status, body["message"].as_str().unwrap().to_owned())
    };
    let (status, said) = ask("/clusters/other/api", &token).await;
    assert!(
        status == 404 && said.contains(r#"there is no cluster "other""#) && said.contains("lab"),
        "{said}"
    );
    let (status, said) = ask("/clusters/lab/api", "nonsense").await;
    assert!(status == 401 && said.contains("neither an id_token"), "{said}");
    assert_eq!(
        ask("/clusters/lab/api/v1/namespaces%2f..%2fnodes", &token)
            .await
            .0,
        400
    );
    let audit = site.audit();
    for (status, words) in [
        (404, "there is no cluster"),
        (401, "neither an id_token"),
        (400, "path"),
    ] {
        let mut refused = audit.iter().filter(|line| line["event"] == "decision");
        let line = refused.find(|line| line["status"] == status).unwrap();
        let reason = line["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(words), "{line}");
    }
    let wrong = site.kubectl(&site.cluster_path(), "nonsense");
    assert!(
        complaint(&wrong, &["get", "nodes"])
            .await
            .contains("must be logged in")
    );

    site.kubernetes.kill();
    let answer = site
        .client
        .get(format!("{}/version", site.cluster_path()))
        .bearer_auth(&token)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        answer
            .text()
            .await
            .unwrap()
            .contains("cluster lab does not answer")
    );
    site.kubernetes.restart().await.unwrap();
    let kubectl = site.kubectl(&site.cluster_path(), &token);
    eventually("the cluster answers again", SOON, async || {
        kubectl.succeed(&["version"]).await
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn changed_rules_hold_from_the_next_request_on() {
    let Some(mut site) = Site::start().await else {
        return;
    };
    grant(&site.kubernetes, "corp:platform").await;
    let kubectl = site.kubectl(&site.cluster_path(), &site.token("alice").await);
    kubectl.succeed(&["get", "nodes"]).await.unwrap();

    site.reconfigure(&site.config.replace("corp:", "other:")).await;
    let said = complaint(&kubectl, &["get", "nodes"]).await;
    assert!(said.contains(r#"User "alice@example.org" cannot list"#), "{said}");
    // What can't be is refused as a whole, and what was before stays in service.
    site.reconfigure(&site.config.replace("identity:\n", "identity:\n  sesion: {}\n"))
        .await;
    complaint(&kubectl, &["get", "nodes"]).await;
    assert!(site.written().contains("sesion"), "the log names the key");
    site.reconfigure(&site.config).await;
    kubectl.succeed(&["get", "nodes"]).await.unwrap();

    // Told to, it looks at once, changed or not.
    let before = site.reloads().await;
    site.gateway.signal(Signal::HUP).unwrap();
    eventually(
        "the gateway reads its configuration again",
        SOON,
        async || match site.reloads().await {
            now if now > before => Ok(()),
            now => Err(now),
        },
    )
    .await
    .unwrap();
}
