//! The remote endpoints: a caller's tenant, and then write or read.

use std::sync::Arc;

use axum::response::Response;
use http::{Request, StatusCode};
use serde::Serialize;
use tokio::sync::Semaphore;
use witgate_identity::Principal;
use witgate_plugins::{Datum, StorageError};

use crate::{
    answer::{at, failure, text},
    backends::Delivery,
    blueprint::Foundations,
    config::{ConfigError, Limits, PrometheusConfig},
    tenant::Tenant,
    tenants::{Asked, NoTenant, Tenants},
    write::Decoders,
};

/// By which a caller who may use several tenants says which is meant, as Cortex, Mimir and Loki have it.
const TENANT: &str = "x-scope-orgid";

/// The remote endpoints of one configuration.
#[derive(Debug)]
pub struct Remote {
    pub(crate) tenants: Tenants,
    pub(crate) limits: Limits,
    pub(crate) decoders: Decoders,
    pub(crate) reads: Arc<Semaphore>,
}

/// Which of the two a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Remote write.
    Write,
    /// Remote read.
    Read,
}

/// What a request came to. In the extensions of answers, for the audit line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The tenant.
    pub tenant: String,
    /// The storage plugins that its samples are in, with commas between.
    pub storage: String,
    /// Series that were stored or found.
    pub series: u64,
    /// Samples that were stored or found; of what was found, native histograms too.
    pub samples: u64,
    /// Whether an answer is streamed that was too large to be counted before it began: there is more
    /// in it than is said here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
    /// Native histograms that were stored.
    pub histograms: u64,
    /// Exemplars that were stored.
    pub exemplars: u64,
    /// What was refused of all that.
    pub rejected: u64,
    /// The same by what it is and by reason; `storage` is whatever the storage plugin says.
    #[serde(skip)]
    pub refused: Vec<(Datum, &'static str, u64)>,
    /// What rules of `relabel` dropped.
    #[serde(skip_serializing_if = "LeftOut::is_empty")]
    pub dropped: LeftOut,
    /// What is of replicas that are not the elected ones.
    #[serde(skip_serializing_if = "LeftOut::is_empty")]
    pub deduplicated: LeftOut,
    /// What became of a write at each storage.
    #[serde(skip_serializing_if = "is_one")]
    pub deliveries: Vec<Delivery>,
    /// Series of the tenant that are active, where they are counted, and how many may be.
    #[serde(skip)]
    pub active_series: Option<(u64, u64)>,
}

/// What was left out of a write as the configuration says, and is no fault of the sender's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// Samples.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

/// The only storage's outcome is the request's.
fn is_one(deliveries: &[Delivery]) -> bool {
    deliveries.len() < 2
}

// === impl LeftOut ===

impl LeftOut {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl From<[u64; 3]> for LeftOut {
    fn from([samples, histograms, exemplars]: [u64; 3]) -> Self {
        Self {
            samples,
            histograms,
            exemplars,
        }
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// Which endpoint a path is: Prometheus' own, or InfluxDB 1.x's.
    pub fn of(path: &str) -> Option<Self> {
        match path {
            "/api/v1/write" | "/api/v1/prom/write" => Some(Self::Write),
            "/api/v1/read" | "/api/v1/prom/read" => Some(Self::Read),
            _ => None,
        }
    }

    pub(crate) fn action(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

// === impl Remote ===

impl Remote {
    /// Builds the endpoints. What tenants have used of their limits goes on from `before`.
    pub fn new(
        config: &PrometheusConfig,
        foundations: Foundations<'_>,
        before: Option<&Self>,
    ) -> Result<Self, ConfigError> {
        if let Some(label) = &config.tenant_label
            && (label.is_empty() || label == "__name__")
        {
            return Err(ConfigError::TenantLabel(label.clone()));
        }
        Ok(Self {
            tenants: Tenants::new(config, foundations, before.map(|before| &before.tenants))?,
            limits: config.limits.clone(),
            decoders: Decoders::default(),
            reads: Arc::new(Semaphore::new(config.limits.concurrent_reads)),
        })
    }

    /// Answers a remote write. 204 means that the tenant's backend has every sample.
    pub async fn write(&self, principal: &Principal, request: Request<axum::body::Body>) -> Response {
        match self.tenant(Endpoint::Write, principal, &request) {
            Ok(tenant) => self.write_to(&tenant, &request_id(&request), request).await,
            Err(refusal) => refusal,
        }
    }

    /// Answers a remote read.
    pub async fn read(&self, principal: &Principal, request: Request<axum::body::Body>) -> Response {
        match self.tenant(Endpoint::Read, principal, &request) {
            Ok(tenant) => self.read_from(&tenant, &request_id(&request), request).await,
            Err(refusal) => refusal,
        }
    }

    #[expect(clippy::result_large_err, reason = "the error is the answer")]
    fn tenant<B>(
        &self,
        endpoint: Endpoint,
        principal: &Principal,
        request: &Request<B>,
    ) -> Result<Arc<Tenant>, Response> {
        let uri = request.uri();
        let query = uri
            .query()
            .filter(|_| uri.path().starts_with("/api/v1/prom/"))
            .unwrap_or_default();
        let database = url::form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "db")
            .map(|(_, value)| value.into_owned());
        let name = request.headers().get(TENANT);
        let asked = Asked {
            // What can't be read is no tenant's name.
            name: name.map(|name| name.to_str().unwrap_or("?")),
            database: database.as_deref(),
        };
        let chosen = self.tenants.choose(endpoint, principal, asked);
        chosen.map_err(|refused| match refused {
            NoTenant::TooMany(_) => {
                let (message, retry_after) = (refused.to_string(), None);
                at(
                    "limits",
                    failure("", &StorageError::Unavailable { message, retry_after }),
                )
            }
            _ => at("tenant", text(StatusCode::FORBIDDEN, &refused.to_string())),
        })
    }
}

/// The id that the listener gave the request.
fn request_id<B>(request: &Request<B>) -> String {
    let id = request
        .headers()
        .get("x-request-id")
        .and_then(|id| id.to_str().ok());
    id.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
