//! What steps that can't be undone demand.

use witgate_plugins::recovery::Action;

use super::{Rule, Scene, Violation};
use crate::{observation::Snapshot, policy::millis};

/// Whether an action can't be undone. A Node's object comes back with its kubelet, a ConfigMap's
/// entry can be written again; a member's id never comes back, nor does a compacted revision.
pub(crate) fn is_irreversible(action: &Action) -> bool {
    matches!(
        action,
        Action::RemoveMember(_) | Action::Compact(_) | Action::DisarmAlarm(_) | Action::DeleteNode(_)
    )
}

pub(super) fn snapshot_first(action: &Action, scene: &Scene<'_>) -> Result<(), Violation> {
    if is_irreversible(action) {
        fresh(scene)
    } else {
        Ok(())
    }
}

/// Demands a snapshot of this cluster that is verified and fresh enough.
pub(crate) fn fresh(scene: &Scene<'_>) -> Result<(), Violation> {
    let own = |snapshot: &&Snapshot| Some(snapshot.cluster_id) == scene.seen.survey.cluster_id;
    let newest = scene
        .seen
        .snapshots
        .iter()
        .filter(own)
        .filter(|snapshot| snapshot.verified)
        .max_by_key(|snapshot| snapshot.at);
    let Some(newest) = newest else {
        return Err(Rule::SnapshotFirst.broken(format!(
            "0 of {} snapshots are of this cluster and verified",
            scene.seen.snapshots.len()
        )));
    };
    let age = scene.seen.at.saturating_sub(newest.at);
    let most = millis(scene.policy.snapshot_age);
    Rule::SnapshotFirst.demand(age <= most, || {
        format!(
            "the newest snapshot is {} s old, and {} s are the most",
            age / 1000,
            most / 1000
        )
    })?;
    let least = scene.revision.saturating_sub(scene.policy.snapshot_revisions);
    Rule::SnapshotFirst.demand(newest.revision >= least, || {
        format!(
            "the newest snapshot is of revision {}, and the plan needs {least}",
            newest.revision
        )
    })
}
