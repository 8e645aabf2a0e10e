//! What can go wrong with etcd itself: a member that died, a full or fragmented database, stores that
//! differ, a member that lags, a lost quorum.

mod corrupt;
mod dead_member;
mod evidence;
mod fragmented;
mod lagging;
mod no_space;
mod quorum_lost;
#[cfg(test)]
mod specimen;

use serde::Deserialize;
use witgate_sdk::recovery::{Eyes, Finding, Proposal, Recovery, Refusal, Survey, Trouble};

/// The plugin's `config`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// From how many percent of free pages on a database is fragmented. Default: 50.
    pub fragmented_percent: u64,
    /// How many bytes have to be free for it to be worth the while. Default: 100 MiB.
    pub fragmented_bytes: u64,
    /// From how many percent of its quota on a database is nearly full. Default: 80.
    pub full_percent: u64,
    /// From how many entries behind the leader on a member lags. Default: 5000, from which on etcd's
    /// leader sends snapshots of its store instead of entries.
    pub lag: u64,
    /// How long a member has to be silent from everywhere to be reported as dead, in seconds. The
    /// gateway has a time of its own for what may be removed. Default: 300.
    pub silence_seconds: u64,
    /// Classes of findings that are left to another plugin: `dead-member` beside recovery-kubeadm, which
    /// finds the node with the member. Default: none.
    pub except: Vec<String>,
}

const CLASSES: [&str; 6] = [
    quorum_lost::CLASS,
    dead_member::CLASS,
    corrupt::CLASS,
    no_space::CLASS,
    fragmented::CLASS,
    lagging::CLASS,
];

/// The plugin.
#[derive(Debug)]
pub struct Etcd(Config);

witgate_sdk::export_recovery!(Etcd);

impl Default for Config {
    fn default() -> Self {
        Self {
            fragmented_percent: 50,
            fragmented_bytes: 100 << 20,
            full_percent: 80,
            lag: 5000,
            silence_seconds: 300,
            except: Vec::new(),
        }
    }
}

impl Recovery for Etcd {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        for (name, percent) in [
            ("fragmentedPercent", config.fragmented_percent),
            ("fullPercent", config.full_percent),
        ] {
            if !(1..=99).contains(&percent) {
                return Err(format!("{name} is {percent}, and has to be 1 to 99"));
            }
        }
        let unknown = |class: &&String| !CLASSES.contains(&class.as_str());
        if let Some(class) = config.except.iter().find(unknown) {
            let classes = CLASSES.join(", ");
            return Err(format!("except has {class:?}, and there are {classes}"));
        }
        Ok(Self(config))
    }

    fn diagnose(&self, eyes: &dyn Eyes) -> Result<Vec<Finding>, Trouble> {
        let survey = eyes.survey()?;
        if survey.cluster_id.is_none() {
            return Err(Trouble::Unavailable("no member of etcd answers".to_owned()));
        }
        let Config {
            fragmented_percent: percent,
            fragmented_bytes: bytes,
            ..
        } = self.0;
        let mut findings = quorum_lost::find(&survey);
        // Without a quorum a member that is silent is part of that, and no finding of its own.
        if findings.is_empty() {
            findings.extend(dead_member::find(&survey, self.0.silence_seconds * 1000));
        }
        findings.extend(corrupt::find(&survey));
        findings.extend(no_space::find(&survey, self.0.full_percent));
        findings.extend(fragmented::find(&survey, percent, bytes));
        findings.extend(lagging::find(&survey, self.0.lag));
        findings.retain(|finding| !self.0.except.contains(&finding.class));
        Ok(findings)
    }

    fn plan(&self, eyes: &dyn Eyes, finding: Finding) -> Result<Proposal, Refusal> {
        let survey = eyes.survey().map_err(|trouble| blind(&trouble))?;
        match finding.class.as_str() {
            quorum_lost::CLASS => Ok(quorum_lost::plan(&survey)),
            dead_member::CLASS => dead_member::plan(&survey, &finding.subject),
            corrupt::CLASS => corrupt::plan(&survey),
            no_space::CLASS => no_space::plan(&survey),
            fragmented::CLASS => fragmented::plan(&survey),
            lagging::CLASS => lagging::plan(&survey, &finding.subject),
            other => Err(Refusal::new(
                "unknown-finding",
                format!(
                    "{other} is none of the {} things that this plugin finds",
                    CLASSES.len()
                ),
                "Ask the plugin that found it.",
            )),
        }
    }
}

fn blind(trouble: &Trouble) -> Refusal {
    let (Trouble::NotGranted(why) | Trouble::Unavailable(why) | Trouble::TooLarge(why)) = trouble;
    Refusal::new("not-seen", why.clone(), "Try again when etcd can be seen.")
}

/// How a member is called in findings.
fn subject(member: &witgate_sdk::recovery::Member) -> String {
    let name = if member.name.is_empty() {
        "(never started)"
    } else {
        &member.name
    };
    format!("member {name} ({:x})", member.id)
}

/// Who leads, by the member of the highest term that knows.
fn leader(survey: &Survey) -> Option<u64> {
    let knows = survey.statuses.iter().filter(|status| status.leader != 0);
    Some(knows.max_by_key(|status| status.raft_term)?.leader)
}
