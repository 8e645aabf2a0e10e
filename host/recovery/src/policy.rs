//! What the operator decides about recovery, as the configuration says it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

/// Thresholds and who has to agree. Every field has a default.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Policy {
    /// How long a member has to be silent from all vantage points before it counts as dead.
    /// Default: `5m`, as long as Kubernetes waits before it moves pods away from a silent node.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub silence: Duration,
    /// How old a snapshot may be when a step that can't be undone relies on it. Default: `15m`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub snapshot_age: Duration,
    /// How many revisions a snapshot may be behind then. Default: 10000.
    pub snapshot_revisions: i64,
    /// How many entries of the log a member may be behind the leader and still be given the lead or a
    /// vote. Default: 1000.
    pub lag: u64,
    /// How many people have to approve a plan. Default: 1. When quorum is lost it is at least 2.
    pub approvals: usize,
    /// Whether the person who asked for a plan may be one of them. Default: no.
    pub requester_approves: bool,
    /// How long an approval holds. Default: `1h`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub approval_lifetime: Duration,
    /// How long one call of a step may take. Default: `30s`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub step_timeout: Duration,
    /// How long to wait, after a step, for what it is for to be seen. Default: `1m`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub settle: Duration,
    /// How long after the last sign of an executor another may go on with its plan. One that stalls for
    /// as long stops. Default: `90s`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub lease: Duration,
    /// How much of its quota a database may take, in percent, when its alarm is cleared. Default: 90.
    pub quota_percent: u8,
}

/// How long join material may be good for: what kubeadm itself gives uploaded certificates.
pub(crate) const MAX_JOIN_LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);

impl Default for Policy {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(5 * 60),
            snapshot_age: Duration::from_secs(15 * 60),
            snapshot_revisions: 10_000,
            lag: 1000,
            approvals: 1,
            requester_approves: false,
            approval_lifetime: Duration::from_secs(60 * 60),
            step_timeout: Duration::from_secs(30),
            settle: Duration::from_secs(60),
            lease: Duration::from_secs(90),
            quota_percent: 90,
        }
    }
}

/// A duration in the unit of timestamps.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
