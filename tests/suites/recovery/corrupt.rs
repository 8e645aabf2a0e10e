//! A member whose store is not the others': found by its hash, and no alarm about it is cleared before
//! the hashes agree.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;
use witgate_lab::{Component, eventually, require};
use witgate_plugins::recovery::{Action, Alarm, AlarmKind, MemberId};
use witgate_recovery::{Hashes, Rule};

use super::site::{SOON, Site, identity, member};

/// Has a member lead.
async fn lead(site: &Site, name: &str) {
    let led = async || {
        let seen = site.whole().await;
        let leader = seen
            .survey
            .members
            .iter()
            .find(|member| Some(member.id) == seen.leader());
        let leader = leader.ok_or("nobody leads")?;
        if leader.name == name {
            return Ok(());
        }
        let place = site
            .members
            .iter()
            .position(|etcd| leader.client_urls.contains(&etcd.endpoint()));
        let target = json!({"targetID": member(&seen, name).id.0.to_string()});
        let method = "maintenance/transfer-leadership";
        site.etcd(place.unwrap(), method, target).await.map(drop)?;
        Err(format!("{} led", leader.name))
    };
    eventually(&format!("{name} leads"), SOON, led).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_alarm_stays_while_stores_differ() {
    let Ok(()) = require(Component::Etcd) else { return };
    let mut site = Site::start(None).await;
    site.whole().await;
    let (right, wrong) = ("the right value of it", "the wrong value of it");
    let put = json!({"key": BASE64_STANDARD.encode("key"), "value": BASE64_STANDARD.encode(right)});
    site.etcd(0, "kv/put", put).await.unwrap();
    assert_eq!(site.whole().await.hashes(), Hashes::Agree);

    // One bit of rot on a disk, as far as etcd can tell. It writes to the file every 100 ms.
    let database = site.members[2].database();
    let places = |bytes: &[u8]| -> Vec<usize> {
        let windows = bytes.windows(right.len()).enumerate();
        let found = windows.filter(|(_, window)| *window == right.as_bytes());
        found.map(|(place, _)| place).collect()
    };
    let written = async || match places(&std::fs::read(&database).unwrap()).is_empty() {
        true => Err("the value is not there"),
        false => Ok(()),
    };
    eventually("the value is in the file", SOON, written)
        .await
        .unwrap();
    site.members[2].kill();
    let mut bytes = std::fs::read(&database).unwrap();
    for place in places(&bytes) {
        bytes[place..place + wrong.len()].copy_from_slice(wrong.as_bytes());
    }
    std::fs::write(&database, bytes).unwrap();
    site.members[2].restart().await.unwrap();

    let seen = site.whole().await;
    let culprit = member(&seen, "etcd-3").id;
    assert_eq!(
        seen.hashes(),
        Hashes::Differ {
            majority: 2,
            of: 3,
            others: vec![culprit]
        }
    );
    let raise = json!({"action": "ACTIVATE", "memberID": culprit.0.to_string(), "alarm": "CORRUPT"});
    site.etcd(0, "maintenance/alarm", raise).await.unwrap();
    let seen = site.observe().await;
    let alarm = Alarm {
        member: culprit,
        kind: AlarmKind::Corrupt,
    };
    assert_eq!(seen.survey.alarms, [alarm]);
    let disarm = |alarm| vec![Action::TakeSnapshot, Action::DisarmAlarm(alarm)];
    let refused = site.plan(disarm(alarm)).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "cause-gone: 2 of 3 members have the same hash, and all have to"
    );
    let nobody = Alarm {
        member: MemberId(0),
        ..alarm
    };
    let refused = site.plan(disarm(nobody)).await.unwrap_err();
    assert_eq!(refused.violation().unwrap().rule, Rule::CauseGone, "{refused}");

    // What the majority contradicts may go, though it lives; but not while it leads.
    let remove = || {
        vec![
            Action::TakeSnapshot,
            Action::RemoveMember(identity(&seen, "etcd-3")),
        ]
    };
    lead(&site, "etcd-3").await;
    let refused = site.plan(remove()).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "leader-moves-first: member etcd-3 ({culprit}) leads: one of the 2 other voters has to, before it is \
             removed"
        )
    );
    // And if it doesn't, another has to take its place in the same plan.
    lead(&site, "etcd-1").await;
    let refused = site.plan(remove()).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "tolerance-kept: 3 of 3 voters live and 1 may fail; afterwards it is 2 of 2 and 0"
    );

    // Two that agree and one that is away are no majority of three that were compared.
    site.members[1].kill();
    let refused = site.plan(remove()).await.unwrap_err();
    assert_eq!(refused.violation().unwrap().rule, Rule::DeadForSure, "{refused}");
}
