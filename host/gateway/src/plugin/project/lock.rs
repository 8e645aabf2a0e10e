//! A project's `Cargo.lock`: what this repository's plugins are locked to, as far as the SDK needs it. So a
//! project is built with the versions that the SDK was tested with, and cargo has nothing to resolve.

use std::{collections::BTreeSet, fmt::Write};

use anyhow::Context;

use super::carried;

const SDK: &str = "witgate-sdk";

/// What a project depends on itself.
const OWN: [&str; 3] = ["serde", "serde_json", SDK];

/// One package of a lock file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package<'a> {
    name: &'a str,
    version: &'a str,
    /// The lines from `version` to the dependencies.
    head: &'a str,
    /// `serde`, or `wit-bindgen 0.61.1` where there are several of that name.
    dependencies: Vec<&'a str>,
}

/// The lock file of a project, exactly as cargo would write it.
pub(super) fn of(name: &str) -> anyhow::Result<String> {
    let lock = carried("plugins/Cargo.lock")?;
    let (head, packages) = lock
        .split_once("[[package]]\n")
        .context("the lock file is empty")?;
    let packages: Vec<Package<'_>> = packages
        .split("[[package]]\n")
        .filter_map(Package::parse)
        .collect();
    let mut kept = needed(&packages);
    kept.push(Package {
        name,
        version: "0.1.0",
        head: "version = \"0.1.0\"",
        dependencies: OWN.to_vec(),
    });
    kept.sort();
    let mut out = head.trim_end().to_owned();
    out.push('\n');
    for package in &kept {
        write!(
            out,
            "\n[[package]]\nname = \"{}\"\n{}\n",
            package.name, package.head
        )?;
        if !package.dependencies.is_empty() {
            out.push_str("dependencies = [\n");
            for dependency in &package.dependencies {
                writeln!(out, " \"{}\",", shortest(dependency, &kept))?;
            }
            out.push_str("]\n");
        }
    }
    Ok(out)
}

impl<'a> Package<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (head, dependencies) = match text.split_once("\ndependencies = [\n") {
            Some((head, dependencies)) => (head, dependencies.split_once(']')?.0),
            None => (text.trim_end(), ""),
        };
        let (name, head) = head.split_once('\n')?;
        let quoted = |line: &'a str| line.split('"').nth(1);
        Some(Self {
            name: quoted(name)?,
            version: quoted(head.lines().next()?)?,
            head,
            dependencies: dependencies.lines().filter_map(quoted).collect(),
        })
    }

    fn is(&self, dependency: &str) -> bool {
        match dependency.split_once(' ') {
            Some((name, version)) => self.name == name && self.version == version,
            None => self.name == dependency,
        }
    }
}

/// The SDK, and what it takes to build it.
fn needed<'a>(packages: &[Package<'a>]) -> Vec<Package<'a>> {
    let mut wanted = vec![SDK];
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    while let Some(dependency) = wanted.pop() {
        let package = packages.iter().find(|package| package.is(dependency));
        let Some(package) = package.filter(|package| seen.insert((package.name, package.version))) else {
            continue;
        };
        wanted.extend(&package.dependencies);
        found.push(package.clone());
    }
    found
}

/// A version stands with a name only where it takes one to tell packages apart.
fn shortest<'a>(dependency: &'a str, kept: &[Package<'_>]) -> &'a str {
    match dependency.split_once(' ') {
        Some((name, _)) if kept.iter().filter(|package| package.name == name).count() < 2 => name,
        _ => dependency,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_what_the_sdk_needs_and_nothing_else() {
        let lock = of("my-claims").unwrap();
        assert!(lock.contains("name = \"my-claims\"\nversion = \"0.1.0\"\ndependencies = [\n \"serde\",\n"));
        assert!(lock.contains("name = \"serde_path_to_error\""), "{lock}");
        assert!(!lock.contains("name = \"jiff\""), "{lock}");
    }

    #[test]
    fn a_version_is_named_only_where_there_are_several() {
        let package = |name, version| Package {
            name,
            version,
            head: "",
            dependencies: Vec::new(),
        };
        let kept = [
            package("a", "1.0.0"),
            package("a", "2.0.0"),
            package("b", "1.0.0"),
        ];
        assert_eq!(shortest("a 1.0.0", &kept), "a 1.0.0");
        assert_eq!(shortest("b 1.0.0", &kept), "b");
    }
}
