//! Seeing and ending sessions: one's own, and for those who may, everybody's.

use tokio::sync::watch;

use crate::{
    error::Unavailable,
    identity::Identity,
    login::revoke,
    principal::{Principal, SessionId},
    revocation::{self, Revocation, Revocations, Revoked},
    session::{Session, SessionSummary},
};

impl Identity {
    /// A principal's own sessions, oldest first. None for who has no login at an issuer.
    pub async fn own_sessions(&self, principal: &Principal) -> Result<Vec<SessionSummary>, Unavailable> {
        let Some(subject) = &principal.proof.subject else {
            return Ok(Vec::new());
        };
        let sessions = self.records.sessions.of_subject(subject).await?;
        Ok(sessions.into_iter().map(Session::summary).collect())
    }

    /// What the issuer said of a session's user, as indented JSON, and the claims plugin that made the
    /// principal of it. Nothing for who has no session.
    pub async fn claims_of(&self, principal: &Principal) -> Option<(String, String)> {
        principal.proof.session?;
        let subject = principal.proof.subject.as_ref()?;
        let issuer = self.issuer_of(&subject.issuer).ok()?;
        let grant = self.records.grants.find(subject).await.ok()??;
        let claims: serde_json::Value = serde_json::from_str(&grant.claims).ok()?;
        Some((issuer.settings.claims.clone(), format!("{claims:#}")))
    }

    /// Everybody's sessions, oldest first; 10,000 at most.
    pub async fn all_sessions(&self) -> Result<Vec<SessionSummary>, Unavailable> {
        let sessions = self.records.sessions.all().await?;
        Ok(sessions.into_iter().map(Session::summary).collect())
    }

    /// Ends one of a principal's own sessions. `false`: it has none of this id.
    pub async fn end_own_session(&self, principal: &Principal, id: SessionId) -> Result<bool, Unavailable> {
        let session = self.records.sessions.find(id).await?;
        let session = session.filter(|session| principal.proof.subject.as_ref() == Some(&session.subject));
        let Some(session) = session else { return Ok(false) };
        let revocation = Revocation::now(Revoked::Session { id }, principal.user.clone());
        self.end(&session, &revocation).await?;
        Ok(true)
    }

    /// Puts a revocation in force, and ends the sessions that it is about.
    pub async fn revoke(&self, revocation: &Revocation) -> Result<(), Unavailable> {
        let sessions = &self.records.sessions;
        let concerned: Vec<_> = match &revocation.revoked {
            Revoked::Session { id } => sessions.find(*id).await?.into_iter().collect(),
            Revoked::Subject { subject } => sessions.of_subject(subject).await?,
            Revoked::Token { .. } => Vec::new(),
            Revoked::User { .. } | Revoked::IssuerSession { .. } | Revoked::Everything => {
                sessions.all().await?
            }
        };
        let expires = match (&revocation.revoked, concerned.as_slice()) {
            (Revoked::Session { .. }, [session]) => Some(session.expires),
            _ => revocation.expires,
        };
        let revocation = revocation.clone().expiring(expires);
        self.records.revocations.add(&revocation).await?;
        for session in concerned.iter().filter(|session| is_meant(&revocation, session)) {
            self.forget(session).await?;
        }
        Ok(())
    }

    /// What is revoked.
    pub fn revocations(&self) -> &Revocations {
        &self.records.revocations
    }

    /// Tells of every new revocation, so that streams can be looked at again.
    pub fn on_revocation(&self) -> watch::Receiver<u64> {
        self.records.revocations.subscribe()
    }

    /// Ends a session: its streams are cut and its credentials are worthless before it is forgotten.
    pub(crate) async fn end(&self, session: &Session, revocation: &Revocation) -> Result<(), Unavailable> {
        let revocation = revocation.clone().expiring(Some(session.expires));
        self.records.revocations.add(&revocation).await?;
        self.forget(session).await
    }

    async fn forget(&self, session: &Session) -> Result<(), Unavailable> {
        self.records.sessions.remove(session).await?;
        if !self
            .records
            .sessions
            .of_subject(&session.subject)
            .await?
            .is_empty()
        {
            return Ok(());
        }
        // Nobody is left whom the issuer could be asked about.
        let token = self.records.grants.remove(&session.subject).await?;
        if let (Some(token), Ok(issuer)) = (token, self.issuer_of(&session.subject.issuer)) {
            let issuer = std::sync::Arc::clone(issuer);
            // The gateway has forgotten it; that the issuer hears of it is worth no waiting.
            tokio::spawn(async move {
                let known = issuer.known().await.map_err(|error| error.to_string());
                let revoked = match known {
                    Ok(known) => revoke(&issuer, &known, &token).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = revoked {
                    tracing::warn!(
                        issuer = issuer.settings.name,
                        error,
                        "a refresh token was not given back"
                    );
                }
            });
        }
        Ok(())
    }
}

fn is_meant(revocation: &Revocation, session: &Session) -> bool {
    let is_older = { revocation.until }.is_none_or(|until| revocation::is_older(session.created, until));
    match &revocation.revoked {
        Revoked::Session { id } => session.id == *id,
        Revoked::Token { .. } => false,
        Revoked::User { name } => session.user == *name && is_older,
        Revoked::Subject { subject } => session.subject == *subject && is_older,
        Revoked::IssuerSession { issuer, sid } => {
            session.subject.issuer == *issuer && session.issuer_session.as_ref() == Some(sid)
        }
        Revoked::Everything => is_older,
    }
}
