//! What the chart makes of values, and which it refuses.

use serde_json::{Value, json};
use tokio::process::Command;
use witgate_lab::{Component, Kubernetes, require};

use super::helm::{Helm, of_kind};

/// The least that one has to say.
pub(crate) fn least() -> Value {
    json!({
        "config": {"identity": {"publicUrl": "https://gateway.example.com"}},
        "tls": {"secretName": "witgate-tls"},
    })
}

fn with(changes: &Value) -> Value {
    let mut values = least();
    merge(&mut values, changes);
    values
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.as_str()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn shared() -> Value {
    with(&json!({
        "replicas": 3,
        "config": {"state": {
            "etcd": {"endpoints": ["https://etcd:2379"], "caFile": "/etc/witgate/secrets/etcd/ca.crt"},
            "sealingKeyFile": "/etc/witgate/secrets/sealing/key",
        }},
        "secrets": ["etcd", "sealing"],
    }))
}

fn everything() -> Value {
    let mut values = shared();
    merge(
        &mut values,
        &json!({
            "image": {"repository": "registry.example/witgate", "digest": format!("sha256:{}", "0".repeat(64))},
            "imagePullSecrets": [{"name": "registry"}],
            "pluginConfigMaps": ["our-claims"],
            "tls": {"certManager": {
                "enabled": true, "dnsNames": ["gateway.example.com"], "issuerRef": {"name": "ca", "kind": "Issuer"},
            }},
            "service": {"type": "LoadBalancer", "port": 6443, "annotations": {"a": "b"}},
            "ingress": {"enabled": true, "host": "gateway.example.com", "className": "haproxy"},
            "tlsRoute": {
                "enabled": true, "parentRefs": [{"name": "public"}], "hostnames": ["gateway.example.com"],
            },
            "rbac": {"tokenReviews": true},
            "networkPolicy": {
                "enabled": true, "from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
                "metricsFrom": [{"namespaceSelector": {}}], "egress": [{"ports": [{"port": 443}]}],
            },
            "serviceMonitor": {"enabled": true, "labels": {"release": "prometheus"}},
            "prometheusRule": {"enabled": true},
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "podAnnotations": {"a": "b"}, "podLabels": {"c": "d"}, "priorityClassName": "high",
        }),
    );
    values
}

/// Kinds of others, which the lab's apiserver does not have.
const FOREIGN: [&str; 4] = ["Certificate", "TLSRoute", "ServiceMonitor", "PrometheusRule"];

#[tokio::test(flavor = "multi_thread")]
async fn values_make_what_a_cluster_takes() {
    let Ok(()) = require(Component::Helm).and(require(Component::Kubernetes)) else {
        return;
    };
    let helm = Helm::new(None);
    let kubernetes = Kubernetes::start().await.unwrap();
    let kubectl = kubernetes.kubectl().unwrap();
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "strict", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    });
    kubectl.apply(&namespace.to_string()).await.unwrap();
    let strictly = [
        "create",
        "--dry-run=server",
        "--validate=strict",
        "-n",
        "strict",
        "-f",
        "-",
    ];
    let nothing = with(&json!({"rbac": {"impersonate": false, "accessReviews": false}}));
    for (values, workload) in [
        (least(), "StatefulSet"),
        (nothing, "StatefulSet"),
        (shared(), "Deployment"),
        (everything(), "Deployment"),
    ] {
        helm.run(&["lint", "--strict"], &values, &[]).await.unwrap();
        let objects = helm.objects(&values).await.unwrap();
        for object in &objects {
            if FOREIGN.iter().any(|kind| object["kind"] == *kind) {
                continue;
            }
            let created = kubectl
                .run_with_input(&strictly, &object.to_string())
                .await
                .unwrap();
            assert!(created.status.success(), "{}: {object:#}", created.stderr);
        }
        // A workload is taken whatever its Pods are; the Pods are not.
        let mut pod = of_kind(&objects, workload).unwrap()["spec"]["template"].clone();
        merge(
            &mut pod,
            &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "witgate"}}),
        );
        if workload == "StatefulSet" {
            let volumes = pod["spec"]["volumes"].as_array_mut().unwrap();
            volumes.push(json!({"name": "state", "emptyDir": {}}));
        }
        pod["spec"].as_object_mut().unwrap().remove("priorityClassName");
        let created = kubectl.run_with_input(&strictly, &pod.to_string()).await.unwrap();
        assert!(created.status.success(), "{}", created.stderr);
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = true.into();
        let created = kubectl.run_with_input(&strictly, &pod.to_string()).await.unwrap();
        assert!(
            created.stderr.contains("violates PodSecurity"),
            "{}",
            created.stderr
        );
    }
}

#[tokio::test]
async fn values_that_cannot_be_are_refused_in_words() {
    let Ok(()) = require(Component::Helm) else { return };
    let helm = Helm::new(None);
    let mut without_url = least();
    without_url["config"] = json!({});
    let mut without_certificate = least();
    without_certificate["tls"] = json!({});
    for (values, words) in [
        (
            without_url,
            "config.identity.publicUrl: say where browsers reach the gateway",
        ),
        (without_certificate, "tls.secretName: name the Secret"),
        (
            with(&json!({"replicas": 2})),
            "replicas: more than one gateway needs config.state.etcd",
        ),
        (
            with(&json!({"ingress": {"enabled": true}})),
            "ingress.host: say under which name the gateway is reached",
        ),
        (with(&json!({"replica": 2})), "'replica' not allowed"),
        (
            with(&json!({"rbac": {"recovery": true}})),
            "'recovery' not allowed",
        ),
        (
            with(&json!({"image": {"digest": "latest"}})),
            "'latest' does not match pattern",
        ),
    ] {
        let refused = helm.objects(&values).await.unwrap_err();
        assert!(refused.contains(words), "{words:?} in {refused}");
    }
}

#[tokio::test]
async fn its_alerts_are_prometheus_rules() {
    let Ok(()) = require(Component::Helm).and(require(Component::CurrentPrometheus)) else {
        return;
    };
    let objects = Helm::new(None).objects(&everything()).await.unwrap();
    let rules = &of_kind(&objects, "PrometheusRule").unwrap()["spec"];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.json");
    std::fs::write(&file, rules.to_string()).unwrap();
    let promtool = Component::CurrentPrometheus.find("promtool").unwrap();
    let mut command = Command::new(promtool);
    let checked = command
        .args(["check", "rules", "--lint=all", "--lint-fatal"])
        .arg(file);
    let checked = checked.output().await.unwrap();
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
}
