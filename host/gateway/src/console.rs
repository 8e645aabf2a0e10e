//! The web console: log in, see who you are and what is served, log out.

mod page;

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use maud::html;
use witgate_identity::{AuthError, Invalid, Login};

use self::page::page;
use crate::{
    gateway::{Answer, Gateway},
    metrics::Route,
};

/// The first page: for those who are logged in, who they are and what is here; for others, the way in.
pub(crate) async fn home(State(gateway): State<Arc<Gateway>>, mut request: Request) -> Response {
    let visit = gateway.begin(Route::Console, &mut request);
    let wiring = gateway.live.load_full();
    let answer = match wiring.identity.authenticate(request.headers()).await {
        Ok(principal) => {
            let content = page::home(&wiring, &principal);
            Answer::new(
                Some(Arc::clone(&principal)),
                page(StatusCode::OK, "Home", Some(&principal), &content),
            )
        }
        // Whoever has no session, or had one, is shown the way in; anything else that was sent was
        // sent on purpose, and is answered.
        Err(
            AuthError::NoCredential
            | AuthError::Invalid {
                reason: Invalid::Session | Invalid::Cookie,
            },
        ) => {
            let content = page::welcome(&wiring, None);
            Answer::new(None, page(StatusCode::OK, "Log in", None, &content))
        }
        Err(error) => {
            let status = match &error {
                AuthError::Denied { .. } => StatusCode::FORBIDDEN,
                AuthError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
                AuthError::NoCredential | AuthError::Invalid { .. } => StatusCode::UNAUTHORIZED,
            };
            let message = error.to_string();
            let response = page(status, "Not let in", None, &page::not_let_in(&message));
            Answer::refused(None, message, response)
        }
    };
    gateway.end(visit, answer).await
}

/// To the issuer, or to a choice of issuers.
pub(crate) async fn login(State(gateway): State<Arc<Gateway>>, mut request: Request) -> Response {
    let visit = gateway.begin(Route::Console, &mut request);
    let wiring = gateway.live.load_full();
    let query = request.uri().query().unwrap_or_default();
    let answer = match wiring.identity.login(query, request.headers()).await {
        Ok(Login::Redirect(redirect)) => Answer::new(None, redirect.into_response::<Body>()),
        Ok(Login::Choose { return_to, .. }) => {
            let content = page::welcome(&wiring, Some(&return_to));
            Answer::new(None, page(StatusCode::OK, "Log in", None, &content))
        }
        Err(error) => login_failed(error.status(), &error.to_string()),
    };
    gateway.end(visit, answer).await
}

/// Where the issuer sends a browser back to.
pub(crate) async fn callback(State(gateway): State<Arc<Gateway>>, mut request: Request) -> Response {
    let visit = gateway.begin(Route::Console, &mut request);
    let wiring = gateway.live.load_full();
    let query = request.uri().query().unwrap_or_default();
    let answer = match wiring.identity.callback(query, request.headers()).await {
        Ok(redirect) => Answer::new(None, redirect.into_response::<Body>()),
        Err(error) => login_failed(error.status(), &error.to_string()),
    };
    gateway.end(visit, answer).await
}

/// Ends the session.
pub(crate) async fn logout(State(gateway): State<Arc<Gateway>>, mut request: Request) -> Response {
    let visit = gateway.begin(Route::Console, &mut request);
    let wiring = gateway.live.load_full();
    let answer = match wiring.identity.logout(request.headers()).await {
        Ok(redirect) => Answer::new(None, redirect.into_response::<Body>()),
        Err(error) => {
            let message = error.to_string();
            let content = html! { section { h1 { "You are not logged out" } p role="alert" { (message) } } };
            let response = page(error.status(), "Not logged out", None, &content);
            Answer::refused(None, message, response)
        }
    };
    gateway.end(visit, answer).await
}

/// The pages' one style sheet.
pub(crate) async fn style() -> Response {
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/css; charset=utf-8"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ];
    (headers, include_str!("console/style.css")).into_response()
}

fn login_failed(status: StatusCode, reason: &str) -> Answer {
    Answer::refused(
        None,
        reason,
        page(status, "Not logged in", None, &page::login_failed(reason)),
    )
}
