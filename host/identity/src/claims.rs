//! From a verified token to a principal, through the claims plugin and the policy on names.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use moka::sync::Cache;
use witgate_plugins::{ClaimsError, VerifiedToken};

use crate::{
    error::{AuthError, Unavailable, plain},
    issuer::Issuer,
    names::{Approved, Names},
    principal::{Method, Principal, Proof},
};

/// Users of one issuer whose last answer is remembered.
const REMEMBERED: u64 = 10_000;

/// What the claims plugin last said of each user, for when it fails.
pub(crate) struct LastKnown {
    answers: Cache<String, Approved>,
}

impl LastKnown {
    /// Remembers answers for as long as they may be used.
    pub(crate) fn new(lifetime: Option<Duration>, outage: Duration) -> Self {
        let kept = if outage.is_zero() {
            Duration::ZERO
        } else {
            lifetime.unwrap_or_default() + outage
        };
        Self {
            answers: Cache::builder()
                .max_capacity(if kept.is_zero() { 0 } else { REMEMBERED })
                .time_to_live(kept)
                .build(),
        }
    }
}

/// Asks the issuer's claims plugin who a token's bearer is, and checks the answer.
pub(crate) async fn resolve(
    issuer: &Arc<Issuer>,
    names: &Names,
    token: &VerifiedToken,
    method: Method,
    expires: SystemTime,
    proof: Proof,
) -> Result<Principal, AuthError> {
    let name = &issuer.settings.name;
    let answer = issuer.claims.resolve(token).await;
    let approved = match answer {
        Ok(proposal) => {
            let approved = names.approve(proposal).map_err(|error| {
                tracing::warn!(issuer = name, %error, "the claims plugin gave an identity that is refused");
                AuthError::Denied {
                    reason: format!("the claims plugin's answer is refused: {error}"),
                }
            })?;
            if !issuer.settings.claims_outage.is_zero() {
                let answers = &issuer.last_known.answers;
                answers.insert(token.subject.clone(), approved.clone());
            }
            approved
        }
        Err(ClaimsError::Denied(reason)) => {
            issuer.last_known.answers.invalidate(&token.subject);
            return Err(AuthError::Denied {
                reason: plain(&reason),
            });
        }
        Err(ClaimsError::Failed(error)) => {
            let last = issuer.last_known.answers.get(&token.subject);
            tracing::error!(
                issuer = name,
                plugin = error.plugin,
                reason = error.reason,
                instead = if last.is_some() {
                    "its last answer for this user"
                } else {
                    "nothing"
                },
                "the claims plugin failed"
            );
            last.ok_or_else(|| Unavailable::Claims(name.clone()))?
        }
    };
    Ok(approved.into_principal(method, Some(expires), proof))
}
