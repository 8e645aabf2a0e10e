//! `witgate:claims@0.1.0` as [`Claims`].

use wasmtime::{Store, component::InstancePre};

use crate::{
    Claims, ClaimsError, Identity, VerifiedToken,
    denials::Printable,
    guest::Guest,
    pool::{Contract, Pool, Started},
};

mod bindings {
    wasmtime::component::bindgen!({
        path: ["../../wit/host-0.1.0", "../../wit/claims-0.1.0"],
        inline: "
            package witgate:gateway;
            world claims {
                export witgate:claims/mapping@0.1.0;
            }
        ",
        ownership: Borrowing { duplicate_if_necessary: true },
        exports: { default: async },
    });
}

use bindings::witgate::claims::types;

/// What a denial may say; it ends up in an HTTP answer and in front of a person.
const MAX_REASON: usize = 512;

/// The contract of version 0.1.
pub(super) struct Mapping;

impl Contract for Mapping {
    type Linked = bindings::ClaimsPre<Guest>;
    type Exports = bindings::Claims;
    type Told = ();

    /// Few: what a token left in an instance's memory is soon gone. Starting an instance costs
    /// some 30 µs, which spread over this many calls is nothing.
    const USES: u32 = 256;

    fn link(component: InstancePre<Guest>) -> wasmtime::Result<Self::Linked> {
        bindings::ClaimsPre::new(component)
    }

    async fn start(
        linked: &Self::Linked,
        store: &mut Store<Guest>,
        config: &str,
    ) -> wasmtime::Result<Started<Self>> {
        let exports = linked.instantiate_async(&mut *store).await?;
        let ready = exports.witgate_claims_mapping().call_init(store, config).await?;
        Ok(ready.map(|()| (exports, ())))
    }
}

#[async_trait::async_trait]
impl Claims for Pool<Mapping> {
    async fn resolve(&self, token: &VerifiedToken) -> Result<Identity, ClaimsError> {
        let deadline = self.deadline();
        let mut lease = self.lease(deadline).await?;
        let call = lease.begin(None, deadline)?;
        let token = types::VerifiedToken {
            issuer: &token.issuer,
            subject: &token.subject,
            claims: &token.claims,
        };
        let mapping = call.exports.witgate_claims_mapping();
        let outcome = call.clock.run(mapping.call_resolve(call.store, token)).await;
        match lease.end(outcome)? {
            Ok(identity) => Ok(identity.into()),
            Err(denial) => Err(ClaimsError::Denied(
                Printable(&denial.reason, MAX_REASON).to_string(),
            )),
        }
    }
}

impl From<types::Identity> for Identity {
    fn from(identity: types::Identity) -> Self {
        let types::Identity {
            user,
            uid,
            groups,
            extra,
        } = identity;
        let extra = extra.into_iter().map(|extra| (extra.key, extra.values)).collect();
        Self {
            user,
            uid,
            groups,
            extra,
        }
    }
}
