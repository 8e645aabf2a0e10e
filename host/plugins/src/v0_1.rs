//! Version 0.1 of the contract: adapts components that speak it to [`Claims`](crate::Claims),
//! [`Storage`](crate::Storage) and [`Recovery`](crate::Recovery). A later version is a module beside this one.

mod claims;
mod host;
mod recovery;
mod storage;

use std::sync::Arc;

use wasmtime::{
    Engine,
    component::{InstancePre, Linker},
};

use crate::{
    Claims, Recovery, Storage,
    guest::{Guest, Shared},
    pool::{Pool, StartError},
};

pub(crate) const VERSION: &str = "0.1.0";

/// Adds what this version offers to components.
pub(crate) fn offer(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    host::offer(linker)?;
    recovery::offer(linker)
}

/// Starts a claims plugin that speaks this version.
pub(crate) async fn claims(
    engine: &Engine,
    component: InstancePre<Guest>,
    shared: &Arc<Shared>,
) -> Result<Arc<dyn Claims>, StartError> {
    let pool = Pool::<claims::Mapping>::fill(engine, component, shared).await?;
    Ok(Arc::new(pool))
}

/// Starts a storage plugin that speaks this version.
pub(crate) async fn storage(
    engine: &Engine,
    component: InstancePre<Guest>,
    shared: &Arc<Shared>,
) -> Result<Arc<dyn Storage>, StartError> {
    let pool = Pool::<storage::Store>::fill(engine, component, shared).await?;
    Ok(Arc::new(pool))
}

/// Starts a recovery plugin that speaks this version.
pub(crate) async fn recovery(
    engine: &Engine,
    component: InstancePre<Guest>,
    shared: &Arc<Shared>,
) -> Result<Arc<dyn Recovery>, StartError> {
    let pool = Pool::<recovery::Repair>::fill(engine, component, shared).await?;
    Ok(Arc::new(pool))
}
