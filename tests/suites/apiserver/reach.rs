//! What lies behind the apiserver and is reached through it: containers added to a running pod, the
//! kubelet's own paths, the API of another apiserver.

use std::{path::Path, time::Duration};

use serde_json::json;
use witgate_lab::{Authority, Component, Kubelet, Kubernetes, eventually, require};

use crate::{SOON, complaint, grant, site::Site, streams::with_a_pod};

#[tokio::test]
async fn a_container_is_added_to_a_running_pod_and_entered() {
    let Some((site, kubelet)) = with_a_pod(Duration::from_secs(3600)).await else {
        return;
    };
    let alice = site.kubectl(&site.cluster_path(), &site.token("alice").await);
    let container = ["--image=registry.example.org/tools:1", "--container=tools"];
    let debug = [&["debug", "p", "--attach=false"][..], &container].concat();
    alice.succeed(&debug).await.unwrap();
    let said = alice
        .succeed(&["exec", "p", "-c", "tools", "--", "echo", "inside"])
        .await
        .unwrap();
    assert_eq!(said, "inside\n");
    let bob = site.kubectl(&site.cluster_path(), &site.token("bob").await);
    let said = complaint(&bob, &debug).await;
    assert!(said.contains(r#"User "bob@example.org" cannot"#), "{said}");

    let logs = format!(
        "/api/v1/nodes/{}/proxy/containerLogs/default/p/{}",
        kubelet.node(),
        Kubelet::CONTAINER
    );
    let said = alice.run(&["get", "--raw", &logs]).await.unwrap();
    let expected = if kubelet.address().is_loopback() {
        // The apiserver's own words.
        (false, "address not allowed")
    } else {
        (true, "default/p/main started")
    };
    let text = format!("{}{}", said.stdout, said.stderr);
    assert_eq!(said.status.success(), expected.0, "{text}");
    assert!(text.contains(expected.1), "{text}");
    let said = complaint(&bob, &["get", "--raw", &logs]).await;
    assert!(said.contains("Forbidden") || said.contains("forbidden"), "{said}");
}

/// Widgets, which only the apiserver behind the apiserver knows.
const WIDGETS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.lab.example.org}
spec:
  group: lab.example.org
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"#;

/// An apiserver that hands on one group to another apiserver, as aggregation does; the site's gateway
/// has it as the cluster `front`.
async fn aggregated(site: &Site, directory: &Path) -> (Kubernetes, Kubernetes) {
    let proxies = Authority::new("aggregators").unwrap();
    let file = directory.join("aggregators.pem");
    std::fs::write(&file, proxies.certificate()).unwrap();
    let (certificate, key) = proxies
        .client("aggregator", None)
        .unwrap()
        .write(directory, "aggregator")
        .unwrap();
    let (in_front, behind) = (
        [
            format!("--proxy-client-cert-file={}", certificate.display()),
            format!("--proxy-client-key-file={}", key.display()),
        ],
        format!("--requestheader-client-ca-file={}", file.display()),
    );
    let front = Kubernetes::start_with(&[&in_front[0], &in_front[1]])
        .await
        .unwrap();
    let back = Kubernetes::start_with(&[
        &behind,
        "--requestheader-allowed-names=aggregator",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
    ])
    .await
    .unwrap();
    let port: u16 = back.server().rsplit(':').next().unwrap().parse().unwrap();
    back.kubectl().unwrap().apply(WIDGETS).await.unwrap();
    let admin = front.kubectl().unwrap();
    for object in [
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "back", "namespace": "default"},
            "spec": {"type": "ExternalName", "externalName": "localhost"},
        }),
        json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": "v1.lab.example.org"},
            "spec": {
                "group": "lab.example.org", "version": "v1", "groupPriorityMinimum": 1000,
                "versionPriority": 10, "insecureSkipTLSVerify": true,
                "service": {"namespace": "default", "name": "back", "port": port},
            },
        }),
    ] {
        admin.apply(&object.to_string()).await.unwrap();
    }
    let config = site.config.replace(
        "clusters:\n",
        &format!(
            "clusters:\n- {{name: front, kubeconfig: {:?}}}\n",
            front.gateway_kubeconfig().await.unwrap()
        ),
    );
    site.reconfigure(&config).await;
    (front, back)
}

#[tokio::test]
async fn an_apiserver_behind_the_apiserver_knows_who_asks() {
    let Some(site) = Site::start().await else { return };
    if require(Component::Kubernetes).is_err() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (front, back) = aggregated(&site, directory.path()).await;
    for group in ["corp:platform", "corp:developers"] {
        grant_as(&front, group).await;
    }
    grant(&back, "corp:platform").await;
    let server = format!("{}/clusters/front", site.url());
    let alice = site.kubectl(&server, &site.token("alice").await);
    let widget = json!({
        "apiVersion": "lab.example.org/v1", "kind": "Widget",
        "metadata": {"name": "w", "namespace": "default"}, "spec": {"size": 3},
    });
    eventually("the group is handed on", SOON, async || {
        let applied = alice
            .run_with_input(&["apply", "-f", "-"], &widget.to_string())
            .await;
        let applied = applied.unwrap();
        if applied.status.success() {
            Ok(())
        } else {
            Err(applied.stderr)
        }
    })
    .await
    .unwrap();
    let found = { back.kubectl().unwrap() }
        .succeed(&["get", "widgets", "-o", "jsonpath={.items[*].spec.size}"])
        .await
        .unwrap();
    assert_eq!(found, "3");
    // In front, bob may do everything too.
    let bob = site.kubectl(&server, &site.token("bob").await);
    let said = complaint(&bob, &["get", "widgets"]).await;
    let expected = r#"User "bob@example.org" cannot list resource "widgets""#;
    assert!(said.contains(expected), "{said}");
}

async fn grant_as(kubernetes: &Kubernetes, group: &str) {
    let name = group.replace(':', "-");
    let args = [
        "create",
        "clusterrolebinding",
        &name,
        "--clusterrole=cluster-admin",
    ];
    let group = format!("--group={group}");
    let admin = kubernetes.kubectl().unwrap();
    admin.succeed(&[&args[..], &[&group]].concat()).await.unwrap();
}

#[tokio::test]
async fn somebody_in_two_thousand_groups_is_told_what_to_do() {
    let Some(site) = Site::start().await else { return };
    let groups: String = (0..2000)
        .map(|n| {
            format!(
                "dn: cn=mailing-list-{n:04},ou=groups,dc=example,dc=org\nchangetype: add\n\
                 objectClass: groupOfNames\ncn: mailing-list-{n:04}\n\
                 member: uid=alice,ou=people,dc=example,dc=org\n\n"
            )
        })
        .collect();
    site.ldap.modify(&groups).await.unwrap();
    let token = site.token("alice").await;
    for http2 in [false, true] {
        let client = site.client_with(|client| if http2 { client } else { client.http1_only() });
        let answer = { client.get(format!("{}/version", site.cluster_path())) }
            .bearer_auth(&token)
            .send()
            .await
            .unwrap();
        let (status, said) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert_eq!(status, 401, "{said}");
        assert!(said.contains("the token has"), "{said}");
    }
    let said = complaint(
        &site.kubectl(&site.cluster_path(), &token),
        &["get", "namespaces"],
    )
    .await;
    assert!(
        said.contains("must be logged in") || said.contains("the token has"),
        "{said}"
    );

    // In a browser the token comes from the issuer by another way; what is too much is the groups.
    let browser = witgate_tests::browser::Browser::new(&site.authority());
    let page = site
        .log_in(&browser, &format!("{}/login", site.url()), "alice")
        .await;
    assert!(
        page.text.contains("you are in 2002 groups, and 256 are allowed"),
        "{}",
        page.text
    );

    // Which is what it is for.
    let filtered = site.config.replace(
        "rules: [{prefix: 'corp:'}]",
        "rules: [{keep: ['platform']}, {prefix: 'corp:'}]",
    );
    assert!(filtered != site.config);
    site.reconfigure(&filtered).await;
    let (_, page) = site.browser("alice").await;
    assert!(page.text.contains("corp:platform"), "{}", page.text);
}
