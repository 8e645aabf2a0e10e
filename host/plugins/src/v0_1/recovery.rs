//! `witgate:recovery@0.1.0` as [`Recovery`].

mod convert;
mod imports;

use std::sync::Arc;

use wasmtime::{Store, component::InstancePre};

use crate::{
    guest::Guest,
    pool::{Contract, Pool, Started},
    recovery::{Finding, Observer, Proposal, Recovery, RecoveryError},
};

mod bindings {
    wasmtime::component::bindgen!({
        path: ["../../wit/host-0.1.0", "../../wit/recovery-0.1.0"],
        inline: "
            package witgate:gateway;
            world recovery {
                import witgate:recovery/kubernetes@0.1.0;
                import witgate:recovery/etcd@0.1.0;
                export witgate:recovery/repair@0.1.0;
            }
        ",
        imports: { default: async },
        exports: { default: async },
    });
}

pub(super) use imports::offer;

/// Findings and steps of one call: more than any control plane has wrong with it.
const MAX_FINDINGS: usize = 256;
const MAX_STEPS: usize = 64;

/// The contract of version 0.1.
pub(super) struct Repair;

impl Contract for Repair {
    type Linked = bindings::RecoveryPre<Guest>;
    type Exports = bindings::Recovery;
    type Told = ();

    /// Always a fresh instance: what one diagnosis left behind must not colour the next.
    const USES: u32 = 1;

    fn link(component: InstancePre<Guest>) -> wasmtime::Result<Self::Linked> {
        bindings::RecoveryPre::new(component)
    }

    async fn start(
        linked: &Self::Linked,
        store: &mut Store<Guest>,
        config: &str,
    ) -> wasmtime::Result<Started<Self>> {
        let exports = linked.instantiate_async(&mut *store).await?;
        let ready = exports.witgate_recovery_repair().call_init(store, config).await?;
        Ok(ready.map(|()| (exports, ())))
    }
}

#[async_trait::async_trait]
impl Recovery for Pool<Repair> {
    async fn diagnose(&self, observer: Arc<dyn Observer>) -> Result<Vec<Finding>, RecoveryError> {
        let deadline = self.deadline();
        let mut lease = self.lease(deadline).await?;
        let call = lease.begin(None, deadline)?;
        call.store.data_mut().observer = Some(observer);
        let repair = call.exports.witgate_recovery_repair();
        let outcome = call.clock.run(repair.call_diagnose(call.store)).await;
        let findings = lease.end(outcome)?.map_err(convert::trouble)?;
        if findings.len() > MAX_FINDINGS {
            let breach = format!("{} findings are more than {MAX_FINDINGS}", findings.len());
            return Err(lease.condemn(&breach).into());
        }
        if let Some(finding) = findings.iter().find(|finding| finding.evidence.is_empty()) {
            let breach = format!("the finding {} has no evidence", convert::printed(&finding.class));
            return Err(lease.condemn(&breach).into());
        }
        Ok(findings.into_iter().map(convert::finding).collect())
    }

    async fn plan(&self, observer: Arc<dyn Observer>, finding: &Finding) -> Result<Proposal, RecoveryError> {
        let deadline = self.deadline();
        let mut lease = self.lease(deadline).await?;
        let call = lease.begin(None, deadline)?;
        call.store.data_mut().observer = Some(observer);
        let repair = call.exports.witgate_recovery_repair();
        let finding = convert::finding_back(finding);
        let outcome = call.clock.run(repair.call_plan(call.store, &finding)).await;
        let proposal = lease
            .end(outcome)?
            .map_err(|refusal| convert::refusal(&refusal))?;
        if proposal.steps.is_empty() || proposal.steps.len() > MAX_STEPS {
            let breach = format!("{} steps are not between 1 and {MAX_STEPS}", proposal.steps.len());
            return Err(lease.condemn(&breach).into());
        }
        Ok(convert::proposal(proposal))
    }
}
