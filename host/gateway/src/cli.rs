//! The command line.

pub(crate) mod plugin;
pub(crate) mod recovery;

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
    /// Write a sample to a gateway, read some back, or print what Prometheus has to be told.
    #[command(subcommand)]
    Prometheus(PrometheusCommand),
    /// Find out where the way through a gateway is broken, and what to do about it.
    #[command(subcommand)]
    Doctor(DoctorCommand),
    /// Write a plugin: make a project, build, check and test it, look at it.
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// See what is wrong with the control plane behind a gateway, and have it repaired.
    #[command(subcommand)]
    Recovery(Box<recovery::RecoveryCommand>),
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
    /// Print the configuration with which a Prometheus writes to a tenant and reads from it.
    ///
    /// The gateway is asked what the tenant's storage holds and how much it takes. What is printed has
    /// the names of files or Secrets, and never what is in them.
    #[command(after_long_help = CONFIG_EXAMPLES)]
    Config(Box<PrometheusConfigArgs>),
}

const CONFIG_EXAMPLES: &str = "\
Examples:
  On the machine of a Prometheus, with the credential that it has:
    witgate prometheus config --server https://gateway.example.com --tenant platform \\
        --token-file /etc/prometheus/witgate-token

  Elsewhere, after `witgate login`, naming what Prometheus has:
    witgate prometheus config --server https://gateway.example.com --tenant platform \\
        --basic-user prometheus --basic-password-file /etc/prometheus/password

  For the Prometheus Operator (spec.remoteWrite and spec.remoteRead of a Prometheus):
    witgate prometheus config --server https://gateway.example.com --tenant platform \\
        --operator --secret witgate --credentials-file token";

#[derive(Debug, Subcommand)]
pub(crate) enum DoctorCommand {
    /// Send samples of every kind the whole way to the storage and back, and say where they don't arrive.
    ///
    /// Looks at the gateway's certificate, the credential, the tenant, its limits, the storage plugin and
    /// the backend; writes one sample of each kind that the storage says it holds, reads it back in both
    /// forms that Prometheus reads, and compares bits. What a storage does not hold has to be refused with
    /// its count and a reason. Each run leaves seven series of one sample, named witgate_doctor_... and
    /// labelled with witgate_run.
    ///
    /// Ends with 0 if everything arrives, and with 1 if not.
    #[command(after_long_help = DOCTOR_EXAMPLES)]
    Prometheus(DoctorArgs),
}

const DOCTOR_EXAMPLES: &str = "\
Examples:
  With the credential that a Prometheus has:
    witgate doctor prometheus --server https://gateway.example.com --token-file /etc/prometheus/token
    witgate doctor prometheus --server https://gateway.example.com \\
        --username prometheus --password-file /etc/prometheus/password --ca-file /etc/prometheus/ca.pem

  As yourself, after `witgate login`:
    witgate doctor prometheus --server https://gateway.example.com";

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,
    /// The tenant, for who may use several: by default the first one in the gateway's configuration.
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
    /// The `db` that Prometheus has in its URLs, if it uses InfluxDB's paths: it selects the tenant.
    #[arg(long, value_name = "DB")]
    pub(crate) database: Option<String>,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PrometheusConfigArgs {
    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,
    /// The tenant. Needless for who may use one only.
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
    /// Print spec.remoteWrite and spec.remoteRead for the Prometheus Operator instead: what would be
    /// paths of files is then keys of --secret.
    #[arg(long, requires = "secret")]
    pub(crate) operator: bool,
    /// The Secret, in the namespace of the Prometheus.
    #[arg(long, value_name = "NAME", requires = "operator")]
    pub(crate) secret: Option<String>,
    #[command(flatten)]
    pub(crate) shown: ShownArgs,
}

/// How the Prometheus shows who it is; by default as this command does.
#[derive(Debug, Args)]
#[command(next_help_heading = "How the Prometheus shows who it is (default: as this command does)")]
pub(crate) struct ShownArgs {
    /// A file on its machine that holds a bearer token.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["basic_user", "oauth2_token_url"])]
    pub(crate) credentials_file: Option<String>,
    /// A name for basic authentication. With --operator: the Secret's key that holds it.
    #[arg(
        long,
        value_name = "USER",
        requires = "basic_password_file",
        conflicts_with = "oauth2_token_url"
    )]
    pub(crate) basic_user: Option<String>,
    /// A file on its machine that holds the password of --basic-user.
    #[arg(long, value_name = "FILE", requires = "basic_user")]
    pub(crate) basic_password_file: Option<String>,
    /// The issuer's token endpoint, where it gets tokens by its client credentials (OAuth 2.0).
    #[arg(long, value_name = "URL", requires_all = ["oauth2_client_id", "oauth2_client_secret_file"])]
    pub(crate) oauth2_token_url: Option<url::Url>,
    /// Its client id. With --operator: the Secret's key that holds it.
    #[arg(long, value_name = "ID", requires = "oauth2_token_url")]
    pub(crate) oauth2_client_id: Option<String>,
    /// A file on its machine that holds the client's secret.
    #[arg(long, value_name = "FILE", requires = "oauth2_token_url")]
    pub(crate) oauth2_client_secret_file: Option<String>,
    /// A scope to ask for. May be given more than once.
    #[arg(long = "oauth2-scope", value_name = "SCOPE", requires = "oauth2_token_url")]
    pub(crate) oauth2_scopes: Vec<String>,
    /// A file on its machine with the authority of the gateway's certificate. Default: --ca-file, unless
    /// with --operator.
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca_file: Option<String>,
}

/// Which gateway to call, and as whom.
#[derive(Debug, Args)]
pub(crate) struct GatewayArgs {
    /// The gateway's URL.
    #[arg(long, env = "WITGATE_SERVER", value_name = "URL")]
    pub(crate) server: url::Url,
    /// A file that holds the bearer token to show. Without it, and without --username, the login of
    /// `witgate login` counts.
    #[arg(long, env = "WITGATE_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// A name to show instead, by basic authentication.
    #[arg(long, value_name = "USER", requires = "password_file")]
    pub(crate) username: Option<String>,
    /// A file that holds the password of --username.
    #[arg(long, value_name = "FILE", requires = "username")]
    pub(crate) password_file: Option<PathBuf>,
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
