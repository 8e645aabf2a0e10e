//! `witgate plugin new`: a project that builds with what this binary carries.

mod lock;
mod manifest;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use witgate_plugins::Kind;

use crate::cli::plugin::{Language, NewArgs};

/// The contract and the SDK, as paths in this repository with what is in them.
const CARRIED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/carried.rs"));

/// Where they are put in a project: as they lie here, because the SDK finds the contract beside it.
const FOLDER: &str = "witgate";

/// What is worked out for a kind.
struct Template {
    library: &'static str,
    cases: &'static str,
    config: &'static str,
}

macro_rules! template {
    ($kind:literal) => {
        Template {
            library: include_str!(concat!("../../templates/", $kind, "/lib.rs")),
            cases: include_str!(concat!("../../templates/", $kind, "/cases.yaml")),
            config: include_str!(concat!("../../templates/", $kind, "/config.json")),
        }
    };
}

const CLAIMS: Template = template!("claims");
const STORAGE: Template = template!("storage");
const RECOVERY: Template = template!("recovery");

pub(super) fn run(args: &NewArgs) -> anyhow::Result<()> {
    let name = &args.name;
    let folder = args.directory.clone().unwrap_or_else(|| PathBuf::from(name));
    ensure!(
        is_name(name),
        "{name:?} can't be a plugin's name: it consists of up to 63 lower-case letters, digits and hyphens, \
         with a letter in front"
    );
    if fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!(
            "{} is there and not empty: choose another --directory",
            folder.display()
        );
    }
    let files = match (args.lang, args.kind) {
        (Language::Rust, kind) => files(name, kind)?,
        (Language::Python, Kind::Claims) => python_files(name),
        (Language::Python, kind) => bail!(
            "there is no example of a {kind} plugin in Python, but of claims plugins only. What any language has \
             to export is in wit/ of a project in Rust"
        ),
    };
    for (path, content) in files {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(&folder);
        let written = fs::create_dir_all(parent).and_then(|()| fs::write(&path, content));
        written.with_context(|| format!("{} can't be written", path.display()))?;
    }
    let shown = folder.display();
    println!(
        "{shown}: a {} plugin that works. Read {shown}/README.md, and then:",
        args.kind
    );
    println!("  cd {shown}\n  witgate plugin build\n  witgate plugin test");
    Ok(())
}

/// A name that is one for the gateway and for cargo.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= 63 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(plain)
}

/// All files of a project in Rust, by their paths in it.
fn files(name: &str, kind: Kind) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let template = match kind {
        Kind::Claims => CLAIMS,
        Kind::Storage => STORAGE,
        Kind::Recovery => RECOVERY,
    };
    let own = |text: &str| own_words(text, name, kind);
    let mut files: Vec<(PathBuf, String)> = vec![
        ("Cargo.toml".into(), manifest::of(name, kind)?),
        ("Cargo.lock".into(), lock::of(name)?),
        ("README.md".into(), own(include_str!("../../templates/README.md"))),
        (".gitignore".into(), "/target\n/dist\n".to_owned()),
        ("src/lib.rs".into(), own(template.library)),
        ("cases/example.yaml".into(), own(template.cases)),
        ("config.json".into(), own(template.config)),
    ];
    let carried = CARRIED
        .iter()
        .filter(|(path, _)| !path.starts_with("plugins/Cargo."));
    files.extend(carried.map(|(path, text)| (Path::new(FOLDER).join(path), (*text).to_owned())));
    Ok(files)
}

/// All files of a claims plugin's project in Python.
fn python_files(name: &str) -> Vec<(PathBuf, String)> {
    let contract = CARRIED.iter().filter_map(|(path, text)| {
        let file = match Path::new(path).strip_prefix("wit").ok()?.to_str()? {
            path if path.starts_with("claims-") => "wit/claims.wit",
            path if path.starts_with("host-") => "wit/deps/host/host.wit",
            _ => return None,
        };
        Some((PathBuf::from(file), (*text).to_owned()))
    });
    let own = [
        ("app.py", include_str!("../../templates/python/app.py")),
        ("mapping.py", include_str!("../../templates/python/mapping.py")),
        (
            "test_mapping.py",
            include_str!("../../templates/python/test_mapping.py"),
        ),
        (
            "requirements.txt",
            include_str!("../../templates/python/requirements.txt"),
        ),
        ("README.md", include_str!("../../templates/python/README.md")),
        (".gitignore", "/.bindings\n/.venv\n/dist\n__pycache__\n"),
        ("cases/example.yaml", CLAIMS.cases),
        ("config.json", CLAIMS.config),
    ];
    let own = own.map(|(path, text)| (PathBuf::from(path), own_words(text, name, Kind::Claims)));
    own.into_iter().chain(contract).collect()
}

/// A template, with the plugin's name and kind in it.
fn own_words(template: &str, name: &str, kind: Kind) -> String {
    template
        .replace("PLUGIN_NAME", name)
        .replace("PLUGIN_KIND", &kind.to_string())
        .replace("WITGATE_VERSION", crate::VERSION)
}

/// A file that the binary carries.
fn carried(path: &str) -> anyhow::Result<&'static str> {
    let found = CARRIED.iter().find(|(carried, _)| *carried == path);
    let (_, text) = found.with_context(|| format!("this witgate was built without {path}"))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_has_the_contract_and_the_sdk_in_it() {
        let files = files("my-claims", Kind::Claims).unwrap();
        for path in [
            "witgate/wit/host-0.1.0/host.wit",
            "witgate/wit/claims-0.1.0/claims.wit",
            "witgate/plugins/sdk/Cargo.toml",
            "witgate/plugins/sdk/README.md",
            "witgate/plugins/sdk/src/storage/batch.rs",
        ] {
            assert!(files.iter().any(|(file, _)| file == Path::new(path)), "{path}");
        }
        let files = files.into_iter().chain(python_files("my-claims"));
        for (path, text) in files.filter(|(path, _)| !path.starts_with(FOLDER)) {
            for placeholder in ["PLUGIN_", "WITGATE_VERSION"] {
                assert!(
                    !text.contains(placeholder),
                    "{placeholder} is in {}",
                    path.display()
                );
            }
        }
    }

    #[test]
    fn names_that_nobody_takes_are_refused() {
        for name in ["", "My", "1st", "-a", "a_b", "../a", "a b"] {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_name("my-claims-2"));
    }
}
