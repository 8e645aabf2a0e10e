//! From a verified token to a principal, through the claims plugin and the policy on names.

use std::time::SystemTime;

use witgate_plugins::{ClaimsError, VerifiedToken};

use crate::{
    error::{AuthError, Unavailable, plain},
    issuer::Issuer,
    names::Names,
    principal::{Method, Principal},
};

/// Asks the issuer's claims plugin who a token's bearer is, and checks the answer.
pub(crate) async fn resolve(
    issuer: &Issuer,
    names: &Names,
    token: &VerifiedToken,
    method: Method,
    expires: SystemTime,
) -> Result<Principal, AuthError> {
    let name = &issuer.settings.name;
    let proposal = issuer.claims.resolve(token).await.map_err(|error| match error {
        ClaimsError::Denied(reason) => AuthError::Denied {
            reason: plain(&reason),
        },
        ClaimsError::Failed(error) => {
            tracing::error!(
                issuer = name,
                plugin = error.plugin,
                reason = error.reason,
                "the claims plugin failed"
            );
            Unavailable::Claims(name.clone()).into()
        }
    })?;
    let approved = names.approve(proposal).map_err(|error| {
        tracing::warn!(issuer = name, %error, "the claims plugin gave an identity that is refused");
        AuthError::Denied {
            reason: format!("the claims plugin's answer is refused: {error}"),
        }
    })?;
    Ok(approved.into_principal(method, Some(expires)))
}
