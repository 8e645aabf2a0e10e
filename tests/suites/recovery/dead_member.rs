//! A member dies, and is removed; one that lives, or may, is not.

use witgate_lab::{Component, eventually, require};
use witgate_plugins::recovery::{Action, Seen};
use witgate_recovery::{Hashes, Rule, Standing};

use super::site::{SOON, Site, identity, member};

fn remove(seen: &witgate_recovery::Observation, name: &str) -> Vec<Action> {
    vec![Action::TakeSnapshot, Action::RemoveMember(identity(seen, name))]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_member_is_removed_and_a_live_one_is_not() {
    let Ok(()) = require(Component::Etcd) else { return };
    let mut site = Site::start(None).await;
    let seen = site.whole().await;
    assert!(
        seen.survey.confirmed && seen.survey.alarms.is_empty(),
        "{seen:#?}"
    );
    assert_eq!(seen.hashes(), Hashes::Agree, "{seen:#?}");
    assert_eq!(seen.tolerance(), 1);
    let status = seen.survey.status(member(&seen, "etcd-2").id).unwrap();
    assert!(
        status.db_size > 0 && status.version.starts_with("3."),
        "{status:?}"
    );

    let refused = site.plan(remove(&seen, "etcd-2")).await.unwrap_err();
    assert_eq!(refused.violation().unwrap().rule, Rule::DeadForSure, "{refused}");

    site.members[1].kill();
    let seen = site.stands("etcd-2", Standing::Dead).await;
    let dead = member(&seen, "etcd-2").id;
    let mut silent: Vec<_> = seen
        .survey
        .sightings
        .iter()
        .filter(|sighting| sighting.member == dead && sighting.seen == Seen::Silent)
        .map(|sighting| sighting.vantage.as_str())
        .collect();
    silent.sort_unstable();
    assert_eq!(silent, ["gateway", "member etcd-1", "member etcd-3"]);

    // It comes back between the plan and its execution.
    let early = site.plan(remove(&seen, "etcd-2")).await.unwrap();
    site.engine().approve(&early, "bob").await.unwrap();
    site.members[1].restart().await.unwrap();
    site.whole().await;
    let drifted = site.engine().apply(&early, "test").await.unwrap_err();
    assert_eq!(drifted.violation().unwrap().rule, Rule::NoDrift, "{drifted}");

    site.members[1].kill();
    let seen = site.stands("etcd-2", Standing::Dead).await;
    site.repair(remove(&seen, "etcd-2")).await;
    let seen = site.observe().await;
    assert_eq!((seen.census().voters, seen.census().alive), (2, 2));
    assert!(seen.survey.member(dead).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_nothing_is_removed() {
    let Ok(()) = require(Component::Etcd) else { return };
    let mut site = Site::start(None).await;
    site.whole().await;
    site.members[1].kill();
    site.members[2].kill();
    let lost = async || {
        let seen = site.observe().await;
        if seen.census().alive == 0 {
            Ok(seen)
        } else {
            Err(format!("{:?}", seen.survey.statuses))
        }
    };
    eventually("quorum is lost", SOON, lost).await.unwrap();
    let seen = site.stands("etcd-2", Standing::Dead).await;
    assert!(!seen.survey.confirmed);
    assert_eq!(seen.survey.members.len(), 3, "the survivor's own list");
    let refused = site.plan(remove(&seen, "etcd-2")).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "quorum-commits: 1 of 3 voters answer, 0 follow one leader, and 2 are needed to commit anything"
    );
}
