//! What is done to a tenant's series on their way in, besides checking them.

use std::sync::Arc;

use crate::{relabel::Relabel, replicas::Replicas, series::ActiveSeries};

/// The steps that a tenant has, in the order in which series go through them.
#[derive(Debug, Default)]
pub struct Treatment {
    /// Which of several replicas' series are taken.
    pub(crate) replicas: Option<Arc<Replicas>>,
    pub(crate) relabel: Relabel,
    /// How many series there may be.
    pub(crate) series: Option<Arc<ActiveSeries>>,
}

impl Treatment {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.replicas.is_none() && self.relabel.is_empty() && self.series.is_none()
    }
}
