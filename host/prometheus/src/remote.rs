//! The remote endpoints: a caller's tenant, and then write or read.

use std::sync::Arc;

use axum::response::Response;
use http::{Request, StatusCode};
use serde::Serialize;
use tokio::sync::Semaphore;
use witgate_identity::Principal;
use witgate_plugins::{Datum, Storage};

use crate::{
    answer::text,
    config::{ConfigError, Limits, PrometheusConfig},
    tenant::{self, Tenant},
    write::Decoders,
};

/// The remote endpoints of one configuration.
#[derive(Debug)]
pub struct Remote {
    tenants: Vec<Tenant>,
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
    /// The storage plugin that its samples are in.
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
    /// Builds the endpoints. `storage` finds a storage plugin by name.
    pub fn new(
        config: &PrometheusConfig,
        storage: &dyn Fn(&str) -> Option<Arc<dyn Storage>>,
    ) -> Result<Self, ConfigError> {
        if let Some(label) = &config.tenant_label
            && (label.is_empty() || label == "__name__")
        {
            return Err(ConfigError::TenantLabel(label.clone()));
        }
        let mut tenants: Vec<Tenant> = Vec::new();
        for (index, tenant) in config.tenants.iter().enumerate() {
            if tenants.iter().any(|other| other.name == tenant.name) {
                return Err(ConfigError::SameName(index, tenant.name.clone()));
            }
            let storage = storage(&tenant.storage)
                .ok_or_else(|| ConfigError::NoStorage(index, tenant.storage.clone()))?;
            let label = config.tenant_label.as_deref();
            tenants.push(Tenant::new(tenant, storage, label, &config.limits));
        }
        Ok(Self {
            tenants,
            limits: config.limits.clone(),
            decoders: Decoders::default(),
            reads: Arc::new(Semaphore::new(config.limits.concurrent_reads)),
        })
    }

    /// Answers a remote write. 204 means that the tenant's backend has every sample.
    pub async fn write(&self, principal: &Principal, request: Request<axum::body::Body>) -> Response {
        match self.tenant(Endpoint::Write, principal, &request) {
            Ok(tenant) => self.write_to(tenant, &request_id(&request), request).await,
            Err(refusal) => refusal,
        }
    }

    /// Answers a remote read.
    pub async fn read(&self, principal: &Principal, request: Request<axum::body::Body>) -> Response {
        match self.tenant(Endpoint::Read, principal, &request) {
            Ok(tenant) => self.read_from(tenant, &request_id(&request), request).await,
            Err(refusal) => refusal,
        }
    }

    #[expect(clippy::result_large_err, reason = "the error is the answer")]
    fn tenant<B>(
        &self,
        endpoint: Endpoint,
        principal: &Principal,
        request: &Request<B>,
    ) -> Result<&Tenant, Response> {
        let uri = request.uri();
        let query = uri
            .query()
            .filter(|_| uri.path().starts_with("/api/v1/prom/"))
            .unwrap_or_default();
        let database = url::form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "db")
            .map(|(_, value)| value.into_owned());
        tenant::choose(&self.tenants, endpoint, principal, database.as_deref())
            .map_err(|refused| text(StatusCode::FORBIDDEN, &refused.to_string()))
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
