//! What an administrator revokes, and what is revoked.

use std::{sync::Arc, time::UNIX_EPOCH};

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use maud::{Markup, html};
use witgate_identity::{Principal, Revocation, Revoked, TokenDigest, Unavailable};

use super::{
    back_home,
    page::{self, page, time},
    sender,
};
use crate::{
    api::RevocationRequest,
    gateway::{Answer, Gateway},
    metrics::Route,
    wiring::Wiring,
};

/// The part of the first page.
pub(super) fn section(revocations: &[Revocation]) -> Markup {
    html! {
        section aria-labelledby="revocations" {
            h2 id="revocations" { "Revocations" }
            p class="quiet" { "What is revoked holds for no new request, and streams that are open on it end at once." }
            @if revocations.is_empty() { p class="quiet" { "Nothing is revoked." } } @else { (table(revocations)) }
            form method="post" action="/revocations" class="fields" {
                label for="kind" { "What" }
                select id="kind" name="kind" {
                    option value="user" { "A user's sessions and tokens" }
                    option value="token" { "One token" }
                    option value="everything" { "Everybody's sessions and tokens" }
                }
                label for="value" { "User, or token" }
                input id="value" name="value" autocomplete="off" spellcheck="false";
                label for="before" { "Given out before (UTC; empty: now)" }
                input id="before" name="before" type="datetime-local";
                label for="reason" { "Why" }
                input id="reason" name="reason" autocomplete="off";
                span {}
                label { input type="checkbox" name="block" value="yes"; " Also what is given out later, until this is lifted" }
                span {}
                span { button type="submit" { "Revoke" } }
            }
        }
    }
}

fn table(revocations: &[Revocation]) -> Markup {
    html! {
        table {
            thead { tr {
                th scope="col" { "What" } th scope="col" { "Given out" } th scope="col" { "By" }
                th scope="col" { "Why" } th scope="col" { span class="hidden" { "Lift it" } }
            } }
            tbody {
                @for revocation in revocations {
                    @let what = described(&revocation.revoked);
                    tr {
                        td data-label="What" { (what) }
                        td data-label="Given out" {
                            span { @match revocation.until { Some(until) => { "until " (time(until)) }, None => "at any time" } }
                        }
                        td data-label="By" { (revocation.by) }
                        td data-label="Why" { (revocation.reason.as_deref().unwrap_or("not said")) }
                        td {
                            form method="post" action="/revocations/lift" {
                                input type="hidden" name="revoked" value=(serde_json::json!(revocation.revoked));
                                button type="submit" class="small" aria-label={ "Lift the revocation of " (what) } { "Lift" }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn described(revoked: &Revoked) -> String {
    match revoked {
        Revoked::Session { id } => format!("Session {id}"),
        // Enough of it to tell tokens apart.
        Revoked::Token { sha256 } => format!("Token of digest {:.16}…", sha256.to_string()),
        Revoked::User { name } => format!("User {name}"),
        Revoked::Subject { subject } => format!("Subject {} of {}", subject.subject, subject.issuer),
        Revoked::IssuerSession { issuer, sid } => format!("Session {sid} of {issuer}"),
        Revoked::Everything => "Everybody".to_owned(),
    }
}

/// `POST /revocations`.
pub(crate) async fn revoke(gateway: State<Arc<Gateway>>, request: Request) -> Response {
    administer(gateway, request, async |wiring, principal, form| {
        let revocation = asked(form).map_err(bad)?.by(&principal.user);
        wiring
            .identity
            .revoke(&revocation)
            .await
            .map_err(|error| unavailable(&error))
    })
    .await
}

/// `POST /revocations/lift`.
pub(crate) async fn lift(gateway: State<Arc<Gateway>>, request: Request) -> Response {
    administer(gateway, request, async |wiring, _, form| {
        let revoked = serde_json::from_str(get(form, "revoked")).map_err(bad)?;
        let lifted = wiring.identity.revocations().lift(&revoked).await;
        lifted.map_err(|error| unavailable(&error))
    })
    .await
}

async fn administer(
    State(gateway): State<Arc<Gateway>>,
    mut request: Request,
    act: impl AsyncFnOnce(&Wiring, &Principal, &[(String, String)]) -> Result<(), (StatusCode, String)>,
) -> Response {
    let visit = gateway.begin(Route::Console, &mut request);
    let wiring = gateway.live.load_full();
    let answer = match sender(&wiring, request).await {
        Err(answer) => *answer,
        Ok((principal, form)) => {
            let done = if wiring.config.admin.has(&principal) {
                act(&wiring, &principal, &form).await
            } else {
                let message = "the section `admin` of the configuration says who may revoke";
                Err((StatusCode::FORBIDDEN, message.to_owned()))
            };
            match done {
                Ok(()) => Answer::new(Some(principal), back_home()),
                Err((status, message)) => {
                    let title = "Nothing was done";
                    let content = page::failed(title, &message);
                    let response = page(status, title, Some(&principal), &content);
                    Answer::refused(Some(principal), message, response)
                }
            }
        }
    };
    gateway.end(visit, answer).await
}

fn bad(error: impl std::fmt::Display) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, error.to_string())
}

fn unavailable(error: &Unavailable) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

fn get<'a>(form: &'a [(String, String)], wanted: &str) -> &'a str {
    let found = form.iter().find(|(name, _)| name == wanted);
    found.map_or("", |(_, value)| value.trim())
}

/// What the form asks for.
fn asked(form: &[(String, String)]) -> Result<RevocationRequest, String> {
    let value = get(form, "value");
    let revoked = match get(form, "kind") {
        "everything" => Revoked::Everything,
        "user" | "token" if value.is_empty() => return Err("say which user, or which token".to_owned()),
        "user" => Revoked::User {
            name: value.to_owned(),
        },
        "token" => Revoked::Token {
            sha256: TokenDigest::of(value),
        },
        _ => return Err("say what is to be revoked".to_owned()),
    };
    let until = match get(form, "before") {
        "" => None,
        time => Some(seconds(time)?),
    };
    let reason = Some(get(form, "reason")).filter(|reason| !reason.is_empty());
    Ok(RevocationRequest {
        revoked,
        block: get(form, "block") == "yes",
        until,
        reason: reason.map(str::to_owned),
    })
}

/// Of a `datetime-local` (HTML, 2.3.5.5), which may leave out its seconds.
fn seconds(time: &str) -> Result<u64, String> {
    let bad = |error: &dyn std::fmt::Display| format!("the time {time:?} can't be read: {error}");
    let whole = if time.len() == "2026-01-01T00:00".len() {
        format!("{time}:00")
    } else {
        time.to_owned()
    };
    let at = humantime::parse_rfc3339_weak(&whole).map_err(|error| bad(&error))?;
    let since = at.duration_since(UNIX_EPOCH).map_err(|error| bad(&error))?;
    Ok(since.as_secs())
}
