//! OpenID Connect Back-Channel Logout 1.0: the issuer says that a session there, or all of a user's,
//! are over.

use std::time::Duration;

use crate::{
    authorization::OAuthError,
    error::AuthError,
    identity::Identity,
    principal::Subject,
    query::Query,
    revocation::{Revocation, Revoked},
    token::Unverified,
};

/// Logout tokens hold for two minutes as a rule; one that holds for longer than this is not taken,
/// so that replays need not be remembered for longer.
const LONGEST: Duration = Duration::from_secs(3600);

impl Identity {
    /// Answers `POST /backchannel-logout`, the form `logout_token=…`.
    pub async fn back_channel_logout(&self, form: &str) -> Result<(), OAuthError> {
        let invalid = |error: &dyn std::fmt::Display| OAuthError::new("invalid_request", error.to_string());
        let form = Query::parse(form).map_err(|why| invalid(&why))?;
        let token = form
            .get("logout_token")
            .ok_or_else(|| invalid(&"logout_token is not there"))?;
        let token = Unverified::parse_logout(token).map_err(|error| invalid(&error))?;
        let url = token.issuer().map_err(|error| invalid(&error))?;
        let issuer = self.issuer_of(url).map_err(|error| invalid(&error))?;
        let expires = issuer.verify_signed(&token).await.map_err(|error| match error {
            AuthError::Unavailable { reason } => reason.into(),
            other => invalid(&other),
        })?;
        let left = expires
            .duration_since(std::time::SystemTime::now())
            .unwrap_or_default();
        if left > LONGEST {
            return Err(invalid(&"the token holds for more than an hour"));
        }
        let text = |claim| token.text(claim).map_err(|error| invalid(&error));
        let id = text("jti")?.ok_or_else(|| invalid(&"the token has no `jti`"))?;
        let replayed = !self
            .records
            .authorizations
            .first_use(url, id, left + Duration::from_secs(60))
            .await?;
        if replayed {
            return Err(invalid(&"the token was used before"));
        }
        let revoked = match (text("sid")?, text("sub")?) {
            (Some(sid), _) => Revoked::IssuerSession {
                issuer: url.to_owned(),
                sid: sid.to_owned(),
            },
            (None, Some(subject)) => Revoked::Subject {
                subject: Subject {
                    issuer: url.to_owned(),
                    subject: subject.to_owned(),
                },
            },
            (None, None) => return Err(invalid(&"the token has neither `sid` nor `sub`")),
        };
        // Whatever came of that session ends with the longest that one of ours lasts.
        let expires = match &revoked {
            Revoked::IssuerSession { .. } => {
                Some(crate::hash::now() + self.session_settings.longest_lifetime().as_secs())
            }
            _ => None,
        };
        let revocation = Revocation::now(revoked, issuer.settings.name.clone())
            .because("the issuer logged the user out")
            .expiring(expires);
        Ok(self.revoke(&revocation).await?)
    }
}
