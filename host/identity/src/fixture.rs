//! What the tests stand on: an issuer that can be made to misbehave, a state in memory, a claims
//! plugin that counts, and a gateway's identity over them.

mod claims;
mod issuer;
mod keys;
mod state;

use std::{path::Path, sync::Arc};

use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};
use witgate_plugins::Claims;

use crate::{AuthError, Identity, IdentityConfig, Principal, Records, SealingKey, Surroundings};

pub(crate) use self::{
    claims::{Fault, MirrorClaims},
    issuer::{CLIENT, Grant, Instead, TestIssuer},
    keys::SigningKey,
    state::MemoryState,
};

/// Where the tests' gateway is.
pub(crate) const PUBLIC_URL: &str = "https://gateway.example.com";

/// A gateway's identity, and what is around it.
pub(crate) struct World {
    pub(crate) issuer: TestIssuer,
    pub(crate) claims: Arc<MirrorClaims>,
    pub(crate) state: MemoryState,
    pub(crate) records: Arc<Records>,
    pub(crate) identity: Identity,
}

impl World {
    /// With one issuer, which signs with a fresh ES256 key `k1`.
    pub(crate) async fn new() -> Self {
        Self::with(json!({})).await
    }

    /// The same, with more in the section `identity`, or instead of what is there.
    pub(crate) async fn with(more: Value) -> Self {
        let issuer = TestIssuer::start(SigningKey::es256("k1")).await;
        let claims = Arc::new(MirrorClaims::default());
        let state = MemoryState::default();
        let records = records(&state).await;
        let identity = identity(&config(&[&issuer], more), &claims, &records, None);
        Self {
            issuer,
            claims,
            state,
            records,
            identity,
        }
    }

    pub(crate) async fn bearer(&self, token: &str) -> Result<Arc<Principal>, AuthError> {
        self.identity.authenticate(&bearer(token), None).await
    }
}

/// The section `identity` for these issuers, named `a`, `b`, ….
pub(crate) fn config(issuers: &[&TestIssuer], more: Value) -> IdentityConfig {
    let issuers: Vec<_> = issuers
        .iter()
        .zip(["a", "b"])
        .map(|(issuer, name)| {
            json!({"name": name, "url": issuer.url(), "clientId": CLIENT, "audiences": ["kubernetes"], "claims": "mirror"})
        })
        .collect();
    let mut section = json!({"publicUrl": PUBLIC_URL, "issuers": issuers});
    let Value::Object(more) = more else {
        panic!("{more} is no object")
    };
    for (key, value) in more {
        section[key] = value;
    }
    serde_json::from_value(section).unwrap()
}

pub(crate) fn identity(
    config: &IdentityConfig,
    claims: &Arc<MirrorClaims>,
    records: &Arc<Records>,
    previous: Option<&Identity>,
) -> Identity {
    let surroundings = Surroundings {
        base_dir: Path::new("."),
        claims: &|name| (name == "mirror").then(|| Arc::clone(claims) as Arc<dyn Claims>),
        clusters: &|_| None,
        records,
    };
    Identity::new(config, &surroundings, previous).unwrap()
}

pub(crate) async fn records(state: &MemoryState) -> Arc<Records> {
    Arc::new(Records::open(state, SealingKey::random().unwrap()).await.unwrap())
}

pub(crate) fn bearer(token: &str) -> HeaderMap {
    let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    HeaderMap::from_iter([(header::AUTHORIZATION, value)])
}

pub(crate) fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}
