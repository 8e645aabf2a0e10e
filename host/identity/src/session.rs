//! Sessions, in the state: a browser's, which is known by its cookie, and a command line's, which
//! has tokens.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use witgate_state::{Change, Outcome, ScanLimit, Space, Transaction};

use crate::{
    error::Unavailable,
    hash::{now, random_text, sha256},
    principal::{SessionId, Subject},
};

/// The first byte of a key says what it leads to.
const SESSION: u8 = b's';
const OF_SUBJECT: u8 = b'u';
const ACCESS: u8 = b'a';

/// What the command line's tokens begin with, so that people and scanners of leaked secrets know
/// them.
pub(crate) const ACCESS_PREFIX: &str = "wga_";
pub(crate) const REFRESH_PREFIX: &str = "wgr_";

/// How long an access token holds. The session behind it is looked at when it is used, so this only
/// bounds what a leaked one is worth.
pub(crate) const ACCESS_LIFETIME: Duration = Duration::from_secs(600);

/// How long the refresh token before the last still holds: an answer may get lost on the way.
const REUSE_INTERVAL: u64 = 30;

/// How often a rotation is tried whose session others rotate at the same moment.
const ROTATIONS: usize = 10;

/// Sessions that are listed at most.
const LISTED: usize = 10_000;

/// All sessions.
pub(crate) struct Sessions {
    space: Arc<dyn Space>,
}

/// A session. What its user is allowed is not in here: see [`Grant`](crate::grant::Grant).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    /// The issuer's name in the configuration.
    pub(crate) issuer: String,
    pub(crate) subject: Subject,
    /// The user's name when it was opened, for lists.
    pub(crate) user: String,
    pub(crate) client: Client,
    /// In seconds since 1970.
    pub(crate) created: u64,
    pub(crate) expires: u64,
    /// The session at the issuer that it came from.
    pub(crate) issuer_session: Option<String>,
    /// Of a command line.
    refresh: Option<RefreshTokens>,
}

/// What a session is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Client {
    /// A browser.
    Browser {
        /// What it says it is.
        agent: String,
    },
    /// `witgate login` on somebody's machine.
    CommandLine {
        /// What it says it is.
        name: String,
    },
}

/// Digests of a command line's refresh tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct RefreshTokens {
    /// Of what all of a session's refresh tokens begin with. Whoever has that had one of them; a
    /// session's id alone is no secret, and must not be enough to have the session ended.
    family: [u8; 32],
    current: [u8; 32],
    previous: Option<[u8; 32]>,
    /// In seconds since 1970.
    rotated: u64,
}

/// A session as its user, or who may administer sessions, sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionSummary {
    /// What it is called.
    pub id: SessionId,
    /// Whose it is.
    pub user: String,
    /// The issuer's name in the configuration.
    pub issuer: String,
    /// What it is for.
    pub client: Client,
    /// When it was opened, in seconds since 1970.
    pub created: u64,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
    /// When a command line last fetched a token, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refreshed: Option<u64>,
}

/// What a command line gets.
#[derive(Debug)]
pub struct SessionTokens {
    /// For requests; holds for `lifetime`.
    pub access_token: SecretString,
    /// For new tokens, once.
    pub refresh_token: SecretString,
    /// Of the access token.
    pub lifetime: Duration,
}

/// What all refresh tokens of a session have in common.
struct Family {
    id: SessionId,
    secret: [u8; 16],
}

/// What became of a refresh token.
pub(crate) enum Rotation {
    Rotated(Box<Session>, SessionTokens),
    /// No such session, or not its token.
    Unknown,
    /// It was used before. Somebody has a copy: the session has to end.
    Reused(Box<Session>),
}

/// What a session is opened for.
pub(crate) struct Opening {
    pub(crate) issuer: String,
    pub(crate) subject: Subject,
    pub(crate) user: String,
    pub(crate) client: Client,
    pub(crate) issuer_session: Option<String>,
    pub(crate) lifetime: Duration,
}

// === impl Sessions ===

impl Sessions {
    pub(crate) fn new(space: Arc<dyn Space>) -> Self {
        Self { space }
    }

    /// Opens a browser's session, and returns what its cookie holds.
    pub(crate) async fn open_browser(&self, opening: Opening) -> Result<String, Unavailable> {
        let secret = random_text();
        let session = opening.into_session(id_of_cookie(&secret), None);
        let _id_is_new = self.put(&session, None, Vec::new()).await?;
        Ok(secret)
    }

    /// Opens a command line's session.
    pub(crate) async fn open_command_line(
        &self,
        opening: Opening,
    ) -> Result<(Session, SessionTokens), Unavailable> {
        let id = SessionId(rand::random());
        let family = Family {
            id,
            secret: rand::random(),
        };
        let refresh = family.token();
        let session = opening.into_session(
            id,
            Some(RefreshTokens {
                family: sha256(family.secret),
                current: sha256(&refresh),
                previous: None,
                rotated: now(),
            }),
        );
        let (access, put) = access_token(id);
        let _id_is_new = self.put(&session, None, vec![put]).await?;
        Ok((session, tokens(access, refresh)))
    }

    /// Gives new tokens for a refresh token, which is of no use afterwards.
    pub(crate) async fn rotate(&self, presented: &str) -> Result<Rotation, Unavailable> {
        let Some(family) = Family::of(presented) else {
            return Ok(Rotation::Unknown);
        };
        for _ in 0..ROTATIONS {
            if let Some(rotation) = self.try_rotate(&family, presented).await? {
                return Ok(rotation);
            }
        }
        Err(failed(&"a session is being refreshed by many at once"))
    }

    /// Nothing, if somebody with the same token was faster: theirs is now the current one, and ours
    /// the one before.
    async fn try_rotate(&self, family: &Family, presented: &str) -> Result<Option<Rotation>, Unavailable> {
        let id = family.id;
        let Some((mut session, stored)) = self.get(id).await? else {
            return Ok(Some(Rotation::Unknown));
        };
        let known = session.refresh.clone();
        let known = known.filter(|known| known.family.ct_eq(&sha256(family.secret)).into());
        let Some(known) = known else {
            return Ok(Some(Rotation::Unknown));
        };
        let digest = sha256(presented);
        let now = now();
        let is = |known: &[u8; 32]| bool::from(known.ct_eq(&digest));
        let is_late =
            known.previous.as_ref().is_some_and(is) && now.abs_diff(known.rotated) <= REUSE_INTERVAL;
        if !is(&known.current) && !is_late {
            return Ok(Some(Rotation::Reused(Box::new(session))));
        }
        let refresh = family.token();
        session.refresh = Some(RefreshTokens {
            family: known.family,
            current: sha256(&refresh),
            previous: Some(digest),
            rotated: now,
        });
        let (access, put) = access_token(id);
        match self.put(&session, Some(stored), vec![put]).await? {
            Outcome::Committed => Ok(Some(Rotation::Rotated(
                Box::new(session),
                tokens(access, refresh),
            ))),
            Outcome::Conflict => Ok(None),
        }
    }

    /// The session that an access token is of, while it holds.
    pub(crate) async fn of_access_token(&self, token: &str) -> Result<Option<SessionId>, Unavailable> {
        let found = self.space.get(&access_key(token)).await;
        let Some(value) = found.map_err(|error| failed(&error))? else {
            return Ok(None);
        };
        Ok(value.try_into().ok().map(SessionId))
    }

    pub(crate) async fn find(&self, id: SessionId) -> Result<Option<Session>, Unavailable> {
        Ok(self.get(id).await?.map(|(session, _)| session))
    }

    /// Forgets a session. Its access tokens lead nowhere then.
    pub(crate) async fn remove(&self, session: &Session) -> Result<(), Unavailable> {
        let changes = vec![
            Change::Delete(session_key(session.id)),
            Change::Delete(subject_key(&session.subject, Some(session.id))),
        ];
        let transaction = Transaction {
            expect: Vec::new(),
            changes,
        };
        let committed = self.space.commit(transaction).await;
        committed.map(drop).map_err(|error| failed(&error))
    }

    /// A user's sessions, oldest first.
    pub(crate) async fn of_subject(&self, subject: &Subject) -> Result<Vec<Session>, Unavailable> {
        let start = subject_key(subject, None);
        let ids: Vec<_> = self
            .scan(start.clone(), after(&start))
            .await?
            .into_iter()
            .filter_map(|(key, _)| key.last_chunk().copied().map(|id| session_key(SessionId(id))))
            .collect();
        let found = self.space.get_many(ids).await.map_err(|error| failed(&error))?;
        parse(found.into_iter().flatten())
    }

    /// Everybody's sessions, oldest first; 10,000 at most.
    pub(crate) async fn all(&self) -> Result<Vec<Session>, Unavailable> {
        let found = self.scan(vec![SESSION], vec![SESSION + 1]).await?;
        parse(found.into_iter().map(|(_, value)| value))
    }

    async fn scan(&self, start: Vec<u8>, end: Vec<u8>) -> Result<Vec<witgate_state::Pair>, Unavailable> {
        let limit = ScanLimit {
            pairs: LISTED,
            bytes: 64 << 20,
        };
        let found = self.space.scan(&start, &end, limit).await;
        found.map_err(|error| failed(&error))
    }

    async fn get(&self, id: SessionId) -> Result<Option<(Session, Vec<u8>)>, Unavailable> {
        let found = self.space.get(&session_key(id)).await;
        let Some(value) = found.map_err(|error| failed(&error))? else {
            return Ok(None);
        };
        let session: Session = serde_json::from_slice(&value).map_err(|error| failed(&error))?;
        Ok((session.expires > now()).then_some((session, value)))
    }

    async fn put(
        &self,
        session: &Session,
        before: Option<Vec<u8>>,
        mut changes: Vec<Change>,
    ) -> Result<Outcome, Unavailable> {
        let lifetime = Some(Duration::from_secs(session.expires.saturating_sub(now()).max(1)));
        changes.push(Change::Put {
            key: session_key(session.id),
            value: serde_json::to_vec(session).map_err(|error| failed(&error))?,
            lifetime,
        });
        changes.push(Change::Put {
            key: subject_key(&session.subject, Some(session.id)),
            value: Vec::new(),
            lifetime,
        });
        let transaction = Transaction {
            expect: vec![(session_key(session.id), before)],
            changes,
        };
        self.space
            .commit(transaction)
            .await
            .map_err(|error| failed(&error))
    }
}

// === impl Session ===

impl Session {
    pub(crate) fn expires(&self) -> SystemTime {
        let expires = UNIX_EPOCH.checked_add(Duration::from_secs(self.expires));
        expires.unwrap_or(UNIX_EPOCH)
    }

    pub(crate) fn summary(self) -> SessionSummary {
        SessionSummary {
            id: self.id,
            user: self.user,
            issuer: self.issuer,
            client: self.client,
            created: self.created,
            expires: self.expires,
            refreshed: self.refresh.map(|refresh| refresh.rotated),
        }
    }
}

// === impl Family ===

impl Family {
    /// The session that a refresh token says it is of, and what it has to prove that with.
    fn of(token: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix(REFRESH_PREFIX)?).ok()?;
        let (id, rest) = bytes.split_first_chunk()?;
        Some(Self {
            id: SessionId(*id),
            secret: *rest.first_chunk()?,
        })
    }

    /// A new token.
    fn token(&self) -> String {
        let own: [u8; 32] = rand::random();
        let text = URL_SAFE_NO_PAD.encode([self.id.0.as_slice(), &self.secret, &own].concat());
        format!("{REFRESH_PREFIX}{text}")
    }
}

// === impl Opening ===

impl Opening {
    fn into_session(self, id: SessionId, refresh: Option<RefreshTokens>) -> Session {
        let created = now();
        Session {
            id,
            issuer: self.issuer,
            subject: self.subject,
            user: self.user,
            client: self.client,
            created,
            expires: created.saturating_add(self.lifetime.as_secs()),
            issuer_session: self.issuer_session,
            refresh,
        }
    }
}

/// What the session of a cookie is called.
pub(crate) fn id_of_cookie(secret: &str) -> SessionId {
    SessionId(sha256(secret).first_chunk().copied().unwrap_or_default())
}

/// Whether a token is a refresh token by its form.
pub(crate) fn is_refresh_token(token: &str) -> bool {
    Family::of(token).is_some()
}

/// A new access token, and what leads from it to its session.
fn access_token(id: SessionId) -> (String, Change) {
    let token = format!("{ACCESS_PREFIX}{}", random_text());
    let put = Change::Put {
        key: access_key(&token),
        value: id.0.to_vec(),
        lifetime: Some(ACCESS_LIFETIME),
    };
    (token, put)
}

fn tokens(access_token: String, refresh_token: String) -> SessionTokens {
    SessionTokens {
        access_token: access_token.into(),
        refresh_token: refresh_token.into(),
        lifetime: ACCESS_LIFETIME,
    }
}

fn session_key(id: SessionId) -> Vec<u8> {
    [&[SESSION], id.0.as_slice()].concat()
}

fn access_key(token: &str) -> Vec<u8> {
    [&[ACCESS], sha256(token).as_slice()].concat()
}

fn subject_key(subject: &Subject, id: Option<SessionId>) -> Vec<u8> {
    let mut key = [&[OF_SUBJECT], digest(subject).as_slice()].concat();
    key.extend(id.into_iter().flat_map(|id| id.0));
    key
}

/// A subject as a key of fixed length.
pub(crate) fn digest(subject: &Subject) -> [u8; 32] {
    sha256(format!("{}\0{}", subject.issuer, subject.subject))
}

/// The first key after all that begin with `prefix`.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    end
}

fn parse(values: impl Iterator<Item = Vec<u8>>) -> Result<Vec<Session>, Unavailable> {
    let mut sessions = Vec::new();
    for value in values {
        sessions.push(serde_json::from_slice(&value).map_err(|error| failed(&error))?);
    }
    sessions.sort_by_key(|session: &Session| session.created);
    Ok(sessions)
}

pub(crate) fn failed(error: &dyn std::fmt::Display) -> Unavailable {
    tracing::error!(%error, "sessions can't be looked up");
    Unavailable::State
}
