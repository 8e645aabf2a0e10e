//! `GET /gateway/v1/prometheus`: what the remote endpoints are to whoever asks, and whether the storage
//! behind them can be used. Nothing is said of tenants that the caller may not use.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use witgate_identity::Principal;
use witgate_plugins::{Storage, StorageError};
use witgate_prometheus::Standing;

use super::as_principal;
use crate::{
    doctor::{Selection, TENANT},
    gateway::Gateway,
    wiring::Wiring,
};

/// How long a backend may take to say that it is there. Somebody waits for it.
const CHECK: Duration = Duration::from_secs(5);

/// The answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MetricsStatus {
    pub(crate) user: String,
    pub(crate) groups: Vec<String>,
    /// Nothing, where the configuration has no section `prometheus`.
    pub(crate) standing: Option<Standing>,
    /// The storage plugins of the caller's tenants, by name.
    pub(crate) storages: BTreeMap<String, StorageStatus>,
}

/// A storage plugin.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StorageStatus {
    /// The contract that it speaks: `witgate:storage@0.1.0`.
    pub(crate) contract: String,
    /// The digest of its file.
    pub(crate) sha256: String,
    /// How long its `check` took, in microseconds.
    pub(crate) check_micros: u64,
    /// What the check found, if that was not good.
    pub(crate) trouble: Option<Trouble>,
}

/// Why a storage can't be used.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Trouble {
    /// Whether the plugin did not get as far as its backend.
    pub(crate) is_of_plugin: bool,
    pub(crate) message: String,
}

/// `GET /gateway/v1/prometheus`; the header `X-Scope-OrgID` and `?db=` count as in a remote write.
pub(crate) async fn metrics(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    as_principal(&gateway, request, async |wiring, principal, request| {
        let query = request.uri().query().unwrap_or_default();
        let database = { url::form_urlencoded::parse(query.as_bytes()) }
            .find(|(name, _)| name == "db")
            .map(|(_, value)| value.into_owned());
        let selection = Selection {
            tenant: { request.headers().get(TENANT) }
                .and_then(|tenant| tenant.to_str().ok())
                .map(str::to_owned),
            database,
        };
        let status = MetricsStatus::of(wiring, principal, &selection).await;
        Ok(Json(status).into_response())
    })
    .await
}

impl MetricsStatus {
    /// What there is to say to somebody, after asking the backends of their tenants.
    pub(crate) async fn of(wiring: &Wiring, principal: &Principal, selection: &Selection) -> Self {
        let remote = wiring.remote.as_ref();
        let standing = remote.map(|remote| {
            let Selection { tenant, database } = selection;
            remote.standing(principal, tenant.as_deref(), database.as_deref())
        });
        let tenants = standing.iter().flat_map(|standing| &standing.tenants);
        let mut names: Vec<_> = tenants.flat_map(|tenant| &tenant.storages).collect();
        names.sort_unstable();
        names.dedup();
        let plugins = { wiring.plugins.list() }.filter(|plugin| names.contains(&&plugin.name));
        let asked = plugins.filter_map(|plugin| {
            let storage = wiring.plugins.storage(&plugin.name)?;
            Some(async move {
                let began = Instant::now();
                let trouble = check(storage.as_ref()).await.err();
                let status = StorageStatus {
                    contract: format!("witgate:storage@{}", plugin.contract),
                    sha256: plugin.sha256,
                    check_micros: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
                    trouble,
                };
                (plugin.name, status)
            })
        });
        let storages = join_all(asked).await.into_iter().collect();
        Self {
            user: principal.user.clone(),
            groups: principal.groups.clone(),
            standing,
            storages,
        }
    }
}

async fn check(storage: &dyn Storage) -> Result<(), Trouble> {
    match tokio::time::timeout(CHECK, storage.check()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Trouble {
            is_of_plugin: matches!(error, StorageError::Failed(_)),
            message: error.to_string(),
        }),
        Err(_) => Err(Trouble {
            is_of_plugin: false,
            message: format!("it has not answered within {} s", CHECK.as_secs()),
        }),
    }
}
