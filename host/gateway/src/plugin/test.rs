//! `witgate plugin test`: a component in the gateway's own runtime, with recorded inputs and without a
//! gateway.

mod claims;
mod difference;
mod recorded;
mod recovery;
mod storage;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail, ensure};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use witgate_plugins::{Grants, Inspection, Kind, Limits, PluginConfig, Plugins};

use self::recorded::{Exchange, Recorded};
use super::{check::runtime, name};
use crate::cli::plugin::TestArgs;

/// Larger than any file of cases that a person wrote, and than most that were recorded.
const MAX_CASES: u64 = 64 << 20;

/// A file of cases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases<C> {
    #[serde(default)]
    plugin: Map<String, Value>,
    cases: Vec<C>,
}

/// What stands under the plugin's name in a configuration, but for its kind and its file.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Settings {
    config: Map<String, Value>,
    grants: Grants,
    limits: Limits,
}

/// A case of one kind of plugin.
#[async_trait::async_trait]
trait Case: DeserializeOwned + Send + Sync {
    const KIND: Kind;

    fn name(&self) -> &str;

    /// What it asks a backend over HTTP, and is answered.
    fn http(&self) -> &[Exchange];

    /// What is expected, and what came of it.
    async fn run(&self, plugin: &Loaded) -> anyhow::Result<Outcome>;
}

/// A plugin that is ready, and what else there is.
struct Loaded {
    name: String,
    plugins: Plugins,
    state: std::sync::Arc<dyn witgate_state::State>,
}

/// Two values that should be the same.
struct Outcome {
    expected: Value,
    found: Value,
}

/// How many cases there were, and how many failed.
#[derive(Clone, Copy, Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

pub(super) async fn run(args: &TestArgs) -> anyhow::Result<()> {
    let component = match &args.file {
        Some(file) => file.clone(),
        None => only_component(Path::new("dist"))?,
    };
    let shown = component.display();
    let found = Inspection::read(&component)
        .await
        .map_err(|problem| anyhow!("{shown}: {problem}"))?;
    let kind = match &found.contract {
        Some(contract) => contract.kind,
        None => bail!(
            "{shown} exports no contract of a plugin: plugins export {}",
            Inspection::contracts()
        ),
    };
    let mut tally = Tally::default();
    for file in case_files(&args.cases)? {
        println!("{}", file.display());
        let of_file = match kind {
            Kind::Claims => try_file::<claims::Case>(&component, &file).await,
            Kind::Storage => try_file::<storage::Case>(&component, &file).await,
            Kind::Recovery => try_file::<recovery::Case>(&component, &file).await,
        }?;
        tally.passed += of_file.passed;
        tally.failed += of_file.failed;
    }
    let Tally { passed, failed } = tally;
    println!("{passed} passed, {failed} failed");
    ensure!(failed == 0, "{failed} of {} cases failed", passed + failed);
    ensure!(passed > 0, "there is no case in {}", args.cases.display());
    Ok(())
}

/// The component that `witgate plugin build` has made.
fn only_component(folder: &Path) -> anyhow::Result<PathBuf> {
    match with_extension(folder, &["wasm"]).unwrap_or_default().as_slice() {
        [component] => Ok(component.clone()),
        [] => bail!("there is no component in dist/: run `witgate plugin build`, or name one"),
        _ => bail!("there are several components in dist/: name one"),
    }
}

fn case_files(cases: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if cases.is_file() {
        return Ok(vec![cases.to_owned()]);
    }
    let found = with_extension(cases, &["yaml", "yml", "json"]);
    let found =
        found.with_context(|| format!("{} can't be read: name a folder by --cases", cases.display()))?;
    ensure!(
        !found.is_empty(),
        "{} has no .yaml and no .json file in it",
        cases.display()
    );
    Ok(found)
}

fn with_extension(folder: &Path, wanted: &[&str]) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_wanted = |extension: &std::ffi::OsStr| wanted.iter().any(|wanted| extension == *wanted);
        if path.extension().is_some_and(is_wanted) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Runs the cases of one file, each with a state of its own.
async fn try_file<C: Case>(component: &Path, file: &Path) -> anyhow::Result<Tally> {
    let shown = file.display();
    let unreadable = || format!("{shown} can't be read");
    let size = fs::metadata(file).with_context(unreadable)?.len();
    ensure!(size <= MAX_CASES, "{shown} is over {} MiB", MAX_CASES >> 20);
    let text = fs::read_to_string(file).with_context(unreadable)?;
    let Cases { plugin, cases } = serde_saphyr::from_str::<Cases<C>>(&text).with_context(|| {
        format!(
            "{shown} is not of the form that cases of a {} plugin have",
            C::KIND
        )
    })?;
    let scratch = tempfile::tempdir().context("no temporary directory can be made")?;
    let mut tally = Tally::default();
    for (number, case) in cases.iter().enumerate() {
        let state = scratch.path().join(number.to_string());
        let recorded = Recorded::start(case.http()).await?;
        let settings = recorded.settings(&plugin).with_context(|| shown.to_string())?;
        let loaded = load::<C>(component, file, settings, &state, scratch.path()).await?;
        let outcome = case
            .run(&loaded)
            .await
            .with_context(|| format!("{shown}: the case {:?}", case.name()))?;
        let Outcome { expected, found } = recorded.beside(outcome);
        if expected == found {
            tally.passed += 1;
            println!("  ok      {}", case.name());
        } else {
            tally.failed += 1;
            println!("  FAILED  {}", case.name());
            println!("          - is expected, + came of it");
            print!("{}", difference::lines(&expected, &found, "          "));
        }
    }
    Ok(tally)
}

/// Loads the component as the gateway does, with the grants and limits of the cases.
async fn load<C: Case>(
    component: &Path,
    file: &Path,
    settings: Settings,
    state: &Path,
    cache: &Path,
) -> anyhow::Result<Loaded> {
    let name = name(component);
    let Settings {
        config,
        grants,
        limits,
    } = settings;
    let config = PluginConfig {
        kind: C::KIND,
        file: std::path::absolute(component)?,
        sha256: None,
        config,
        grants,
        limits,
    };
    let (runtime, state) = runtime(state, Some(cache))?;
    let config = BTreeMap::from([(name.clone(), config)]);
    // Files with secrets are beside the cases.
    let base = file.parent().unwrap_or(Path::new("."));
    let plugins = Plugins::load(&runtime, &config, base, None).await?;
    Ok(Loaded { name, plugins, state })
}

/// Of what was found, what is named. Lists are as long as they are.
fn named(expected: &Value, found: &Value) -> Value {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let both = expected
                .iter()
                .filter_map(|(key, expected)| Some((key, expected, found.get(key)?)));
            both.map(|(key, expected, found)| (key.clone(), named(expected, found)))
                .collect()
        }
        (Value::Array(expected), Value::Array(found)) => {
            let expected = expected.iter().map(Some).chain(std::iter::repeat(None));
            let both = found.iter().zip(expected);
            both.map(|(found, expected)| expected.map_or(found.clone(), |expected| named(expected, found)))
                .collect()
        }
        _ => found.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_named_may_be_anything_but_a_list_has_its_length() {
        let found = json!([{"class": "a", "severity": "notice"}, {"class": "b"}]);
        assert_eq!(
            named(&json!([{"class": "a"}]), &found),
            json!([{"class": "a"}, {"class": "b"}])
        );
        assert_eq!(named(&json!({"a": 1}), &json!({"b": 1})), json!({}));
    }
}
