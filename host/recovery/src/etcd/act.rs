//! What changes etcd.

use std::time::Duration;

use serde_json::{Value, json};
use witgate_plugins::recovery::{Alarm, AlarmKind, Leadership, Member, MemberId};

use super::{ANSWER, Etcd, EtcdError};
use crate::observation::Observation;

/// A member does not answer while it is defragmented: about 10 s a GiB on a slow disk.
const DEFRAGMENTING: Duration = Duration::from_secs(10 * 60);

impl Etcd {
    /// Removes a member. That it is gone already is as good.
    pub(crate) async fn remove(
        &self,
        seen: &Observation,
        id: MemberId,
        time: Duration,
    ) -> Result<(), EtcdError> {
        let body = json!({"ID": id.0.to_string()});
        match self
            .lead(seen, Some(id), "cluster/member/remove", &body, time)
            .await
        {
            Err(EtcdError::Call { reason, .. }) if reason.contains("member not found") => Ok(()),
            other => other,
        }
    }

    /// Makes a learner a voter.
    pub(crate) async fn promote(
        &self,
        seen: &Observation,
        id: MemberId,
        time: Duration,
    ) -> Result<(), EtcdError> {
        let body = json!({"ID": id.0.to_string()});
        self.lead(seen, Some(id), "cluster/member/promote", &body, time)
            .await
    }

    /// Hands leadership over. Only the leader itself does that.
    pub(crate) async fn move_leader(
        &self,
        seen: &Observation,
        leadership: &Leadership,
        time: Duration,
    ) -> Result<(), EtcdError> {
        let endpoint = self.endpoint(seen, leadership.from.id).await?;
        let body = json!({"targetID": leadership.to.id.0.to_string()});
        let method = "maintenance/transfer-leadership";
        self.call(&endpoint, method, &body, time).await.map(drop)
    }

    /// Defragments one member.
    pub(crate) async fn defragment(&self, seen: &Observation, id: MemberId) -> Result<(), EtcdError> {
        let endpoint = self.endpoint(seen, id).await?;
        let method = "maintenance/defragment";
        self.call(&endpoint, method, &json!({}), DEFRAGMENTING)
            .await
            .map(drop)
    }

    /// Compacts, and waits until the space is free in the database of each voter that answered.
    ///
    /// Only the member that is asked waits for its own database (`Physical` in etcd's
    /// server/etcdserver/v3_server.go); the others free theirs later, and one that is defragmented before
    /// that keeps what it should have lost. And no revision is compacted to twice. So each voter is asked
    /// for one more, and the last one for all.
    pub(crate) async fn compact(
        &self,
        seen: &Observation,
        revision: i64,
        time: Duration,
    ) -> Result<(), EtcdError> {
        let voters = seen
            .voters()
            .filter(|voter| seen.survey.status(voter.id).is_some());
        let voters: Vec<_> = voters.map(|voter| voter.id).collect();
        let mut next = revision - i64::try_from(voters.len()).unwrap_or(revision);
        for voter in voters {
            next += 1;
            let endpoint = self.endpoint(seen, voter).await?;
            let body = json!({"revision": next.max(1).to_string(), "physical": true});
            match self.call(&endpoint, "kv/compaction", &body, time).await {
                Err(EtcdError::Call { reason, .. }) if reason.contains("has been compacted") => {}
                other => drop(other?),
            }
        }
        Ok(())
    }

    /// Clears one alarm of one member.
    pub(crate) async fn disarm(
        &self,
        seen: &Observation,
        alarm: Alarm,
        time: Duration,
    ) -> Result<(), EtcdError> {
        let kind = match alarm.kind {
            AlarmKind::NoSpace => "NOSPACE",
            AlarmKind::Corrupt => "CORRUPT",
        };
        let body = json!({"action": "DEACTIVATE", "memberID": alarm.member.0.to_string(), "alarm": kind});
        self.lead(seen, None, "maintenance/alarm", &body, time).await
    }

    /// Calls the leader, who knows best who is connected, which etcd checks in whom it asks; or any
    /// voter but one, if the leader can't be called.
    async fn lead(
        &self,
        seen: &Observation,
        but: Option<MemberId>,
        method: &str,
        body: &Value,
        time: Duration,
    ) -> Result<(), EtcdError> {
        let leader = seen.leader().filter(|leader| Some(*leader) != but);
        let first = leader.and_then(|leader| seen.survey.member(leader));
        let others = seen
            .voters()
            .filter(|voter| Some(voter.id) != but && Some(voter.id) != leader);
        for member in first.into_iter().chain(others) {
            if seen.survey.status(member.id).is_some()
                && let Some(endpoint) = self.reachable(member).await
            {
                return self.call(&endpoint, method, body, time).await.map(drop);
            }
        }
        Err(EtcdError::Nobody(format!("{method}: no voter can be called")))
    }

    async fn endpoint(&self, seen: &Observation, id: MemberId) -> Result<String, EtcdError> {
        let nobody = || EtcdError::Nobody(format!("member {id} can't be called"));
        let member = seen.survey.member(id).ok_or_else(nobody)?;
        self.reachable(member).await.ok_or_else(nobody)
    }

    async fn reachable(&self, member: &Member) -> Option<String> {
        let found = tokio::time::timeout(ANSWER * 2, self.endpoint_of(member, 0)).await;
        found.ok().flatten()
    }
}
