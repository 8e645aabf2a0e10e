//! `witgate plugin check`.

use std::{path::Path, sync::Arc};

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::{Map, Value};
use witgate_plugins::{Checked, Inspection, Kind, Options, PluginConfig, Problem, Runtime};
use witgate_state::{Embedded, State};

use super::{inspect::Speaks, name};
use crate::cli::plugin::CheckArgs;

/// Larger than any plugin's configuration.
const MAX_CONFIG: u64 = 4 << 20;

pub(super) async fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let file = &args.file;
    let shown = file.display();
    let found = Inspection::read(file)
        .await
        .map_err(|problem| anyhow!("{shown}: {problem}"))?;
    println!("{shown}: {}", Speaks(found.contract.as_ref()));
    println!("  built with {}", found.built_with());
    let kind = match (args.kind, &found.contract) {
        (Some(kind), _) => kind,
        (None, Some(contract)) => contract.kind,
        (None, None) => bail!("{shown} can't be loaded: it exports no contract of a plugin"),
    };
    let config = args.config.as_deref().map(config).transpose()?;
    let checked = check(file, kind, config.clone().unwrap_or_default())
        .await?
        .map_err(|problem| anyhow!("{shown} can't be loaded by witgate {}: {problem}", crate::VERSION))?;
    println!("  it can be loaded by witgate {}", crate::VERSION);
    match (&checked.refused, config) {
        (None, None) => println!("  it starts without a configuration"),
        (None, Some(_)) => println!("  it starts with that configuration"),
        (Some(reason), None) => println!("  it wants a configuration: {reason}\n  To try one, give --config"),
        (Some(reason), Some(_)) => bail!("it refuses its configuration: {reason}"),
    }
    for finding in &checked.ungranted {
        println!("  {finding}");
    }
    for denied in &checked.denied {
        println!("  {denied}");
    }
    Ok(())
}

async fn check(
    file: &Path,
    kind: Kind,
    config: Map<String, Value>,
) -> anyhow::Result<Result<Checked, Problem>> {
    let scratch = tempfile::tempdir().context("no temporary directory can be made")?;
    let (runtime, _) = runtime(scratch.path(), None)?;
    let config = PluginConfig {
        kind,
        file: file.to_owned(),
        sha256: None,
        config,
        grants: Default::default(),
        limits: Default::default(),
    };
    Ok(Checked::load(&runtime, &name(file), &config).await)
}

/// What plugins run in, with the state that is in a folder.
pub(super) fn runtime(folder: &Path, cache: Option<&Path>) -> anyhow::Result<(Runtime, Arc<dyn State>)> {
    let state: Arc<dyn State> = Arc::new(Embedded::open(&folder.join("state"))?);
    let runtime = Runtime::new(Options {
        cache: cache.map(|folder| folder.join("compiled")),
        state: Arc::clone(&state),
    })?;
    Ok((runtime, state))
}

/// A configuration that was given as text or as a file.
fn config(given: &str) -> anyhow::Result<Map<String, Value>> {
    if given.trim_start().starts_with('{') {
        return serde_json::from_str(given).with_context(|| format!("--config: {given:?} is no JSON object"));
    }
    let size = std::fs::metadata(given)
        .with_context(|| format!("--config: {given} can't be read"))?
        .len();
    ensure!(
        size <= MAX_CONFIG,
        "--config: {given} is over {} MiB",
        MAX_CONFIG >> 20
    );
    let text = std::fs::read_to_string(given).with_context(|| format!("--config: {given} can't be read"))?;
    serde_saphyr::from_str(&text).with_context(|| format!("--config: {given} is no mapping in YAML or JSON"))
}
