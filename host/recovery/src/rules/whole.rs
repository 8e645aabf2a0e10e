//! What a plan demands as a whole.

use witgate_plugins::recovery::{Action, Mode, Proposal};

use super::{Rule, Violation};
use crate::observation::Observation;

/// More steps are no plan that a person can judge.
const MAX_STEPS: usize = 64;

/// A plan's steps are what its mode allows, and what it opens it closes.
pub(crate) fn well_formed(proposal: &Proposal) -> Result<(), Violation> {
    let steps = proposal.steps.len();
    Rule::WellFormed.demand((1..=MAX_STEPS).contains(&steps), || {
        format!("the plan has {steps} steps, and has to have 1 to {MAX_STEPS}")
    })?;
    let by_hand = proposal
        .steps
        .iter()
        .filter(|step| matches!(step.action, Action::ByHand(_)))
        .count();
    let lost = proposal.mode == Mode::QuorumLost;
    Rule::WellFormed.demand(lost == (by_hand > 0), || {
        format!(
            "{by_hand} steps are by hand, which a plan has if, and only if, quorum is lost; this one is {}",
            if lost {
                "for a lost quorum"
            } else {
                "for one that holds"
            }
        )
    })
}

/// Join material that a plan makes, it revokes.
pub(crate) fn secrets_revoked(proposal: &Proposal) -> Result<(), Violation> {
    let place = |wanted: fn(&Action) -> bool| proposal.steps.iter().rposition(|step| wanted(&step.action));
    let minted = place(|action| matches!(action, Action::MintJoinMaterial(_)));
    let revoked = place(|action| matches!(action, Action::RevokeJoinMaterial));
    Rule::SecretsEnd.demand(minted.is_none() || revoked > minted, || {
        let minted = minted.map_or(0, |place| place + 1);
        format!("step {minted} makes join material, and 0 steps after it revoke it")
    })
}

/// A plan leaves the cluster able to lose as many voters as before.
pub(crate) fn tolerance_kept(before: &Observation, after: &Observation) -> Result<(), Violation> {
    let (was, is) = (before.tolerance(), after.tolerance());
    Rule::ToleranceKept.demand(is >= was, || {
        let (before, after) = (before.census(), after.census());
        format!(
            "{} of {} voters live and {was} may fail; afterwards it is {} of {} and {is}",
            before.alive, before.voters, after.alive, after.voters
        )
    })
}
