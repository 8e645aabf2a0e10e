//! Who agreed to a plan, and whether that is enough.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use witgate_plugins::recovery::{Mode, Timestamp};

use crate::{
    plan::Plan,
    policy::Policy,
    rules::{Rule, Violation},
};

/// Approvals that a plan needs when quorum is lost: nobody restores a cluster alone.
const WITHOUT_QUORUM: usize = 2;

/// Somebody's agreement to a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Approval {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Until when it holds.
    pub expires: Timestamp,
}

impl Plan {
    /// How many people have to agree to it.
    pub fn approvals_needed(&self, policy: &Policy) -> usize {
        needed(self, policy)
    }

    /// Whether this person's approval would count; the violation says why not.
    pub fn may_be_approved_by(&self, by: &str, policy: &Policy) -> Result<(), Violation> {
        may_approve(self, policy, by)
    }

    /// Whether enough people have approved, at this moment; the violation says how many are missing.
    pub fn is_approved(
        &self,
        policy: &Policy,
        approvals: &[Approval],
        now: Timestamp,
    ) -> Result<(), Violation> {
        enough(self, policy, approvals, now)
    }
}

/// How many people have to agree.
pub(crate) fn needed(plan: &Plan, policy: &Policy) -> usize {
    match plan.proposal.mode {
        Mode::WithQuorum => policy.approvals.max(1),
        Mode::QuorumLost => policy.approvals.max(WITHOUT_QUORUM),
    }
}

/// Whether this person's approval would count.
pub(crate) fn may_approve(plan: &Plan, policy: &Policy, by: &str) -> Result<(), Violation> {
    let alone = plan.proposal.mode == Mode::QuorumLost || !policy.requester_approves;
    Rule::ApprovedAsIs.demand(!alone || by != plan.requester, || {
        let needed = needed(plan, policy);
        format!("{by} asked for the plan, and {needed} others have to approve it")
    })
}

/// Whether enough people have approved, at this moment.
pub(crate) fn enough(
    plan: &Plan,
    policy: &Policy,
    approvals: &[Approval],
    now: Timestamp,
) -> Result<(), Violation> {
    let needed = needed(plan, policy);
    let counts =
        |approval: &&Approval| approval.expires > now && may_approve(plan, policy, &approval.by).is_ok();
    let people: BTreeSet<&str> = approvals.iter().filter(counts).map(|a| a.by.as_str()).collect();
    Rule::ApprovedAsIs.demand(people.len() >= needed, || {
        let expired = approvals
            .iter()
            .filter(|approval| approval.expires <= now)
            .count();
        let count = people.len();
        format!(
            "{count} approvals count, {needed} are needed; {expired} of {} have expired",
            approvals.len()
        )
    })
}
