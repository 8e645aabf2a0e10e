//! What a request shows to prove who it comes from.

use std::borrow::Cow;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{HeaderMap, header};
use secrecy::SecretString;

use crate::{
    cookie,
    error::{Invalid, quoted},
    token::MAX_TOKEN,
};

/// What the subprotocol begins with that is a bearer token.
pub(crate) const SUBPROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// A credential, not yet looked into.
pub(crate) enum Credential<'a> {
    Bearer(Cow<'a, str>),
    Basic {
        username: String,
        password: SecretString,
    },
    /// A session's id.
    Session(&'a str),
}

impl<'a> Credential<'a> {
    /// The one that counts: `Authorization` before the cookie.
    pub(crate) fn of(headers: &'a HeaderMap) -> Result<Option<Self>, Invalid> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (Some(_), Some(_)) => Err(Invalid::SeveralHeaders),
            (Some(_), None) if in_subprotocol(headers)?.is_some() => Err(Invalid::SeveralHeaders),
            (Some(value), None) => {
                if value.len() > MAX_TOKEN + "Bearer ".len() {
                    return Err(Invalid::TooLarge {
                        length: value.len(),
                        limit: MAX_TOKEN,
                    });
                }
                Self::parse(value.to_str().map_err(|_| Invalid::UnreadableHeader)?).map(Some)
            }
            (None, _) => match in_subprotocol(headers)? {
                Some(token) => Ok(Some(Self::Bearer(token.into()))),
                None => Ok(cookie::session(headers)?.map(Self::Session)),
            },
        }
    }

    fn parse(value: &'a str) -> Result<Self, Invalid> {
        let (scheme, rest) = value
            .trim_matches(' ')
            .split_once(' ')
            .ok_or(Invalid::UnreadableHeader)?;
        let rest = rest.trim_start_matches(' ');
        if scheme.eq_ignore_ascii_case("bearer") {
            return match rest.bytes().any(|b| b.is_ascii_whitespace()) {
                true => Err(Invalid::UnreadableHeader),
                false => Ok(Self::Bearer(rest.into())),
            };
        }
        if scheme.eq_ignore_ascii_case("basic") {
            let decoded = STANDARD
                .decode(rest)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            let decoded = decoded.ok_or(Invalid::UnreadableHeader)?;
            let (username, password) = decoded.split_once(':').ok_or(Invalid::UnreadableHeader)?;
            return Ok(Self::Basic {
                username: username.to_owned(),
                password: password.into(),
            });
        }
        Err(Invalid::Scheme(quoted(scheme)))
    }
}

/// Browsers can't set headers for a WebSocket, so Kubernetes takes a token among the subprotocols
/// (`k8s.io/apiserver/pkg/authentication/request/websocket`).
fn in_subprotocol(headers: &HeaderMap) -> Result<Option<String>, Invalid> {
    let mut found = None;
    for line in headers.get_all(header::SEC_WEBSOCKET_PROTOCOL) {
        let line = line.to_str().map_err(|_| Invalid::UnreadableHeader)?;
        for encoded in line
            .split(',')
            .filter_map(|name| name.trim().strip_prefix(SUBPROTOCOL))
        {
            let token = URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('='));
            let token = token.ok().and_then(|token| String::from_utf8(token).ok());
            let token = token.ok_or(Invalid::UnreadableHeader)?;
            if found.replace(token).is_some() {
                return Err(Invalid::SeveralHeaders);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use secrecy::ExposeSecret;

    use super::*;

    fn headers<const N: usize>(pairs: [(&'static str, &str); N]) -> HeaderMap {
        let pair = |(name, value)| {
            (
                http::HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        };
        pairs.map(pair).into_iter().collect()
    }

    #[test]
    fn the_header_comes_before_the_cookie() {
        let session = "A".repeat(43);
        let cookie = format!("a=b; __Host-witgate={session}");
        let both = headers([("authorization", "bEaReR abc"), ("cookie", &cookie)]);
        assert!(matches!(
            Credential::of(&both),
            Ok(Some(Credential::Bearer(token))) if token == "abc"
        ));
        let cookie = headers([("cookie", &cookie)]);
        assert!(matches!(Credential::of(&cookie), Ok(Some(Credential::Session(id))) if id == session));
        assert!(matches!(Credential::of(&headers([])), Ok(None)));
    }

    #[test]
    fn a_browsers_websocket_brings_its_token_among_the_subprotocols() {
        let offered = format!(
            "v4.channel.k8s.io, {SUBPROTOCOL}{}",
            URL_SAFE_NO_PAD.encode("abc")
        );
        let one = headers([("sec-websocket-protocol", &offered)]);
        assert!(matches!(
            Credential::of(&one),
            Ok(Some(Credential::Bearer(token))) if token == "abc"
        ));
        let both = headers([
            ("sec-websocket-protocol", &offered),
            ("authorization", "Bearer abc"),
        ]);
        assert_eq!(Credential::of(&both).err(), Some(Invalid::SeveralHeaders));
        let nonsense = headers([(
            "sec-websocket-protocol",
            "base64url.bearer.authorization.k8s.io.!",
        )]);
        assert_eq!(Credential::of(&nonsense).err(), Some(Invalid::UnreadableHeader));
    }

    #[test]
    fn basic_credentials_may_have_colons_in_the_password() {
        let headers = headers([("authorization", &format!("Basic {}", STANDARD.encode("prom:a:b")))]);
        let Ok(Some(Credential::Basic { username, password })) = Credential::of(&headers) else {
            panic!("not taken for basic credentials");
        };
        assert_eq!((username.as_str(), password.expose_secret()), ("prom", "a:b"));
    }

    #[test]
    fn what_is_ambiguous_or_unreadable_is_refused() {
        let twice = headers([("authorization", "Bearer a"), ("authorization", "Bearer a")]);
        let twice_cookie = format!("__Host-witgate={0}; __Host-witgate={0}", "A".repeat(43));
        let large = format!("Bearer {}", "a".repeat(MAX_TOKEN + 1));
        for (headers, expected) in [
            (twice, Invalid::SeveralHeaders),
            (headers([("authorization", "Bearer")]), Invalid::UnreadableHeader),
            (
                headers([("authorization", "Bearer a b")]),
                Invalid::UnreadableHeader,
            ),
            (headers([("authorization", "Basic !")]), Invalid::UnreadableHeader),
            (
                headers([("authorization", "Basic YWJj")]),
                Invalid::UnreadableHeader,
            ),
            (
                headers([("authorization", "Negotiate abc")]),
                Invalid::Scheme("\"Negotiate\"".into()),
            ),
            (
                headers([("authorization", &large)]),
                Invalid::TooLarge {
                    length: MAX_TOKEN + 8,
                    limit: MAX_TOKEN,
                },
            ),
            (headers([("cookie", &twice_cookie)]), Invalid::Cookie),
            (headers([("cookie", "__Host-witgate=short")]), Invalid::Cookie),
        ] {
            assert_eq!(Credential::of(&headers).err(), Some(expected));
        }
    }
}
