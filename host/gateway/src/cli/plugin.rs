//! `witgate plugin`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Make a project for a new plugin, with an example that works.
    ///
    /// The project has all that it takes in it: the contract, tests, recorded inputs, and in Rust the SDK. It is
    /// built with Rust and its target wasm32-wasip2, or with componentize-py, and nothing of it is fetched from
    /// a witgate repository.
    #[command(after_long_help = NEW_EXAMPLES)]
    New(NewArgs),
    /// Build the project's component into dist/.
    Build(BuildArgs),
    /// Say what a component is: its kind, what it wants and exports, its digest, its configuration.
    ///
    /// Runs nothing of it, and takes components for other versions of the gateway, too.
    Inspect {
        /// The component.
        file: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Try whether this gateway can load a component, and explain what doesn't fit.
    ///
    /// The component is read, compiled, linked and started by the code that `serve` does it with. What its
    /// operator has to grant is said. Ends with 0 if it can be loaded, and with 1 if not.
    #[command(after_long_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Run a component in the gateway's own runtime with recorded inputs, and compare what comes of it.
    ///
    /// There is no gateway: limits, grants, secrets and the key-value space are as in one, and what the plugin
    /// logs is printed. Each case has a state of its own. Ends with 0 if all cases pass, and with 1 if not.
    #[command(after_long_help = TEST_EXAMPLES)]
    Test(TestArgs),
}

const TEST_EXAMPLES: &str = "\
Examples:
  witgate plugin test                                        # dist/*.wasm with cases/
  witgate plugin test other.wasm --cases other-cases/groups.yaml

A file of cases has a section `plugin` with what would stand under the plugin's name in a
gateway's configuration (config, grants, limits), and a list `cases`. Each has a `name`, and:

  claims    `claims`: what an issuer has signed; and one of
              identity: {user, uid, groups, extra}
              denied: the plugin's words
              refused: the gateway's words about what the plugin says, or a part of them
              failed: a trap or a limit, or a part of the words
  storage   `steps`, each one of
              write: {tenant, series}
              read: {tenant, selector, start, end}, with `found`: series
            and if it does not succeed, `refused`: {status, says}.
            Series are written 'up{job=\"a\"}': [[1000, 1.5], [2000, stale]]
            `attributes` by tenant: what a configuration would say there.
  recovery  `survey` and `objects`: what is seen; `findings`, and by their subjects `plans`.
            What is left out of a finding or a plan may be anything.
  any       `http`: what it asks a backend and is answered, in this order. The backend is
            http://recorded in the plugin's config and grants. Each has
              request: {method, path, headers, body}
              answer: {status, headers, body, base64}

Secrets' files are beside the file of cases. `witgate plugin new` makes a file for each kind.";

const NEW_EXAMPLES: &str = "\
Examples:
  witgate plugin new my-claims --kind claims
  cd my-claims
  witgate plugin build      # dist/my-claims.wasm
  witgate plugin test       # what cases/ says, in the gateway's own runtime
  witgate plugin inspect dist/my-claims.wasm    # what to put into a gateway's configuration";

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// The plugin's name: lower-case letters, digits and hyphens.
    pub(crate) name: String,
    /// What it does: claims says which user and groups a token means, storage keeps samples, recovery finds
    /// out what is wrong with a control plane.
    #[arg(long, value_parser = kind, value_name = "claims|storage|recovery")]
    pub(crate) kind: witgate_plugins::Kind,
    /// The language to write it in.
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    pub(crate) lang: Language,
    /// Where to make it. Default: a folder of that name, here.
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Language {
    /// With the SDK, for all kinds.
    Rust,
    /// With componentize-py, for claims plugins.
    Python,
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The project's folder.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) project: PathBuf,
    /// Fail if that takes other dependencies than Cargo.lock has. In Python, requirements.txt pins the only one.
    #[arg(long)]
    pub(crate) locked: bool,
}

const CHECK_EXAMPLES: &str = "\
Examples:
  witgate plugin check dist/my-claims.wasm
  witgate plugin check dist/my-claims.wasm --config '{\"claim\": \"email\"}'
  witgate plugin check dist/my-claims.wasm --config config.yaml";

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The component. Default: the only one in dist/.
    pub(crate) file: Option<PathBuf>,
    /// A folder with .yaml and .json files of cases, or one such file.
    #[arg(long, value_name = "DIR|FILE", default_value = "cases")]
    pub(crate) cases: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The component.
    pub(crate) file: PathBuf,
    /// What it has to be: claims, storage or recovery. Default: what it exports.
    #[arg(long, value_parser = kind, value_name = "claims|storage|recovery")]
    pub(crate) kind: Option<witgate_plugins::Kind>,
    /// The plugin's own configuration, as JSON, or a YAML or JSON file with it: what would stand under
    /// `config`.
    #[arg(long, value_name = "JSON|FILE")]
    pub(crate) config: Option<String>,
}

fn kind(text: &str) -> Result<witgate_plugins::Kind, String> {
    use witgate_plugins::Kind;
    [Kind::Claims, Kind::Storage, Kind::Recovery]
        .into_iter()
        .find(|kind| kind.to_string() == text)
        .ok_or_else(|| "there are claims, storage and recovery".to_owned())
}
