//! A browser's way to a session and out of it: authorization code flow with PKCE, state and nonce
//! (OpenID Connect Core 3.1, RFC 7636, RFC 9207).

mod answer;
mod attempts;
mod exchange;
mod query;
mod return_to;

use http::HeaderMap;

pub use answer::{Login, LoginError, LogoutError, Redirect};
pub(crate) use attempts::Attempts;
use attempts::{Attempt, LIFETIME};
use query::Query;

use crate::{
    claims::resolve,
    cookie,
    error::{AuthError, Invalid, Unavailable, plain},
    hash::{random_text, sha256},
    identity::Identity,
    issuer::Issuer,
    principal::Method,
    token::Unverified,
};

impl Identity {
    /// Answers `GET /login?issuer=NAME&return_to=/path`: sends the browser to the issuer. `query` is
    /// the request's query without its question mark. With one issuer its name may be left away;
    /// with several and none named, the caller shows a choice.
    pub async fn login(&self, query: &str, headers: &HeaderMap) -> Result<Login, LoginError> {
        let query = Query::parse(query)?;
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
        let state = self.attempts.begin(attempt).await?;
        let location = request.url(state, nonce);
        Ok(Login::Redirect(Redirect::new(
            location,
            [cookie::set_login(&browser, LIFETIME)],
        )))
    }

    /// Answers `GET /callback`, where the issuer sends the browser back to: opens a session.
    pub async fn callback(&self, query: &str, headers: &HeaderMap) -> Result<Redirect, LoginError> {
        let query = Query::parse(query)?;
        let state = query.get("state").ok_or(LoginError::Stale)?;
        let attempt = self.attempts.take(state).await?.ok_or(LoginError::Stale)?;
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
        // Whoever would be refused anyway gets no session, but the reason.
        let method = Method::Session {
            issuer: issuer.settings.name.clone(),
        };
        resolve(issuer, &self.names, &verified.token, method, verified.expires).await?;

        // The one before, if any, is over: its id may be known to others.
        if let Ok(Some(before)) = cookie::session(headers) {
            self.sessions.end(before).await?;
        }
        let id = self.sessions.open(issuer, verified.token).await?;
        let cookies = [
            cookie::set_session(&id, self.sessions.lifetime()),
            cookie::clear_login(),
        ];
        Ok(Redirect::new(attempt.return_to, cookies))
    }

    /// Answers `POST /logout`: ends the session. Refused when it is not a page of this gateway's
    /// that asks: nobody is to be logged out by another site.
    pub async fn logout(&self, headers: &HeaderMap) -> Result<Redirect, LogoutError> {
        if !self.is_same_origin(headers) {
            return Err(LogoutError::OtherSite);
        }
        if let Ok(Some(id)) = cookie::session(headers) {
            self.sessions.end(id).await.map_err(LogoutError::Unavailable)?;
        }
        Ok(Redirect::new("/".to_owned(), [cookie::clear_session()]))
    }

    fn issuer(&self, name: &str) -> Option<&Issuer> {
        self.issuers.iter().find(|issuer| issuer.settings.name == name)
    }

    fn redirect_uri(&self) -> Result<oauth2::RedirectUrl, LoginError> {
        let url = format!("{}/callback", self.public_url);
        oauth2::RedirectUrl::new(url).map_err(|_| LoginError::NoIssuer)
    }

    /// A page that is served with `Referrer-Policy: no-referrer` sends `Origin: null` with its forms,
    /// so where the browser says more (Fetch Metadata, W3C), that counts.
    fn is_same_origin(&self, headers: &HeaderMap) -> bool {
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
