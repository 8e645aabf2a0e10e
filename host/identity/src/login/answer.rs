//! What the steps of a login come to.

use http::{HeaderValue, Response, StatusCode, header};

use crate::error::{AuthError, Unavailable};

/// What comes after asking to log in.
#[derive(Debug)]
#[must_use]
pub enum Login {
    /// To the issuer.
    Redirect(Redirect),
    /// There are several issuers and none was named: let the user choose.
    Choose {
        /// The issuers' names, for `/login?issuer=`.
        issuers: Vec<String>,
        /// Where to go afterwards, for `&return_to=`. Checked already.
        return_to: String,
    },
}

/// Where the browser goes next, and what it is to remember.
#[derive(Debug)]
#[must_use]
pub struct Redirect {
    location: String,
    cookies: Vec<HeaderValue>,
}

/// A session that was ended.
#[derive(Debug)]
#[must_use]
pub struct Logout {
    pub(super) cookie: Option<HeaderValue>,
    /// The issuer's name, and where the session there is ended, if it offers that.
    pub issuer: Option<(String, String)>,
}

/// Why nobody is logged in. The messages are for the person who tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The query is over 32 KiB, or has a parameter twice.
    #[error("the address can't be read: {0}")]
    Query(&'static str),
    /// `return_to` leads somewhere else.
    #[error("return_to must be a path on this gateway, as in /clusters")]
    ReturnTo,
    /// No issuer is configured.
    #[error("no issuer is configured, so nobody can log in with a browser")]
    NoIssuer,
    /// The named one is not.
    #[error("there is no issuer {0}")]
    UnknownIssuer(String),
    /// No such login is under way: it is over, or too old, or was never begun.
    #[error("this login is over, or took more than 10 minutes: begin again")]
    Stale,
    /// It was begun in another browser.
    #[error("this login was begun in another browser, or cookies are blocked: begin again")]
    OtherBrowser,
    /// The answer is of another issuer than the one asked (RFC 9207).
    #[error("the answer is not of the issuer that was asked: begin again")]
    OtherIssuer,
    /// The issuer said no.
    #[error("the issuer refused: {error}{}", .description.as_ref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused {
        /// Its error code (RFC 6749 section 4.1.2.1).
        error: String,
        /// Its explanation.
        description: Option<String>,
    },
    /// The issuer did not give a token for the code.
    #[error("the issuer gave no id_token: {0}")]
    NoToken(String),
    /// It gave one, but it does not let anybody in; or something is missing for a decision.
    #[error(transparent)]
    NotLetIn(AuthError),
}

/// Why nobody was logged out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogoutError {
    /// The request is not from a page of this gateway's.
    #[error("log out with the button on this gateway's own page")]
    OtherSite,
    /// The session can't be ended now.
    #[error("{0}")]
    Unavailable(Unavailable),
}

// === impl Redirect ===

impl Redirect {
    pub(super) fn new(location: String, cookies: impl IntoIterator<Item = Option<HeaderValue>>) -> Self {
        Self {
            location,
            cookies: cookies.into_iter().flatten().collect(),
        }
    }

    /// Where to: a path on this gateway, or an issuer's URL.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// As an answer: 303, with the cookies, not to be cached.
    pub fn into_response<B: Default>(self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::SEE_OTHER;
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        // Both kinds of location are in ASCII: they come out of a URL parser.
        if let Ok(location) = HeaderValue::try_from(self.location) {
            headers.insert(header::LOCATION, location);
        }
        for cookie in self.cookies {
            headers.append(header::SET_COOKIE, cookie);
        }
        response
    }
}

// === impl Logout ===

impl Logout {
    /// Has the browser forget its session.
    pub fn forget<B>(&self, response: &mut Response<B>) {
        if let Some(cookie) = &self.cookie {
            response.headers_mut().append(header::SET_COOKIE, cookie.clone());
        }
    }
}

// === impl LoginError ===

impl LoginError {
    /// The status to answer with.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Query(_) | Self::ReturnTo | Self::Stale | Self::OtherBrowser | Self::OtherIssuer => {
                StatusCode::BAD_REQUEST
            }
            Self::NoIssuer | Self::UnknownIssuer(_) => StatusCode::NOT_FOUND,
            Self::Refused { .. } | Self::NotLetIn(AuthError::Denied { .. }) => StatusCode::FORBIDDEN,
            Self::NotLetIn(AuthError::Unavailable { .. }) => StatusCode::SERVICE_UNAVAILABLE,
            // The issuer's fault: it was asked for a token that holds.
            Self::NoToken(_) | Self::NotLetIn(AuthError::NoCredential | AuthError::Invalid { .. }) => {
                StatusCode::BAD_GATEWAY
            }
        }
    }
}

// === impl LogoutError ===

impl LogoutError {
    /// The status to answer with.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::OtherSite => StatusCode::FORBIDDEN,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}
