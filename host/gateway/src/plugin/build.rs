//! `witgate plugin build`: cargo or componentize-py, and what they take.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use witgate_plugins::Inspection;

use super::{inspect::Speaks, name};
use crate::cli::plugin::BuildArgs;

const TARGET: &str = "wasm32-wasip2";

/// A line of what cargo says with `--message-format=json`, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

pub(super) async fn run(args: &BuildArgs) -> anyhow::Result<()> {
    let project = &args.project;
    let to = if project.join("app.py").is_file() {
        componentize(project)?
    } else {
        let manifest = project.join("Cargo.toml").canonicalize().with_context(|| {
            let project = project.display();
            format!(
                "there is neither Cargo.toml nor app.py in {project}: run this in a plugin's project, or name it by \
                 --project"
            )
        })?;
        check_toolchain(project)?;
        let built = cargo(args, &manifest)?;
        publish(&built, &component(project, &name(&built))?)?
    };
    let shown = to.strip_prefix(".").unwrap_or(&to).display();
    let found = Inspection::read(&to)
        .await
        .with_context(|| format!("{shown} can't be used"))?;
    println!("{shown}: {}", Speaks(found.contract.as_ref()));
    println!("  {} bytes, sha256 {}", found.size, found.sha256);
    Ok(())
}

/// Where a project's component is put.
fn component(project: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let folder = project.join("dist");
    fs::create_dir_all(&folder).with_context(|| format!("{} can't be made", folder.display()))?;
    Ok(folder.join(name).with_extension("wasm"))
}

fn program(variable: &str, name: &str) -> OsString {
    env::var_os(variable).unwrap_or_else(|| name.into())
}

/// Builds a component of Python. It is called as the project's folder, and its world as the contract's
/// only file in `wit/`.
fn componentize(project: &Path) -> anyhow::Result<PathBuf> {
    let folder = project.canonicalize()?;
    let contracts = fs::read_dir(folder.join("wit")).context("the project has no folder wit")?;
    let contract = contracts
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|kind| kind == "wit"));
    let contract = contract.context("there is no contract in the project's folder wit")?;
    let world = format!("{}-plugin", name(&contract));
    let to = component(project, &name(&folder))?;
    let built = to.with_extension("building");
    let done = Command::new(program("COMPONENTIZE_PY", "componentize-py"))
        .args(["--wit-path", "wit", "--world", &world, "componentize", "app", "--output"])
        .arg(std::path::absolute(&built)?)
        .current_dir(project)
        .stdout(Stdio::null())
        .status()
        .context(
            "componentize-py can't be run, which makes components of Python: run `pip install -r requirements.txt`, \
             in a virtual environment that is active",
        )?;
    ensure!(done.success(), "componentize-py could not build it");
    publish(&built, &to).inspect(|_| drop(fs::remove_file(&built)))
}

/// Says what is missing before cargo does, which says that it can't find crate `core`.
fn check_toolchain(project: &Path) -> anyhow::Result<()> {
    let asked = Command::new(program("RUSTC", "rustc"))
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(project)
        .output()
        .context("rustc can't be run: to build a plugin takes Rust, from https://rustup.rs")?;
    let complaint = String::from_utf8_lossy(&asked.stderr);
    ensure!(
        asked.status.success(),
        "this rustc does not know the target {TARGET}: it takes Rust 1.82 or later. It says: {}",
        complaint.trim()
    );
    let libraries = PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim());
    ensure!(
        libraries.is_dir(),
        "Rust's target {TARGET} is not installed: run `rustup target add {TARGET}`. With a Rust that rustup \
         does not manage, install that distribution's package for it."
    );
    Ok(())
}

/// Builds the component. What cargo has to say goes to standard error.
fn cargo(args: &BuildArgs, manifest: &Path) -> anyhow::Result<PathBuf> {
    let mut command = Command::new(program("CARGO", "cargo"));
    command
        .args(["build", "--release", "--target", TARGET])
        .args(["--message-format", "json-render-diagnostics"])
        .args(args.locked.then_some("--locked"))
        .current_dir(&args.project)
        .stderr(Stdio::inherit());
    let done = command
        .output()
        .context("cargo can't be run: to build a plugin takes Rust, from https://rustup.rs")?;
    ensure!(done.status.success(), "cargo could not build it");
    let messages = String::from_utf8_lossy(&done.stdout);
    let built = { messages.lines() }
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.reason == "compiler-artifact" && message.manifest_path == manifest)
        .flat_map(|message| message.filenames)
        .find(|file| file.extension().is_some_and(|kind| kind == "wasm"));
    match built {
        Some(file) => Ok(file),
        None => bail!(
            "{} builds no component: it takes `crate-type = [\"cdylib\", \"rlib\"]` under [lib]",
            manifest.display()
        ),
    }
}

/// Puts the component where it belongs by a rename, so that a gateway that watches the file never reads
/// half of one.
fn publish(built: &Path, to: &Path) -> anyhow::Result<PathBuf> {
    let new = to.with_extension("new");
    fs::copy(built, &new)
        .and_then(|_| fs::rename(&new, to))
        .with_context(|| format!("{} can't be written", to.display()))?;
    Ok(to.to_owned())
}
