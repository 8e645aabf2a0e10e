//! The pages of a control plane's repair: what there is, what is wrong, the plans, and how far they are.
//! They may be used by whoever may use the API.

mod journal;
mod overview;
mod plan;

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use maud::{Markup, html};
use witgate_identity::Principal;
use witgate_recovery::{PlanId, Progress};

use super::{page::page, sender, visitor};
use crate::{
    api::{Refused, recovery::of},
    gateway::{Answer, Gateway},
    metrics::Route,
    recovery::{PlanRequest, Recovery},
    routes::Shown,
    wiring::Wiring,
};

/// How a page comes again without a script, in seconds, while its plan is carried out.
const AGAIN: (HeaderName, HeaderValue) = (HeaderName::from_static("refresh"), HeaderValue::from_static("3"));

/// The form that was sent.
type Form = Vec<(String, String)>;

/// The pages and what their buttons do.
pub(crate) fn routes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/recovery", get(home))
        .route("/recovery/journal", get(record))
        .route("/recovery/bundle", get(bundle))
        .route("/recovery/plans", post(propose))
        .route("/recovery/plans/{id}", get(show))
        .route("/recovery/plans/{id}/approve", post(approve))
        .route("/recovery/plans/{id}/apply", post(apply))
        .route("/recovery/plans/{id}/confirm", post(confirm))
        .route("/recovery/plans/{id}/abandon", post(abandon))
}

/// The part of the first page that leads here.
pub(super) fn section(wiring: &Wiring, principal: &Principal) -> Markup {
    html! {
        @if of(wiring, principal).is_ok() {
            section aria-labelledby="recovery" {
                h2 id="recovery" { "Control plane" }
                p { "You may have it repaired." }
                p { a class="button" href="/recovery" { "Members, findings and plans" } }
            }
        }
    }
}

/// `GET /recovery`.
async fn home(gateway: State<Arc<Gateway>>, request: Request) -> Response {
    look(gateway, request, async |recovery, principal| {
        // Both ask all members, and those that are silent take their time.
        let (mut status, diagnoses) = tokio::join!(recovery.status(), recovery.diagnose());
        let plans = match &mut status {
            Ok(status) => std::mem::take(&mut status.plans),
            // They are known when nothing can be seen.
            Err(_) => recovery.plans().await?,
        };
        let content = overview::content(recovery, &status, &diagnoses, &plans);
        Ok(page(StatusCode::OK, "Control plane", Some(principal), &content))
    })
    .await
}

/// `GET /recovery/plans/{id}`.
async fn show(gateway: State<Arc<Gateway>>, Path(id): Path<String>, request: Request) -> Response {
    look(gateway, request, async |recovery, principal| {
        let id = recovery.find(&id).await?;
        let dossier = recovery.dossier(&id).await?;
        let content = plan::content(recovery, &dossier, principal);
        let mut response = page(StatusCode::OK, "Plan", Some(principal), &content);
        if dossier.progress == Progress::Running {
            let (name, value) = AGAIN;
            response.headers_mut().insert(name, value);
        }
        Ok(response)
    })
    .await
}

/// `GET /recovery/journal`.
async fn record(gateway: State<Arc<Gateway>>, request: Request) -> Response {
    look(gateway, request, async |recovery, principal| {
        let entries = recovery.journal().await?;
        let content = journal::content(&entries);
        Ok(page(StatusCode::OK, "Journal", Some(principal), &content))
    })
    .await
}

/// `GET /recovery/bundle`.
async fn bundle(gateway: State<Arc<Gateway>>, request: Request) -> Response {
    look(gateway, request, async |recovery, principal| {
        let bundle = recovery.bundle(&principal.user).await?;
        let headers = [
            (
                header::CONTENT_DISPOSITION,
                "attachment; filename=\"incident.json\"",
            ),
            (header::CACHE_CONTROL, "no-store"),
        ];
        Ok((headers, Json(bundle)).into_response())
    })
    .await
}

/// `POST /recovery/plans`.
async fn propose(gateway: State<Arc<Gateway>>, request: Request) -> Response {
    act(gateway, request, async |recovery, principal, form| {
        let asked = PlanRequest {
            class: field(form, "class").to_owned(),
            subject: Some(field(form, "subject").to_owned()),
        };
        Ok(recovery.plan(&asked, &principal.user).await?.id)
    })
    .await
}

/// `POST /recovery/plans/{id}/approve`.
async fn approve(gateway: State<Arc<Gateway>>, Path(id): Path<String>, request: Request) -> Response {
    act(gateway, request, async |recovery, principal, _| {
        let id = recovery.find(&id).await?;
        recovery.approve(&id, &principal.user).await?;
        Ok(id)
    })
    .await
}

/// `POST /recovery/plans/{id}/apply`.
async fn apply(gateway: State<Arc<Gateway>>, Path(id): Path<String>, request: Request) -> Response {
    act(gateway, request, async |recovery, principal, _| {
        let id = recovery.find(&id).await?;
        recovery.apply(id.clone(), &principal.user, None).await?;
        Ok(id)
    })
    .await
}

/// `POST /recovery/plans/{id}/confirm`.
async fn confirm(gateway: State<Arc<Gateway>>, Path(id): Path<String>, request: Request) -> Response {
    act(gateway, request, async |recovery, principal, form| {
        let id = recovery.find(&id).await?;
        // No step has the number that no number is.
        let step = field(form, "step").parse().unwrap_or(usize::MAX);
        recovery.confirm(&id, step, &principal.user).await?;
        Ok(id)
    })
    .await
}

/// `POST /recovery/plans/{id}/abandon`.
async fn abandon(gateway: State<Arc<Gateway>>, Path(id): Path<String>, request: Request) -> Response {
    act(gateway, request, async |recovery, principal, form| {
        let id = recovery.find(&id).await?;
        recovery
            .abandon(&id, &principal.user, field(form, "reason"))
            .await?;
        Ok(id)
    })
    .await
}

fn field<'a>(form: &'a Form, name: &str) -> &'a str {
    let found = form.iter().find(|(field, _)| field == name);
    found.map_or("", |(_, value)| value)
}

/// Shows something to one who may see it.
async fn look(
    State(gateway): State<Arc<Gateway>>,
    mut request: Request,
    show: impl AsyncFnOnce(&Recovery, &Principal) -> Result<Response, Refused>,
) -> Response {
    let visit = gateway.begin(Route::Console, &mut request);
    let wiring = gateway.live.load_full();
    let answer = match visitor(&wiring, Shown::of(&request), request.uri().path()).await {
        Err(answer) => *answer,
        Ok(principal) => {
            let shown = match admitted(&wiring, &principal) {
                Ok(recovery) => show(recovery, &principal).await,
                Err(refused) => Err(refused),
            };
            answer(principal, shown)
        }
    };
    gateway.end(visit, answer).await
}

/// Does what a form of these pages asks for, and leads to its plan.
async fn act(
    State(gateway): State<Arc<Gateway>>,
    mut request: Request,
    act: impl AsyncFnOnce(&Recovery, &Principal, &Form) -> Result<PlanId, Refused>,
) -> Response {
    let visit = gateway.begin(Route::Console, &mut request);
    let wiring = gateway.live.load_full();
    let answer = match sender(&wiring, request).await {
        Err(answer) => *answer,
        Ok((principal, form)) => {
            let done = match admitted(&wiring, &principal) {
                Ok(recovery) => act(recovery, &principal, &form).await,
                Err(refused) => Err(refused),
            };
            let shown = done.map(|id| {
                let place = format!("/recovery/plans/{id}");
                (StatusCode::SEE_OTHER, [(header::LOCATION, place)]).into_response()
            });
            answer(principal, shown)
        }
    };
    gateway.end(visit, answer).await
}

/// As the API lets in: those who may have it repaired, and not too often.
fn admitted<'a>(wiring: &'a Wiring, principal: &Principal) -> Result<&'a Recovery, Refused> {
    wiring
        .limits
        .user(&principal.user)
        .map_err(|error| Refused::too_many(&error))?;
    of(wiring, principal)
}

fn answer(principal: Arc<Principal>, shown: Result<Response, Refused>) -> Answer {
    match shown {
        Ok(response) => Answer::new(Some(principal), response),
        Err(Refused { code, message, .. }) => {
            let title = "That was refused";
            let content = html! {
                section {
                    h1 { (title) }
                    p role="alert" { (message) }
                    p { a href="/recovery" { "To the control plane" } }
                }
            };
            let response = page(code, title, Some(&principal), &content);
            Answer::refused(Some(principal), message, response)
        }
    }
}

/// To the second: what happened in which order is read by it.
fn moment(millis: u64) -> Markup {
    let at = UNIX_EPOCH + Duration::from_millis(millis);
    let text = humantime::format_rfc3339_seconds(at).to_string();
    let shown = text.trim_end_matches('Z').replace('T', " ");
    html! { time datetime=(text) { (shown) " UTC" } }
}

/// A plan's id as far as people compare it, leading to the plan.
fn link(id: &PlanId) -> Markup {
    html! { a href={ "/recovery/plans/" (id) } { code { (id.label()) } } }
}

fn progress(progress: Progress) -> Markup {
    let (class, word) = match progress {
        Progress::Proposed => ("quiet", "waits for people"),
        Progress::Running => ("", "is carried out"),
        Progress::Stopped => ("bad", "stopped"),
        Progress::Finished => ("good", "finished"),
        Progress::Abandoned => ("quiet", "given up"),
    };
    html! { span class=(class) { (word) } }
}
