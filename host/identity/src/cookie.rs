//! The two cookies: the session's, and the one that binds a login to the browser that began it.
//!
//! The prefix `__Host-` (RFC 6265bis section 4.1.3.2) makes the browser refuse them from another
//! path, from a sibling domain and over plain HTTP.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use crate::error::Invalid;

const SESSION: &str = "__Host-witgate";
const LOGIN: &str = "__Host-witgate-login";

/// 256 bits in base64url without padding.
const LENGTH: usize = 43;

/// The session's id, if there is one.
pub(crate) fn session(headers: &HeaderMap) -> Result<Option<&str>, Invalid> {
    find(headers, SESSION)
}

/// What binds this browser to the logins that it began, if it has such a cookie.
pub(crate) fn login(headers: &HeaderMap) -> Result<Option<&str>, Invalid> {
    find(headers, LOGIN)
}

pub(crate) fn set_session(id: &str, lifetime: Duration) -> Option<HeaderValue> {
    set(SESSION, id, lifetime)
}

pub(crate) fn clear_session() -> Option<HeaderValue> {
    set(SESSION, "", Duration::ZERO)
}

pub(crate) fn set_login(value: &str, lifetime: Duration) -> Option<HeaderValue> {
    set(LOGIN, value, lifetime)
}

pub(crate) fn clear_login() -> Option<HeaderValue> {
    set(LOGIN, "", Duration::ZERO)
}

/// `Lax`, because a browser comes back from the issuer by a link from another site.
fn set(name: &str, value: &str, lifetime: Duration) -> Option<HeaderValue> {
    let age = lifetime.as_secs();
    let cookie = format!("{name}={value}; Path=/; Max-Age={age}; Secure; HttpOnly; SameSite=Lax");
    let mut value = HeaderValue::try_from(cookie).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// HTTP/2 may split cookies over several header lines (RFC 9113 section 8.2.3).
fn find<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Invalid> {
    let mut found = None;
    for line in headers.get_all(header::COOKIE) {
        // Other cookies on the line are not ours to judge; if it is not ASCII, ours is not there.
        let Ok(line) = line.to_str() else { continue };
        for pair in line.split(';') {
            let Some((key, value)) = pair.split_once('=') else {
                continue;
            };
            if key.trim_matches([' ', '\t']) != name {
                continue;
            }
            let value = value.trim_matches([' ', '\t']);
            let is_ours = value.len() == LENGTH
                && value
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
            if found.is_some() || !is_ours {
                return Err(Invalid::Cookie);
            }
            found = Some(value);
        }
    }
    Ok(found)
}
