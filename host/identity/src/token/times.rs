//! When a token holds: `exp`, `nbf` and `iat` (RFC 7519 section 4.1).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::error::Invalid;

/// How far the issuer's clock may be ahead of ours. The end of a token gets no such allowance: it
/// is also when streams are cut, and both must agree.
pub(crate) const SKEW: Duration = Duration::from_secs(60);

/// The last second of the year 9999, after which a date can't be written (RFC 3339).
const LATEST: u64 = 253_402_300_799;

/// When a token expires, if it holds at `now`.
pub(crate) fn check_times(claims: &Map<String, Value>, now: SystemTime) -> Result<SystemTime, Invalid> {
    let expires = date(claims, "exp")?.ok_or_else(|| missing("exp"))?;
    if expires <= now {
        return Err(Invalid::Expired(expires));
    }
    if let Some(begins) = date(claims, "nbf")?
        && begins > now + SKEW
    {
        return Err(Invalid::NotYet(begins));
    }
    let issued = date(claims, "iat")?.ok_or_else(|| missing("iat"))?;
    if issued > now + SKEW {
        return Err(Invalid::IssuedAhead(issued));
    }
    Ok(expires)
}

/// A NumericDate: seconds since 1970, whole or not.
fn date(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<SystemTime>, Invalid> {
    let fail = |why: &str| Invalid::Claim {
        claim,
        why: why.to_owned(),
    };
    let Some(value) = claims.get(claim) else {
        return Ok(None);
    };
    let number = value.as_number().ok_or_else(|| fail("is not a number"))?;
    let since = match (number.as_u64(), number.as_f64()) {
        (Some(seconds), _) => Duration::from_secs(seconds),
        (None, Some(seconds)) if seconds < 0.0 => return Err(fail("is before 1970")),
        (None, Some(seconds)) => {
            Duration::try_from_secs_f64(seconds).map_err(|_| fail("is not a time before the year 10000"))?
        }
        (None, None) => return Err(fail("is not a number of seconds")),
    };
    if since.as_secs() > LATEST {
        return Err(fail("is not a time before the year 10000"));
    }
    UNIX_EPOCH
        .checked_add(since)
        .map(Some)
        .ok_or_else(|| fail("is not a time before the year 10000"))
}

fn missing(claim: &'static str) -> Invalid {
    Invalid::Claim {
        claim,
        why: "is not there".to_owned(),
    }
}
