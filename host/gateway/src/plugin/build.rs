//! `witgate plugin build`: cargo, and what it takes.

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
    let manifest = args.project.join("Cargo.toml");
    let manifest = manifest.canonicalize().with_context(|| {
        let manifest = manifest.display();
        format!("{manifest} can't be read: run this in a plugin's project, or name it by --project")
    })?;
    check_toolchain(&args.project)?;
    let built = cargo(args, &manifest)?;
    let to = publish(&built, &args.project.join("dist"))?;
    let shown = to.strip_prefix(".").unwrap_or(&to).display();
    let found = Inspection::read(&to)
        .await
        .with_context(|| format!("{shown} can't be used"))?;
    println!("{shown}: {}", Speaks(found.contract.as_ref()));
    println!("  {} bytes, sha256 {}", found.size, found.sha256);
    Ok(())
}

fn program(variable: &str, name: &str) -> OsString {
    env::var_os(variable).unwrap_or_else(|| name.into())
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

/// Puts the component into a folder by a rename, so that a gateway that watches the file never reads half
/// of one.
fn publish(built: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let to = folder.join(name(built)).with_extension("wasm");
    let new = to.with_extension("new");
    fs::create_dir_all(folder)
        .and_then(|()| fs::copy(built, &new))
        .and_then(|_| fs::rename(&new, &to))
        .with_context(|| format!("{} can't be written", to.display()))?;
    Ok(to)
}
