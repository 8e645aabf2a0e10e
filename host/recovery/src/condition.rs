//! Whether a plan's conditions hold, and whether what an action is for is the case.

use witgate_plugins::recovery::{Action, Condition, KubeResource, MemberId, ObjectIdentity};

use crate::{
    observation::{Hashes, Join, Kubernetes, Observation, Standing, fragmentation},
    policy::millis,
    rules::{self, Rule, Scene, Violation},
};

/// Less free space than this, in percent, is as good as a database gets: etcd leaves some behind.
const DEFRAGMENTED: u64 = 20;

/// Demands a condition of a plan.
pub(crate) fn demand(condition: &Condition, scene: &Scene<'_>) -> Result<(), Violation> {
    match holds(condition, scene) {
        Ok(()) => Ok(()),
        Err(but) => Err(Rule::PlansCondition.broken(format!("{condition} does not hold: {but}"))),
    }
}

fn holds(condition: &Condition, scene: &Scene<'_>) -> Result<(), String> {
    let seen = scene.seen;
    let census = seen.census();
    let check = |holds: bool, but: String| if holds { Ok(()) } else { Err(but) };
    match condition {
        Condition::Quorum => check(
            census.alive >= census.quorum(),
            format!(
                "{} of {}, and {} are needed",
                census.alive,
                census.voters,
                census.quorum()
            ),
        ),
        Condition::Voters(count) => check(
            u32::try_from(census.voters) == Ok(*count),
            format!("there are {}", census.voters),
        ),
        Condition::AllAnswer => {
            let (answers, members) = (seen.survey.statuses.len(), seen.survey.members.len());
            check(answers >= members, format!("{answers} of {members} do"))
        }
        Condition::HashesAgree => match seen.hashes() {
            Hashes::Agree => Ok(()),
            other => Err(format!("{other:?}")),
        },
        Condition::NoLearner => check(census.learners == 0, format!("there are {}", census.learners)),
        Condition::Listed(identity) => {
            let listed = seen
                .survey
                .member(identity.id)
                .is_some_and(|member| identity.is(member));
            check(listed, format!("none of {} is", seen.survey.members.len()))
        }
        Condition::NotListed(id) => check(seen.survey.member(*id).is_none(), "1 is".to_owned()),
        Condition::Dead(identity) => {
            let member = seen
                .survey
                .member(identity.id)
                .filter(|member| identity.is(member));
            let standing = member.map(|member| seen.standing(member, millis(scene.policy.silence)));
            let word = standing.map_or("not listed", Standing::word);
            check(standing == Some(Standing::Dead), format!("it is {word}"))
        }
        Condition::Answers(identity) => {
            let answers = seen.survey.status(identity.id).is_some();
            check(answers, "0 of 1 answers".to_owned())
        }
        Condition::Leads(id) => check(seen.leader() == Some(*id), leader(seen.leader())),
        Condition::DoesNotLead(id) => check(seen.leader() != Some(*id), leader(seen.leader())),
        Condition::Raised(alarm) => check(seen.survey.alarms.contains(alarm), "it is not".to_owned()),
        Condition::NotRaised(alarm) => check(!seen.survey.alarms.contains(alarm), "it is".to_owned()),
        Condition::BelowQuota(identity, percent) => {
            let status = seen.survey.status(identity.id).ok_or("it does not answer")?;
            let quota = status.db_quota.unwrap_or(rules::DEFAULT_QUOTA).max(1);
            let used = status.db_size.saturating_mul(100) / quota;
            check(
                used < u64::from(*percent),
                format!("it takes {used} % of {quota} bytes"),
            )
        }
        Condition::FragmentedLessThan(identity, percent) => {
            let status = seen.survey.status(identity.id).ok_or("it does not answer")?;
            let free = fragmentation(status);
            check(free < u64::from(*percent), format!("{free} % are"))
        }
        Condition::Present(resource, object) => {
            let there = present(kubernetes(seen)?, resource, object)?;
            check(there, "0 of 1 is".to_owned())
        }
        Condition::Absent(resource, object) => {
            let there = present(kubernetes(seen)?, resource, object)?;
            check(!there, "1 is".to_owned())
        }
        Condition::NotReady(object) => {
            let node = seen.node(&object.name).filter(|node| node.uid == object.uid);
            check(
                node.is_some_and(|node| !node.ready),
                match node {
                    Some(node) => format!("it is ready since {}", node.since),
                    None => "there is none".to_owned(),
                },
            )
        }
        Condition::NoClusterStatusOf(name) => {
            let kubeadm = kubernetes(seen)?.kubeadm.as_ref();
            let status = kubeadm.and_then(|map| map.cluster_status.as_ref());
            check(
                status.is_none_or(|nodes| !nodes.contains(name)),
                "it has 1".to_owned(),
            )
        }
        Condition::SnapshotFresh => rules::fresh(scene).map_err(|violation| violation.says),
        Condition::JoinMaterialThere => {
            let there = made(scene)?.any(|join| join.token && join.certificates);
            check(there, "0 of 2 are".to_owned())
        }
        Condition::JoinMaterialGone => {
            let there = made(scene)?.any(|join| join.token || join.certificates);
            check(!there, "they are not".to_owned())
        }
    }
}

fn leader(leader: Option<MemberId>) -> String {
    leader.map_or("0 lead".to_owned(), |leader| format!("{leader} leads"))
}

fn kubernetes(seen: &Observation) -> Result<&Kubernetes, String> {
    let found = seen.kubernetes.as_ref();
    found.ok_or_else(|| "0 apiservers answer".to_owned())
}

/// What the plan made for joining.
fn made<'a>(scene: &Scene<'a>) -> Result<impl Iterator<Item = &'a Join>, String> {
    let made = kubernetes(scene.seen)?.join.as_ref();
    let made = made.ok_or("the gateway may not list the Secrets in kube-system")?;
    let plan = scene.plan;
    Ok(made.iter().filter(move |join| join.plan == plan))
}

fn present(seen: &Kubernetes, resource: &KubeResource, object: &ObjectIdentity) -> Result<bool, String> {
    let by = |uid: &String| *uid == object.uid;
    match resource.plural.as_str() {
        "nodes" => Ok(seen.nodes.iter().any(|node| by(&node.uid))),
        "pods" => Ok(seen.pods.iter().any(|pod| by(&pod.uid))),
        "leases" => Ok(seen.leases.iter().any(|lease| by(&lease.uid))),
        other => Err(format!("{other} are not among what is looked at (0 of 1)")),
    }
}

/// Whether what an action is for is the case.
pub(crate) fn achieved(action: &Action, scene: &Scene<'_>) -> bool {
    let seen = scene.seen;
    let absent = |resource: KubeResource, object: &ObjectIdentity| {
        let there = seen
            .kubernetes
            .as_ref()
            .map(|seen| present(seen, &resource, object));
        there == Some(Ok(false))
    };
    match action {
        Action::TakeSnapshot => rules::fresh(scene).is_ok(),
        Action::MoveLeader(leadership) => seen.leader() == Some(leadership.to.id),
        Action::RemoveMember(member) => seen.survey.confirmed && seen.survey.member(member.id).is_none(),
        Action::PromoteLearner(member) => {
            seen.survey.confirmed
                && seen
                    .survey
                    .member(member.id)
                    .is_some_and(|member| !member.learner)
        }
        Action::DeleteNode(node) => absent(KubeResource::core("nodes"), node),
        Action::DeleteMirrorPod(pod) => absent(KubeResource::core("pods"), pod),
        Action::DeleteLease(lease) => absent(KubeResource::leases(), lease),
        Action::EditClusterStatus(entry) => {
            holds(&Condition::NoClusterStatusOf(entry.node.clone()), scene).is_ok()
        }
        Action::MintJoinMaterial(_) => holds(&Condition::JoinMaterialThere, scene).is_ok(),
        Action::RevokeJoinMaterial => holds(&Condition::JoinMaterialGone, scene).is_ok(),
        Action::WaitForMember(awaited) => {
            let votes = seen
                .voters()
                .any(|voter| voter.name == awaited.name && seen.agrees(voter));
            votes && seen.survey.confirmed
        }
        Action::Defragment(member) => seen
            .survey
            .status(member.id)
            .is_some_and(|status| fragmentation(status) < DEFRAGMENTED),
        Action::Compact(revision) => seen
            .survey
            .statuses
            .iter()
            .any(|status| status.hash.is_some_and(|hash| hash.compact_revision >= *revision)),
        Action::DisarmAlarm(alarm) => !seen.survey.alarms.contains(alarm),
        // Only a person can say so.
        Action::ByHand(_) => false,
    }
}

/// Whether an action needs not be taken because what it is for is the case already. What join
/// material is there can't be used any more: nobody but the one who made it has its secrets.
pub(crate) fn already(action: &Action, scene: &Scene<'_>) -> bool {
    !matches!(action, Action::MintJoinMaterial(_)) && achieved(action, scene)
}
