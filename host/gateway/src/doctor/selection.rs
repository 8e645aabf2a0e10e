//! Which of the tenants that somebody may use a request is for.

use http::{HeaderMap, HeaderName, HeaderValue};
use witgate_prometheus::Endpoint;

/// By which a request names its tenant, as Cortex, Mimir and Loki have it.
pub(crate) const TENANT: &str = "X-Scope-OrgID";

/// What a request says of it. Without either, the first tenant that grants it takes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// Its name.
    pub(crate) tenant: Option<String>,
    /// Its database, on InfluxDB's paths.
    pub(crate) database: Option<String>,
}

impl Selection {
    /// The path of an endpoint.
    pub(crate) fn path(&self, endpoint: Endpoint) -> String {
        let name = match endpoint {
            Endpoint::Write => "write",
            Endpoint::Read => "read",
        };
        match &self.database {
            None => format!("/api/v1/{name}"),
            Some(_) => format!("/api/v1/prom/{name}{}", self.query()),
        }
    }

    /// The part of a URL that names the database.
    pub(crate) fn query(&self) -> String {
        let Some(database) = &self.database else {
            return String::new();
        };
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("db", database);
        format!("?{}", query.finish())
    }

    /// The headers with the one that names the tenant.
    pub(crate) fn put_on(&self, mut headers: HeaderMap) -> HeaderMap {
        let name = HeaderName::from_bytes(TENANT.as_bytes()).ok();
        let tenant = self.tenant.as_deref().map(HeaderValue::try_from);
        if let (Some(name), Some(Ok(tenant))) = (name, tenant) {
            headers.insert(name, tenant);
        }
        headers
    }
}
