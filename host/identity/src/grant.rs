//! What an issuer gave for a user: their claims, and the refresh token by which it is asked again
//! whether they still hold.
//!
//! There is one grant for a user and not one for each session: issuers such as dex keep one refresh
//! token for a user and a client, so a second login would end the first. All sessions of a user see
//! what the last refresh said.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use witgate_state::{Change, Outcome, Space, Transaction};

use crate::{
    config::SessionSettings,
    error::{AuthError, Invalid, Unavailable, plain},
    hash::now,
    identity::Identity,
    issuer::Issuer,
    login::{RefreshError, refresh},
    principal::Subject,
    records::Records,
    revocation::{Revocation, Revoked},
    seal::SealingKey,
    session::{self, failed},
    token::Unverified,
};

const GRANT: u8 = b'g';

/// That a replica refreshes a grant at the moment.
const REFRESHING: u8 = b'r';

/// After which that is not believed any more: longer than the issuer may take to answer.
const REFRESH: Duration = Duration::from_secs(60);

/// How often is looked whether another replica has refreshed.
const LOOK: Duration = Duration::from_millis(200);

/// When an issuer that did not answer is asked again, in seconds.
const RETRY: u64 = 30;

/// Refreshes of different users go on at the same time, of one user never.
const TURNS: usize = 64;

/// All grants.
pub(crate) struct Grants {
    space: Arc<dyn Space>,
    key: SealingKey,
    turns: Vec<Arc<Mutex<()>>>,
}

/// What an issuer said of a user.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Grant {
    /// All claims of the last id_token, as JSON.
    pub(crate) claims: String,
    /// When the issuer said so, in seconds since 1970.
    confirmed: u64,
    /// When it is to be asked again. `None`: it gave no refresh token, so it can't be.
    pub(crate) due: Option<u64>,
    /// The refresh token, sealed, in base64url.
    refresh_token: Option<String>,
}

// === impl Grants ===

impl Grants {
    pub(crate) fn new(space: Arc<dyn Space>, key: SealingKey) -> Self {
        Self {
            space,
            key,
            turns: std::iter::repeat_with(Arc::default).take(TURNS).collect(),
        }
    }

    /// Keeps what a login or a refresh brought, instead of what was there.
    pub(crate) async fn put(
        &self,
        subject: &Subject,
        claims: String,
        refresh_token: Option<&SecretString>,
        settings: &SessionSettings,
    ) -> Result<Grant, Unavailable> {
        let confirmed = now();
        let sealed = refresh_token
            .map(|token| self.key.seal(&key(subject), token.expose_secret()))
            .transpose()
            .map_err(|error| failed(&error))?;
        let grant = Grant {
            claims,
            confirmed,
            due: sealed
                .is_some()
                .then(|| confirmed.saturating_add(settings.refresh.as_secs())),
            refresh_token: sealed.map(|sealed| URL_SAFE_NO_PAD.encode(sealed)),
        };
        self.write(subject, &grant, settings.longest_lifetime()).await?;
        Ok(grant)
    }

    pub(crate) async fn find(&self, subject: &Subject) -> Result<Option<Grant>, Unavailable> {
        let found = self.space.get(&key(subject)).await;
        let value = found.map_err(|error| failed(&error))?;
        value
            .map(|value| serde_json::from_slice(&value).map_err(|error| failed(&error)))
            .transpose()
    }

    /// Forgets a grant, and returns the refresh token that it had.
    pub(crate) async fn remove(&self, subject: &Subject) -> Result<Option<SecretString>, Unavailable> {
        let Some(grant) = self.find(subject).await? else {
            return Ok(None);
        };
        self.commit(Change::Delete(key(subject))).await?;
        Ok(self.open(subject, &grant))
    }

    /// The refresh token. One that can't be opened any more is none: the sealing key was changed.
    fn open(&self, subject: &Subject, grant: &Grant) -> Option<SecretString> {
        let sealed = URL_SAFE_NO_PAD.decode(grant.refresh_token.as_ref()?).ok()?;
        match self.key.open(&key(subject), &sealed) {
            Ok(token) => Some(token),
            Err(error) => {
                tracing::error!(%error, "a refresh token can't be opened");
                None
            }
        }
    }

    /// Claims a grant for a refresh; false if another replica has claimed it. The refresh token is good
    /// for once, and an issuer that sees it twice ends them all.
    async fn claim(&self, subject: &Subject) -> Result<bool, Unavailable> {
        let key = claim_key(subject);
        let transaction = Transaction {
            expect: vec![(key.clone(), None)],
            changes: vec![Change::Put {
                key,
                value: Vec::new(),
                lifetime: Some(REFRESH),
            }],
        };
        let claimed = self.space.commit(transaction).await;
        Ok(claimed.map_err(|error| failed(&error))? == Outcome::Committed)
    }

    async fn write(&self, subject: &Subject, grant: &Grant, lifetime: Duration) -> Result<(), Unavailable> {
        self.commit(Change::Put {
            key: key(subject),
            value: serde_json::to_vec(grant).map_err(|error| failed(&error))?,
            lifetime: Some(lifetime),
        })
        .await
    }

    async fn commit(&self, change: Change) -> Result<(), Unavailable> {
        let transaction = Transaction {
            expect: Vec::new(),
            changes: vec![change],
        };
        match self.space.commit(transaction).await {
            Ok(Outcome::Committed) => Ok(()),
            Ok(Outcome::Conflict) => Err(failed(&"a conflict, though nothing was expected")),
            Err(error) => Err(failed(&error)),
        }
    }

    fn turn(&self, subject: &Subject) -> Arc<Mutex<()>> {
        let index = session::digest(subject).first().copied().map_or(0, usize::from) % TURNS;
        self.turns.get(index).cloned().unwrap_or_default()
    }
}

// === impl Grant ===

impl Grant {
    /// A clock that was set back must not put the question off.
    fn is_due(&self) -> bool {
        let now = now();
        self.due.is_some_and(|due| due <= now || self.confirmed > now)
    }
}

impl Identity {
    /// What the issuer says of a user, asking it again if it is time to.
    pub(crate) async fn grant(&self, issuer: &Arc<Issuer>, subject: &Subject) -> Result<Grant, AuthError> {
        let grants = &self.records.grants;
        let grant = grants.find(subject).await?.ok_or(Invalid::Session)?;
        if !grant.is_due() {
            return Ok(grant);
        }
        let turn = grants.turn(subject).lock_owned().await;
        let grant = loop {
            let grant = grants.find(subject).await?.ok_or(Invalid::Session)?;
            if !grant.is_due() {
                return Ok(grant);
            }
            if grants.claim(subject).await? {
                break grant;
            }
            tokio::time::sleep(LOOK).await;
        };
        // Goes on when the request that needs it is cancelled: the issuer may have replaced the
        // refresh token already, and the new one must not get lost.
        let refreshing = Refreshing {
            records: Arc::clone(&self.records),
            issuer: Arc::clone(issuer),
            subject: subject.clone(),
            settings: self.session_settings,
            grant,
        };
        let refreshed = tokio::spawn(async move {
            let _turn = turn;
            let (records, subject) = (Arc::clone(&refreshing.records), refreshing.subject.clone());
            let refreshed = refreshing.run().await;
            // If this fails, others wait until the claim ends by itself.
            let _ = records.grants.commit(Change::Delete(claim_key(&subject))).await;
            refreshed
        });
        refreshed.await.map_err(|_| Unavailable::State)?
    }
}

/// One refresh.
struct Refreshing {
    records: Arc<Records>,
    issuer: Arc<Issuer>,
    subject: Subject,
    settings: SessionSettings,
    grant: Grant,
}

impl Refreshing {
    async fn run(self) -> Result<Grant, AuthError> {
        let Some(token) = self.records.grants.open(&self.subject, &self.grant) else {
            return Err(self.end("its refresh token can't be opened any more").await?);
        };
        match self.ask(&token).await {
            Ok((claims, newer)) => {
                let claims = claims.unwrap_or_else(|| self.grant.claims.clone());
                let token = newer.unwrap_or(token);
                let grants = &self.records.grants;
                Ok(grants
                    .put(&self.subject, claims, Some(&token), &self.settings)
                    .await?)
            }
            Err(RefreshError::Refused(reason)) => Err(self.end(&reason).await?),
            Err(RefreshError::Unavailable(reason)) => self.postpone(&reason).await,
        }
    }

    /// The new claims and the new refresh token, where the issuer gives them: it may leave either
    /// away (OpenID Connect Core 12.2).
    async fn ask(
        &self,
        token: &SecretString,
    ) -> Result<(Option<String>, Option<SecretString>), RefreshError> {
        let known = self
            .issuer
            .known()
            .await
            .map_err(|error| RefreshError::Unavailable(error.to_string()))?;
        let answer = refresh(&self.issuer, &known, token).await?;
        let Some(id_token) = &answer.id_token else {
            return Ok((None, answer.refresh_token));
        };
        let refused = |error: AuthError| match error {
            AuthError::Unavailable { reason } => RefreshError::Unavailable(reason.to_string()),
            other => RefreshError::Refused(other.to_string()),
        };
        let unverified = Unverified::parse(id_token).map_err(|error| refused(error.into()))?;
        let verified = self.issuer.verify(&unverified).await.map_err(refused)?;
        if verified.token.subject != self.subject.subject {
            return Err(RefreshError::Refused(
                "the new id_token is somebody else's".into(),
            ));
        }
        Ok((Some(verified.token.claims), answer.refresh_token))
    }

    /// The issuer says that this user may not go on: their sessions are over everywhere.
    async fn end(&self, reason: &str) -> Result<AuthError, Unavailable> {
        tracing::warn!(
            issuer = self.issuer.settings.name,
            reason = plain(reason),
            "a refresh was refused: the user's sessions end"
        );
        let revoked = Revoked::Subject {
            subject: self.subject.clone(),
        };
        let revocation =
            Revocation::now(revoked, "witgate").because(format!("a refresh was refused: {}", plain(reason)));
        self.records.revocations.add(&revocation).await?;
        self.records.grants.remove(&self.subject).await?;
        Ok(Invalid::Session.into())
    }

    /// The issuer did not say. Sessions go on for a while, since nothing speaks against them.
    async fn postpone(self, reason: &str) -> Result<Grant, AuthError> {
        let now = now();
        let allowed = self.settings.outage + self.settings.refresh;
        let last = self.grant.confirmed.saturating_add(allowed.as_secs());
        if now > last {
            return Err(Unavailable::Issuer {
                name: self.issuer.settings.name.clone(),
                why: plain(reason),
            }
            .into());
        }
        tracing::warn!(
            issuer = self.issuer.settings.name,
            reason = plain(reason),
            "a refresh is put off"
        );
        let grant = Grant {
            due: Some(now.saturating_add(RETRY).min(last + 1)),
            ..self.grant
        };
        let lifetime = self.settings.longest_lifetime();
        self.records.grants.write(&self.subject, &grant, lifetime).await?;
        Ok(grant)
    }
}

fn claim_key(subject: &Subject) -> Vec<u8> {
    [&[REFRESHING], session::digest(subject).as_slice()].concat()
}

fn key(subject: &Subject) -> Vec<u8> {
    [&[GRANT], session::digest(subject).as_slice()].concat()
}
