//! The device flow (RFC 8628), for machines without a browser: `POST /oauth/device`, and the page
//! `/device` on which the user types the short code.

use std::{
    collections::HashMap,
    sync::PoisonError,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use witgate_state::{Change, Outcome};

use super::{Approval, Authorizations, OAuthError, check_client, client_name};
use crate::{
    hash::{now, random_text, sha256},
    identity::Identity,
    principal::Principal,
    session::{Session, SessionTokens, failed},
};

const DEVICE: u8 = b'd';
const USER_CODE: u8 = b'u';

/// How long the user has.
const LIFETIME: Duration = Duration::from_secs(600);

/// How often the command line may ask, in seconds.
const INTERVAL: u64 = 5;

/// Consonants that are hard to mistake for one another or for digits, and spell no words: RFC 8628
/// section 6.1. Eight of them are 2^34 codes.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const LETTERS_IN_CODE: usize = 8;

/// Flows that may be begun within their lifetime: anybody can begin one.
const BEGUN: u32 = 1000;

/// Wrong codes that one user may type within that time.
const WRONG: u32 = 10;

/// Users whose wrong codes are counted at a time.
const COUNTED: usize = 10_000;

/// What the command line is told (RFC 8628 section 3.2).
#[derive(Clone, Serialize)]
pub struct DeviceAuthorization {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: String,
    expires_in: u64,
    interval: u64,
}

/// A flow that waits for its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRequest {
    /// What the command line calls itself.
    pub name: String,
    /// The code, as it is shown.
    pub user_code: String,
}

/// How many flows were begun and how many codes were wrong, since a time.
pub(super) struct Limits {
    since: Instant,
    begun: u32,
    wrong: HashMap<String, u32>,
}

/// A flow under way.
#[derive(Serialize, Deserialize)]
struct Device {
    name: String,
    user_code: String,
    /// When it was last asked about, in seconds since 1970.
    asked: u64,
    decision: Decision,
}

#[derive(Serialize, Deserialize)]
enum Decision {
    Pending,
    Denied,
    Allowed(Approval),
}

impl Identity {
    /// Answers `POST /oauth/device`.
    pub async fn begin_device(
        &self,
        client_id: Option<&str>,
        name: Option<&str>,
    ) -> Result<DeviceAuthorization, OAuthError> {
        check_client(client_id)?;
        let authorizations = &self.records.authorizations;
        authorizations.with_limits(Limits::begin)?;
        let (device_code, user_code) = (random_text(), new_user_code());
        let device = Device {
            name: client_name(name),
            user_code: user_code.clone(),
            asked: 0,
            decision: Decision::Pending,
        };
        let lifetime = Some(LIFETIME);
        let changes = vec![
            Change::Put {
                key: device_key(&device_code),
                value: encode(&device)?,
                lifetime,
            },
            Change::Put {
                key: user_key(&user_code),
                value: device_key(&device_code),
                lifetime,
            },
        ];
        let unused = vec![(user_key(&user_code), None)];
        if authorizations.commit(unused, changes).await? == Outcome::Conflict {
            return Err(OAuthError::new("temporarily_unavailable", "try again"));
        }
        let verification_uri = format!("{}/device", self.public_url);
        Ok(DeviceAuthorization {
            verification_uri_complete: format!("{verification_uri}?user_code={user_code}"),
            verification_uri,
            device_code,
            user_code,
            expires_in: LIFETIME.as_secs(),
            interval: INTERVAL,
        })
    }

    /// The flow that a user's code belongs to, for the page that asks for consent.
    pub async fn device(&self, typed: &str, principal: &Principal) -> Result<DeviceRequest, OAuthError> {
        let (_, device, _) = self.find(typed, principal).await?;
        Ok(DeviceRequest {
            name: device.name,
            user_code: device.user_code,
        })
    }

    /// The user allows it, or not.
    pub async fn decide_device(
        &self,
        typed: &str,
        principal: &Principal,
        allow: bool,
    ) -> Result<(), OAuthError> {
        let (key, mut device, before) = self.find(typed, principal).await?;
        device.decision = match allow {
            true => Decision::Allowed(Approval::of(principal)?),
            false => Decision::Denied,
        };
        let changes = vec![
            Change::Put {
                key: key.clone(),
                value: encode(&device)?,
                lifetime: Some(LIFETIME),
            },
            Change::Delete(user_key(&device.user_code)),
        ];
        let authorizations = &self.records.authorizations;
        match authorizations.commit(vec![(key, Some(before))], changes).await? {
            Outcome::Committed => Ok(()),
            Outcome::Conflict => Err(OAuthError::new(
                "temporarily_unavailable",
                "the command line asked at the same moment: try again",
            )),
        }
    }

    async fn find(
        &self,
        typed: &str,
        principal: &Principal,
    ) -> Result<(Vec<u8>, Device, Vec<u8>), OAuthError> {
        let authorizations = &self.records.authorizations;
        authorizations.with_limits(|limits| limits.check(&principal.user))?;
        let found = authorizations.by_user_code(typed).await?;
        found.ok_or_else(|| {
            authorizations.with_limits(|limits| limits.wrong(&principal.user));
            OAuthError::new(
                "invalid_request",
                "there is no such code: it may be mistyped, used, or over 10 minutes old",
            )
        })
    }

    /// What the command line gets that asks whether the user has decided (RFC 8628 section 3.5).
    pub(super) async fn redeem_device(
        &self,
        device_code: &str,
    ) -> Result<(Session, SessionTokens), OAuthError> {
        let expired = || {
            OAuthError::new(
                "expired_token",
                "the code is unknown, was used, or is over 10 minutes old",
            )
        };
        let authorizations = &self.records.authorizations;
        let key = device_key(device_code);
        let (mut device, before): (Device, _) = authorizations.get(&key).await?.ok_or_else(expired)?;
        match device.decision {
            Decision::Pending => {
                let now = now();
                let too_soon = now < device.asked.saturating_add(INTERVAL);
                device.asked = now;
                let put = Change::Put {
                    key: key.clone(),
                    value: encode(&device)?,
                    lifetime: Some(LIFETIME),
                };
                // Should the user have decided meanwhile, the next question finds out.
                let _undecided = authorizations
                    .commit(vec![(key, Some(before))], vec![put])
                    .await?;
                Err(match too_soon {
                    true => OAuthError::new("slow_down", format!("ask every {INTERVAL} seconds")),
                    false => OAuthError::new("authorization_pending", "the user has not typed the code yet"),
                })
            }
            Decision::Denied => Err(OAuthError::new("access_denied", "the user said no")),
            Decision::Allowed(_) => {
                let device: Device = authorizations.take(key).await?.ok_or_else(expired)?;
                let Decision::Allowed(approval) = device.decision else {
                    return Err(expired());
                };
                let opening = approval.opening(self, device.name);
                Ok(self.records.sessions.open_command_line(opening).await?)
            }
        }
    }
}

// === impl Authorizations ===

impl Authorizations {
    async fn by_user_code(&self, typed: &str) -> Result<Option<(Vec<u8>, Device, Vec<u8>)>, OAuthError> {
        let Some(user_code) = normalise(typed) else {
            return Ok(None);
        };
        let found = self.space.get(&user_key(&user_code)).await;
        let Some(key) = found.map_err(|error| failed(&error))? else {
            return Ok(None);
        };
        let found = self.get::<Device>(&key).await?;
        Ok(found.map(|(device, value)| (key, device, value)))
    }

    fn with_limits<T>(&self, f: impl FnOnce(&mut Limits) -> T) -> T {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        if limits.since.elapsed() >= LIFETIME {
            *limits = Limits::default();
        }
        f(&mut limits)
    }
}

// === impl Limits ===

impl Limits {
    fn begin(&mut self) -> Result<(), OAuthError> {
        self.begun += 1;
        if self.begun > BEGUN {
            return Err(OAuthError::new(
                "temporarily_unavailable",
                "too many logins were begun without a browser: try again in 10 minutes",
            ));
        }
        Ok(())
    }

    fn check(&self, user: &str) -> Result<(), OAuthError> {
        if self.wrong.get(user).is_some_and(|wrong| *wrong >= WRONG) {
            return Err(OAuthError::new(
                "access_denied",
                "too many wrong codes: try again in 10 minutes",
            ));
        }
        Ok(())
    }

    fn wrong(&mut self, user: &str) {
        if self.wrong.len() < COUNTED || self.wrong.contains_key(user) {
            *self.wrong.entry(user.to_owned()).or_default() += 1;
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            begun: 0,
            wrong: HashMap::new(),
        }
    }
}

impl std::fmt::Debug for DeviceAuthorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceAuthorization").finish_non_exhaustive()
    }
}

/// `BCDF-GHJK`.
fn new_user_code() -> String {
    let mut code = String::with_capacity(LETTERS_IN_CODE + 1);
    while code.len() < LETTERS_IN_CODE + 1 {
        if code.len() == LETTERS_IN_CODE / 2 {
            code.push('-');
        }
        // Numbers that the letters don't divide evenly are drawn again.
        let drawn = usize::from(rand::random::<u8>() & 31);
        if let Some(letter) = LETTERS.get(drawn) {
            code.push(char::from(*letter));
        }
    }
    code
}

/// What was typed, in the form of [`new_user_code`]: case, spaces and hyphens don't matter.
fn normalise(typed: &str) -> Option<String> {
    let letters: String = typed
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(LETTERS_IN_CODE + 1)
        .map(|letter| letter.to_ascii_uppercase())
        .collect();
    if letters.len() != LETTERS_IN_CODE {
        return None;
    }
    let (first, second) = letters.split_at(LETTERS_IN_CODE / 2);
    Some(format!("{first}-{second}"))
}

fn encode(device: &Device) -> Result<Vec<u8>, OAuthError> {
    serde_json::to_vec(device).map_err(|error| OAuthError::new("server_error", error.to_string()))
}

fn device_key(device_code: &str) -> Vec<u8> {
    [&[DEVICE], sha256(device_code).as_slice()].concat()
}

fn user_key(user_code: &str) -> Vec<u8> {
    [&[USER_CODE], user_code.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_understood_however_they_are_typed() {
        let code = new_user_code();
        assert_eq!(code.len(), 9);
        for typed in [code.clone(), code.to_lowercase(), code.replace('-', " ")] {
            assert_eq!(normalise(&typed).as_ref(), Some(&code), "{typed}");
        }
        assert_eq!(normalise("BCDF-GHJKL"), None);
        assert_eq!(normalise(""), None);
    }

    #[test]
    fn guessing_ends_after_ten_codes_and_only_for_who_guesses() {
        let mut limits = Limits::default();
        for _ in 0..WRONG {
            limits.check("mallory").unwrap();
            limits.wrong("mallory");
        }
        assert_eq!(limits.check("mallory").unwrap_err().error, "access_denied");
        limits.check("alice").unwrap();
    }

    #[test]
    fn only_so_many_flows_are_begun_at_a_time() {
        let mut limits = Limits::default();
        for _ in 0..BEGUN {
            limits.begin().unwrap();
        }
        assert_eq!(limits.begin().unwrap_err().error, "temporarily_unavailable");
    }
}
