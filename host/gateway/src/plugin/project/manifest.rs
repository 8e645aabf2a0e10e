//! A project's `Cargo.toml`: of its own, and what the SDK takes from its workspace.

use std::fmt::Write;

use anyhow::Context;
use witgate_plugins::Kind;

use super::{FOLDER, carried};

/// The manifest of a project. Sections that the SDK inherits are those of the workspace that it comes
/// from, so that they can't differ.
pub(super) fn of(name: &str, kind: Kind) -> anyhow::Result<String> {
    let workspace = carried("plugins/Cargo.toml")?;
    let sdk = carried("plugins/sdk/Cargo.toml")?;
    let package = section(workspace, "workspace.package").context("the workspace has no package section")?;
    let rust = { package.lines() }
        .find(|line| line.starts_with("rust-version"))
        .unwrap_or_default();
    let mut out = format!(
        "[package]\nname = \"{name}\"\ndescription = \"A {kind} plugin for witgate.\"\nversion = \"0.1.0\"\n\
         edition = \"2024\"\n{rust}\npublish = false\n\n\
         [lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n\n\
         [dependencies]\nserde.workspace = true\nserde_json.workspace = true\n\
         witgate-sdk = {{ path = \"{FOLDER}/plugins/sdk\" }}\n\n\
         # What follows is for the SDK.\n\
         [workspace]\nresolver = \"3\"\nmembers = [\"{FOLDER}/plugins/sdk\"]\n\n"
    );
    writeln!(out, "{package}\n\n[workspace.dependencies]")?;
    let dependencies = section(workspace, "workspace.dependencies").unwrap_or_default();
    for line in dependencies.lines() {
        let Some((name, _)) = line.split_once(" = ") else {
            continue;
        };
        if { sdk.lines() }.any(|line| line == format!("{name}.workspace = true")) {
            writeln!(out, "{line}")?;
        }
    }
    for name in [
        "workspace.lints.rust",
        "workspace.lints.clippy",
        "profile.release",
    ] {
        let section = section(workspace, name).with_context(|| format!("the workspace has no [{name}]"))?;
        write!(out, "\n{section}\n")?;
    }
    Ok(out)
}

/// A section of a manifest, without the comments that follow it.
fn section<'a>(manifest: &'a str, name: &str) -> Option<&'a str> {
    let begin = manifest.find(&format!("[{name}]\n"))?;
    let rest = manifest.get(begin..)?;
    let end = rest.find("\n[").unwrap_or(rest.len());
    let section = rest.get(..end)?;
    let commented = section.rfind("\n\n#").unwrap_or(section.len());
    Some(section.get(..commented)?.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_has_what_the_sdk_inherits_and_nothing_that_lies_elsewhere() {
        let manifest = of("my-claims", Kind::Claims).unwrap();
        for line in [
            "name = \"my-claims\"",
            "serde_path_to_error = \"0.1\"",
            "unsafe_code = \"deny\"",
            "panic = \"abort\"",
        ] {
            assert!(
                manifest.lines().any(|found| found == line),
                "{line} is not in {manifest}"
            );
        }
        assert!(!manifest.contains("../"), "{manifest}");
    }
}
