//! The cluster from several places: what the gateway gets from each member, and what the members say
//! of each other.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use serde_json::json;
use witgate_plugins::recovery::{
    Alarm, AlarmKind, Hash, Member, MemberId, Seen, Sighting, Status, Survey, Timestamp,
};

use super::{
    ANSWER, Etcd, EtcdError,
    call::{self, flag, number, revision, text, texts},
    metrics,
};

/// The gateway's own connection to a member.
const GATEWAY: &str = "gateway";

/// How much of the members is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Who answers whom.
    Presence,
    /// Also the hashes of their stores, for which each member reads all of its own.
    Stores,
}

/// A member that answered, and where.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) endpoint: String,
    pub(super) cluster: MemberId,
    pub(super) status: Status,
}

/// The members and alarms by one member, and whether a quorum stands behind that.
struct List {
    members: Vec<Member>,
    alarms: Vec<Alarm>,
    confirmed: bool,
}

impl Etcd {
    /// Looks at all members. Never fails: what can't be seen is in the survey as that.
    pub(crate) async fn survey(&self, now: Timestamp, depth: Depth) -> Survey {
        let mut asked: BTreeMap<String, Result<Answer, EtcdError>> = BTreeMap::new();
        self.ask(self.endpoints.clone(), now, &mut asked).await;
        let cluster = majority_cluster(&asked);
        let Some(list) = self.list(&ranked(&asked, cluster)).await else {
            return Survey {
                taken: now,
                ..Survey::default()
            };
        };
        let urls = list.members.iter().flat_map(|member| member.client_urls.clone());
        self.ask(urls.collect(), now, &mut asked).await;
        let answers = ranked(&asked, cluster);
        let mut survey = Survey {
            cluster_id: cluster,
            taken: now,
            confirmed: list.confirmed,
            alarms: list.alarms,
            ..Survey::default()
        };
        for member in &list.members {
            let answer = answers.iter().find(|answer| answer.status.member == member.id);
            survey.statuses.extend(answer.map(|answer| answer.status.clone()));
            survey.sightings.push(by_gateway(member, answer, &asked, now));
        }
        let views = answers
            .iter()
            .map(|answer| self.by_peer(answer, &list.members, now));
        survey
            .sightings
            .extend(join_all(views).await.into_iter().flatten());
        survey.members = list.members;
        if depth == Depth::Stores {
            self.hash(&answers, &mut survey).await;
        }
        survey
    }

    /// Asks endpoints that were not asked yet for their status, all at the same time.
    async fn ask(
        &self,
        endpoints: Vec<String>,
        now: Timestamp,
        asked: &mut BTreeMap<String, Result<Answer, EtcdError>>,
    ) {
        let new: BTreeSet<String> = endpoints
            .into_iter()
            .filter(|endpoint| !asked.contains_key(endpoint))
            .collect();
        let answers = join_all(new.iter().map(|endpoint| self.status(endpoint, now))).await;
        asked.extend(new.iter().cloned().zip(answers));
    }

    async fn status(&self, endpoint: &str, now: Timestamp) -> Result<Answer, EtcdError> {
        let answer = self
            .call(endpoint, "maintenance/status", &json!({}), ANSWER)
            .await?;
        let header = answer.get("header").cloned().unwrap_or_default();
        let status = Status {
            member: MemberId(number(&header, "member_id")),
            at: now,
            version: text(&answer, "version"),
            db_size: number(&answer, "dbSize"),
            db_size_in_use: number(&answer, "dbSizeInUse"),
            db_quota: Some(number(&answer, "dbSizeQuota")).filter(|quota| *quota > 0),
            leader: MemberId(number(&answer, "leader")),
            raft_term: number(&answer, "raftTerm"),
            raft_index: number(&answer, "raftIndex"),
            raft_applied_index: number(&answer, "raftAppliedIndex"),
            revision: revision(&header, "revision"),
            learner: flag(&answer, "isLearner"),
            errors: texts(&answer, "errors"),
            hash: None,
        };
        if status.member == MemberId(0) {
            return Err(call::failed(endpoint, "its status says nothing of who it is"));
        }
        Ok(Answer {
            endpoint: endpoint.to_owned(),
            cluster: MemberId(number(&header, "cluster_id")),
            status,
        })
    }

    /// The list of members and the alarms, by the first member that can have a quorum confirm them, or
    /// else by the most advanced one.
    async fn list(&self, answers: &[Answer]) -> Option<List> {
        for answer in answers.iter().filter(|answer| !answer.status.learner) {
            if let Ok(members) = self.members(&answer.endpoint, true).await
                && let Ok(alarms) = self.alarms(&answer.endpoint).await
            {
                return Some(List {
                    members,
                    alarms,
                    confirmed: true,
                });
            }
        }
        for answer in answers {
            if let Ok(members) = self.members(&answer.endpoint, false).await {
                let alarms = answers.iter().flat_map(complaints).collect::<BTreeSet<_>>();
                return Some(List {
                    members,
                    alarms: alarms.into_iter().collect(),
                    confirmed: false,
                });
            }
        }
        None
    }

    /// etcd before 3.5 answers out of its own list whatever it is asked for.
    async fn members(&self, endpoint: &str, confirmed: bool) -> Result<Vec<Member>, EtcdError> {
        let body = json!({"linearizable": confirmed});
        let answer = self.call(endpoint, "cluster/member/list", &body, ANSWER).await?;
        let member = |member| Member {
            id: MemberId(number(member, "ID")),
            name: text(member, "name"),
            peer_urls: texts(member, "peerURLs"),
            client_urls: texts(member, "clientURLs"),
            learner: flag(member, "isLearner"),
            silent_since: None,
        };
        let mut members: Vec<_> = call::list(&answer, "members").iter().map(member).collect();
        members.sort_by_key(|member| member.id);
        Ok(members)
    }

    /// To read the alarms is a proposal of raft's: that it is answered means that there is a quorum.
    async fn alarms(&self, endpoint: &str) -> Result<Vec<Alarm>, EtcdError> {
        let body = json!({"action": "GET"});
        let answer = self.call(endpoint, "maintenance/alarm", &body, ANSWER).await?;
        let alarms = call::list(&answer, "alarms").iter().filter_map(|alarm| {
            let kind = match text(alarm, "alarm").as_str() {
                "NOSPACE" => AlarmKind::NoSpace,
                "CORRUPT" => AlarmKind::Corrupt,
                _ => return None,
            };
            let member = MemberId(number(alarm, "memberID"));
            Some(Alarm { member, kind })
        });
        let mut alarms: Vec<_> = alarms.collect();
        alarms.sort_unstable();
        Ok(alarms)
    }

    /// Whom this member is connected to.
    async fn by_peer(&self, answer: &Answer, members: &[Member], now: Timestamp) -> Vec<Sighting> {
        let own = answer.status.member;
        let name = members
            .iter()
            .find(|member| member.id == own)
            .map(|m| m.name.clone());
        let page = self.metrics(&answer.endpoint).await;
        let connected = page.as_deref().map(|page| metrics::connected(page, own));
        let others = members.iter().filter(|member| member.id != own);
        let sighting = |member: &Member| {
            let (seen, raw) = match &connected {
                Err(error) => (Seen::Unknown, (*error).clone()),
                Ok(connected) => match connected.get(&member.id) {
                    Some((true, line)) => (Seen::Answers, line.clone()),
                    Some((false, line)) => (Seen::Silent, line.clone()),
                    None => (
                        Seen::Silent,
                        format!("no {} with Remote {}", metrics::ACTIVE, member.id),
                    ),
                },
            };
            Sighting {
                member: member.id,
                vantage: format!("member {}", name.as_deref().unwrap_or_default()),
                at: now,
                seen,
                raw,
            }
        };
        others.map(sighting).collect()
    }

    /// Hashes of all stores, at one revision that all of them have.
    ///
    /// A store that was compacted up to the revision that it is asked for answers with what it kept of
    /// its state before (etcd's mvcc/hash.go); asked for its newest one it says to where it is compacted.
    async fn hash(&self, answers: &[Answer], survey: &mut Survey) {
        let revisions = || survey.statuses.iter().map(|status| status.revision);
        let (Some(first), Some(last)) = (revisions().min(), revisions().max()) else {
            return;
        };
        let newest = if first == last {
            self.hashes(answers, 0).await
        } else {
            Vec::new()
        };
        let same = newest
            .windows(2)
            .all(|pair| matches!(pair, [(_, a), (_, b)] if a.revision == b.revision));
        let hashes = if newest.len() == answers.len() && same {
            newest
        } else {
            self.hashes(answers, first).await
        };
        for (member, hash) in hashes {
            let status = survey.statuses.iter_mut().find(|status| status.member == member);
            status.into_iter().for_each(|status| status.hash = Some(hash));
        }
    }

    async fn hashes(&self, answers: &[Answer], revision: i64) -> Vec<(MemberId, Hash)> {
        let hashes = answers.iter().map(|answer| self.hash_of(answer, revision));
        join_all(hashes).await.into_iter().flatten().collect()
    }

    async fn hash_of(&self, answer: &Answer, revision: i64) -> Option<(MemberId, Hash)> {
        let body = json!({"revision": revision.to_string()});
        let hashing = self.call(&answer.endpoint, "maintenance/hashkv", &body, ANSWER * 4);
        let hashed = hashing.await.ok()?;
        let at = call::revision(&hashed, "hash_revision");
        let hash = Hash {
            hash: u32::try_from(number(&hashed, "hash")).ok()?,
            // Early 3.5s don't say, and hash what they are asked for.
            revision: if at == 0 { revision } else { at },
            compact_revision: call::revision(&hashed, "compact_revision"),
        };
        Some((answer.status.member, hash))
    }

    /// Where a member can be called, if it answers.
    pub(super) async fn endpoint_of(&self, member: &Member, now: Timestamp) -> Option<String> {
        let mut asked = BTreeMap::new();
        let all = member.client_urls.iter().chain(&self.endpoints).cloned();
        self.ask(all.collect(), now, &mut asked).await;
        let mut answers = asked.into_values().filter_map(Result::ok);
        answers
            .find(|answer| answer.status.member == member.id)
            .map(|answer| answer.endpoint)
    }
}

/// The cluster that most of those who answered are in: a configured endpoint may be of another.
fn majority_cluster(asked: &BTreeMap<String, Result<Answer, EtcdError>>) -> Option<MemberId> {
    let mut counts: BTreeMap<MemberId, usize> = BTreeMap::new();
    for answer in asked.values().flatten() {
        *counts.entry(answer.cluster).or_default() += 1;
    }
    counts
        .into_iter()
        .max_by_key(|(_, count)| *count)
        .map(|(id, _)| id)
}

/// Those of the cluster that answered, one endpoint for each member, the most advanced first.
fn ranked(asked: &BTreeMap<String, Result<Answer, EtcdError>>, cluster: Option<MemberId>) -> Vec<Answer> {
    let of_cluster = asked
        .values()
        .flatten()
        .filter(|answer| Some(answer.cluster) == cluster);
    let mut answers: Vec<Answer> = of_cluster.cloned().collect();
    answers.sort_by_key(|answer| {
        let status = &answer.status;
        std::cmp::Reverse((status.raft_term, status.raft_applied_index))
    });
    let mut met = BTreeSet::new();
    answers.retain(|answer| met.insert(answer.status.member));
    answers
}

fn by_gateway(
    member: &Member,
    answer: Option<&Answer>,
    asked: &BTreeMap<String, Result<Answer, EtcdError>>,
    now: Timestamp,
) -> Sighting {
    let (seen, raw) = match answer {
        Some(answer) => (Seen::Answers, format!("{} answers", answer.endpoint)),
        None if member.client_urls.is_empty() => (
            Seen::Silent,
            "it has never started: it has no client URL".to_owned(),
        ),
        None => {
            let tries = member.client_urls.iter().filter_map(|url| match asked.get(url)? {
                Ok(other) => Some(format!(
                    "{url} is member {} of cluster {}",
                    other.status.member, other.cluster
                )),
                Err(error) => Some(error.to_string()),
            });
            (Seen::Silent, tries.collect::<Vec<_>>().join("; "))
        }
    };
    Sighting {
        member: member.id,
        vantage: GATEWAY.to_owned(),
        at: now,
        seen,
        raw,
    }
}

/// The alarms that a member's status speaks of: `memberID:N alarm:NOSPACE `.
fn complaints(answer: &Answer) -> Vec<Alarm> {
    let alarm = |text: &String| {
        let kind = if text.contains("alarm:NOSPACE") {
            AlarmKind::NoSpace
        } else if text.contains("alarm:CORRUPT") {
            AlarmKind::Corrupt
        } else {
            return None;
        };
        let id = text
            .split_whitespace()
            .find_map(|word| word.strip_prefix("memberID:"));
        let member = MemberId(id.and_then(|id| id.parse().ok()).unwrap_or(0));
        Some(Alarm { member, kind })
    };
    answer.status.errors.iter().filter_map(alarm).collect()
}
