//! Credentials in the URL, as InfluxDB's clients send them.
//!
//! InfluxDB 1.x takes `u` and `p` as query parameters, and Prometheus configurations of that time
//! have them in `remote_write.url`. Where the operator allows it, they count as basic credentials.

use axum::extract::Request;
use base64::Engine;
use http::{HeaderValue, Uri, header, uri::PathAndQuery};

/// Moves `u` and `p` from the query of one of InfluxDB's paths into the header `Authorization`, if
/// there is none. They are gone from the query either way.
pub(crate) fn take(request: &mut Request) {
    let uri = request.uri();
    let Some(query) = uri.query() else { return };
    if !uri.path().starts_with("/api/v1/prom/") {
        return;
    }
    let (mut user, mut password) = (None, None);
    let mut rest = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "u" => user = Some(value.into_owned()),
            "p" => password = Some(value.into_owned()),
            _ => {
                rest.append_pair(&name, &value);
            }
        }
    }
    if user.is_none() && password.is_none() {
        return;
    }
    let rest = format!("{}?{}", uri.path(), rest.finish());
    if let Ok(rest) = rest.parse::<PathAndQuery>() {
        *request.uri_mut() = Uri::from(rest);
    }
    let (Some(user), Some(password)) = (user, password) else {
        return;
    };
    if request.headers().contains_key(header::AUTHORIZATION) {
        return;
    }
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    if let Ok(mut value) = HeaderValue::from_str(&format!("Basic {pair}")) {
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn taken(uri: &str) -> (String, Option<String>) {
        let mut request = Request::builder().uri(uri).body(Body::empty()).unwrap();
        take(&mut request);
        let header = request.headers().get(header::AUTHORIZATION);
        (
            request.uri().to_string(),
            header.map(|value| value.to_str().unwrap().to_owned()),
        )
    }

    #[test]
    fn credentials_leave_the_query_and_become_a_header() {
        let (uri, header) = taken("/api/v1/prom/write?u=prom&p=se%20cret&db=metrics");
        assert_eq!(uri, "/api/v1/prom/write?db=metrics");
        assert_eq!(header.unwrap(), "Basic cHJvbTpzZSBjcmV0");
    }

    #[test]
    fn other_paths_and_other_queries_stay_as_they_are() {
        assert_eq!(taken("/api/v1/prom/write?p=secret").0, "/api/v1/prom/write?");
        for uri in [
            "/api/v1/write?u=prom&p=secret",
            "/api/v1/prom/write?db=metrics",
            "/api/v1/prom/write",
        ] {
            assert_eq!(taken(uri), (uri.to_owned(), None));
        }
    }
}
