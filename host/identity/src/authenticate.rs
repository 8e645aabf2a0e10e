//! From a request's headers to a principal.

use std::{sync::Arc, time::SystemTime};

use http::HeaderMap;

use crate::{
    claims::resolve,
    credential::Credential,
    error::{AuthError, Invalid, quoted},
    identity::Identity,
    issuer::Issuer,
    principal::{Method, Principal},
    token::{MAX_TOKEN, Unverified},
};

impl Identity {
    /// Who sent a request with these headers: by the one `Authorization` header (an id_token, a
    /// static token, or a name and password), or else by the session cookie.
    ///
    /// A cookie is sent along by browsers whoever made them send the request, so a caller that
    /// changes something on account of it has to make sure that it was this gateway's own page.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Principal>, AuthError> {
        match Credential::of(headers)? {
            None => Err(AuthError::NoCredential),
            Some(Credential::Bearer(token)) => self.bearer(token).await,
            Some(Credential::Basic { username, password }) => {
                self.basic_users.verify(&username, &password).await
            }
            Some(Credential::Session(id)) => self.session(id).await,
        }
    }

    async fn bearer(&self, token: &str) -> Result<Arc<Principal>, AuthError> {
        if token.len() > MAX_TOKEN {
            return Err(Invalid::TooLarge {
                length: token.len(),
                limit: MAX_TOKEN,
            }
            .into());
        }
        self.principals
            .get_or_verify("bearer", token, || self.verify_bearer(token))
            .await
    }

    async fn verify_bearer(&self, token: &str) -> Result<Arc<Principal>, AuthError> {
        if let Some(principal) = self.static_tokens.find(token) {
            return Ok(principal);
        }
        let token = Unverified::parse(token)?;
        let issuer = self.issuer_of(&token)?;
        let verified = issuer.verify(&token).await?;
        let method = Method::IdToken {
            issuer: issuer.settings.name.clone(),
        };
        let principal = resolve(issuer, &self.names, &verified.token, method, verified.expires).await?;
        Ok(Arc::new(principal))
    }

    /// The issuer that a token says it is of. Only configured ones come into question, so believing
    /// the token in this does no harm: the issuer's keys have the last word.
    fn issuer_of(&self, token: &Unverified<'_>) -> Result<&Issuer, Invalid> {
        let url = token.issuer()?;
        let found = self.issuers.iter().find(|issuer| issuer.settings.url == url);
        found.ok_or_else(|| Invalid::Issuer { issuer: quoted(url) })
    }

    /// The session is looked up each time, so that it ends when it is ended. Who it is for is found
    /// out anew with each configuration, as for tokens: new rules hold for open sessions too.
    async fn session(&self, id: &str) -> Result<Arc<Principal>, AuthError> {
        let session = self.sessions.find(id).await?.ok_or(Invalid::Session)?;
        let expires = session.expires();
        if expires <= SystemTime::now() {
            return Err(Invalid::Session.into());
        }
        let issuer = self.issuers.iter().find(|issuer| {
            issuer.settings.name == session.issuer && issuer.settings.url == session.issuer_url
        });
        let issuer = issuer.ok_or(Invalid::Session)?;
        let verify = || async {
            let method = Method::Session {
                issuer: issuer.settings.name.clone(),
            };
            let token = session.token();
            Ok(Arc::new(
                resolve(issuer, &self.names, &token, method, expires).await?,
            ))
        };
        self.principals.get_or_verify("session", id, verify).await
    }
}
