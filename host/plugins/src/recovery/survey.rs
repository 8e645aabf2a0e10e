//! What an etcd cluster looks like at one time, from several places.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Milliseconds since 1970-01-01 UTC.
pub type Timestamp = u64;

/// A member's id, or a cluster's; written in hexadecimal, as etcdctl does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// An etcd cluster as it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Survey {
    /// The cluster's id; none if no member answered.
    pub cluster_id: Option<MemberId>,
    /// When the survey was begun.
    pub taken: Timestamp,
    /// The members by the list that a quorum confirmed, or else by the most advanced member's.
    pub members: Vec<Member>,
    /// Whether a quorum confirmed the list.
    pub confirmed: bool,
    /// Who was seen by whom.
    pub sightings: Vec<Sighting>,
    /// What each member that answered said of itself.
    pub statuses: Vec<Status>,
    /// The alarms that are raised.
    pub alarms: Vec<Alarm>,
}

/// A member as the cluster lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Member {
    /// Its id, which is never used twice.
    pub id: MemberId,
    /// Empty for a member that has never started.
    pub name: String,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// It has no vote.
    pub learner: bool,
    /// Since when all vantage points that have an opinion find it silent.
    pub silent_since: Option<Timestamp>,
}

/// What one vantage point says of one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Sighting {
    /// Of whom.
    pub member: MemberId,
    /// From where: `gateway`, `member NAME`, `node`.
    pub vantage: String,
    /// When.
    pub at: Timestamp,
    /// What.
    pub seen: Seen,
    /// As it was.
    pub raw: String,
}

/// Whether a member was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Seen {
    /// It answered.
    Answers,
    /// It did not.
    Silent,
    /// This vantage point can't tell.
    Unknown,
}

/// What a member says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Status {
    /// Who.
    pub member: MemberId,
    /// When.
    pub at: Timestamp,
    /// etcd's version.
    pub version: String,
    /// Bytes of its database on disk.
    pub db_size: u64,
    /// Bytes of it that are in use.
    pub db_size_in_use: u64,
    /// Bytes that it may take, where etcd says so.
    pub db_quota: Option<u64>,
    /// The leader that it follows; 0 for none.
    pub leader: MemberId,
    /// Its term.
    pub raft_term: u64,
    /// The last entry of its log.
    pub raft_index: u64,
    /// The last entry that it has applied.
    pub raft_applied_index: u64,
    /// The revision that its store is at.
    pub revision: i64,
    /// It has no vote.
    pub learner: bool,
    /// What it complains of.
    pub errors: Vec<String>,
    /// The hash of its store.
    pub hash: Option<Hash>,
}

/// The hash of a whole store, comparable at the same two revisions only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Hash {
    /// The hash.
    pub hash: u32,
    /// Up to which revision.
    pub revision: i64,
    /// From which revision.
    pub compact_revision: i64,
}

/// A raised alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Alarm {
    /// Of which member; 0 for one that etcd could not attribute.
    pub member: MemberId,
    /// For what.
    pub kind: AlarmKind,
}

/// What etcd raises alarms for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AlarmKind {
    /// The database has reached its quota.
    NoSpace,
    /// A store differs from the others.
    Corrupt,
}

impl Survey {
    /// The member of that id.
    pub fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// What that member said of itself.
    pub fn status(&self, id: MemberId) -> Option<&Status> {
        self.statuses.iter().find(|status| status.member == id)
    }
}

impl Seen {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Silent => "silent",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for AlarmKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSpace => "NOSPACE",
            Self::Corrupt => "CORRUPT",
        })
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of member {}", self.kind, self.member)
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl Serialize for MemberId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MemberId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16)
            .map(Self)
            .map_err(|_| D::Error::custom(format!("`{text}` is no id: it is 1 to 16 hexadecimal digits")))
    }
}
