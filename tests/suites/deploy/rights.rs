//! The chart is installed, and a gateway runs with its configuration and the rights of its ServiceAccount:
//! they are enough, and none is too much.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use witgate_lab::{Authority, Component, Gateway, Kubectl, Kubernetes, Port, eventually, require};

use super::{chart::least, helm::Helm};

const SOON: std::time::Duration = std::time::Duration::from_secs(60);

/// A machine's token, as the configuration has it.
const TOKEN: &str = "a-token-of-some-length-for-a-machine";

struct Installed {
    kubernetes: Kubernetes,
    kubectl: Kubectl,
    /// The cluster, through the gateway.
    server: String,
    gateway: Gateway,
}

async fn install() -> Installed {
    let kubernetes = Kubernetes::start().await.unwrap();
    let kubectl = kubernetes.kubectl().unwrap();
    let helm = Helm::new(Some(kubernetes.admin_kubeconfig()));
    let directory = tempfile::tempdir().unwrap();
    let port = Port::free().unwrap();
    let authority = Authority::new("the suite's authority").unwrap();
    let certified = authority.server(&["localhost"]).unwrap();
    certified.write(directory.path(), "gateway").unwrap();
    fs::write(directory.path().join("authority.pem"), authority.certificate()).unwrap();
    let mut values = least();
    values["rbac"] = json!({"tokenReviews": true});
    values["config"] = json!({
        "listeners": [{
            "address": port.address(),
            "tls": {
                "certificateFile": directory.path().join("gateway.crt"),
                "keyFile": directory.path().join("gateway.key"),
            },
        }],
        "state": {"directory": directory.path().join("state")},
        "identity": {
            "publicUrl": "https://localhost",
            "tokens": [{
                "name": "ci", "user": "ci", "groups": ["machines"],
                "sha256": format!("{:x}", Sha256::digest(TOKEN)),
            }],
            "serviceAccounts": [{
                "cluster": "this", "issuer": "https://kubernetes.default.svc.cluster.local",
            }],
        },
        // What `inCluster` finds in a Pod.
        "clusters": [{"name": "this", "kubeconfig": directory.path().join("kubeconfig")}],
    });
    let namespace = ["--namespace", "witgate", "--create-namespace"];
    let installed = helm
        .run(&["install", "witgate"], &values, &namespace)
        .await
        .unwrap();
    assert!(
        installed.contains("witgate 0.1.0 is reached at https://localhost."),
        "{installed}"
    );

    let token = ["create", "token", "witgate", "--namespace", "witgate"];
    let token = kubectl.succeed(&token).await.unwrap();
    let authority = kubernetes.authority().certificate();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "this",
        "clusters": [{"name": "this", "cluster": {
            "server": kubernetes.server(), "certificate-authority-data": STANDARD.encode(authority),
        }}],
        "users": [{"name": "witgate", "user": {"token": token.trim()}}],
        "contexts": [{"name": "this", "context": {"cluster": "this", "user": "witgate"}}],
    });
    fs::write(directory.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
    let get = [
        "get",
        "configmap",
        "witgate",
        "-n",
        "witgate",
        "-o",
        r"jsonpath={.data.witgate\.yaml}",
    ];
    let config = kubectl.succeed(&get).await.unwrap();
    let gateway = Gateway::start_in(directory, &config).await.unwrap();

    let all = [
        ["machines", "--clusterrole=reading", "--group=machines"],
        [
            "robots",
            "--clusterrole=reading",
            "--group=system:serviceaccounts:default",
        ],
        ["acting", "--clusterrole=acting", "--user=ci"],
    ];
    let acting = [
        "create",
        "clusterrole",
        "acting",
        "--verb=impersonate",
        "--resource=users",
        "--resource-name=carol",
    ];
    let reading = [
        "create",
        "clusterrole",
        "reading",
        "--verb=list",
        "--resource=configmaps",
    ];
    for role in [&acting[..], &reading] {
        kubectl.succeed(role).await.unwrap();
    }
    for binding in all {
        let create = [&["create", "clusterrolebinding"], &binding[..]].concat();
        kubectl.succeed(&create).await.unwrap();
    }
    Installed {
        kubernetes,
        kubectl,
        server: format!("https://localhost:{}/clusters/this", port.number()),
        gateway,
    }
}

impl Installed {
    /// Everything that the gateway needs a right for: a machine, one that acts as somebody else, and a
    /// ServiceAccount with a token that the gateway has not seen.
    async fn works(&self) -> Result<(), String> {
        let robot = self.kubernetes.service_account_token("default", "robot").await;
        let robot = robot.map_err(|error| error.to_string())?;
        let authority = self.gateway.dir().join("authority.pem");
        let through = |token: &str| Kubectl::with_token(&self.server, token, Some(&authority)).unwrap();
        for (token, args) in [
            (TOKEN, &["get", "configmaps", "-n", "default"][..]),
            (TOKEN, &["auth", "whoami", "--as=carol"]),
            (robot.as_str(), &["get", "configmaps", "-n", "default"]),
        ] {
            // kubectl asks again where it is told that somebody can't be asked at the moment.
            let args = [args, &["--request-timeout=5s"]].concat();
            let said = through(token)
                .run(&args)
                .await
                .map_err(|error| error.to_string())?;
            if !said.status.success() {
                return Err(format!("{args:?}: {}", said.stderr));
            }
        }
        Ok(())
    }

    async fn set_rules(&self, rules: &Value) {
        let patch = json!([{"op": "replace", "path": "/rules", "value": rules}]).to_string();
        let args = [
            "patch",
            "clusterrole",
            "witgate-witgate",
            "--type=json",
            "--patch",
            &patch,
        ];
        self.kubectl.succeed(&args).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_has_the_rights_that_it_needs_and_no_others() {
    let Ok(()) = require(Component::Helm).and(require(Component::Kubernetes)) else {
        return;
    };
    let installed = install().await;
    let works = async || installed.works().await;
    eventually("the gateway does its whole job", SOON, works)
        .await
        .unwrap();

    let get = ["get", "clusterrole", "witgate-witgate", "-o", "jsonpath={.rules}"];
    let rules: Value = serde_json::from_str(&installed.kubectl.succeed(&get).await.unwrap()).unwrap();
    for (rule, resource) in each_right(&rules) {
        let mut fewer = rules.clone();
        let resources = fewer[rule]["resources"].as_array_mut().unwrap();
        let right = resources.remove(resource);
        if resources.is_empty() {
            fewer.as_array_mut().unwrap().remove(rule);
        }
        installed.set_rules(&fewer).await;
        let fails = async || match installed.works().await {
            Err(_) => Ok(()),
            Ok(()) => Err("everything works without it"),
        };
        eventually(&format!("the right to {right} is missed"), SOON, fails)
            .await
            .unwrap();
        installed.set_rules(&rules).await;
        eventually("with it everything works", SOON, works).await.unwrap();
    }
}

/// The places of all rights: of the rule, and of the resource in it.
fn each_right(rules: &Value) -> Vec<(usize, usize)> {
    let rules = rules.as_array().unwrap().iter().enumerate();
    rules
        .flat_map(|(place, rule)| {
            let resources = rule["resources"].as_array().unwrap().len();
            (0..resources).map(move |resource| (place, resource))
        })
        .collect()
}
