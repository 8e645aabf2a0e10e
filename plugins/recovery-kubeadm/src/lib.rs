//! What can go wrong with the nodes of a control plane that kubeadm made: a node that died with its
//! member of etcd, what such a node leaves behind, a member that did not get further than half, and
//! what is needed to let another node in.

mod cluster;
mod dead_node;
mod evidence;
mod join;
mod join_material;
mod kubeadm_config;
mod leftovers;
mod missing_member;
mod objects;
mod orphan_member;
mod rules;
#[cfg(test)]
mod specimen;
mod stale_cluster_status;
mod stale_node;
mod stuck_learner;
#[cfg(test)]
mod tests;
mod version_skew;

use serde::Deserialize;
use witgate_sdk::recovery::{Eyes, Finding, Member, Proposal, Recovery, Refusal, Trouble};

use cluster::Cluster;

/// The plugin's `config`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// The nodes that the control plane should have, by name. One of them without a member is then
    /// missing even when nothing is left of it. Default: none, and only what is there is looked at.
    pub nodes: Vec<String>,
    /// How long a member or a node has to be silent to be reported, in seconds. The gateway has a time
    /// of its own for what may be removed. Default: 300.
    pub silence_seconds: u64,
    /// How long a learner may take until it counts as stuck, in seconds. Default: 300; kubeadm itself
    /// gives up after 120.
    pub learning_seconds: u64,
    /// How many entries of the log a learner may be behind the leader to be given a vote. Default:
    /// 1000, as the gateway's `policy.lag`.
    pub lag: u64,
    /// How long what a node joins with is good for, and the node is waited for, in seconds. Default:
    /// 3600; at most 7200.
    pub join_seconds: u32,
}

/// The plugin.
#[derive(Debug)]
pub struct Kubeadm(Config);

witgate_sdk::export_recovery!(Kubeadm);

impl Default for Config {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            silence_seconds: 300,
            learning_seconds: 300,
            lag: 1000,
            join_seconds: 3600,
        }
    }
}

impl Recovery for Kubeadm {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        if !(60..=7200).contains(&config.join_seconds) {
            let seconds = config.join_seconds;
            return Err(format!("joinSeconds is {seconds}, and has to be 60 to 7200"));
        }
        Ok(Self(config))
    }

    fn diagnose(&self, eyes: &dyn Eyes) -> Result<Vec<Finding>, Trouble> {
        let cluster = Cluster::look(eyes)?;
        let config = &self.0;
        let mut findings = dead_node::find(&cluster, config);
        findings.extend(orphan_member::find(&cluster, config));
        findings.extend(stuck_learner::find(&cluster, config));
        findings.extend(stale_node::find(&cluster, config));
        findings.extend(missing_member::find(&cluster, config));
        findings.extend(stale_cluster_status::find(&cluster));
        findings.extend(join_material::find(&cluster));
        findings.extend(version_skew::find(&cluster));
        Ok(findings)
    }

    fn plan(&self, eyes: &dyn Eyes, finding: Finding) -> Result<Proposal, Refusal> {
        let cluster = Cluster::look(eyes).map_err(|trouble| blind(&trouble))?;
        let (config, wanted) = (&self.0, finding.subject.as_str());
        match finding.class.as_str() {
            dead_node::CLASS => dead_node::plan(&cluster, config, wanted),
            orphan_member::CLASS => orphan_member::plan(&cluster, config, wanted),
            stuck_learner::CLASS => stuck_learner::plan(&cluster, config, wanted),
            stale_node::CLASS => stale_node::plan(&cluster, config, wanted),
            missing_member::CLASS => missing_member::plan(&cluster, config, wanted),
            stale_cluster_status::CLASS => stale_cluster_status::plan(&cluster, wanted),
            join_material::TOKEN | join_material::CERTIFICATES => {
                join_material::plan(&cluster, config, &finding)
            }
            version_skew::CLASS => Err(version_skew::refuse(&cluster)),
            other => Err(Refusal::new(
                "unknown-finding",
                format!("{other} is none of the 9 things that this plugin finds"),
                "Ask the plugin that found it.",
            )),
        }
    }
}

fn blind(trouble: &Trouble) -> Refusal {
    let (Trouble::NotGranted(why) | Trouble::Unavailable(why) | Trouble::TooLarge(why)) = trouble;
    Refusal::new(
        "not-seen",
        why.clone(),
        "Try again when etcd and an apiserver can be seen.",
    )
}

/// How a member is called in findings; recovery-etcd calls it the same.
fn member_subject(member: &Member) -> String {
    let name = if member.name.is_empty() {
        "(never started)"
    } else {
        &member.name
    };
    format!("member {name} ({:x})", member.id)
}

/// How a node is called in findings.
fn node_subject(name: &str) -> String {
    format!("node {name}")
}

/// What was found is not there any more.
fn gone(wanted: &str, among: usize) -> Refusal {
    Refusal::new(
        "no-drift",
        format!("{wanted} was found, and is none of the {among} things of that class that are found now"),
        "Diagnose again.",
    )
}
