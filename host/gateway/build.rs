//! Lists the files that `witgate plugin new` puts into a project, so that the binary carries them: the
//! contract and the SDK, as they stand in this repository.

use std::{
    env,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

const CARRIED: [&str; 4] = ["plugins/Cargo.lock", "plugins/Cargo.toml", "plugins/sdk", "wit"];

fn main() -> io::Result<()> {
    let variable = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .ok_or(io::ErrorKind::NotFound)
    };
    let root = variable("CARGO_MANIFEST_DIR")?.join("../..").canonicalize()?;
    let mut files = Vec::new();
    for carried in CARRIED {
        let path = root.join(carried);
        println!("cargo::rerun-if-changed={}", path.display());
        collect(&path, &mut files)?;
    }
    files.sort();
    let mut list = String::from("&[\n");
    for file in files {
        let name = file.strip_prefix(&root).map_err(io::Error::other)?;
        writeln!(
            list,
            "({:?}, include_str!({:?})),",
            name.display().to_string(),
            file
        )
        .map_err(io::Error::other)?;
    }
    list.push_str("]\n");
    fs::write(variable("OUT_DIR")?.join("carried.rs"), list)
}

/// The text files at a path and below it.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    } else if path.extension().is_some_and(|kind| {
        ["lock", "md", "rs", "toml", "wit"]
            .iter()
            .any(|text| kind == *text)
    }) {
        files.push(path.to_owned());
    }
    Ok(())
}
