//! What a plan changes, step by step, in lines that people can judge it by.

use std::time::Duration;

use crate::{
    observation::{Kubernetes, Observation},
    plan::Plan,
    policy::millis,
    projection::{TO_COME, project},
};

/// What one step changes, as lines of what there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// What is there before and not after.
    pub gone: Vec<String>,
    /// What is there after and was not before.
    pub come: Vec<String>,
}

impl Plan {
    /// What is expected of each step, beginning with what was seen when the plan was made. A member that
    /// is silent for `silence` is dead. Of a step by hand nothing is known in advance.
    pub fn outlook(&self, silence: Duration) -> Vec<Outlook> {
        let id = self.id();
        let mut seen = self.seen.clone();
        let mut before = lines(&seen, silence);
        let steps = self.proposal.steps.iter().map(|step| {
            project(&mut seen, &step.action, id.label());
            let after = lines(&seen, silence);
            let without = |these: &[String], those: &[String]| -> Vec<String> {
                let missing = these.iter().filter(|line| !those.contains(line));
                missing.cloned().collect()
            };
            let outlook = Outlook {
                gone: without(&before, &after),
                come: without(&after, &before),
            };
            before = after;
            outlook
        });
        steps.collect()
    }
}

/// A control plane, a line for each thing that a step can change.
fn lines(seen: &Observation, silence: Duration) -> Vec<String> {
    let census = seen.census();
    let left = match seen.tolerance() {
        ..0 => "nothing can be written".to_owned(),
        left => format!("{left} more may fail"),
    };
    let mut lines = vec![format!(
        "quorum: {} of {} voters alive, {} needed, {left}",
        census.alive,
        census.voters,
        census.quorum()
    )];
    for member in &seen.survey.members {
        let id = if member.id == TO_COME {
            "new".to_owned()
        } else {
            member.id.to_string()
        };
        let role = if member.learner { "learner" } else { "voter" };
        let standing = seen.standing(member, millis(silence)).word();
        let leads = if seen.leader() == Some(member.id) {
            ", leads"
        } else {
            ""
        };
        let name = if member.name.is_empty() {
            "(never started)"
        } else {
            &member.name
        };
        lines.push(format!("member {name} ({id}): {role}, {standing}{leads}"));
        if let Some(status) = seen.survey.status(member.id) {
            // How much compacting leaves is known when it is done.
            let size = match status.db_size {
                0 => "no bigger than what is left needs".to_owned(),
                size => format!("{size} bytes"),
            };
            lines.push(format!("database of member {name} ({id}): {size}"));
            if let Some(hash) = status.hash {
                let from = hash.compact_revision;
                lines.push(format!("revisions of member {name} ({id}): from {from}"));
            }
        }
    }
    lines.extend(seen.survey.alarms.iter().map(|alarm| format!("alarm: {alarm}")));
    lines.extend(seen.kubernetes.iter().flat_map(objects));
    lines.extend(seen.snapshots.iter().map(|snapshot| {
        let file = if snapshot.file.is_empty() {
            "to be taken"
        } else {
            &snapshot.file
        };
        format!("snapshot of revision {}: {file}", snapshot.revision)
    }));
    lines
}

fn objects(seen: &Kubernetes) -> Vec<String> {
    let nodes = seen.nodes.iter().map(|node| {
        let ready = if node.ready { "ready" } else { "not ready" };
        format!("Node {} ({}): {ready}", node.name, node.uid)
    });
    let pods = seen.pods.iter().map(|pod| {
        let kind = if pod.mirror { "mirror pod" } else { "pod" };
        format!(
            "{kind} {}/{} ({}) on {}",
            pod.namespace, pod.name, pod.uid, pod.node
        )
    });
    let leases = seen.leases.iter().map(|lease| {
        let (namespace, name) = (&lease.namespace, &lease.name);
        format!(
            "Lease {namespace}/{name} ({}), held by {}",
            lease.uid, lease.holder
        )
    });
    let kubeadm = seen.kubeadm.iter();
    let entries = kubeadm.flat_map(|map| map.cluster_status.iter().flatten());
    let entries = entries.map(|node| format!("ClusterStatus entry {node}"));
    let join = seen.join.iter().flatten().map(|join| {
        format!(
            "join material of plan {}: {} and {}",
            join.plan,
            if join.token { "a token" } else { "no token" },
            if join.certificates {
                "certificates"
            } else {
                "no certificates"
            },
        )
    });
    nodes
        .chain(pods)
        .chain(leases)
        .chain(entries)
        .chain(join)
        .collect()
}

#[cfg(test)]
mod tests {
    use witgate_plugins::recovery::{
        Action, Finding, Member, MemberId, MemberIdentity, Mode, ObjectIdentity, Proposal, Severity, Status,
        Step,
    };

    use super::*;
    use crate::{observation::Node, plan::Planner};

    fn plan(actions: Vec<Action>) -> Plan {
        let member = |id| Member {
            id: MemberId(id),
            name: format!("cp-{id}"),
            ..Member::default()
        };
        let status = |id| Status {
            member: MemberId(id),
            leader: MemberId(1),
            db_size: 100,
            ..Status::default()
        };
        let mut seen = Observation::default();
        seen.survey.members = vec![member(1), member(2)];
        seen.survey.statuses = vec![status(1)];
        seen.kubernetes = Some(Kubernetes {
            nodes: vec![Node {
                name: "cp-2".to_owned(),
                uid: "u2".to_owned(),
                ..Node::default()
            }],
            ..Kubernetes::default()
        });
        let step = |action| Step {
            action,
            reason: String::new(),
            before: Vec::new(),
            after: Vec::new(),
        };
        Plan {
            planner: Planner {
                plugin: "test".to_owned(),
                sha256: String::new(),
            },
            requester: "alice".to_owned(),
            made: 0,
            finding: Finding {
                class: "test".to_owned(),
                severity: Severity::Notice,
                subject: String::new(),
                summary: String::new(),
                evidence: Vec::new(),
            },
            seen,
            proposal: Proposal {
                summary: String::new(),
                mode: Mode::WithQuorum,
                steps: actions.into_iter().map(step).collect(),
            },
        }
    }

    #[test]
    fn each_step_says_what_goes_and_what_comes() {
        let plan = plan(vec![
            Action::TakeSnapshot,
            Action::RemoveMember(MemberIdentity {
                id: MemberId(2),
                name: "cp-2".to_owned(),
                peer_urls: Vec::new(),
            }),
            Action::DeleteNode(ObjectIdentity {
                namespace: String::new(),
                name: "cp-2".to_owned(),
                uid: "u2".to_owned(),
            }),
        ]);
        let outlook = plan.outlook(Duration::from_secs(1));
        let lines = |lines: &[&str]| -> Vec<String> { lines.iter().map(|line| (*line).to_owned()).collect() };
        assert_eq!(
            outlook,
            [
                Outlook {
                    gone: Vec::new(),
                    come: lines(&["snapshot of revision 0: to be taken"]),
                },
                Outlook {
                    gone: lines(&[
                        "quorum: 1 of 2 voters alive, 2 needed, nothing can be written",
                        "member cp-2 (2): voter, unknown",
                    ]),
                    come: lines(&["quorum: 1 of 1 voters alive, 1 needed, 0 more may fail"]),
                },
                Outlook {
                    gone: lines(&["Node cp-2 (u2): not ready"]),
                    come: Vec::new(),
                },
            ]
        );
    }
}
