//! `witgate plugin`: for who writes a plugin, and for who is given one.

mod build;
mod check;
mod inspect;
mod project;
mod test;

use std::path::Path;

use crate::cli::plugin::PluginCommand;

/// Runs one of the commands.
pub(crate) async fn run(command: &PluginCommand) -> anyhow::Result<()> {
    match command {
        PluginCommand::New(args) => project::run(args),
        PluginCommand::Build(args) => build::run(args).await,
        PluginCommand::Inspect { file, json } => inspect::run(file, *json).await,
        PluginCommand::Check(args) => check::run(args).await,
        PluginCommand::Test(args) => test::run(args).await,
    }
}

/// What a plugin could be called in a configuration, going by its file.
fn name(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let letter = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_lowercase() || c.is_ascii_digit() => c,
        _ => '-',
    };
    let name: String = stem.chars().map(letter).take(63).collect();
    match name.trim_matches('-') {
        "" => "my-plugin".to_owned(),
        name => name.to_owned(),
    }
}
