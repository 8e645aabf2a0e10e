//! `/gateway/v1/recovery`: a control plane's state, what is wrong with it, and the plans that repair it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Deserialize;
use witgate_identity::Principal;
use witgate_recovery::{Admission, EngineError, Escrow, EscrowError, PlanId};

use super::{Refused, as_principal, object};
use crate::{
    gateway::Gateway,
    recovery::{PlanRequest, Recovery, RepairError},
    wiring::Wiring,
};

/// What a plan is carried out with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Application {
    /// For a plan that lets a node join.
    #[serde(default)]
    join: Option<Admission>,
}

/// Which step was done by hand.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    step: usize,
}

/// Why a plan is given up.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Abandonment {
    reason: String,
}

/// `GET /gateway/v1/recovery`.
pub(crate) async fn status(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    as_principal(&gateway, request, async |wiring, principal, _| {
        Ok(Json(of(wiring, principal)?.status().await?).into_response())
    })
    .await
}

/// `POST /gateway/v1/recovery/diagnose`.
pub(crate) async fn diagnose(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    as_principal(&gateway, request, async |wiring, principal, _| {
        Ok(Json(of(wiring, principal)?.diagnose().await).into_response())
    })
    .await
}

/// `POST /gateway/v1/recovery/plans`.
pub(crate) async fn plan(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    as_principal(&gateway, request, async |wiring, principal, request| {
        let recovery = of(wiring, principal)?;
        let asked: PlanRequest = object(request).await?;
        let dossier = recovery.plan(&asked, &principal.user).await?;
        Ok((StatusCode::CREATED, Json(dossier)).into_response())
    })
    .await
}

/// `GET /gateway/v1/recovery/plans/{id}`.
pub(crate) async fn dossier(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    with_plan(&gateway, &id, request, async |_, _, _, _| Ok(())).await
}

/// `POST /gateway/v1/recovery/plans/{id}/approve`.
pub(crate) async fn approve(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    with_plan(&gateway, &id, request, async |recovery, id, principal, _| {
        Ok(recovery.approve(id, &principal.user).await?)
    })
    .await
}

/// `POST /gateway/v1/recovery/plans/{id}/apply`.
pub(crate) async fn apply(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    with_plan(
        &gateway,
        &id,
        request,
        async |recovery, id, principal, request| {
            let Application { join } = object(request).await?;
            Ok(recovery.apply(id.clone(), &principal.user, join).await?)
        },
    )
    .await
}

/// `POST /gateway/v1/recovery/plans/{id}/confirm`.
pub(crate) async fn confirm(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    with_plan(
        &gateway,
        &id,
        request,
        async |recovery, id, principal, request| {
            let Confirmation { step } = object(request).await?;
            Ok(recovery.confirm(id, step, &principal.user).await?)
        },
    )
    .await
}

/// `POST /gateway/v1/recovery/plans/{id}/abandon`.
pub(crate) async fn abandon(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    with_plan(
        &gateway,
        &id,
        request,
        async |recovery, id, principal, request| {
            let Abandonment { reason } = object(request).await?;
            Ok(recovery.abandon(id, &principal.user, &reason).await?)
        },
    )
    .await
}

/// `GET /gateway/v1/recovery/escrow`.
pub(crate) async fn escrow(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    as_principal(&gateway, request, async |wiring, principal, _| {
        Ok(Json(of(wiring, principal)?.escrow().await?).into_response())
    })
    .await
}

/// `PUT /gateway/v1/recovery/escrow`.
pub(crate) async fn keep_escrow(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    as_principal(&gateway, request, async |wiring, principal, request| {
        let recovery = of(wiring, principal)?;
        let escrow: Escrow = object(request).await?;
        recovery.keep_escrow(&escrow, &principal.user).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// `GET /gateway/v1/recovery/journal`.
pub(crate) async fn journal(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    as_principal(&gateway, request, async |wiring, principal, _| {
        Ok(Json(of(wiring, principal)?.journal().await?).into_response())
    })
    .await
}

/// `GET /gateway/v1/recovery/bundle`.
pub(crate) async fn bundle(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    as_principal(&gateway, request, async |wiring, principal, _| {
        let bundle = of(wiring, principal)?.bundle(&principal.user).await?;
        Ok(Json(bundle).into_response())
    })
    .await
}

/// Does something with a plan, and answers with what has become of it.
async fn with_plan(
    gateway: &Gateway,
    id: &str,
    request: Request,
    act: impl AsyncFnOnce(&Recovery, &PlanId, &Principal, Request) -> Result<(), Refused>,
) -> Response {
    as_principal(gateway, request, async |wiring, principal, request| {
        let recovery = of(wiring, principal)?;
        let id = recovery.find(id).await?;
        act(recovery, &id, principal, request).await?;
        Ok(Json(recovery.dossier(&id).await?).into_response())
    })
    .await
}

/// The control plane's repair, for one who may have it repaired.
pub(crate) fn of<'a>(wiring: &'a Wiring, principal: &Principal) -> Result<&'a Recovery, Refused> {
    let configured = wiring.config.recovery.as_ref().zip(wiring.recovery.as_ref());
    let Some((config, recovery)) = configured else {
        return Err(Refused {
            code: StatusCode::NOT_FOUND,
            reason: "NotFound",
            message: "this gateway repairs no control plane: its configuration has no section `recovery`"
                .to_owned(),
        });
    };
    if config.operators.has(principal) {
        return Ok(recovery);
    }
    Err(Refused {
        code: StatusCode::FORBIDDEN,
        reason: "Forbidden",
        message: format!(
            "{} may not repair the control plane: `recovery.operators` of the configuration says who may",
            principal.user
        ),
    })
}

impl From<RepairError> for Refused {
    fn from(error: RepairError) -> Self {
        let (code, reason) = match &error {
            RepairError::NotFound(_) | RepairError::Engine(EngineError::NoSuchPlan(_)) => {
                (StatusCode::NOT_FOUND, "NotFound")
            }
            RepairError::Engine(EngineError::Blind(_) | EngineError::Journal(_))
            | RepairError::Escrow(EscrowError::State(_) | EscrowError::Damaged(_))
            | RepairError::Snapshots(_) => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            RepairError::Escrow(_) => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
            RepairError::Engine(_) | RepairError::Plugin(_) | RepairError::NoAdmission(_) => {
                (StatusCode::CONFLICT, "Conflict")
            }
        };
        Self {
            code,
            reason,
            message: error.to_string(),
        }
    }
}
