//! A recovery plugin sees what it is granted, without what is secret, and every call is on a fresh
//! instance.

use std::sync::Arc;

use serde_json::{Value, json};
use witgate_plugins::recovery::{
    Evidence, Finding, KubeResource, Member, MemberId, Observer, Recovery, RecoveryError, Severity, Survey,
    Unavailable,
};

use crate::{Bench, guests};

/// A control plane of two members with one Secret.
#[derive(Debug)]
struct TwoMembers;

#[async_trait::async_trait]
impl Observer for TwoMembers {
    async fn get(&self, _: &KubeResource, namespace: &str, name: &str) -> Result<Option<Value>, Unavailable> {
        assert_eq!((namespace, name), ("kube-system", "s"));
        Ok(Some(
            json!({"kind": "Secret", "type": "Opaque", "data": {"password": "aHVudGVyMg=="}}),
        ))
    }

    async fn list(&self, _: &KubeResource, _: &str, _: &str) -> Result<Vec<Value>, Unavailable> {
        Ok(Vec::new())
    }

    async fn survey(&self) -> Result<Survey, Unavailable> {
        let member = |id| Member {
            id: MemberId(id),
            ..Member::default()
        };
        Ok(Survey {
            members: vec![member(1), member(2)],
            ..Survey::default()
        })
    }
}

fn observer() -> Arc<dyn Observer> {
    Arc::new(TwoMembers)
}

fn granted() -> Value {
    json!({"etcd": true, "kubernetes": [{"resource": "secrets", "namespace": "kube-system", "names": ["s"]}]})
}

async fn load(bench: &Bench, grants: &Value) -> Arc<dyn Recovery> {
    bench.put("it.wasm", guests::recovery());
    let config = json!({"it": {"kind": "recovery", "file": "it.wasm", "grants": grants}});
    let plugins = bench.load(config, None).await.unwrap();
    plugins.recovery("it").unwrap()
}

fn finding(severity: Severity) -> Finding {
    let evidence = Evidence {
        what: "what".into(),
        vantage: "gateway".into(),
        at: 7,
        raw: "raw".into(),
    };
    Finding {
        class: "class".into(),
        severity,
        subject: "subject".into(),
        summary: "summary".into(),
        evidence: vec![evidence],
    }
}

#[tokio::test]
async fn it_sees_what_is_granted_without_secrets_and_always_afresh() {
    let bench = Bench::new();
    let recovery = load(&bench, &granted()).await;
    for _ in 0..3 {
        let findings = recovery.diagnose(observer()).await.unwrap();
        assert_eq!(findings.len(), 2, "one for each member");
        let seen: Value = serde_json::from_str(&findings[0].class).unwrap();
        assert_eq!(seen["data"], json!({"password": null}));
    }
}

#[tokio::test]
async fn what_is_not_granted_is_neither_linked_nor_seen() {
    let bench = Bench::new();
    let refused = bench.refused("recovery", &guests::recovery(), json!({})).await;
    for says in [
        "grants:\n        etcd: true",
        "grants:\n        kubernetes:\n          - resource: KIND",
    ] {
        assert!(refused.contains(says), "{refused}");
    }
    let recovery = load(
        &bench,
        &json!({"etcd": true, "kubernetes": [{"resource": "nodes"}]}),
    )
    .await;
    let findings = recovery.diagnose(observer()).await.unwrap();
    let told = &findings[0].class;
    assert!(
        told.contains("secrets that are not granted") && told.contains("names: [s]"),
        "{told}"
    );
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_an_empty_plan_is_none() {
    let bench = Bench::new();
    let recovery = load(&bench, &granted()).await;
    let refused = recovery.plan(observer(), &finding(Severity::Degraded)).await;
    assert!(matches!(refused, Err(RecoveryError::Refused(_))), "{refused:?}");
    let broken = recovery.plan(observer(), &finding(Severity::Critical)).await;
    let Err(RecoveryError::Failed(error)) = broken else {
        panic!("{broken:?}")
    };
    assert!(
        error.reason.contains("0 steps are not between 1 and 64"),
        "{error}"
    );
}
