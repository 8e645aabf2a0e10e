//! `POST /oauth/token` and `POST /oauth/revoke`.

use std::time::UNIX_EPOCH;

use super::{OAuthError, check_client};
use crate::{
    identity::Identity,
    principal::TokenDigest,
    query::Query,
    revocation::{Revocation, Revoked},
    session::{ACCESS_LIFETIME, ACCESS_PREFIX, Rotation, SessionTokens, is_refresh_token},
};

/// The form of a token request, as it was sent.
#[derive(Clone, Copy)]
pub struct TokenRequest<'a>(pub &'a str);

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

impl Identity {
    /// Answers `POST /oauth/token`: opens or prolongs a command line's session.
    pub async fn token(&self, request: TokenRequest<'_>) -> Result<SessionTokens, OAuthError> {
        let invalid = |description: &str| OAuthError::new("invalid_request", description);
        let form = Query::parse(request.0).map_err(invalid)?;
        check_client(form.get("client_id"))?;
        let get = |name: &str| {
            form.get(name)
                .ok_or_else(|| invalid(&format!("{name} is not there")))
        };
        let (session, tokens) = match get("grant_type")? {
            "authorization_code" => {
                self.redeem_code(get("code")?, get("code_verifier")?, get("redirect_uri")?)
                    .await?
            }
            DEVICE_GRANT => self.redeem_device(get("device_code")?).await?,
            "refresh_token" => match self.records.sessions.rotate(get("refresh_token")?).await? {
                Rotation::Rotated(session, tokens) => (*session, tokens),
                Rotation::Unknown => {
                    return Err(OAuthError::new(
                        "invalid_grant",
                        "the session has ended: log in again",
                    ));
                }
                Rotation::Reused(session) => {
                    let revocation = Revocation::now(Revoked::Session { id: session.id }, "witgate")
                        .because("a refresh token was used twice");
                    self.end(&session, &revocation).await?;
                    tracing::warn!(
                        user = session.user,
                        session = %session.id,
                        "a refresh token was used twice: somebody has a copy, so the session ends"
                    );
                    return Err(OAuthError::new(
                        "invalid_grant",
                        "the refresh token was used before, so its session was ended: log in again",
                    ));
                }
            },
            other => {
                return Err(OAuthError::new(
                    "unsupported_grant_type",
                    format!("{} is not served here", crate::error::quoted(other)),
                ));
            }
        };
        // Whoever would be refused with the token gets none, but the reason.
        let principal = self.of_session(session.id).await;
        match principal.and_then(|(principal, _)| self.check(&principal)) {
            Ok(()) => Ok(tokens),
            Err(crate::AuthError::Unavailable { reason }) => Err(reason.into()),
            Err(error) => Err(OAuthError::new("invalid_grant", error.to_string())),
        }
    }

    /// Answers `POST /oauth/revoke` (RFC 7009): whoever holds a token can make it worthless. With a
    /// refresh token the session ends; with any bearer token, that token. What is unknown already
    /// means nothing, so that is no error.
    pub async fn revoke_token(&self, form: &str) -> Result<(), OAuthError> {
        let form = Query::parse(form).map_err(|why| OAuthError::new("invalid_request", why))?;
        let Some(token) = form.get("token") else {
            return Err(OAuthError::new("invalid_request", "token is not there"));
        };
        if is_refresh_token(token) {
            // Only the current one: an old one is no proof of anything.
            return match self.records.sessions.rotate(token).await? {
                Rotation::Rotated(session, _) | Rotation::Reused(session) => {
                    let by = session.user.clone();
                    let revocation = Revocation::now(Revoked::Session { id: session.id }, by);
                    Ok(self.end(&session, &revocation).await?)
                }
                Rotation::Unknown => Ok(()),
            };
        }
        let Ok(principal) = self.of_bearer(token).await else {
            return Ok(());
        };
        let revocation = Revocation::now(
            Revoked::Token {
                sha256: TokenDigest::of(token),
            },
            principal.user.clone(),
        );
        let expires = match token.starts_with(ACCESS_PREFIX) {
            true => Some(crate::hash::now() + ACCESS_LIFETIME.as_secs()),
            false => principal
                .expires
                .and_then(|expires| expires.duration_since(UNIX_EPOCH).ok())
                .map(|expires| expires.as_secs() + 1),
        };
        Ok(self
            .records
            .revocations
            .add(&revocation.expiring(expires))
            .await?)
    }
}

impl std::fmt::Debug for TokenRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenRequest").finish_non_exhaustive()
    }
}
