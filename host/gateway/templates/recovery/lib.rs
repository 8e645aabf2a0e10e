//! Finds control-plane nodes on which no member of etcd is, and says what to do about one.

use serde::Deserialize;
use serde_json::Value;
use witgate_sdk::recovery::{
    Action, Evidence, Eyes, Finding, Instruction, KubeResource, Mode, Proposal, Recovery, Refusal, Severity, Step,
    Survey, Trouble,
};

const CLASS: &str = "node-without-member";

/// What the operator writes under `plugins.PLUGIN_NAME.config`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// By which label control-plane nodes are known. Default: kubeadm's.
    #[serde(default = "control_plane")]
    pub selector: String,
}

fn control_plane() -> String {
    "node-role.kubernetes.io/control-plane".to_owned()
}

/// The plugin.
#[derive(Debug)]
pub struct Plugin(Config);

impl Recovery for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Self(config))
    }

    fn diagnose(&self, eyes: &dyn Eyes) -> Result<Vec<Finding>, Trouble> {
        let survey = eyes.survey()?;
        // What no quorum confirms may be out of date: a member could be missing from the list only.
        if !survey.confirmed {
            return Ok(Vec::new());
        }
        let nodes = self.without_member(eyes, &survey)?;
        Ok(nodes.iter().map(|node| finding(node, &survey)).collect())
    }

    fn plan(&self, eyes: &dyn Eyes, wanted: Finding) -> Result<Proposal, Refusal> {
        let blind = |trouble: Trouble| Refusal::new("seen", format!("{trouble:?}"), "Ask again when it can be seen.");
        let survey = eyes.survey().map_err(blind)?;
        let nodes = self.without_member(eyes, &survey).map_err(blind)?;
        // It is looked again: since it was found, somebody may have done it.
        let node = nodes.iter().find(|node| subject(node) == wanted.subject);
        let node = node.ok_or_else(|| {
            let reason = format!("{} has a member, or is gone", wanted.subject);
            Refusal::new("still-there", reason, "There is nothing to be done.")
        })?;
        let instruction = Instruction {
            machine: node.clone(),
            text: "Let the node join anew. It is done when `etcdctl member list` has it.".to_owned(),
            commands: vec!["kubeadm reset".to_owned()],
        };
        Ok(Proposal {
            summary: format!("have node {node} join as a member"),
            mode: Mode::WithQuorum,
            steps: vec![Step::new(Action::ByHand(instruction), "a node without its member survives nobody")],
        })
    }
}

impl Plugin {
    /// kubeadm calls members as their nodes.
    fn without_member(&self, eyes: &dyn Eyes, survey: &Survey) -> Result<Vec<String>, Trouble> {
        let nodes = eyes.list(&KubeResource::core("nodes"), "", &self.0.selector)?;
        let name = |node: &Value| node.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
        let is_member = |name: &String| survey.members.iter().any(|member| member.name == *name);
        Ok(nodes.iter().filter_map(name).filter(|name| !is_member(name)).collect())
    }
}

fn subject(node: &str) -> String {
    format!("node {node}")
}

fn finding(node: &str, survey: &Survey) -> Finding {
    let names: Vec<_> = survey.members.iter().map(|member| member.name.as_str()).collect();
    Finding {
        class: CLASS.to_owned(),
        severity: Severity::Degraded,
        subject: subject(node),
        summary: format!("{node} is a control-plane node, and none of the {} members is on it", names.len()),
        evidence: vec![Evidence {
            what: "etcd's list of members".to_owned(),
            vantage: "gateway".to_owned(),
            at: survey.taken,
            raw: names.join(", "),
        }],
    }
}

witgate_sdk::export_recovery!(Plugin);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use witgate_sdk::recovery::Member;

    use super::*;

    /// A control plane whose nodes are cp-1 and cp-2, with a member for cp-1 only.
    struct MadeUp {
        confirmed: bool,
    }

    impl Eyes for MadeUp {
        fn get(&self, _: &KubeResource, _: &str, _: &str) -> Result<Option<Value>, Trouble> {
            Ok(None)
        }

        fn list(&self, _: &KubeResource, _: &str, _: &str) -> Result<Vec<Value>, Trouble> {
            Ok(["cp-1", "cp-2"].map(|name| json!({"metadata": {"name": name}})).to_vec())
        }

        fn survey(&self) -> Result<Survey, Trouble> {
            let member = Member {
                id: 1,
                name: "cp-1".to_owned(),
                peer_urls: Vec::new(),
                client_urls: Vec::new(),
                learner: false,
                silent_since: None,
            };
            Ok(Survey {
                cluster_id: Some(1),
                taken: 1000,
                members: vec![member],
                confirmed: self.confirmed,
                sightings: Vec::new(),
                statuses: Vec::new(),
                alarms: Vec::new(),
            })
        }
    }

    fn plugin() -> Plugin {
        Plugin::new(Config { selector: control_plane() }).unwrap()
    }

    #[test]
    fn a_node_without_member_is_found_and_has_a_plan() {
        let eyes = MadeUp { confirmed: true };
        let findings = plugin().diagnose(&eyes).unwrap();
        let subjects: Vec<_> = findings.iter().map(|finding| finding.subject.as_str()).collect();
        assert_eq!(subjects, ["node cp-2"]);
        let proposal = plugin().plan(&eyes, findings[0].clone()).unwrap();
        assert_eq!(proposal.steps.len(), 1);
    }

    #[test]
    fn a_list_that_no_quorum_confirms_says_nothing() {
        assert!(plugin().diagnose(&MadeUp { confirmed: false }).unwrap().is_empty());
    }
}
