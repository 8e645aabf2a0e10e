//! A recovery plugin that finds fault with every member and every Node, dead or alive, and proposes what
//! must not be done to it.

use serde::Deserialize;
use witgate_sdk::recovery::{
    Action, AwaitedMember, Evidence, Eyes, Finding, KubeResource, MemberIdentity, Mode, ObjectIdentity,
    Proposal, Recovery, Refusal, Severity, Step, Trouble,
};

/// Remove the member of that name, after a snapshot.
const REMOVE: &str = "remove-member";

/// The same without a snapshot.
const REMOVE_AT_ONCE: &str = "remove-member-at-once";

/// Delete the Node of that name, with a UID that is not its own.
const DELETE: &str = "delete-node";

/// Wait for a member that nobody starts.
const WAIT: &str = "wait-for-nobody";

/// The plugin. There is nothing to configure.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Misbehave {}

witgate_sdk::export_recovery!(Misbehave);

impl Recovery for Misbehave {
    type Config = Self;

    fn new(config: Self) -> Result<Self, String> {
        Ok(config)
    }

    fn diagnose(&self, eyes: &dyn Eyes) -> Result<Vec<Finding>, Trouble> {
        let mut findings = vec![finding(WAIT, "nobody")];
        for member in eyes.survey()?.members {
            findings.extend([REMOVE, REMOVE_AT_ONCE].map(|class| finding(class, &member.name)));
        }
        // Where there are none, or none are granted, there is no Node to delete.
        let nodes = eyes
            .list(&KubeResource::core("nodes"), "", "")
            .unwrap_or_default();
        let names = nodes
            .iter()
            .filter_map(|node| node.pointer("/metadata/name")?.as_str());
        findings.extend(names.map(|name| finding(DELETE, name)));
        Ok(findings)
    }

    fn plan(&self, eyes: &dyn Eyes, finding: Finding) -> Result<Proposal, Refusal> {
        let named = finding.subject.as_str();
        let actions = match finding.class.as_str() {
            REMOVE => vec![Action::TakeSnapshot, Action::RemoveMember(member(eyes, named)?)],
            REMOVE_AT_ONCE => vec![Action::RemoveMember(member(eyes, named)?)],
            DELETE => vec![
                Action::TakeSnapshot,
                Action::DeleteNode(ObjectIdentity {
                    namespace: String::new(),
                    name: named.to_owned(),
                    uid: "00000000-0000-0000-0000-000000000000".to_owned(),
                }),
            ],
            _ => vec![Action::WaitForMember(AwaitedMember {
                name: named.to_owned(),
                timeout_seconds: 600,
            })],
        };
        let step = |action| Step::new(action, "somebody has to do it");
        Ok(Proposal {
            summary: format!("{} {named}", finding.class),
            mode: Mode::WithQuorum,
            steps: actions.into_iter().map(step).collect(),
        })
    }
}

fn finding(class: &str, subject: &str) -> Finding {
    Finding {
        class: class.to_owned(),
        severity: Severity::Critical,
        subject: subject.to_owned(),
        summary: "something has to be wrong".to_owned(),
        evidence: vec![Evidence {
            what: subject.to_owned(),
            vantage: "nowhere".to_owned(),
            at: 0,
            raw: "nothing was seen".to_owned(),
        }],
    }
}

/// The member as it is listed: what it is called is right, and only what is to be done to it is wrong.
fn member(eyes: &dyn Eyes, name: &str) -> Result<MemberIdentity, Refusal> {
    let unseen = |why: String| Refusal::new("not-seen", why, "Look again.");
    let survey = eyes.survey().map_err(|trouble| unseen(format!("{trouble:?}")))?;
    let found = survey.members.iter().find(|member| member.name == name);
    let found = found.ok_or_else(|| unseen(format!("there is no member {name}")))?;
    Ok(found.identity())
}
