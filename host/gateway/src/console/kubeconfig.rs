//! The kubeconfig that users are given. There is no secret in it.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::header;

use super::visitor;
use crate::{
    gateway::{Answer, Gateway},
    kubeconfig::Kubeconfig,
    metrics::Route,
    routes::Shown,
    wiring::Wiring,
};

/// `GET /kubeconfig`.
pub(crate) async fn download(State(gateway): State<Arc<Gateway>>, mut request: Request) -> Response {
    let visit = gateway.begin(Route::Console, &mut request);
    let wiring = gateway.live.load_full();
    let answer = match visitor(&wiring, Shown::of(&request), "/kubeconfig").await {
        Err(answer) => *answer,
        Ok(principal) => {
            let headers = [
                (header::CONTENT_TYPE, "application/yaml"),
                (header::CONTENT_DISPOSITION, "attachment; filename=\"kubeconfig\""),
                (header::CACHE_CONTROL, "no-store"),
            ];
            Answer::new(Some(principal), (headers, render(&wiring)).into_response())
        }
    };
    gateway.end(visit, answer).await
}

/// Its text, for all clusters behind the gateway.
pub(crate) fn render(wiring: &Wiring) -> String {
    let kubeconfig = Kubeconfig {
        server: wiring.identity.public_url(),
        authority: wiring.public_authority.as_deref(),
        clusters: wiring.clusters.keys().map(String::as_str).collect(),
    };
    kubeconfig.render()
}
