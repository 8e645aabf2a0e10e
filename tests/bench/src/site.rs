//! What several figures are measured on: nginx that answers over TLS and is an issuer besides, and a
//! gateway in front of it.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use ring::{
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    process::{Program, free_port},
    root,
};

/// Bytes of the answer.
const BODY: usize = 2048;

/// The programs, and where they are.
pub(crate) struct Site {
    directory: TempDir,
    /// nginx's port, with TLS.
    pub(crate) upstream: u16,
    gateway: u16,
    pub(crate) issuer: Issuer,
    pub(crate) witgate: Program,
    _nginx: Program,
}

/// Who vouches for the callers.
pub(crate) struct Issuer {
    url: String,
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
}

/// How a token is signed.
#[derive(Clone, Copy)]
pub(crate) enum Algorithm {
    Rs256,
    Es256,
}

impl Site {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name);
        let (upstream, issuer_port, gateway) = (free_port()?, free_port()?, free_port()?);
        certificates(directory.path())?;
        let issuer = Issuer::make(directory.path(), issuer_port)?;
        std::fs::write(at("nginx.conf"), nginx(directory.path(), upstream, issuer_port))?;
        std::fs::write(at("kubeconfig"), kubeconfig(directory.path(), upstream))?;
        std::fs::write(at("witgate.yaml"), configuration(gateway, issuer_port))?;
        let mut nginx = Command::new("nginx");
        nginx
            .arg("-c")
            .arg(at("nginx.conf"))
            .arg("-e")
            .arg(at("nginx-error.log"));
        let nginx = Program::start(&mut nginx, &at("nginx.log"), upstream).await?;
        let witgate = witgate(directory.path(), gateway).await?;
        Ok(Self {
            directory,
            upstream,
            gateway,
            issuer,
            witgate,
            _nginx: nginx,
        })
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What is asked for, through the gateway.
    pub(crate) fn through(&self) -> String {
        format!("https://127.0.0.1:{}/clusters/bench/api/v1/nodes", self.gateway)
    }

    /// The same, asked of nginx itself.
    pub(crate) fn direct(&self) -> String {
        format!("https://127.0.0.1:{}/api/v1/nodes", self.upstream)
    }

    /// A client that trusts all of them, over HTTP/1.1.
    pub(crate) fn client(&self) -> anyhow::Result<reqwest::Client> {
        let authority = std::fs::read(self.directory().join("ca.pem"))?;
        let authority = reqwest::Certificate::from_pem(&authority)?;
        let client = reqwest::Client::builder().http1_only().no_proxy();
        Ok(client.tls_certs_only([authority]).build()?)
    }
}

/// Asks as fast as it goes, with 32 connections; how many requests were answered.
pub(crate) async fn wrk(url: &str, token: &str, time: Duration) -> anyhow::Result<f64> {
    let out = Command::new("wrk")
        .args(["-t", "1", "-c", "32", "-d"])
        .arg(format!("{}s", time.as_secs()))
        .args(["-H", &format!("Authorization: Bearer {token}"), url])
        .output()
        .await
        .context("wrk can't be started: is it installed?")?;
    let out = String::from_utf8(out.stdout)?;
    ensure!(!out.contains("Non-2xx"), "{url} answers with errors:\n{out}");
    out.lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .and_then(|(count, _)| count.parse::<f64>().ok())
        .with_context(|| format!("wrk says:\n{out}"))
}

/// Starts the gateway with the configuration that is in a directory.
pub(crate) async fn witgate(directory: &Path, port: u16) -> anyhow::Result<Program> {
    let mut witgate = Command::new(root().join("target/release/witgate"));
    witgate
        .env("RUST_LOG", "warn")
        .arg("serve")
        .arg("--config")
        .arg(directory.join("witgate.yaml"));
    Program::start(&mut witgate, &directory.join("witgate.log"), port).await
}

/// An authority and one certificate for 127.0.0.1, which all of them show.
pub(crate) fn certificates(directory: &Path) -> anyhow::Result<()> {
    let authority_key = rcgen::KeyPair::generate()?;
    let mut authority = rcgen::CertificateParams::new(Vec::new())?;
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_certificate = authority.self_signed(&authority_key)?;
    let key = rcgen::KeyPair::generate()?;
    let mut server = rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    // By default it would have the authority's name, and count as signed by itself.
    server
        .distinguished_name
        .push(rcgen::DnType::CommonName, "localhost");
    let certificate = server.signed_by(&key, &rcgen::Issuer::new(authority, authority_key))?;
    std::fs::write(directory.join("ca.pem"), authority_certificate.pem())?;
    std::fs::write(directory.join("certificate.pem"), certificate.pem())?;
    std::fs::write(directory.join("key.pem"), key.serialize_pem())?;
    std::fs::write(
        directory.join("both.pem"),
        format!("{}{}", certificate.pem(), key.serialize_pem()),
    )?;
    Ok(())
}

impl Issuer {
    /// Makes keys, and the files that have nginx be an issuer.
    fn make(directory: &Path, port: u16) -> anyhow::Result<Self> {
        let issuer = Self {
            url: format!("http://127.0.0.1:{port}"),
            rsa: rsa_key(directory)?,
            ec: ec_key()?,
        };
        let strip = |bytes: &[u8]| BASE64URL.encode(bytes);
        let rsa = PublicKeyComponents::<Vec<u8>>::from(issuer.rsa.public_key());
        // An uncompressed point: 4, x, y.
        let (x, y) = issuer
            .ec
            .public_key()
            .as_ref()
            .get(1..)
            .context("a point")?
            .split_at(32);
        let keys = json!({"keys": [
            {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "RS256", "n": strip(&rsa.n), "e": strip(&rsa.e)},
            {"kty": "EC", "use": "sig", "alg": "ES256", "kid": "ES256", "crv": "P-256", "x": strip(x), "y": strip(y)},
        ]});
        let url = &issuer.url;
        let discovery = json!({
            "issuer": url, "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"), "jwks_uri": format!("{url}/keys"),
            "response_types_supported": ["code"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        });
        let files = directory.join("issuer");
        std::fs::create_dir_all(files.join(".well-known"))?;
        std::fs::write(files.join("keys"), keys.to_string())?;
        std::fs::write(
            files.join(".well-known/openid-configuration"),
            discovery.to_string(),
        )?;
        Ok(issuer)
    }

    /// A token for an hour. Two of them with different ids are different tokens.
    pub(crate) fn token(&self, algorithm: Algorithm, id: &str) -> anyhow::Result<String> {
        let name = match algorithm {
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let groups: Vec<_> = (0..10).map(|index| format!("team-{index}")).collect();
        let claims = json!({
            "iss": self.url, "aud": "witgate", "sub": "bench", "iat": now, "exp": now + 3600, "jti": id,
            "email": "bench@example.com", "email_verified": true, "groups": groups,
        });
        let header = json!({"alg": name, "typ": "JWT", "kid": name});
        let signed = format!(
            "{}.{}",
            BASE64URL.encode(header.to_string()),
            BASE64URL.encode(claims.to_string())
        );
        let random = SystemRandom::new();
        let failed = |error| anyhow::anyhow!("signing failed: {error}");
        let signature = match algorithm {
            Algorithm::Rs256 => {
                let mut signature = vec![0; self.rsa.public().modulus_len()];
                { &self.rsa }
                    .sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature)
                    .map_err(failed)?;
                signature
            }
            Algorithm::Es256 => {
                let signature = self.ec.sign(&random, signed.as_bytes()).map_err(failed)?;
                signature.as_ref().to_vec()
            }
        };
        Ok(format!("{signed}.{}", BASE64URL.encode(signature)))
    }
}

/// ring makes no RSA keys.
fn rsa_key(directory: &Path) -> anyhow::Result<RsaKeyPair> {
    let file: PathBuf = directory.join("rsa.der");
    let openssl = |args: &[&str]| -> anyhow::Result<()> {
        let out = std::process::Command::new("openssl")
            .args(args)
            .current_dir(directory)
            .output()
            .context("openssl")?;
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        ensure!(out.status.success(), "openssl: {said}");
        Ok(())
    };
    let bits = "rsa_keygen_bits:2048";
    openssl(&[
        "genpkey",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        bits,
        "-outform",
        "DER",
        "-out",
        "rsa.der",
    ])?;
    openssl(&[
        "pkey",
        "-inform",
        "DER",
        "-in",
        "rsa.der",
        "-pubout",
        "-out",
        "rsa.pub.pem",
    ])?;
    let private = std::fs::read(file)?;
    // Which of the two forms it is depends on OpenSSL's version.
    RsaKeyPair::from_pkcs8(&private)
        .or_else(|_| RsaKeyPair::from_der(&private))
        .map_err(|error| anyhow::anyhow!("the RSA key is not accepted: {error}"))
}

fn ec_key() -> anyhow::Result<EcdsaKeyPair> {
    let failed = |error: &dyn std::fmt::Display| anyhow::anyhow!("the EC key is not accepted: {error}");
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|error| failed(&error))?;
    EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).map_err(|error| failed(&error))
}

fn nginx(directory: &Path, upstream: u16, issuer: u16) -> String {
    let body = "x".repeat(BODY);
    format!(
        "daemon off; worker_processes 1; pid {dir}/nginx.pid;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log off; keepalive_requests 1000000000; default_type application/json;\n\
         server {{ listen 127.0.0.1:{upstream} ssl; ssl_certificate {dir}/certificate.pem; \
         ssl_certificate_key {dir}/key.pem; ssl_protocols TLSv1.3; location / {{ return 200 '{body}'; }} }}\n\
         server {{ listen 127.0.0.1:{issuer}; root {dir}/issuer; }}\n}}\n",
        dir = directory.display(),
    )
}

pub(crate) fn kubeconfig(directory: &Path, upstream: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: bench\n\
         clusters:\n- name: bench\n  cluster: {{server: 'https://127.0.0.1:{}', certificate-authority: '{}/ca.pem'}}\n\
         users:\n- name: gateway\n  user: {{token: the-gateways-own}}\n\
         contexts:\n- name: bench\n  context: {{cluster: bench, user: gateway}}\n",
        upstream,
        directory.display(),
    )
}

fn configuration(gateway: u16, issuer: u16) -> String {
    let plugins = root().join("plugins/dist");
    format!(
        "listeners:\n- address: 127.0.0.1:{gateway}\n  tls: {{certificateFile: certificate.pem, keyFile: key.pem}}\n\
         state: {{directory: state}}\n\
         plugins:\n  passthrough: {{kind: claims, file: '{plugins}/claims-passthrough.wasm'}}\n\
         identity:\n  publicUrl: https://localhost:{gateway}\n  issuers:\n  \
         - {{name: bench, url: 'http://127.0.0.1:{issuer}', clientId: witgate, claims: passthrough}}\n\
         clusters:\n- {{name: bench, kubeconfig: kubeconfig}}\n\
         audit: {{file: audit.log}}\n",
        plugins = plugins.display(),
    )
}
