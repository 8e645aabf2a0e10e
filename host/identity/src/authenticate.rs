//! From what a request shows to a principal.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::HeaderMap;
use witgate_plugins::VerifiedToken;

use crate::{
    cache::Found,
    certificate::ClientCertificate,
    claims::resolve,
    credential::Credential,
    error::{AuthError, Invalid, Unavailable, quoted},
    identity::Identity,
    issuer::Issuer,
    principal::{Method, Principal, Proof, SessionId, Subject, TokenDigest},
    session::{ACCESS_LIFETIME, ACCESS_PREFIX, id_of_cookie},
    token::{MAX_TOKEN, SKEW, Unverified},
};

impl Identity {
    /// Who sent a request with these headers: by the one `Authorization` header (a token, or a name
    /// and password), or else by the session cookie, or else by the connection's client certificate.
    ///
    /// A cookie is sent along by browsers whoever made them send the request, so a caller that does
    /// something on account of it has to make sure which page that was.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Arc<Principal>, AuthError> {
        let principal = match (Credential::of(headers)?, certificate) {
            (Some(Credential::Bearer(token)), _) => self.of_bearer(&token).await?,
            (Some(Credential::Basic { username, password }), _) => {
                self.basic_users.verify(&username, &password).await?
            }
            (Some(Credential::Session(secret)), _) => {
                let find = || self.of_session(id_of_cookie(secret));
                let find = || async { find().await.map(Found::from) };
                let found = self.principals.get_or_verify("session", secret, find).await;
                self.or_last("session", secret, found).await?
            }
            (None, Some(certificate)) => self.certificate(certificate)?,
            (None, None) => return Err(AuthError::NoCredential),
        };
        self.check(&principal)?;
        Ok(principal)
    }

    /// Who it was when that was found out last, while the state can't be reached: an outage opens
    /// nothing, and ends nothing at once.
    async fn or_last(
        &self,
        kind: &'static str,
        credential: &str,
        found: Result<Arc<Principal>, AuthError>,
    ) -> Result<Arc<Principal>, AuthError> {
        match found {
            Err(AuthError::Unavailable {
                reason: Unavailable::State,
            }) => {
                let last = self.principals.last(kind, credential).await;
                last.ok_or_else(|| Unavailable::State.into())
            }
            Err(error) if !matches!(error, AuthError::Unavailable { .. }) => {
                self.principals.forget(kind, credential).await;
                Err(error)
            }
            found => found,
        }
    }

    /// Who a token is of, as the webhooks ask: the token is all there is.
    pub async fn authenticate_token(&self, token: &str) -> Result<Arc<Principal>, AuthError> {
        let principal = self.of_bearer(token).await?;
        self.check(&principal)?;
        Ok(principal)
    }

    /// Whether a principal's credential was revoked since it was looked at.
    pub fn check(&self, principal: &Principal) -> Result<(), AuthError> {
        match self.records.revocations.against(principal) {
            Some(why) => Err(Invalid::Revoked(why).into()),
            None => Ok(()),
        }
    }

    /// Whether a session may still do what it could when `principal` was made of it. Asks the issuer
    /// again if it is time to. An outage is no reason to end anything.
    pub async fn recheck(&self, principal: &Principal) -> Result<(), AuthError> {
        let Some(id) = principal.proof.session else {
            return self.check(principal);
        };
        match self.of_session(id).await {
            Ok((now, _)) if now.is_same_as(principal) => self.check(principal),
            Ok(_) => Err(AuthError::Denied {
                reason: "the user's name or groups have changed".to_owned(),
            }),
            Err(AuthError::Unavailable { .. }) => self.check(principal),
            Err(error) => Err(error),
        }
    }

    /// How often [`recheck`](Self::recheck) finds something new.
    pub fn recheck_interval(&self) -> Duration {
        self.session_settings.refresh
    }

    pub(crate) async fn of_bearer(&self, token: &str) -> Result<Arc<Principal>, AuthError> {
        if token.len() > MAX_TOKEN {
            return Err(Invalid::TooLarge {
                length: token.len(),
                limit: MAX_TOKEN,
            }
            .into());
        }
        let verify = || self.verify_bearer(token);
        let found = self.principals.get_or_verify("bearer", token, verify).await;
        self.or_last("bearer", token, found).await
    }

    async fn verify_bearer(&self, token: &str) -> Result<Found, AuthError> {
        if let Some(principal) = self.static_tokens.find(token) {
            return Ok(Found {
                principal,
                fresh_until: None,
            });
        }
        if token.starts_with(ACCESS_PREFIX) {
            return self.access_token(token).await;
        }
        let unverified = Unverified::parse(token)?;
        let url = unverified.issuer()?;
        if let Some(accounts) = { &self.service_accounts }
            .iter()
            .find(|accounts| accounts.config.issuer == url)
        {
            return accounts.verify(token, &unverified).await;
        }
        let issuer = self.issuer_of(url)?;
        let verified = issuer.verify(&unverified).await?;
        let method = Method::IdToken {
            issuer: issuer.settings.name.clone(),
        };
        let issued = { unverified.seconds("auth_time") }.or_else(|| unverified.seconds("iat"));
        let proof = Proof {
            // By the issuer's clock, which may be ahead: what was given out just before a revocation
            // must not look as if it came after it.
            issued: issued.map(|issued| issued.saturating_sub(SKEW.as_secs())),
            subject: Some(Subject {
                issuer: issuer.settings.url.clone(),
                subject: verified.token.subject.clone(),
            }),
            issuer_session: unverified.text("sid")?.map(str::to_owned),
            token: Some(TokenDigest::of(token)),
            client: client(&unverified)?,
            ..Proof::default()
        };
        let expires = verified.expires;
        let principal = resolve(issuer, &self.names, &verified.token, method, expires, proof).await?;
        let asked_again = issuer.settings.claims_lifetime;
        let asked_again = asked_again.and_then(|lifetime| SystemTime::now().checked_add(lifetime));
        Ok(Found {
            principal: Arc::new(principal),
            fresh_until: Some(asked_again.map_or(expires, |again| again.min(expires))),
        })
    }

    /// The issuer that a token says it is of. Only configured ones come into question, so believing
    /// the token in this does no harm: the issuer's keys have the last word.
    pub(crate) fn issuer_of(&self, url: &str) -> Result<&Arc<Issuer>, Invalid> {
        let found = self.issuers.iter().find(|issuer| issuer.settings.url == url);
        found.ok_or_else(|| Invalid::Issuer { issuer: quoted(url) })
    }

    /// A command line's token. Its principal lasts as long as the session does: what was begun with
    /// the token need not end with it, since the session is watched.
    async fn access_token(&self, token: &str) -> Result<Found, AuthError> {
        let id = self.records.sessions.of_access_token(token).await?;
        let id = id.ok_or(Invalid::Session)?;
        let (principal, fresh_until) = self.of_session(id).await?;
        let mut principal = Arc::unwrap_or_clone(principal);
        principal.proof.token = Some(TokenDigest::of(token));
        Ok(Found {
            principal: Arc::new(principal),
            // When it was given out is not known here, so it is looked up again before it ends.
            fresh_until: Some(fresh_until.min(SystemTime::now() + ACCESS_LIFETIME / 10)),
        })
    }

    /// The user of a session, and until when that holds without looking again. Who it is for is found
    /// out anew with each configuration, as for tokens: new rules hold for open sessions too.
    pub(crate) async fn of_session(&self, id: SessionId) -> Result<(Arc<Principal>, SystemTime), AuthError> {
        let session = self.records.sessions.find(id).await?.ok_or(Invalid::Session)?;
        let expires = session.expires();
        let issuer = self.issuers.iter().find(|issuer| {
            issuer.settings.name == session.issuer && issuer.settings.url == session.subject.issuer
        });
        let issuer = issuer.ok_or(Invalid::Session)?;
        let grant = self.grant(issuer, &session.subject).await?;
        let due = grant
            .due
            .and_then(|due| UNIX_EPOCH.checked_add(Duration::from_secs(due)));
        let token = VerifiedToken {
            issuer: session.subject.issuer.clone(),
            subject: session.subject.subject.clone(),
            claims: grant.claims,
        };
        let method = Method::Session {
            issuer: issuer.settings.name.clone(),
        };
        let proof = Proof {
            issued: Some(session.created),
            subject: Some(session.subject),
            session: Some(session.id),
            issuer_session: session.issuer_session,
            ..Proof::default()
        };
        let principal = resolve(issuer, &self.names, &token, method, expires, proof).await?;
        Ok((Arc::new(principal), due.map_or(expires, |due| due.min(expires))))
    }
}

impl From<(Arc<Principal>, SystemTime)> for Found {
    fn from((principal, fresh_until): (Arc<Principal>, SystemTime)) -> Self {
        Self {
            principal,
            fresh_until: Some(fresh_until),
        }
    }
}

/// The client that a token was issued to (OpenID Connect Core 1.0 section 2).
fn client(token: &Unverified<'_>) -> Result<Option<String>, Invalid> {
    if let Some(party) = token.text("azp")? {
        return Ok(Some(party.to_owned()));
    }
    match token.audiences()?[..] {
        [only] => Ok(Some(only.to_owned())),
        _ => Ok(None),
    }
}
