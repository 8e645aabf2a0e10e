//! A signed token (JWS, RFC 7515) taken apart. Nothing in it is verified here.

mod json;
mod times;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::error::{Invalid, quoted};

pub(crate) use json::parse_object;
pub(crate) use times::{SKEW, check_times};

/// A token over this many bytes is refused before anything in it is looked at.
pub(crate) const MAX_TOKEN: usize = 16 << 10;

/// A token that the issuer itself hands over, which no header has to hold: somebody in thousands of
/// groups can log in, and the claims plugin picks the ones that count.
const MAX_FETCHED: usize = 256 << 10;

/// Which types (`typ`, RFC 7515 section 4.1.9) an id_token may say it is.
const TYPES: [&str; 2] = ["jwt", "application/jwt"];

/// The same of a logout token.
const LOGOUT_TYPES: [&str; 4] = ["logout+jwt", "application/logout+jwt", "jwt", "application/jwt"];

/// Keycloak marks the kinds of its tokens in the payload. These are not id_tokens.
const OTHER_KINDS: [&str; 4] = ["bearer", "refresh", "offline", "logout"];

/// What a logout token says (OpenID Connect Back-Channel Logout 1.0, section 2.4).
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// A token's parts, decoded.
pub(crate) struct Unverified<'a> {
    pub(crate) algorithm: String,
    pub(crate) key_id: Option<String>,
    pub(crate) claims: Map<String, Value>,
    /// The claims as they were signed.
    pub(crate) payload: String,
    /// What the signature is over.
    pub(crate) signed: &'a str,
    pub(crate) signature: Vec<u8>,
}

// === impl Unverified ===

impl<'a> Unverified<'a> {
    /// Takes a token apart, and refuses what can't be an id_token by its form.
    pub(crate) fn parse(token: &'a str) -> Result<Self, Invalid> {
        let parsed = Self::take_apart(token, &TYPES)?;
        refuse_other_kinds(&parsed.claims)?;
        Ok(parsed)
    }

    /// Takes a token apart, and refuses what can't be a logout token by its form (OpenID Connect
    /// Back-Channel Logout 1.0, section 2.4).
    pub(crate) fn parse_logout(token: &'a str) -> Result<Self, Invalid> {
        let parsed = Self::take_apart(token, &LOGOUT_TYPES)?;
        let event = parsed
            .claims
            .get("events")
            .and_then(|events| events.get(LOGOUT_EVENT));
        if !event.is_some_and(Value::is_object) {
            return Err(Invalid::Type("token without a logout event".to_owned()));
        }
        if parsed.claims.contains_key("nonce") {
            return Err(Invalid::Claim {
                claim: "nonce",
                why: "must not be in a logout token".to_owned(),
            });
        }
        Ok(parsed)
    }

    fn take_apart(token: &'a str, types: &[&str]) -> Result<Self, Invalid> {
        if token.len() > MAX_FETCHED {
            return Err(Invalid::TooLarge {
                length: token.len(),
                limit: MAX_FETCHED,
            });
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(Invalid::NotAToken);
        };
        match parts.count() {
            0 => {}
            2 => return Err(Invalid::Encrypted),
            _ => return Err(Invalid::NotAToken),
        }
        let signed = token.get(..header.len() + 1 + payload.len()).unwrap_or_default();

        let header = parse_part("header", header)?.0;
        if header.contains_key("crit") {
            return Err(Invalid::Critical);
        }
        if let Some(kind) = header.get("typ") {
            match kind.as_str() {
                Some(kind) if types.contains(&kind.to_ascii_lowercase().as_str()) => {}
                _ => return Err(Invalid::Type(shown(kind))),
            }
        }
        if let Some(kind) = header.get("cty") {
            return Err(Invalid::Type(format!(
                "JWT with the content type {}",
                shown(kind)
            )));
        }
        let algorithm = match header.get("alg") {
            Some(Value::String(algorithm)) => algorithm.clone(),
            _ => return Err(malformed("header", "`alg` is not there, or not a string")),
        };
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(key_id)) => Some(key_id.clone()),
            Some(_) => return Err(malformed("header", "`kid` is not a string")),
        };

        let (claims, payload) = parse_part("payload", payload)?;
        let signature = decode("signature", signature)?;
        Ok(Self {
            algorithm,
            key_id,
            claims,
            payload,
            signed,
            signature,
        })
    }

    /// A claim that is a string.
    pub(crate) fn text(&self, claim: &'static str) -> Result<Option<&str>, Invalid> {
        match self.claims.get(claim) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Invalid::Claim {
                claim,
                why: "is not a string".to_owned(),
            }),
        }
    }

    /// A claim that is a time, in whole seconds since 1970; nothing, if it is not.
    pub(crate) fn seconds(&self, claim: &str) -> Option<u64> {
        let seconds = self.claims.get(claim)?.as_f64()?;
        let seconds = std::time::Duration::try_from_secs_f64(seconds).ok()?;
        Some(seconds.as_secs())
    }

    /// The claim `iss`.
    pub(crate) fn issuer(&self) -> Result<&str, Invalid> {
        self.text("iss")?.ok_or_else(|| Invalid::Claim {
            claim: "iss",
            why: "is not there".to_owned(),
        })
    }

    /// The claim `aud`, which is a string or a list of strings.
    pub(crate) fn audiences(&self) -> Result<Vec<&str>, Invalid> {
        let fail = |why: &str| Invalid::Claim {
            claim: "aud",
            why: why.to_owned(),
        };
        match self.claims.get("aud") {
            None => Err(fail("is not there")),
            Some(Value::String(audience)) => Ok(vec![audience]),
            Some(Value::Array(list)) if list.is_empty() => Err(fail("is empty")),
            Some(Value::Array(list)) => list
                .iter()
                .map(|audience| {
                    audience
                        .as_str()
                        .ok_or_else(|| fail("has something else than strings"))
                })
                .collect(),
            Some(_) => Err(fail("is neither a string nor a list of strings")),
        }
    }
}

fn refuse_other_kinds(claims: &Map<String, Value>) -> Result<(), Invalid> {
    if let Some(Value::String(kind)) = claims.get("typ")
        && OTHER_KINDS.contains(&kind.to_ascii_lowercase().as_str())
    {
        return Err(Invalid::Type(quoted(kind)));
    }
    if claims
        .get("events")
        .is_some_and(|events| events.get(LOGOUT_EVENT).is_some())
    {
        return Err(Invalid::Type("logout token".to_owned()));
    }
    Ok(())
}

fn parse_part(part: &'static str, encoded: &str) -> Result<(Map<String, Value>, String), Invalid> {
    let text = String::from_utf8(decode(part, encoded)?).map_err(|_| malformed(part, "it is not UTF-8"))?;
    let object = parse_object(&text).map_err(|why| malformed(part, &why))?;
    Ok((object, text))
}

fn decode(part: &'static str, encoded: &str) -> Result<Vec<u8>, Invalid> {
    URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_| malformed(part, "it is not base64url"))
}

fn malformed(part: &'static str, why: &str) -> Invalid {
    Invalid::Malformed {
        part,
        why: why.to_owned(),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        other => quoted(&other.to_string()),
    }
}
