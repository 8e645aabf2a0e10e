//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// An authenticating gateway for Kubernetes and Prometheus, extended with WebAssembly plugins.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How the log on standard error looks. What it holds is set by RUST_LOG (default: info).
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway.
    Serve(ConfigFile),
    /// Look at a configuration without running it.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Log in at a gateway, in a browser.
    Login(LoginArgs),
    /// End this machine's session at a gateway, and forget its tokens.
    Logout(ServerArgs),
    /// Say who you are to a gateway.
    Whoami {
        #[command(flatten)]
        server: ServerArgs,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a kubeconfig for the clusters behind a gateway.
    Kubeconfig(KubeconfigArgs),
    /// Print a token for kubectl, which runs this by itself.
    Credential(ServerArgs),
    /// List your sessions.
    Sessions {
        #[command(flatten)]
        server: ServerArgs,
        /// Everybody's, for who administers them.
        #[arg(long)]
        all: bool,
    },
    /// Make credentials worthless at once: what they opened is cut, too.
    Revoke(RevokeArgs),
    /// List what is revoked, or lift it.
    Revocations(RevocationsArgs),
    /// Make the hashes that a configuration holds instead of credentials.
    #[command(subcommand)]
    Hash(HashCommand),
    /// Write a sample to a gateway, or read some back.
    #[command(subcommand)]
    Prometheus(PrometheusCommand),
    /// Run a gateway to try things out, with an issuer and two users of its own, on this machine only.
    Dev(DevArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// The configuration file.
    #[arg(long, short, value_name = "FILE", env = "WITGATE_CONFIG")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check everything that `serve` would check, and load the plugins; say what is wrong.
    Check(ConfigFile),
    /// Print the JSON Schema of the configuration file.
    Schema,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HashCommand {
    /// Read a password from standard input and print its hash for `identity.basic`.
    Password,
    /// Print a new random token, and its hash for `identity.tokens`.
    Token,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PrometheusCommand {
    /// Write samples, with the time of now.
    Write {
        #[command(flatten)]
        gateway: GatewayArgs,
        /// Samples in Prometheus' text form: 'room_temperature{room="lab"} 21.5'
        #[arg(required = true, value_name = "SAMPLE")]
        samples: Vec<String>,
    },
    /// Read the samples of a selector, and print them in Prometheus' text form.
    Read {
        #[command(flatten)]
        gateway: GatewayArgs,
        /// A selector: 'room_temperature{room=~"lab|attic"}'
        selector: String,
        /// How far back, in minutes.
        #[arg(long, default_value_t = 60)]
        minutes: u32,
    },
}

/// Which gateway to call, and as whom.
#[derive(Debug, Args)]
pub(crate) struct GatewayArgs {
    /// The gateway's URL.
    #[arg(long, env = "WITGATE_SERVER", value_name = "URL")]
    pub(crate) server: url::Url,
    /// A file that holds the bearer token to show.
    #[arg(long, env = "WITGATE_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: PathBuf,
    /// A PEM file with the authorities to trust instead of the system's.
    #[arg(long, env = "WITGATE_CA_FILE", value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    #[command(subcommand)]
    pub(crate) command: Option<DevCommand>,
    /// Where everything is kept: configuration, certificates, state.
    #[arg(long, global = true, default_value = ".witgate")]
    pub(crate) directory: PathBuf,
    /// Where the plugins' components are.
    #[arg(long, default_value = "plugins/dist")]
    pub(crate) plugins: PathBuf,
    /// The gateway's port on localhost. The issuer takes the next one.
    #[arg(long, global = true, env = "WITGATE_DEV_PORT", default_value_t = 8443)]
    pub(crate) port: u16,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DevCommand {
    /// Print an id_token of the running development issuer, for kubectl's --token.
    Token {
        /// alice or bob
        user: String,
    },
}

/// Which gateway.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The gateway's URL, as its users know it.
    #[arg(long, env = "WITGATE_SERVER", value_name = "URL")]
    pub(crate) server: url::Url,
    /// A PEM file with the authorities to trust instead of the system's. Remembered by `login`.
    #[arg(long, env = "WITGATE_CA_FILE", value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Show a code to type into a browser on another machine.
    #[arg(long)]
    pub(crate) no_browser: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KubeconfigArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Put it into this kubeconfig, and leave what else is there. By default it is printed.
    #[arg(long, value_name = "FILE")]
    pub(crate) merge: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(subcommand)]
    pub(crate) what: RevokeWhat,
    /// Also what is given out later, until it is lifted.
    #[arg(long, global = true, conflicts_with = "before")]
    pub(crate) block: bool,
    /// What was given out before this time, as in 2026-01-31T12:00:00Z. Default: now.
    #[arg(long, global = true, value_name = "TIME", value_parser = humantime::parse_rfc3339)]
    pub(crate) before: Option<std::time::SystemTime>,
    /// Why, for those who look at it later.
    #[arg(long, global = true)]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct RevocationsArgs {
    #[command(subcommand)]
    pub(crate) command: Option<RevocationsCommand>,
    #[command(flatten)]
    pub(crate) server: Option<ServerArgs>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RevocationsCommand {
    /// Let what was revoked hold again.
    Lift(LiftArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LiftArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(subcommand)]
    pub(crate) what: RevokeWhat,
}

/// What is revoked.
#[derive(Debug, Subcommand)]
pub(crate) enum RevokeWhat {
    /// One session, as `witgate sessions` lists it. Anybody may end their own.
    Session { id: witgate_identity::SessionId },
    /// Everything of a user.
    User {
        /// The name, as the claims plugin gives it.
        name: String,
    },
    /// One bearer token.
    Token {
        /// A file that holds it.
        file: PathBuf,
    },
    /// Everything of everybody.
    Everything,
}
