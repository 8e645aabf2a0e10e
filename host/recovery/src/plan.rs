//! A plan: a proposal that the rules have nothing against, bound to what it was made from.

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use witgate_plugins::recovery::{Action, Finding, Mode, Proposal, Timestamp};

use crate::{
    observation::Observation,
    policy::Policy,
    projection::project,
    rules::{self, Rules, Scene, Violation},
};

/// Says what is hashed, so that no other text of this gateway has the same hash.
const DOMAIN: &[u8] = b"witgate recovery plan 1\n";

/// What join material is labelled with while a plan is only looked at. Nothing has that label.
const UNNAMED: &str = "";

/// A plan. All of it is what people approve: its id is a hash of all fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Plan {
    /// Who proposed it.
    pub planner: Planner,
    /// Who asked for it.
    pub requester: String,
    /// When.
    pub made: Timestamp,
    /// What it repairs.
    pub finding: Finding,
    /// The control plane that it was made for. Drift is a difference from this.
    pub seen: Observation,
    /// The steps.
    pub proposal: Proposal,
}

/// A recovery plugin, by name and content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Planner {
    /// Its name in the configuration.
    pub plugin: String,
    /// The SHA-256 digest of its file.
    pub sha256: String,
}

/// A plan's id: the SHA-256 digest of all that it says, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanId(String);

impl Plan {
    /// Its id. Two plans with one id are the same plan.
    pub fn id(&self) -> PlanId {
        let mut digest = Context::new(&SHA256);
        digest.update(DOMAIN);
        // Fields are written in the order in which they are declared, and there is no map among
        // them but sorted ones: equal plans are equal bytes.
        digest.update(&serde_json::to_vec(self).unwrap_or_default());
        PlanId(hex::encode(digest.finish()))
    }

    /// Checks the plan as a whole, and every step on the state that those before it lead to.
    pub(crate) fn check(&self, rules: Rules, policy: &Policy, open: Option<&str>) -> Result<(), Violation> {
        let Proposal { mode, steps, .. } = &self.proposal;
        rules.filter(rules::well_formed(&self.proposal))?;
        rules.filter(rules::secrets_revoked(&self.proposal))?;
        let mut expected = self.seen.clone();
        for (number, step) in steps.iter().enumerate() {
            // What people do with their hands can't be projected; from there on only what is seen
            // right before a step counts.
            if matches!(step.action, Action::ByHand(_)) {
                return Ok(());
            }
            let scene = Scene {
                seen: &expected,
                policy,
                plan: UNNAMED,
                revision: self.seen.revision(),
                defragmented_later: self.defragmented_after(number),
                open,
            };
            rules.check(&step.action, &scene)?;
            project(&mut expected, &step.action, UNNAMED);
        }
        if *mode == Mode::QuorumLost {
            return Ok(());
        }
        rules.filter(rules::tolerance_kept(&self.seen, &expected))
    }

    /// What is expected before the step of that number.
    pub(crate) fn expected(&self, id: &PlanId, basis: &Observation, from: usize, next: usize) -> Observation {
        let mut expected = basis.clone();
        let steps = self.proposal.steps.iter().take(next).skip(from);
        steps.for_each(|step| project(&mut expected, &step.action, id.label()));
        expected
    }

    /// How many members the steps after that one defragment.
    pub(crate) fn defragmented_after(&self, number: usize) -> usize {
        self.proposal
            .steps
            .iter()
            .skip(number + 1)
            .filter(|step| matches!(step.action, Action::Defragment(_)))
            .count()
    }
}

impl PlanId {
    /// An id as somebody wrote it: all 64 digits.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.len() == 64
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        plain.then(|| Self(text.to_owned()))
    }

    /// All digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The beginning, as long as a label of Kubernetes may be and people can compare.
    pub fn label(&self) -> &str {
        self.0.get(..16).unwrap_or(&self.0)
    }
}

impl std::fmt::Display for PlanId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
