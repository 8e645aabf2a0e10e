//! Made-up clusters.

use serde_json::Value;
use witgate_sdk::recovery::{Eyes, Hash, KubeResource, Member, Seen, Sighting, Status, Survey, Trouble};

/// Eyes that see one survey.
#[derive(Debug)]
pub(crate) struct Seeing(pub(crate) Survey);

impl Eyes for Seeing {
    fn get(&self, _: &KubeResource, _: &str, _: &str) -> Result<Option<Value>, Trouble> {
        Ok(None)
    }

    fn list(&self, _: &KubeResource, _: &str, _: &str) -> Result<Vec<Value>, Trouble> {
        Ok(Vec::new())
    }

    fn survey(&self) -> Result<Survey, Trouble> {
        Ok(self.0.clone())
    }
}

/// Three members that are well; the first leads.
pub(crate) fn well() -> Survey {
    let members = (1..=3).map(|id| Member {
        id,
        name: format!("etcd-{id}"),
        peer_urls: vec![format!("https://etcd-{id}:2380")],
        client_urls: vec![format!("https://etcd-{id}:2379")],
        learner: false,
        silent_since: None,
    });
    let statuses = (1..=3).map(|member| Status {
        member,
        at: 1_000_000,
        version: "3.6.16".to_owned(),
        db_size: 1000 << 20,
        db_size_in_use: 900 << 20,
        db_quota: Some(2 << 30),
        leader: 1,
        raft_term: 2,
        raft_index: 100_000,
        raft_applied_index: 100_000,
        revision: 50_000,
        learner: false,
        errors: Vec::new(),
        hash: Some(Hash {
            hash: 7,
            revision: 50_000,
            compact_revision: 40_000,
        }),
    });
    Survey {
        cluster_id: Some(9),
        taken: 1_000_000,
        members: members.collect(),
        confirmed: true,
        sightings: Vec::new(),
        statuses: statuses.collect(),
        alarms: Vec::new(),
    }
}

/// A member falls silent from two places, long ago.
pub(crate) fn kill(survey: &mut Survey, id: u64) {
    survey.statuses.retain(|status| status.member != id);
    for member in &mut survey.members {
        if member.id == id {
            member.silent_since = Some(0);
        }
    }
    survey
        .sightings
        .extend(["gateway", "member etcd-1"].map(|vantage| Sighting {
            member: id,
            vantage: vantage.to_owned(),
            at: 1_000_000,
            seen: Seen::Silent,
            raw: "connection refused".to_owned(),
        }));
}

#[cfg(test)]
mod tests {
    use witgate_sdk::recovery::{Action, Alarm, AlarmKind, Mode, Recovery as _, Refusal};

    use super::*;
    use crate::{Config, Etcd};

    fn plugin() -> Etcd {
        Etcd(Config::default())
    }

    fn classes(survey: &Survey) -> Vec<String> {
        let found = plugin().diagnose(&Seeing(survey.clone())).unwrap();
        assert!(found.iter().all(|finding| !finding.evidence.is_empty()));
        found.into_iter().map(|finding| finding.class).collect()
    }

    fn actions(survey: &Survey) -> Result<Vec<String>, Refusal> {
        let found = plugin().diagnose(&Seeing(survey.clone())).unwrap().remove(0);
        let proposal = plugin().plan(&Seeing(survey.clone()), found)?;
        let name = |action: &Action| match action {
            Action::TakeSnapshot => "snapshot".to_owned(),
            Action::RemoveMember(member) => format!("remove {}", member.name),
            Action::Compact(revision) => format!("compact {revision}"),
            Action::Defragment(member) => format!("defragment {}", member.name),
            Action::DisarmAlarm(alarm) => format!("disarm {}", alarm.member),
            Action::WaitForMember(awaited) => format!("wait for {}", awaited.name),
            Action::MoveLeader(leadership) => format!("lead {}", leadership.to.name),
            Action::ByHand(instruction) => format!("by hand on {}", instruction.machine),
            other => format!("{other:?}"),
        };
        Ok(proposal.steps.iter().map(|step| name(&step.action)).collect())
    }

    #[test]
    fn nothing_is_wrong_with_a_cluster_that_is_well() {
        assert!(classes(&well()).is_empty());
    }

    #[test]
    fn a_dead_member_is_removed_behind_a_snapshot() {
        let mut survey = well();
        kill(&mut survey, 2);
        assert_eq!(classes(&survey), ["dead-member"]);
        assert_eq!(actions(&survey).unwrap(), ["snapshot", "remove etcd-2"]);
        survey.members[1].silent_since = Some(800_000);
        assert!(classes(&survey).is_empty(), "it may only be restarting");
    }

    #[test]
    fn what_another_plugin_answers_for_is_left_to_it() {
        let config = |class: &str| Config {
            except: vec![class.to_owned()],
            ..Config::default()
        };
        let plugin = Etcd::new(config("dead-member")).unwrap();
        let mut survey = well();
        kill(&mut survey, 2);
        assert!(plugin.diagnose(&Seeing(survey)).unwrap().is_empty());
        assert!(Etcd::new(config("dead-node")).is_err());
    }

    #[test]
    fn a_lost_quorum_is_for_people() {
        let mut survey = well();
        kill(&mut survey, 2);
        kill(&mut survey, 3);
        survey.confirmed = false;
        survey.statuses[0].leader = 0;
        assert_eq!(classes(&survey), ["quorum-lost"]);
        let steps = actions(&survey).unwrap();
        assert_eq!(
            steps,
            [
                "snapshot",
                "by hand on etcd-2",
                "by hand on etcd-3",
                "by hand on etcd-1"
            ]
        );
        assert_eq!(crate::quorum_lost::plan(&survey).mode, Mode::QuorumLost);
    }

    #[test]
    fn a_full_etcd_is_compacted_and_defragmented_the_leader_last() {
        let mut survey = well();
        survey.statuses[1].db_size = 2 << 30;
        survey.alarms.push(Alarm {
            member: 2,
            kind: AlarmKind::NoSpace,
        });
        assert_eq!(classes(&survey)[0], "no-space");
        assert_eq!(
            actions(&survey).unwrap(),
            [
                "snapshot",
                "compact 49000",
                "defragment etcd-2",
                "defragment etcd-3",
                "defragment etcd-1",
                "disarm 2"
            ]
        );
    }

    #[test]
    fn a_fragmented_etcd_is_defragmented() {
        let mut survey = well();
        survey.statuses[2].db_size_in_use = 10 << 20;
        assert_eq!(classes(&survey), ["fragmented"]);
        assert_eq!(actions(&survey).unwrap().len(), 3);
    }

    #[test]
    fn a_store_that_most_contradict_is_replaced_and_no_other() {
        let hash = |survey: &mut Survey, place: usize, hash: u32| {
            survey.statuses[place].hash = Some(Hash {
                hash,
                revision: 50_000,
                compact_revision: 40_000,
            });
        };
        let mut survey = well();
        hash(&mut survey, 2, 8);
        assert_eq!(classes(&survey), ["corrupt"]);
        assert_eq!(
            actions(&survey).unwrap(),
            ["snapshot", "remove etcd-3", "wait for etcd-3"]
        );
        hash(&mut survey, 1, 9);
        assert_eq!(actions(&survey).unwrap_err().rule, "strict-majority");
        let mut survey = well();
        hash(&mut survey, 0, 8);
        assert_eq!(actions(&survey).unwrap_err().rule, "leader-moves-first");
    }

    #[test]
    fn a_leader_that_lags_hands_the_lead_on_and_a_follower_is_left_alone() {
        let mut survey = well();
        survey.statuses[0].raft_applied_index = 10_000;
        assert_eq!(classes(&survey), ["lagging-member"]);
        assert_eq!(actions(&survey).unwrap(), ["lead etcd-2"]);
        let mut survey = well();
        survey.statuses[1].raft_applied_index = 10_000;
        assert_eq!(actions(&survey).unwrap_err().rule, "slow-is-not-dead");
    }
}
