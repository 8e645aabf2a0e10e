//! The web console: log in, see who you are and what is served, allow a command line, end sessions.

mod consent;
mod kubeconfig;
mod metrics;
mod page;
pub(crate) mod recovery;
mod revocations;

pub(crate) use consent::{authorize, decide_authorize, decide_device, device};
pub(crate) use kubeconfig::download as kubeconfig;
pub(crate) use metrics::{examine, metrics};
pub(crate) use revocations::{lift, revoke};

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use witgate_identity::{AuthError, Invalid, Login, Principal, Revocation, SessionSummary, Unavailable};

use self::page::page;
use crate::{
    api,
    gateway::{Answer, Gateway},
    metrics::Route,
    routes::{self, Shown},
    wiring::Wiring,
};

/// Forms of these pages are a few hundred bytes.
const FORM: usize = 16 << 10;

/// The first page: for those who are logged in, who they are and what is here; for others, the way in.
pub(crate) async fn home(State(gateway): State<Arc<Gateway>>, mut request: Request) -> Response {
    let visit = gateway.begin(Route::Console, &mut request);
    let wiring = gateway.live.load_full();
    let answer = match visitor(&wiring, Shown::of(&request), "/").await {
        Err(answer) => *answer,
        Ok(principal) => {
            let administers = wiring.config.admin.has(&principal);
            let claims = wiring.identity.claims_of(&principal).await;
            let own = wiring.identity.own_sessions(&principal).await;
            let administration = match administers {
                true => administration(&wiring).await.map(Some),
                false => Ok(None),
            };
            match (own, administration) {
                (Ok(own), Ok(administration)) => {
                    let content = page::home(
                        &wiring,
                        &principal,
                        &own,
                        claims.as_ref(),
                        administration.as_ref(),
                    );
                    let response = page(StatusCode::OK, "Home", Some(&principal), &content);
                    Answer::new(Some(principal), response)
                }
                (Err(error), _) | (_, Err(error)) => failed(Some(principal), &error),
            }
        }
    };
    gateway.end(visit, answer).await
}

/// What an administrator sees besides.
struct Administration {
    sessions: Vec<SessionSummary>,
    revocations: Vec<Revocation>,
}

async fn administration(wiring: &Wiring) -> Result<Administration, Unavailable> {
    Ok(Administration {
        sessions: wiring.identity.all_sessions().await?,
        revocations: wiring.identity.revocations().list().await?,
    })
}

/// Who looks at a page. Whoever has no session, or had one, is shown the way in, and comes back to
/// `return_to`; anything else that was sent was sent on purpose, and is answered.
async fn visitor(wiring: &Wiring, shown: Shown<'_>, return_to: &str) -> Result<Arc<Principal>, Box<Answer>> {
    let error = match routes::authenticate(wiring, shown).await {
        Ok(principal) => return Ok(principal),
        Err(error) => error,
    };
    Err(Box::new(match &error {
        AuthError::NoCredential
        | AuthError::Invalid {
            reason: Invalid::Session | Invalid::Cookie | Invalid::Revoked(_),
        } => {
            let content = page::welcome(wiring, Some(return_to).filter(|path| *path != "/"));
            Answer::new(None, page(StatusCode::OK, "Log in", None, &content))
        }
        _ => {
            let status = match &error {
                AuthError::Denied { .. } => StatusCode::FORBIDDEN,
                AuthError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
                AuthError::NoCredential | AuthError::Invalid { .. } => StatusCode::UNAUTHORIZED,
            };
            let message = error.to_string();
            let response = page(status, "Not let in", None, &page::not_let_in(&message));
            Answer::refused(None, message, response)
        }
    }))
}

/// Somebody who sends a form of one of these pages, with the form.
async fn sender(
    wiring: &Wiring,
    request: Request,
) -> Result<(Arc<Principal>, Vec<(String, String)>), Box<Answer>> {
    if !wiring.identity.is_own_page(request.headers()) {
        let message = "use the button on this gateway's own page";
        let content = page::failed("Nothing was done", message);
        let response = page(StatusCode::FORBIDDEN, "Nothing was done", None, &content);
        return Err(Box::new(Answer::refused(None, message, response)));
    }
    let principal = visitor(wiring, Shown::of(&request), "/").await?;
    match api::read(request, FORM).await {
        Ok(body) => {
            let form = url::form_urlencoded::parse(&body).into_owned().collect();
            Ok((principal, form))
        }
        Err(response) => Err(Box::new(Answer::refused(
            Some(principal),
            "the form can't be read",
            response,
        ))),
    }
}

/// `POST /sessions/end`.
pub(crate) async fn end_session(State(gateway): State<Arc<Gateway>>, mut request: Request) -> Response {
    let visit = gateway.begin(Route::Console, &mut request);
    let wiring = gateway.live.load_full();
    let answer = match sender(&wiring, request).await {
        Err(answer) => *answer,
        Ok((principal, form)) => {
            let id = { &form }.iter().find(|(name, _)| name == "id");
            let ended = match id.and_then(|(_, id)| id.parse().ok()) {
                Some(id) => api::end_any(&wiring, &principal, id).await,
                None => Err("there is no session of this name".to_owned()),
            };
            match ended {
                Ok(()) => Answer::new(Some(principal), back_home()),
                Err(error) => failed(Some(principal), &error),
            }
        }
    };
    gateway.end(visit, answer).await
}

fn back_home() -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, "/")]).into_response()
}

fn failed(principal: Option<Arc<Principal>>, error: &dyn std::fmt::Display) -> Answer {
    let message = error.to_string();
    let content = page::failed("That did not work", &message);
    let response = page(
        StatusCode::SERVICE_UNAVAILABLE,
        "That did not work",
        principal.as_deref(),
        &content,
    );
    Answer::refused(principal, message, response)
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
        Ok(logout) => {
            let mut response = match &logout.issuer {
                None => back_home(),
                Some((issuer, url)) => {
                    let content = page::logged_out(issuer, url);
                    page(StatusCode::OK, "Logged out", None, &content)
                }
            };
            logout.forget(&mut response);
            Answer::new(None, response)
        }
        Err(error) => {
            let message = error.to_string();
            let content = page::failed("You are not logged out", &message);
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
