//! Pages of other origins that may use a browser's session: dashboards in front of a cluster.
//!
//! A browser sends its session's cookie whichever page made it send the request. So the cookie counts
//! on `/clusters` only if the browser says that the page is of this gateway or of a listed origin
//! (Fetch Metadata and Origin, which no page can forge).

use axum::{extract::Request, response::Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::wiring::Wiring;

/// Dashboards.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DashboardsConfig {
    /// Origins whose pages may use the clusters with a browser's session, as in
    /// `https://headlamp.example.com`. They need to be of the same site as the gateway. None by default.
    #[serde(default)]
    pub(crate) origins: Vec<String>,
}

/// Takes the cookie out of a request that a strange page may have made the browser send.
pub(crate) fn distrust_cookies(wiring: &Wiring, headers: &mut HeaderMap) {
    let from_own_page = wiring.identity.is_own_page(headers);
    if headers.contains_key(header::COOKIE) && !from_own_page && allowed(wiring, headers).is_none() {
        headers.remove(header::COOKIE);
    }
}

/// The answer to a preflight (Fetch Standard, 3.3.2) of a listed origin, which carries no credential.
pub(crate) fn preflight(wiring: &Wiring, request: &Request) -> Option<Response> {
    let headers = request.headers();
    let origin = allowed(wiring, headers)?;
    let asked = headers.get("access-control-request-method")?;
    if request.method() != Method::OPTIONS {
        return None;
    }
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let answer = response.headers_mut();
    answer.insert("access-control-allow-methods", asked.clone());
    if let Some(asked) = headers.get("access-control-request-headers") {
        answer.insert("access-control-allow-headers", asked.clone());
    }
    answer.insert("access-control-max-age", HeaderValue::from_static("600"));
    share(Some(&origin), &mut response);
    Some(response)
}

/// The origin of a request, if it is listed.
pub(crate) fn allowed(wiring: &Wiring, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let listed = &wiring.config.dashboards.origins;
    listed
        .iter()
        .any(|allowed| origin == allowed.as_str())
        .then(|| origin.clone())
}

/// Lets a listed origin's page read an answer.
pub(crate) fn share(origin: Option<&HeaderValue>, response: &mut Response) {
    let Some(origin) = origin else { return };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        HeaderValue::from_static("true"),
    );
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}
