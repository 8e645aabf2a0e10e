//! Cases of recovery plugins: a control plane as it was seen, and what is found and planned.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};
use witgate_plugins::{
    Kind,
    recovery::{KubeResource, Observer, RecoveryError, Survey, Unavailable},
};

use super::{Loaded, Outcome, named, recorded::Exchange};

/// A control plane, and what has to be found in it. What is named has to be so; what is left out of a
/// finding or a plan may be anything.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Case {
    name: String,
    #[serde(flatten)]
    seen: Seen,
    /// All findings, in their order.
    findings: Value,
    /// By the finding's subject, its plan, or `refused`.
    #[serde(default)]
    plans: BTreeMap<String, Value>,
    #[serde(default)]
    http: Vec<Exchange>,
}

/// What was recorded of a control plane.
#[derive(Clone, Debug, Deserialize)]
struct Seen {
    /// etcd, from all vantage points. Without one, it can't be seen.
    #[serde(default)]
    survey: Option<Survey>,
    /// Objects by their kind, as in URLs: `nodes`, `leases.coordination.k8s.io`.
    #[serde(default)]
    objects: BTreeMap<String, Vec<Value>>,
}

#[async_trait::async_trait]
impl super::Case for Case {
    const KIND: Kind = Kind::Recovery;

    fn name(&self) -> &str {
        &self.name
    }

    fn http(&self) -> &[Exchange] {
        &self.http
    }

    async fn run(&self, plugin: &Loaded) -> anyhow::Result<Outcome> {
        let plugin = plugin
            .plugins
            .recovery(&plugin.name)
            .context("it is not loaded")?;
        let observer: Arc<dyn Observer> = Arc::new(self.seen.clone());
        let expected = json!({"findings": self.findings, "plans": self.plans});
        let found = match plugin.diagnose(Arc::clone(&observer)).await {
            Err(error) => json!({"findings": {"failed": error.to_string()}}),
            Ok(findings) => {
                let mut plans = BTreeMap::new();
                let planned = { findings.iter() }.filter(|finding| self.plans.contains_key(&finding.subject));
                for finding in planned {
                    let plan = match plugin.plan(Arc::clone(&observer), finding).await {
                        Ok(proposal) => json!(proposal),
                        Err(RecoveryError::Refused(refusal)) => json!({"refused": refusal}),
                        Err(error) => json!({"failed": error.to_string()}),
                    };
                    plans.insert(&finding.subject, plan);
                }
                json!({"findings": findings, "plans": plans})
            }
        };
        let found = named(&expected, &found);
        Ok(Outcome { expected, found })
    }
}

#[async_trait::async_trait]
impl Observer for Seen {
    async fn get(
        &self,
        resource: &KubeResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, Unavailable> {
        let mut objects = self.objects(resource, namespace).into_iter();
        Ok(objects
            .find(|object| metadata(object, "name") == Some(name))
            .cloned())
    }

    async fn list(
        &self,
        resource: &KubeResource,
        namespace: &str,
        selector: &str,
    ) -> Result<Vec<Value>, Unavailable> {
        let objects = self.objects(resource, namespace).into_iter();
        Ok(objects
            .filter(|object| selects(selector, object))
            .cloned()
            .collect())
    }

    async fn survey(&self) -> Result<Survey, Unavailable> {
        self.survey
            .clone()
            .ok_or_else(|| Unavailable("the case has no `survey`".to_owned()))
    }
}

impl Seen {
    fn objects(&self, resource: &KubeResource, namespace: &str) -> Vec<&Value> {
        let all = self.objects.get(&resource.to_string()).into_iter().flatten();
        let is_there = |object: &&Value| {
            namespace.is_empty() || metadata(object, "namespace").unwrap_or_default() == namespace
        };
        all.filter(is_there).collect()
    }
}

fn metadata<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    object.get("metadata")?.get(field)?.as_str()
}

/// Whether a label selector of equalities and existence selects an object.
fn selects(selector: &str, object: &Value) -> bool {
    let label = |name: &str| object.get("metadata")?.get("labels")?.get(name.trim())?.as_str();
    { selector.split(',') }
        .map(str::trim)
        .filter(|term| !term.is_empty())
        .all(|term| {
            if let Some((name, value)) = term.split_once("!=") {
                label(name) != Some(value.trim())
            } else if let Some((name, value)) = term.split_once('=') {
                label(name) == Some(value.trim_start_matches('=').trim())
            } else if let Some(name) = term.strip_prefix('!') {
                label(name).is_none()
            } else {
                label(term).is_some()
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_selects_as_kubernetes_does() {
        let object = json!({"metadata": {"labels": {"tier": "control-plane", "component": "etcd"}}});
        for (selector, expected) in [
            ("", true),
            ("tier", true),
            ("!tier", false),
            ("tier=control-plane,component==etcd", true),
            ("tier=control-plane,component!=etcd", false),
            ("other!=x", true),
            ("other=x", false),
        ] {
            assert_eq!(selects(selector, &object), expected, "{selector}");
        }
    }
}
