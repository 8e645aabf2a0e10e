//! A browser's way to a session and out of it: authorization code flow with PKCE, state and nonce
//! (OpenID Connect Core 3.1, RFC 7636, RFC 9207).

mod answer;
mod attempts;
mod exchange;
mod return_to;

use http::HeaderMap;

use crate::{
    claims::resolve,
    cookie,
    error::{AuthError, Invalid, Unavailable, plain},
    hash::{random_text, sha256},
    identity::Identity,
    issuer::Issuer,
    principal::{Method, Proof, Subject},
    query::Query,
    revocation::{Revocation, Revoked},
    session::{Client, Opening, id_of_cookie},
    token::Unverified,
};
pub use answer::{Login, LoginError, Logout, LogoutError, Redirect};
pub(crate) use attempts::Attempts;
use attempts::{Attempt, LIFETIME};
pub(crate) use exchange::{RefreshError, refresh, revoke};

/// What is kept of a browser's name for itself.
const MAX_AGENT: usize = 200;

impl Identity {
    /// Answers `GET /login?issuer=NAME&return_to=/path`: sends the browser to the issuer. `query` is
    /// the request's query without its question mark. With one issuer its name may be left away;
    /// with several and none named, the caller shows a choice.
    pub async fn login(&self, query: &str, headers: &HeaderMap) -> Result<Login, LoginError> {
        let query = Query::parse(query).map_err(LoginError::Query)?;
        let return_to = query.get("return_to").unwrap_or("/");
        let return_to = return_to::normalise(return_to, &self.public_url).ok_or(LoginError::ReturnTo)?;
        let issuer = match (query.get("issuer"), self.issuers.as_slice()) {
            (Some(name), _) => self
                .issuer(name)
                .ok_or_else(|| LoginError::UnknownIssuer(crate::error::quoted(name)))?,
            (None, []) => return Err(LoginError::NoIssuer),
            (None, [issuer]) => issuer,
            (None, several) => {
                let issuers = several
                    .iter()
                    .map(|issuer| issuer.settings.name.clone())
                    .collect();
                return Ok(Login::Choose { issuers, return_to });
            }
        };
        let known = issuer.known().await?;
        // One cookie for all logins of a browser: logins in two windows don't disturb each other, and
        // abandoned ones leave nothing behind.
        let browser = match cookie::login(headers) {
            Ok(Some(browser)) => browser.to_owned(),
            Ok(None) | Err(_) => random_text(),
        };
        let request = exchange::request(issuer, &known, &self.redirect_uri()?)?;
        let attempt = Attempt {
            issuer: issuer.settings.name.clone(),
            issuer_url: issuer.settings.url.clone(),
            browser: sha256(&browser),
            nonce: random_text(),
            verifier: request.verifier.secret().clone(),
            return_to,
        };
        let nonce = attempt.nonce.clone();
        let state = self.records.attempts.begin(attempt).await?;
        let location = request.url(state, nonce);
        Ok(Login::Redirect(Redirect::new(
            location,
            [cookie::set_login(&browser, LIFETIME)],
        )))
    }

    /// Answers `GET /callback`, where the issuer sends the browser back to: opens a session.
    pub async fn callback(&self, query: &str, headers: &HeaderMap) -> Result<Redirect, LoginError> {
        let query = Query::parse(query).map_err(LoginError::Query)?;
        let state = query.get("state").ok_or(LoginError::Stale)?;
        let attempt = self
            .records
            .attempts
            .take(state)
            .await?
            .ok_or(LoginError::Stale)?;
        let browser = cookie::login(headers)
            .ok()
            .flatten()
            .ok_or(LoginError::OtherBrowser)?;
        if !attempt.is_of(browser) {
            return Err(LoginError::OtherBrowser);
        }
        let issuer = self
            .issuer(&attempt.issuer)
            .filter(|issuer| issuer.settings.url == attempt.issuer_url);
        let issuer = issuer.ok_or(LoginError::Stale)?;
        let known = issuer.known().await?;
        match query.get("iss") {
            Some(named) if named != issuer.settings.url => return Err(LoginError::OtherIssuer),
            None if known.names_itself => return Err(LoginError::OtherIssuer),
            _ => {}
        }
        if let Some(error) = query.get("error") {
            let description = query.get("error_description").map(plain);
            return Err(LoginError::Refused {
                error: plain(error),
                description,
            });
        }
        let code = query.get("code").ok_or(LoginError::Stale)?;
        let tokens = exchange::redeem(issuer, &known, &self.redirect_uri()?, code, &attempt.verifier).await?;

        let token = Unverified::parse(&tokens.id_token).map_err(AuthError::from)?;
        let verified = issuer.verify(&token).await?;
        check_login(issuer, &token, &attempt.nonce).map_err(AuthError::from)?;
        exchange::check_access_token(&token, &tokens.access_token).map_err(AuthError::from)?;
        let subject = Subject {
            issuer: issuer.settings.url.clone(),
            subject: verified.token.subject.clone(),
        };
        let issuer_session = token.text("sid").map_err(AuthError::from)?.map(str::to_owned);
        let proof = Proof {
            issued: Some(crate::hash::now()),
            subject: Some(subject.clone()),
            issuer_session: issuer_session.clone(),
            ..Proof::default()
        };
        // Whoever would be refused anyway gets no session, but the reason.
        let method = Method::Session {
            issuer: issuer.settings.name.clone(),
        };
        let principal = resolve(
            issuer,
            &self.names,
            &verified.token,
            method,
            verified.expires,
            proof,
        )
        .await?;
        self.check(&principal)?;

        // The one before, if any, is over: its id may be known to others.
        self.end_browser(headers, &principal.user).await?;
        let settings = &self.session_settings;
        self.records
            .grants
            .put(
                &subject,
                verified.token.claims,
                tokens.refresh_token.as_ref(),
                settings,
            )
            .await?;
        let opening = Opening {
            issuer: issuer.settings.name.clone(),
            subject,
            user: principal.user,
            client: Client::Browser {
                agent: agent(headers),
            },
            issuer_session,
            lifetime: settings.lifetime,
        };
        let id = self.records.sessions.open_browser(opening).await?;
        let cookies = [cookie::set_session(&id, settings.lifetime), cookie::clear_login()];
        Ok(Redirect::new(attempt.return_to, cookies))
    }

    /// Answers `POST /logout`: ends the session. Refused when it is not a page of this gateway's
    /// that asks: nobody is to be logged out by another site. The session at the issuer goes on;
    /// where the issuer can end it too (RP-initiated logout), the answer says at which address.
    pub async fn logout(&self, headers: &HeaderMap) -> Result<Logout, LogoutError> {
        if !self.is_own_page(headers) {
            return Err(LogoutError::OtherSite);
        }
        let ended = self.end_browser(headers, "its user").await;
        let issuer = ended.map_err(LogoutError::Unavailable)?;
        let issuer = issuer.as_deref().and_then(|name| self.issuer(name));
        Ok(Logout {
            cookie: cookie::clear_session(),
            issuer: issuer.and_then(|issuer| {
                let endpoint = issuer.provider.end_session_endpoint()?;
                let mut url = url::Url::parse(&endpoint).ok()?;
                url.query_pairs_mut()
                    .append_pair("client_id", &issuer.settings.client_id)
                    .append_pair("post_logout_redirect_uri", &format!("{}/", self.public_url));
                Some((issuer.settings.name.clone(), url.into()))
            }),
        })
    }

    /// Ends the session of a browser, if it has one; the name of its issuer.
    async fn end_browser(&self, headers: &HeaderMap, by: &str) -> Result<Option<String>, Unavailable> {
        let Ok(Some(secret)) = cookie::session(headers) else {
            return Ok(None);
        };
        let id = id_of_cookie(secret);
        let Some(session) = self.records.sessions.find(id).await? else {
            return Ok(None);
        };
        self.end(&session, &Revocation::now(Revoked::Session { id }, by))
            .await?;
        Ok(Some(session.issuer))
    }

    pub(crate) fn issuer(&self, name: &str) -> Option<&std::sync::Arc<Issuer>> {
        self.issuers.iter().find(|issuer| issuer.settings.name == name)
    }

    fn redirect_uri(&self) -> Result<oauth2::RedirectUrl, LoginError> {
        let url = format!("{}/callback", self.public_url);
        oauth2::RedirectUrl::new(url).map_err(|_| LoginError::NoIssuer)
    }

    /// Whether it is a page of this gateway's that makes the browser send a request.
    ///
    /// A page that is served with `Referrer-Policy: no-referrer` sends `Origin: null` with its forms,
    /// so where the browser says more (Fetch Metadata, W3C), that counts.
    pub fn is_own_page(&self, headers: &HeaderMap) -> bool {
        match (headers.get("sec-fetch-site"), headers.get(http::header::ORIGIN)) {
            (Some(site), _) => site == "same-origin",
            (None, Some(origin)) => origin == self.public_url.as_str(),
            (None, None) => false,
        }
    }
}

/// What a login asks of its token beyond what a bearer token needs: that it is for the gateway's own
/// client, and for this login.
fn check_login(issuer: &Issuer, token: &Unverified<'_>, nonce: &str) -> Result<(), Invalid> {
    use subtle::ConstantTimeEq;
    let client = &issuer.settings.client_id;
    if !token.audiences()?.contains(&client.as_str()) {
        return Err(Invalid::Claim {
            claim: "aud",
            why: format!("does not have {client}"),
        });
    }
    let found = token.text("nonce")?.unwrap_or_default();
    if !bool::from(found.as_bytes().ct_eq(nonce.as_bytes())) {
        return Err(Invalid::Nonce);
    }
    Ok(())
}

impl From<Unavailable> for LoginError {
    fn from(reason: Unavailable) -> Self {
        Self::NotLetIn(reason.into())
    }
}

impl From<AuthError> for LoginError {
    fn from(error: AuthError) -> Self {
        Self::NotLetIn(error)
    }
}

/// What a browser says it is, for lists of sessions.
fn agent(headers: &HeaderMap) -> String {
    let agent = headers.get(http::header::USER_AGENT);
    let agent = agent.and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    agent.chars().take(MAX_AGENT).collect()
}
