//! `witgate dev`: a gateway to try things out, on this machine only.
//!
//! Everything it needs it makes: certificates, a configuration file, an issuer with two users. The
//! configuration is an ordinary one, so it can be edited while it runs.

mod certificate;
mod issuer;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use secrecy::ExposeSecret;
use witgate_apiserver::{Cluster, ClusterConfig};

use self::issuer::Issuer;
use crate::{cli::DevArgs, serve};

/// How long the current kubeconfig's cluster has to answer before it is taken for absent.
const CLUSTER_ANSWERS: Duration = Duration::from_secs(3);

/// The components that the configuration names.
const PLUGINS: [&str; 3] = ["claims-passthrough", "claims-rules", "storage-local"];

/// Where things are below the directory.
struct Layout {
    directory: PathBuf,
}

// === impl Layout ===

impl Layout {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a file that only its owner can read.
    fn write(&self, name: &str, content: &str) -> anyhow::Result<()> {
        use std::{io::Write, os::unix::fs::OpenOptionsExt};
        let file = self.path(name);
        let mut options = std::fs::OpenOptions::new();
        let opened = options
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&file);
        opened
            .and_then(|mut opened| opened.write_all(content.as_bytes()))
            .with_context(|| format!("{}: can't be written", file.display()))
    }

    /// What a file holds, or what `make` makes, which is then kept there.
    fn keep(&self, name: &str, make: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<String> {
        match std::fs::read_to_string(self.path(name)) {
            Ok(content) => Ok(content),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let content = make()?;
                self.write(name, &content)?;
                Ok(content)
            }
            Err(error) => Err(error).with_context(|| format!("{}: can't be read", self.path(name).display())),
        }
    }
}

/// Runs the gateway and its issuer until it is told to stop.
pub(crate) async fn run(args: &DevArgs) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.directory)
        .with_context(|| format!("{}: can't be made", args.directory.display()))?;
    let layout = Layout {
        directory: std::path::absolute(&args.directory)?,
    };
    let plugins = std::path::absolute(&args.plugins)?;
    for plugin in PLUGINS {
        let file = plugins.join(plugin).with_extension("wasm");
        ensure!(
            file.exists(),
            "{}: is not there: build the plugins (`make plugins`), or say where they are with --plugins",
            file.display()
        );
    }
    certificate::make(&layout)?;
    let issuer_port = args
        .port
        .checked_add(1)
        .context("--port is too high for the issuer to take the next one")?;
    let issuer = Issuer::open(&layout, issuer_port)?;
    let token = layout.keep("token", || {
        Ok(witgate_identity::generate_token().expose_secret().to_owned())
    })?;
    let kubeconfig = cluster().await;
    layout.write(
        "witgate.yaml",
        &configuration(args.port, issuer_port, &plugins, &token, kubeconfig.as_deref()),
    )?;
    layout.write(
        "kubeconfig",
        &user_kubeconfig(&layout, args.port, &issuer.id_token("alice", None)?),
    )?;
    layout.write("env", &environment(&layout, args.port)?)?;

    issuer.serve().await?;
    print_what_to_type(&args.directory, args.port, kubeconfig.as_deref());
    serve::serve(&layout.path("witgate.yaml")).await
}

/// Prints an id_token of the running issuer.
pub(crate) async fn token(args: &DevArgs, user: &str) -> anyhow::Result<()> {
    let port = args.port.saturating_add(1);
    let url = format!("http://127.0.0.1:{port}/token");
    let form = [
        ("grant_type", "password"),
        ("username", user),
        ("client_id", issuer::CLIENT),
    ];
    let answer = reqwest::Client::new()
        .post(&url)
        .form(&form)
        .send()
        .await
        .with_context(|| format!("no issuer answers at {url}: is `witgate dev` running?"))?;
    let status = answer.status();
    let body: serde_json::Value = answer.json().await.context("the issuer's answer is not JSON")?;
    match body.get("id_token").and_then(serde_json::Value::as_str) {
        Some(token) => println!("{token}"),
        None => bail!("the issuer answered {status}: {body}"),
    }
    Ok(())
}

/// The kubeconfig of the cluster that kubectl would talk to now, if that cluster answers.
async fn cluster() -> Option<PathBuf> {
    let file = match std::env::var_os("KUBECONFIG") {
        Some(file) => PathBuf::from(file),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".kube/config"),
    };
    let config = ClusterConfig {
        name: "dev".to_owned(),
        kubeconfig: Some(file.clone()),
        ..Default::default()
    };
    let cluster = Cluster::connect(&config, Path::new(".")).await.ok()?;
    let version = tokio::time::timeout(CLUSTER_ANSWERS, cluster.check())
        .await
        .ok()?
        .ok()?;
    tracing::info!(kubeconfig = %file.display(), version, "a cluster answers");
    Some(file)
}

fn configuration(
    port: u16,
    issuer_port: u16,
    plugins: &Path,
    token: &str,
    kubeconfig: Option<&Path>,
) -> String {
    let plugins = plugins.display();
    let token = witgate_identity::hash_token(&token.into());
    let clusters = match kubeconfig {
        Some(file) => format!(
            "  - name: dev\n    kubeconfig: {:?}\n",
            file.display().to_string()
        ),
        None => "  []\n".to_owned(),
    };
    format!(
        r#"# Made by `witgate dev`. Changes take effect at once; the next start writes it anew.
listeners:
  - address: 127.0.0.1:{port}
    tls: {{certificateFile: certificate.pem, keyFile: key.pem}}
state: {{directory: state}}
plugins:
  passthrough:
    kind: claims
    file: "{plugins}/claims-passthrough.wasm"
  rules:
    kind: claims
    file: "{plugins}/claims-rules.wasm"
    config:
      user: {{claim: email}}
      groups:
        claim: groups
        rules:
          - prefix: "dev:"
  local:
    kind: storage
    file: "{plugins}/storage-local.wasm"
    grants:
      keyValue: {{maxBytes: 1GiB}}
identity:
  publicUrl: https://localhost:{port}
  issuers:
    - name: dev
      url: http://127.0.0.1:{issuer_port}
      clientId: {client}
      claims: passthrough          # or: rules
  tokens:
    - name: example-machine
      sha256: {token}
      user: example-machine
      groups: [metrics]
clusters:
{clusters}prometheus:
  tenants:
    - name: dev
      storage: local
      write: {{groups: [metrics]}}
      read: {{groups: [metrics]}}
admin: {{groups: [platform]}}      # alice
publicCaFile: ca.pem
audit: {{file: audit.log}}
"#,
        client = issuer::CLIENT,
    )
}

fn user_kubeconfig(layout: &Layout, port: u16, token: &str) -> String {
    let authority = layout.path("ca.pem");
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: dev\n\
         clusters:\n- name: dev\n  cluster: {{server: 'https://localhost:{port}/clusters/dev', certificate-authority: {authority:?}}}\n\
         users:\n- name: alice\n  user: {{token: {token}}}\n\
         contexts:\n- name: dev\n  context: {{cluster: dev, user: alice}}\n"
    )
}

/// What the printed commands need, for a shell to read.
fn environment(layout: &Layout, port: u16) -> anyhow::Result<String> {
    let binary = std::env::current_exe().context("the path of this program can't be found")?;
    let binaries = binary.parent().unwrap_or(Path::new("/")).display();
    Ok(format!(
        "export PATH='{binaries}':\"$PATH\"\n\
         export WITGATE_DEV_PORT='{port}'\n\
         export WITGATE_SERVER='https://localhost:{port}'\n\
         export WITGATE_CA_FILE='{}'\n\
         export WITGATE_TOKEN_FILE='{}'\n",
        layout.path("ca.pem").display(),
        layout.path("token").display(),
    ))
}

fn print_what_to_type(directory: &Path, port: u16, kubeconfig: Option<&Path>) {
    let directory = directory.display();
    println!(
        r#"
witgate dev — for trying out, on this machine only

  Log in            https://localhost:{port}/   as alice or bob (authority: {directory}/ca.pem)
  Command line      after `. {directory}/env`: witgate login, whoami, sessions, revoke, kubeconfig
  Configuration     {directory}/witgate.yaml    edit it: changes take effect at once

In another terminal, in this directory:

  . {directory}/env
  witgate prometheus write 'room_temperature{{room="lab"}} 21.5'
  witgate prometheus read 'room_temperature'"#
    );
    match kubeconfig {
        Some(file) => println!(
            r#"  kubectl --kubeconfig {directory}/kubeconfig get namespaces    # Forbidden, with alice's name
  kubectl --kubeconfig {file} create clusterrole witgate-dev --verb=get,list --resource=namespaces
  kubectl --kubeconfig {file} create clusterrolebinding witgate-dev --clusterrole=witgate-dev --group=platform
  kubectl --kubeconfig {directory}/kubeconfig get namespaces    # and now not: alice is in platform
  kubectl --kubeconfig {directory}/kubeconfig --token "$(witgate dev token bob)" get namespaces    # Forbidden: bob is not
"#,
            file = file.display()
        ),
        None => println!(
            "\nNo cluster: neither the current kubeconfig's answers, nor was one started. Start one and \
             run this again, or `make lab` for the test lab's.\n"
        ),
    }
}
