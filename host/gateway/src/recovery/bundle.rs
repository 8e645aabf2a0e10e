//! An incident in one document: what was seen, found, planned, approved and done.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use witgate_recovery::{Approval, Chain, EngineError, Observation, Plan, PlanId, Progress, Record};

use super::{Diagnosis, Recovery, RepairError};

/// Told apart from documents that a later gateway writes differently.
const FORMAT: &str = "witgate recovery bundle 1";

/// All that the gateway knows, without anything secret: none of its parts has any.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Bundle {
    pub(crate) format: String,
    /// When it was made, in milliseconds since 1970.
    pub(crate) made: u64,
    /// Who asked for it.
    pub(crate) by: String,
    /// The gateway's version.
    pub(crate) gateway: String,
    /// The control plane as it is now.
    pub(crate) observation: Option<Observation>,
    /// What could not be seen, and why.
    pub(crate) troubles: Vec<String>,
    /// What the plugins find now.
    pub(crate) findings: Vec<Diagnosis>,
    /// The plans, oldest first. What happened to them is in the journal.
    pub(crate) plans: Vec<PlanRecord>,
    /// The snapshots that are kept. None of them is in here: they hold the cluster's secrets.
    pub(crate) snapshots: Vec<Record>,
    /// The whole journal, which can be checked with nothing but this.
    pub(crate) journal: Chain,
}

/// A plan and how far it has come.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlanRecord {
    pub(crate) id: PlanId,
    pub(crate) progress: Progress,
    /// The number of the step that comes next, from 0.
    pub(crate) next: usize,
    pub(crate) approvals: Vec<Approval>,
    pub(crate) plan: Plan,
}

/// Why a document is no bundle that holds.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    #[error("it is no incident bundle: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("it is of the format {0:?}, and this witgate reads {FORMAT:?}")]
    Format(String),
    #[error(transparent)]
    Journal(#[from] witgate_recovery::JournalError),
}

impl Recovery {
    /// Everything in one document. The journal is in it as it is, whether or not its chain holds: the
    /// record of a journal that was changed is worth the most.
    pub(crate) async fn bundle(&self, by: &str) -> Result<Bundle, RepairError> {
        let mut troubles = Vec::new();
        let (observed, findings) = tokio::join!(self.engine.observe(), self.diagnose());
        let observation = observed.map_err(|error| troubles.push(error.to_string())).ok();
        let snapshots = self.control_plane.snapshots().await;
        let snapshots = snapshots.map_err(|error| troubles.push(error.to_string()));
        let journal = self.engine.journal();
        let mut plans = Vec::new();
        for id in journal.plans().await.map_err(EngineError::from)? {
            let dossier = self.dossier(&id).await?;
            plans.push(PlanRecord {
                id,
                progress: dossier.progress,
                next: dossier.next,
                approvals: dossier.approvals,
                plan: dossier.plan,
            });
        }
        let journal = journal.chain().await.map_err(EngineError::from)?;
        if let Err(error) = journal.verify() {
            troubles.push(error.to_string());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(Bundle {
            format: FORMAT.to_owned(),
            made: now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX)),
            by: by.to_owned(),
            gateway: env!("CARGO_PKG_VERSION").to_owned(),
            observation,
            troubles,
            findings,
            plans,
            snapshots: snapshots.unwrap_or_default(),
            journal,
        })
    }
}

impl Bundle {
    /// Reads a bundle and checks its journal: every entry follows the one before it, and every plan is
    /// the one whose id people approved.
    pub(crate) fn check(text: &[u8]) -> Result<Self, BundleError> {
        /// Only what says how the rest is to be read.
        #[derive(Deserialize)]
        struct Head {
            format: String,
        }
        let Head { format } = serde_json::from_slice(text)?;
        if format != FORMAT {
            return Err(BundleError::Format(format));
        }
        let bundle: Self = serde_json::from_slice(text)?;
        bundle.journal.verify()?;
        for record in &bundle.plans {
            if record.plan.id() != record.id {
                let changed = format!("plan {} is not what its id is the digest of", record.id);
                return Err(witgate_recovery::JournalError::Broken(changed).into());
            }
        }
        Ok(bundle)
    }
}
