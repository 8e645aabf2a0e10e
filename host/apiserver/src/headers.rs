//! Which headers go upstream: nothing by which a client could claim an identity or drop ours.
//!
//! The order matters: what the connection says is removed first, the client's claims next, and the
//! gateway's own headers are set last, so that no `Connection: ...` of a client can name them.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use witgate_identity::Principal;

/// The group of everybody who is authenticated. Kubernetes does not add it when groups are sent.
const AUTHENTICATED: &str = "system:authenticated";

/// The group of who is not, as whom one may ask to act.
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// The most that the groups of one user may take. Go's servers take 1 MiB of headers, and whatever
/// stands between may take less.
const MAX_GROUP_BYTES: usize = 64 << 10;

/// What a header name may hold, beside letters and digits, without being encoded (RFC 9110 5.6.2).
const NOT_IN_TOKEN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Hop-by-hop headers (RFC 9110 7.6.1), beside those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TRAILER,
];

/// Headers that carry, or could be taken for, an identity or an origin.
const CLAIMS: [&str; 6] = [
    "authorization",
    "cookie",
    "forwarded",
    "proxy-authorization",
    "x-real-ip",
    "x-request-id",
];

/// The same, by how their names begin. `impersonate` covers what Kubernetes may yet invent.
const CLAIM_PREFIXES: [&str; 4] = ["impersonate", "x-remote-", "x-forwarded-", "x-client-"];

/// A principal that can't be told to an apiserver.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Unsayable {
    #[error("the user's name is empty or can't be a header")]
    User,
    #[error("the name of group {0:?} can't be a header")]
    Group(String),
    #[error(
        "you are in {count} groups, whose names are {bytes} bytes together, and {MAX_GROUP_BYTES} can be forwarded: have the claims plugin keep the ones that matter"
    )]
    TooManyGroups { count: usize, bytes: usize },
    #[error("the extra {0:?} can't be a header")]
    Extra(String),
}

/// Removes what concerns one connection only.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Removes what a client could claim an identity by. Names are compared as servers do that take `_`
/// for `-` (CVE-2025-64484).
pub(crate) fn remove_claims(headers: &mut HeaderMap) {
    let claims: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_claim(name.as_str()))
        .cloned()
        .collect();
    for name in claims {
        headers.remove(name);
    }
}

fn is_claim(name: &str) -> bool {
    CLAIMS
        .iter()
        .any(|claim| name.len() == claim.len() && begins_with(name, claim))
        || CLAIM_PREFIXES.iter().any(|prefix| begins_with(name, prefix))
        || name == "sec-websocket-protocol"
}

/// Whether a name begins so, `_` counting as `-`.
pub(crate) fn begins_with(name: &str, prefix: &str) -> bool {
    name.len() >= prefix.len()
        && name
            .bytes()
            .zip(prefix.bytes())
            .all(|(a, b)| a == b || (a == b'_' && b == b'-'))
}

pub(crate) fn impersonate(headers: &mut HeaderMap, principal: &Principal) -> Result<(), Unsayable> {
    let user = value(&principal.user)
        .filter(|user| !user.is_empty())
        .ok_or(Unsayable::User)?;
    let bytes = principal.groups.iter().map(String::len).sum();
    if bytes > MAX_GROUP_BYTES {
        return Err(Unsayable::TooManyGroups {
            count: principal.groups.len(),
            bytes,
        });
    }
    headers.insert(HeaderName::from_static("impersonate-user"), user);
    let group = HeaderName::from_static("impersonate-group");
    for name in &principal.groups {
        let value = value(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| Unsayable::Group(name.clone()))?;
        headers.append(group.clone(), value);
    }
    let is_anonymous = principal.groups.iter().any(|name| name == UNAUTHENTICATED);
    if !is_anonymous && !principal.groups.iter().any(|name| name == AUTHENTICATED) {
        headers.append(group, HeaderValue::from_static(AUTHENTICATED));
    }
    if let Some(uid) = &principal.uid {
        let uid = value(uid).ok_or(Unsayable::User)?;
        headers.insert(HeaderName::from_static("impersonate-uid"), uid);
    }
    for (key, values) in &principal.extra {
        let unsayable = || Unsayable::Extra(key.clone());
        let encoded = utf8_percent_encode(key, NOT_IN_TOKEN);
        let name: HeaderName = format!("impersonate-extra-{encoded}")
            .parse()
            .map_err(|_| unsayable())?;
        for text in values {
            headers.append(name.clone(), value(text).ok_or_else(unsayable)?);
        }
    }
    Ok(())
}

/// A header's value, which can't have line breaks or other control characters. UTF-8 passes as the
/// bytes that it is, which is how Go's servers take it.
fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_bytes(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use witgate_identity::{Method, Proof};

    use super::*;

    fn principal() -> Principal {
        Principal {
            user: "alice".into(),
            uid: Some("1".into()),
            groups: vec!["platform".into(), "developers".into()],
            extra: vec![("example.com/team".into(), vec!["a".into(), "b".into()])],
            method: Method::StaticToken,
            expires: None,
            proof: Proof::default(),
        }
    }

    /// What [`Cluster`](crate::Cluster) does with them, in its order.
    fn prepare(headers: &mut HeaderMap, principal: &Principal) -> Result<(), Unsayable> {
        remove_hop_by_hop(headers);
        remove_claims(headers);
        impersonate(headers, principal)
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect()
    }

    #[test]
    fn the_principal_is_told_in_separate_headers() {
        let mut headers = HeaderMap::new();
        prepare(&mut headers, &principal()).unwrap();
        assert_eq!(all(&headers, "impersonate-user"), ["alice"]);
        assert_eq!(all(&headers, "impersonate-uid"), ["1"]);
        assert_eq!(
            all(&headers, "impersonate-group"),
            ["platform", "developers", "system:authenticated"]
        );
        assert_eq!(all(&headers, "impersonate-extra-example.com%2Fteam"), ["a", "b"]);
    }

    #[test]
    fn whatever_a_client_claims_is_gone() {
        for name in [
            "impersonate-user",
            "impersonate-group",
            "impersonate-uid",
            "impersonate-extra-scopes",
            "impersonate_group",
            "impersonate-something-new",
            "x-remote-user",
            "x_remote_group",
            "x-remote-extra-a",
            "x-forwarded-for",
            "forwarded",
            "authorization",
            "cookie",
            "sec-websocket-protocol",
            "x-client-cert",
            "proxy-authorization",
        ] {
            let mut forwarded = headers(&[(name, "system:masters"), ("accept", "*/*")]);
            prepare(&mut forwarded, &principal()).unwrap();
            let values: Vec<_> = forwarded.values().collect();
            assert!(
                !values.iter().any(|value| *value == "system:masters"),
                "{name} is forwarded"
            );
            assert_eq!(all(&forwarded, "accept"), ["*/*"]);
        }
    }

    #[test]
    fn connection_can_not_drop_our_headers() {
        for named in [
            "Impersonate-User",
            "impersonate-group, Authorization",
            "close, IMPERSONATE-UID",
        ] {
            let mut forwarded = HeaderMap::new();
            forwarded.insert(header::CONNECTION, HeaderValue::from_static(named));
            prepare(&mut forwarded, &principal()).unwrap();
            assert_eq!(all(&forwarded, "impersonate-user"), ["alice"]);
            assert_eq!(all(&forwarded, "impersonate-group").len(), 3);
            assert!(!forwarded.contains_key(header::CONNECTION));
        }
    }

    #[test]
    fn who_can_not_be_told_is_not_forwarded() {
        let mut nobody = principal();
        nobody.user = String::new();
        assert_eq!(prepare(&mut HeaderMap::new(), &nobody), Err(Unsayable::User));
        let mut split = principal();
        split.user = "a\r\nImpersonate-Group: system:masters".into();
        assert_eq!(prepare(&mut HeaderMap::new(), &split), Err(Unsayable::User));
        let mut many = principal();
        many.groups = (0..2000).map(|n| format!("{n:060}")).collect();
        let error = prepare(&mut HeaderMap::new(), &many).unwrap_err().to_string();
        assert!(
            error.contains("2000 groups") && error.contains("120000 bytes"),
            "{error}"
        );
    }
}
