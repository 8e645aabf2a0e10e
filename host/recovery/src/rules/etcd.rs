//! What etcd's members and their quorum demand.

use witgate_plugins::recovery::{Action, AlarmKind, Member, MemberId, MemberIdentity};

use super::{Rule, Scene, Violation};
use crate::{
    observation::{Hashes, Standing, VANTAGE_POINTS, fragmentation, quorum},
    policy::millis,
};

/// etcd versions from which a new member is taken while another is silent (etcd pull requests 21669
/// and 21667): by minor version, the patch.
const TAKES_MEMBERS_WHILE_ONE_IS_SILENT: [(u64, u64); 2] = [(5, 30), (6, 11)];

pub(super) fn same_member(action: &Action, scene: &Scene<'_>) -> Result<(), Violation> {
    named(action).into_iter().try_for_each(|identity| {
        let found = scene.seen.survey.member(identity.id);
        Rule::SameMember.demand(found.is_some_and(|member| identity.is(member)), || match found {
            Some(member) => format!(
                "the plan means member {identity} at {}, and {} is {} at {}",
                identity.peer_urls.join(","),
                member.id,
                MemberIdentity::from(member),
                member.peer_urls.join(",")
            ),
            None => format!(
                "the plan means member {identity}, and none of the {} members has that id",
                scene.seen.survey.members.len()
            ),
        })
    })
}

/// The members that an action names.
fn named(action: &Action) -> Vec<&MemberIdentity> {
    match action {
        Action::MoveLeader(leadership) => vec![&leadership.from, &leadership.to],
        Action::RemoveMember(member) | Action::PromoteLearner(member) | Action::Defragment(member) => {
            vec![member]
        }
        _ => Vec::new(),
    }
}

pub(super) fn dead_for_sure(action: &Action, scene: &Scene<'_>) -> Result<(), Violation> {
    let Action::RemoveMember(identity) = action else {
        return Ok(());
    };
    let Some(member) = scene.seen.survey.member(identity.id) else {
        return Ok(());
    };
    let dwell = millis(scene.policy.silence);
    let standing = scene.seen.standing(member, dwell);
    if standing == Standing::Dead || is_stuck(member, scene) || is_culprit(member.id, scene) {
        return Ok(());
    }
    let says = if standing == Standing::Alive {
        let lag = scene.seen.lag(member.id).unwrap_or(0);
        format!("member {identity} answers, {lag} entries behind the leader, and is not removed")
    } else {
        let seen: Vec<_> = scene
            .seen
            .survey
            .sightings
            .iter()
            .filter(|sighting| sighting.member == member.id)
            .map(|sighting| format!("{} from {}", sighting.seen.word(), sighting.vantage))
            .collect();
        let lasted = member
            .silent_since
            .map_or(0, |since| scene.seen.at.saturating_sub(since) / 1000);
        format!(
            "member {identity} is not known to be dead: it was seen {}; it has to be silent from {VANTAGE_POINTS} \
             places and from none otherwise, for {} s, and it is for {lasted} s",
            seen.join(", "),
            dwell / 1000
        )
    };
    Err(Rule::DeadForSure.broken(says))
}

/// A learner that lives and doesn't catch up.
fn is_stuck(member: &Member, scene: &Scene<'_>) -> bool {
    let behind = scene
        .seen
        .lag(member.id)
        .is_some_and(|lag| lag > scene.policy.lag);
    member.learner && behind
}

/// A member whose store a strict majority of at least three contradicts.
fn is_culprit(member: MemberId, scene: &Scene<'_>) -> bool {
    match scene.seen.hashes() {
        Hashes::Differ { majority, of, others } => of >= 3 && majority * 2 > of && others.contains(&member),
        Hashes::Agree | Hashes::Incomparable { .. } => false,
    }
}

pub(super) fn quorum_commits(action: &Action, scene: &Scene<'_>) -> Result<(), Violation> {
    if matches!(action, Action::ByHand(_) | Action::TakeSnapshot) {
        return Ok(());
    }
    let census = scene.seen.census();
    Rule::QuorumCommits.demand(census.alive >= census.quorum(), || {
        let answer = scene
            .seen
            .voters()
            .filter(|voter| scene.seen.survey.status(voter.id).is_some());
        format!(
            "{} of {} voters answer, {} follow one leader, and {} are needed to commit anything",
            answer.count(),
            census.voters,
            census.alive,
            census.quorum()
        )
    })
}

pub(super) fn quorum_survives(action: &Action, scene: &Scene<'_>) -> Result<(), Violation> {
    let Action::RemoveMember(identity) = action else {
        return Ok(());
    };
    let Some(member) = scene.seen.survey.member(identity.id).filter(|m| !m.learner) else {
        return Ok(());
    };
    let census = scene.seen.census();
    Rule::QuorumSurvives.demand(census.voters > 1, || {
        format!("member {identity} is 1 of 1 voters, and the last one is not removed")
    })?;
    let left = census.alive - usize::from(scene.seen.agrees(member));
    let needed = quorum(census.voters - 1);
    Rule::QuorumSurvives.demand(left >= needed, || {
        format!(
            "without member {identity} there are {left} live of {} voters, and {needed} are needed",
            census.voters - 1
        )
    })
}

pub(super) fn leader_moves_first(action: &Action, scene: &Scene<'_>) -> Result<(), Violation> {
    let leader = scene.seen.leader();
    match action {
        Action::RemoveMember(identity) => {
            let lives = scene.seen.survey.status(identity.id).is_some();
            Rule::LeaderMovesFirst.demand(!lives || leader != Some(identity.id), || {
                let others = scene.seen.census().voters.saturating_sub(1);
                format!(
                    "member {identity} leads: one of the {others} other voters has to, before it is removed"
                )
            })
        }
        Action::MoveLeader(leadership) => {
            let (from, to) = (&leadership.from, &leadership.to);
            Rule::LeaderMovesFirst.demand(leader == Some(from.id), || match leader {
                Some(leader) => format!("the plan moves the lead from member {from}, and {leader} has it"),
                None => format!("the plan moves the lead from member {from}, and 0 members lead"),
            })?;
            let votes = scene.seen.survey.member(to.id).is_some_and(|m| !m.learner);
            let lag = scene.seen.lag(to.id);
            let fit = votes && lag.is_some_and(|lag| lag <= scene.policy.lag);
            Rule::LeaderMovesFirst.demand(fit, || match lag {
                _ if !votes => format!("member {to} has no vote (0 of 1)"),
                Some(lag) => format!(
                    "member {to} is {lag} entries behind, and {} may be",
                    scene.policy.lag
                ),
                None => format!("member {to} does not answer (0 of 1)"),
            })
        }
        _ => Ok(()),
    }
}

pub(super) fn one_change_at_a_time(action: &Action, scene: &Scene<'_>) -> Result<(), Violation> {
    if !matches!(action, Action::RemoveMember(_) | Action::PromoteLearner(_)) {
        return Ok(());
    }
    Rule::OneChangeAtATime.demand(scene.seen.survey.confirmed, || {
        let census = scene.seen.census();
        format!(
            "no quorum confirmed the list of members: {} of {} voters answer",
            census.alive, census.voters
        )
    })?;
    Rule::OneChangeAtATime.demand(scene.open.is_none(), || {
        let open = scene.open.unwrap_or_default();
        format!("1 change of membership is under way and has to end first: {open}")
    })
}

pub(super) fn grows_when_whole(action: &Action, scene: &Scene<'_>) -> Result<(), Violation> {
    let (joins, votes) = match action {
        Action::MintJoinMaterial(_) => (true, false),
        Action::PromoteLearner(_) => (false, true),
        _ => return Ok(()),
    };
    let census = scene.seen.census();
    let dwell = millis(scene.policy.silence);
    let silent: Vec<_> = scene
        .seen
        .voters()
        .filter(|voter| scene.seen.standing(voter, dwell) != Standing::Alive)
        .map(|voter| MemberIdentity::from(voter).to_string())
        .collect();
    let needed = quorum(census.voters + 1);
    let patient = joins && census.alive >= needed && takes_members_while_one_is_silent(scene);
    Rule::GrowsWhenWhole.demand(silent.is_empty() || patient, || {
        format!(
            "{} of {} voters answer, and none may be silent while one more is added; silent: {}",
            census.alive,
            census.voters,
            silent.join(", ")
        )
    })?;
    if joins {
        return Rule::GrowsWhenWhole.demand(census.learners == 0, || {
            format!(
                "there are {} learners, and etcd takes 1 at a time: remove or promote it first",
                census.learners
            )
        });
    }
    let Action::PromoteLearner(identity) = action else {
        return Ok(());
    };
    let lag = scene.seen.lag(identity.id);
    let learns = scene.seen.survey.member(identity.id).is_some_and(|m| m.learner);
    let fit = learns && votes && lag.is_some_and(|lag| lag <= scene.policy.lag);
    Rule::GrowsWhenWhole.demand(fit, || match lag {
        _ if !learns => format!("member {identity} is no learner (0 of {})", census.learners),
        Some(lag) => format!(
            "learner {identity} is {lag} entries behind, and {} may be",
            scene.policy.lag
        ),
        None => format!("learner {identity} does not answer (0 of 1)"),
    })
}

fn takes_members_while_one_is_silent(scene: &Scene<'_>) -> bool {
    let mut versions = scene.seen.survey.statuses.iter().map(|status| &status.version);
    versions.all(|version| {
        let Ok(version) = semver::Version::parse(version) else {
            return false;
        };
        let listed = TAKES_MEMBERS_WHILE_ONE_IS_SILENT
            .iter()
            .any(|(minor, patch)| version.minor == *minor && version.patch >= *patch);
        version.major > 3 || (version.major == 3 && (version.minor > 6 || listed))
    })
}

pub(super) fn cause_gone(action: &Action, scene: &Scene<'_>) -> Result<(), Violation> {
    let Action::DisarmAlarm(alarm) = action else {
        return Ok(());
    };
    Rule::CauseGone.demand(alarm.member != MemberId(0), || {
        format!(
            "the {} alarm is of no member (id 0), and nobody knows whose store it is",
            alarm.kind
        )
    })?;
    match alarm.kind {
        AlarmKind::NoSpace => {
            let percent = u64::from(scene.policy.quota_percent);
            for status in &scene.seen.survey.statuses {
                let quota = status.db_quota.unwrap_or(DEFAULT_QUOTA);
                let used = status.db_size.saturating_mul(100) / quota.max(1);
                Rule::CauseGone.demand(used < percent, || {
                    format!(
                        "the database of member {} takes {} of {quota} bytes ({used} %), and has to be below {percent} %",
                        status.member, status.db_size
                    )
                })?;
            }
            Ok(())
        }
        AlarmKind::Corrupt => match scene.seen.hashes() {
            Hashes::Agree => Ok(()),
            Hashes::Differ { majority, of, .. } => Err(Rule::CauseGone.broken(format!(
                "{majority} of {of} members have the same hash, and all have to"
            ))),
            Hashes::Incomparable {
                taken,
                members,
                revisions,
            } => Err(Rule::CauseGone.broken(format!(
                "{taken} of {members} hashes are there, at {revisions} different revisions, and can't be compared"
            ))),
        },
    }
}

/// What etcd's database may take when nobody says otherwise, and what kubeadm leaves it at.
pub(crate) const DEFAULT_QUOTA: u64 = 2 << 30;

pub(super) fn defragment_in_turn(action: &Action, scene: &Scene<'_>) -> Result<(), Violation> {
    let Action::Defragment(identity) = action else {
        return Ok(());
    };
    let members = scene.seen.survey.members.len();
    let well = |member: &&Member| {
        scene
            .seen
            .lag(member.id)
            .is_some_and(|lag| lag <= scene.policy.lag)
    };
    let count = scene.seen.survey.members.iter().filter(well).count();
    Rule::DefragmentInTurn.demand(count == members, || {
        format!(
            "{count} of {members} members answer and are at most {} entries behind, and all have to",
            scene.policy.lag
        )
    })?;
    let leads = scene.seen.leader() == Some(identity.id);
    Rule::DefragmentInTurn.demand(!leads || scene.defragmented_later == 0, || {
        let free = scene.seen.survey.status(identity.id).map_or(0, fragmentation);
        format!(
            "member {identity} leads ({free} % of its database is free), and {} others come first",
            scene.defragmented_later
        )
    })
}
