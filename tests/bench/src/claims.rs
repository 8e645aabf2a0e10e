//! One call of `claims-rules`, on a kept instance and on a fresh one.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use serde_json::json;
use witgate_plugins::{Claims, Options, PluginConfig, Plugins, Runtime, VerifiedToken};
use witgate_state::Embedded;

use crate::{component, figure};

/// Calls that are timed.
const CALLS: usize = 50_000;

pub(crate) async fn run() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let state = Arc::new(Embedded::open(&directory.path().join("state"))?);
    let runtime = Runtime::new(Options { cache: None, state })?;
    let config: PluginConfig = serde_json::from_value(json!({
        "kind": "claims",
        "file": component("claims-rules"),
        "config": {"groups": {"rules": [{"prefix": "corp:"}]}},
    }))?;
    let configs = BTreeMap::from([("claims".to_owned(), config)]);
    let plugins = Plugins::load(&runtime, &configs, directory.path(), None).await?;
    let claims = plugins.claims("claims").context("the plugin is not there")?;
    let started = || plugins.list().map(|plugin| plugin.counts.started).sum::<u64>();

    let token = token();
    let _warm = times(claims.as_ref(), &token, CALLS / 10).await?;
    let before = started();
    let mut times = times(claims.as_ref(), &token, CALLS).await?;
    let fresh = usize::try_from(started() - before)?;
    // A call that an instance was started for takes several times as long as another, so the
    // longest ones are those.
    times.sort_unstable();
    let (kept, fresh) = times.split_at(times.len() - fresh);
    figure("claims_call_pooled", microseconds(kept), "us");
    figure("claims_call_fresh", microseconds(fresh), "us");
    Ok(())
}

async fn times(claims: &dyn Claims, token: &VerifiedToken, calls: usize) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        let began = Instant::now();
        claims.resolve(token).await?;
        times.push(began.elapsed());
    }
    Ok(times)
}

/// About 1 KB of claims with 20 groups.
fn token() -> VerifiedToken {
    let groups: Vec<_> = (0..20)
        .map(|index| format!("department-{index:02}-engineering"))
        .collect();
    let claims = json!({
        "iss": "https://dex.example.com", "aud": "witgate", "sub": "CgVhbGljZRIEbGRhcA",
        "iat": 1_790_000_000, "exp": 1_790_086_400, "at_hash": "FKFf0tqF4cWOHlRyM9Bvkw",
        "email": "alice@example.com", "email_verified": true, "name": "Alice Example",
        "preferred_username": "alice", "groups": groups,
    });
    VerifiedToken {
        issuer: "https://dex.example.com".to_owned(),
        subject: "CgVhbGljZRIEbGRhcA".to_owned(),
        claims: claims.to_string(),
    }
}

/// The one in the middle of a sorted list.
fn microseconds(sorted: &[Duration]) -> f64 {
    sorted
        .get(sorted.len() / 2)
        .map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}
