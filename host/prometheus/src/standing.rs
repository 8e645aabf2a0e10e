//! What the remote endpoints are to one caller: which tenant a request of theirs is for, and why, what
//! bounds it, and what its storage holds. Of what a caller may not use, nothing is said.

use serde::{Deserialize, Serialize};
use witgate_identity::Principal;
use witgate_plugins::Kinds;

use crate::{
    Endpoint, Remote,
    tenants::{Asked, Usable},
};

/// The endpoints, as one caller finds them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Whose what they write is.
    pub write: Choice,
    /// Whose what they read is.
    pub read: Choice,
    /// All tenants that they may use, in the order in which they are chosen from.
    pub tenants: Vec<TenantStanding>,
}

/// Which tenant takes a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Choice {
    /// This one.
    Tenant(String),
    /// None, and why.
    Refused(String),
}

/// A tenant that somebody may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantStanding {
    /// Its name.
    pub name: String,
    /// By what they may write: `the group metrics`.
    pub write: Option<String>,
    /// By what they may read.
    pub read: Option<String>,
    /// What `?db=` selects it by, on InfluxDB's paths.
    pub database: Option<String>,
    /// The label that all of its series get, with its name.
    pub label: Option<String>,
    /// The storage plugins that its samples are in, by their names in the configuration.
    pub storages: Vec<String>,
    /// Those of them that a write does not wait for.
    #[serde(default)]
    pub best_effort: Vec<String>,
    /// What they hold besides samples.
    pub holds: Holds,
    /// What is accepted.
    pub bounds: Bounds,
}

/// What a storage holds besides samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a set, of which each member is a word"
)]
pub struct Holds {
    /// Native histograms.
    pub histograms: bool,
    /// Exemplars.
    pub exemplars: bool,
    /// What is said about metrics: type, help, unit.
    pub metadata: bool,
    /// When counters began.
    pub start_timestamps: bool,
    /// All 64 bits of every value, and not only a number close to it.
    pub exact_values: bool,
}

/// What is accepted of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bounds {
    /// Samples, histograms and exemplars in a second.
    pub samples_per_second: Option<u32>,
    /// How many of them may come at once.
    pub burst: Option<u32>,
    /// Bytes of a request.
    pub body: u64,
    /// Bytes of a request, decompressed.
    pub decoded: u64,
    /// Labels of a series.
    pub labels: usize,
    /// Bytes of a label's name or value.
    pub label: u64,
    /// Samples of the answer to a read.
    pub read_samples: usize,
}

impl Remote {
    /// What the endpoints are to a caller whose request names this tenant, or this database.
    #[must_use]
    pub fn standing(&self, principal: &Principal, tenant: Option<&str>, database: Option<&str>) -> Standing {
        let asked = Asked {
            name: tenant,
            database,
        };
        let choice = |endpoint| match self.tenants.choose(endpoint, principal, asked) {
            Ok(tenant) => Choice::Tenant(tenant.name.clone()),
            Err(reason) => Choice::Refused(reason.to_string()),
        };
        let usable = self.tenants.usable(principal);
        Standing {
            write: choice(Endpoint::Write),
            read: choice(Endpoint::Read),
            tenants: usable.into_iter().map(TenantStanding::from).collect(),
        }
    }
}

impl From<Usable> for TenantStanding {
    fn from(usable: Usable) -> Self {
        let Usable { tenant, write, read } = usable;
        let limits = &tenant.limits;
        let (samples_per_second, burst) = tenant.rate().unzip();
        let storages = tenant.backends.iter();
        let best_effort = tenant.backends.iter().filter(|backend| !backend.is_required);
        Self {
            write,
            read,
            database: tenant.database().map(str::to_owned),
            label: tenant.label.clone(),
            storages: storages.map(|backend| backend.name.clone()).collect(),
            best_effort: best_effort.map(|backend| backend.name.clone()).collect(),
            holds: Holds::new(tenant.backends.holds(), tenant.storage.is_exact()),
            bounds: Bounds {
                samples_per_second,
                burst,
                body: limits.body.0,
                decoded: limits.decoded.0,
                labels: limits.labels,
                label: limits.label.0,
                read_samples: limits.read_samples,
            },
            name: tenant.name.clone(),
        }
    }
}

impl Holds {
    /// `exact_values` is of the storage that is read from.
    fn new(kinds: Kinds, exact_values: bool) -> Self {
        Self {
            histograms: kinds.histograms,
            exemplars: kinds.exemplars,
            metadata: kinds.families,
            start_timestamps: kinds.start_timestamps,
            exact_values,
        }
    }
}
