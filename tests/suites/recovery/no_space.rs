//! A full etcd: compacted, defragmented one by one, its alarm cleared; and it takes writes again.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;
use witgate_lab::{Component, require};
use witgate_plugins::recovery::{Action, Alarm, AlarmKind, MemberIdentity};
use witgate_recovery::Rule;

use super::site::Site;

/// Small, and larger than what etcd needs to start.
const QUOTA: u64 = 16 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_etcd_is_given_room() {
    let Ok(()) = require(Component::Etcd) else { return };
    let site = Site::start(Some(QUOTA)).await;
    site.whole().await;
    let value = BASE64_STANDARD.encode(vec![b'x'; 512 << 10]);
    let put = json!({"key": BASE64_STANDARD.encode("key"), "value": value});
    let full = async {
        for _ in 0..100 {
            if let Err(error) = site.etcd(0, "kv/put", put.clone()).await {
                return error;
            }
        }
        panic!("100 puts of 512 KiB fit into 16 MiB");
    };
    let error = full.await;
    assert!(error.contains("database space exceeded"), "{error}");

    let seen = site.whole().await;
    let raised = seen.survey.alarms.clone();
    assert!(
        raised.iter().all(|alarm| alarm.kind == AlarmKind::NoSpace) && !raised.is_empty(),
        "{raised:?}"
    );
    let disarm = |alarm: &Alarm| Action::DisarmAlarm(*alarm);
    let early = [Action::TakeSnapshot]
        .into_iter()
        .chain(raised.iter().map(disarm));
    let refused = site.plan(early.collect()).await.unwrap_err();
    assert_eq!(refused.violation().unwrap().rule, Rule::CauseGone, "{refused}");

    let leader = seen.leader().unwrap();
    let mut members = seen.survey.members.clone();
    members.sort_by_key(|member| member.id == leader);
    let mut actions = vec![Action::TakeSnapshot, Action::Compact(seen.revision())];
    actions.extend(
        members
            .iter()
            .map(|member| Action::Defragment(MemberIdentity::from(member))),
    );
    actions.extend(raised.iter().map(disarm));
    site.repair(actions).await;

    let after = site.whole().await;
    assert!(after.survey.alarms.is_empty(), "{:?}", after.survey.alarms);
    assert!(
        after
            .survey
            .statuses
            .iter()
            .all(|status| status.db_size < QUOTA / 4),
        "{after:#?}"
    );
    site.etcd(0, "kv/put", put).await.unwrap();
}
