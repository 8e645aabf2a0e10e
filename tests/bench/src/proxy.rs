//! Processor time per request: TLS, verified identity, impersonation and audit, against HAProxy.
//!
//! nginx answers every request with 2 KB over TLS. In front of it stand in turn the gateway, HAProxy
//! that only forwards, and HAProxy that verifies the token with `jwt_verify`; wrk asks through each
//! with 32 connections.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use ring::{
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::json;
use tokio::process::Command;

use crate::{
    figure, median,
    process::{Program, free_port},
    root,
};

/// Rounds, in each of which every proxy has its turn.
const ROUNDS: usize = 5;

/// How long one turn is.
const TURN: Duration = Duration::from_secs(4);

/// Bytes of the answer.
const BODY: usize = 2048;

struct Ports {
    upstream: u16,
    issuer: u16,
    plain: u16,
    jwt: u16,
    gateway: u16,
}

pub(crate) async fn run() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let at = |name: &str| directory.path().join(name);
    let ports = Ports {
        upstream: free_port()?,
        issuer: free_port()?,
        plain: free_port()?,
        jwt: free_port()?,
        gateway: free_port()?,
    };
    certificates(directory.path())?;
    let token = issuer_and_token(directory.path(), ports.issuer)?;
    std::fs::write(at("nginx.conf"), nginx(directory.path(), &ports))?;
    std::fs::write(at("haproxy.cfg"), haproxy(directory.path(), &ports))?;
    std::fs::write(at("kubeconfig"), kubeconfig(directory.path(), &ports))?;
    std::fs::write(at("witgate.yaml"), gateway(&ports)?)?;

    let mut nginx = Command::new("nginx");
    nginx
        .arg("-c")
        .arg(at("nginx.conf"))
        .arg("-e")
        .arg(at("nginx-error.log"));
    let _nginx = Program::start(&mut nginx, &at("nginx.log"), ports.upstream).await?;
    let mut haproxy = Command::new("haproxy");
    haproxy.arg("-f").arg(at("haproxy.cfg"));
    let haproxy = Program::start(&mut haproxy, &at("haproxy.log"), ports.plain).await?;
    let mut witgate = Command::new(root().join("target/release/witgate"));
    witgate
        .env("RUST_LOG", "warn")
        .arg("serve")
        .arg("--config")
        .arg(at("witgate.yaml"));
    let witgate = Program::start(&mut witgate, &at("witgate.log"), ports.gateway).await?;

    let (plain, jwt, gate) = (
        format!("https://127.0.0.1:{}/api/v1/nodes", ports.plain),
        format!("https://127.0.0.1:{}/api/v1/nodes", ports.jwt),
        format!("https://127.0.0.1:{}/clusters/bench/api/v1/nodes", ports.gateway),
    );
    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..=ROUNDS {
        let turn = [
            per_request(&haproxy, &plain, &token).await?,
            per_request(&haproxy, &jwt, &token).await?,
            per_request(&witgate, &gate, &token).await?,
        ];
        // The first round warms up.
        if round > 0 {
            times
                .iter_mut()
                .zip(turn)
                .for_each(|(times, time)| times.push(time));
        }
    }
    let [plain, jwt, gate] = times;
    let ratio = |peer: &[f64]| median(gate.iter().zip(peer).map(|(gate, peer)| gate / peer).collect());
    let (to_plain, to_jwt) = (ratio(&plain), ratio(&jwt));
    figure("proxy_haproxy_tls", median(plain) * 1e6, "us/request");
    figure("proxy_haproxy_jwt_verify", median(jwt) * 1e6, "us/request");
    figure("proxy_witgate", median(gate) * 1e6, "us/request");
    figure("proxy_witgate_to_haproxy_tls", to_plain, "ratio");
    figure("proxy_witgate_to_haproxy_jwt_verify", to_jwt, "ratio");
    Ok(())
}

/// Processor seconds that a proxy takes for one request.
async fn per_request(proxy: &Program, url: &str, token: &str) -> anyhow::Result<f64> {
    let before = proxy.processor_time()?;
    let out = Command::new("wrk")
        .args(["-t", "1", "-c", "32", "-d"])
        .arg(format!("{}s", TURN.as_secs()))
        .args(["-H", &format!("Authorization: Bearer {token}"), url])
        .output()
        .await
        .context("wrk can't be started: is it installed?")?;
    let after = proxy.processor_time()?;
    let out = String::from_utf8(out.stdout)?;
    ensure!(!out.contains("Non-2xx"), "{url} answers with errors:\n{out}");
    let requests = out
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .and_then(|(count, _)| count.parse::<f64>().ok())
        .with_context(|| format!("wrk says:\n{out}"))?;
    Ok((after - before) / requests)
}

/// An authority and one certificate for 127.0.0.1, which all of them show.
fn certificates(directory: &Path) -> anyhow::Result<()> {
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

/// Files that make nginx an issuer, and an RS256 token of it.
fn issuer_and_token(directory: &Path, port: u16) -> anyhow::Result<String> {
    let (private, public) = (directory.join("rsa.der"), directory.join("rsa.pub.pem"));
    let openssl = |args: &[&str]| -> anyhow::Result<()> {
        let out = std::process::Command::new("openssl")
            .args(args)
            .output()
            .context("openssl")?;
        ensure!(
            out.status.success(),
            "openssl: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        Ok(())
    };
    let (private_name, public_name) = (private.display().to_string(), public.display().to_string());
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
        &private_name,
    ])?;
    openssl(&[
        "pkey",
        "-inform",
        "DER",
        "-in",
        &private_name,
        "-pubout",
        "-out",
        &public_name,
    ])?;
    let private = std::fs::read(private)?;
    // Which of the two forms it is depends on OpenSSL's version.
    let key = RsaKeyPair::from_pkcs8(&private)
        .or_else(|_| RsaKeyPair::from_der(&private))
        .map_err(|error| anyhow::anyhow!("the RSA key is not accepted: {error}"))?;

    let url = format!("http://127.0.0.1:{port}");
    let public = PublicKeyComponents::<Vec<u8>>::from(key.public_key());
    let strip = |bytes: &[u8]| BASE64URL.encode(bytes);
    let keys = json!({"keys": [{
        "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "bench",
        "n": strip(&public.n),
        "e": strip(&public.e),
    }]});
    let discovery = json!({
        "issuer": url, "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"), "jwks_uri": format!("{url}/keys"),
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    });
    let issuer = directory.join("issuer");
    std::fs::create_dir_all(issuer.join(".well-known"))?;
    std::fs::write(issuer.join("keys"), keys.to_string())?;
    std::fs::write(
        issuer.join(".well-known/openid-configuration"),
        discovery.to_string(),
    )?;

    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let groups: Vec<_> = (0..10).map(|index| format!("team-{index}")).collect();
    let claims = json!({
        "iss": url, "aud": "witgate", "sub": "bench", "iat": now, "exp": now + 3600,
        "email": "bench@example.com", "email_verified": true, "groups": groups,
    });
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": "bench"});
    let signed = format!(
        "{}.{}",
        strip(header.to_string().as_bytes()),
        strip(claims.to_string().as_bytes())
    );
    let mut signature = vec![0; public.n.len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .map_err(|error| anyhow::anyhow!("signing failed: {error}"))?;
    Ok(format!("{signed}.{}", strip(&signature)))
}

fn nginx(directory: &Path, ports: &Ports) -> String {
    let body = "x".repeat(BODY);
    format!(
        "daemon off; worker_processes 1; pid {dir}/nginx.pid;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log off; keepalive_requests 1000000000; default_type application/json;\n\
         server {{ listen 127.0.0.1:{upstream} ssl; ssl_certificate {dir}/certificate.pem; \
         ssl_certificate_key {dir}/key.pem; ssl_protocols TLSv1.3; location / {{ return 200 '{body}'; }} }}\n\
         server {{ listen 127.0.0.1:{issuer}; root {dir}/issuer; }}\n}}\n",
        dir = directory.display(),
        upstream = ports.upstream,
        issuer = ports.issuer,
    )
}

fn haproxy(directory: &Path, ports: &Ports) -> String {
    let bind = "ssl crt {dir}/both.pem alpn h2,http/1.1 ssl-min-ver TLSv1.3";
    format!(
        "global\n  nbthread 2\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend plain\n  bind 127.0.0.1:{plain} {bind}\n  default_backend upstream\n\
         frontend jwt\n  bind 127.0.0.1:{jwt} {bind}\n  \
         http-request set-var(txn.alg) http_auth_bearer,jwt_header_query('$.alg')\n  \
         http-request deny unless {{ var(txn.alg) -m str RS256 }}\n  \
         http-request deny unless {{ http_auth_bearer,jwt_verify(txn.alg,\"{dir}/rsa.pub.pem\") 1 }}\n  \
         default_backend upstream\n\
         backend upstream\n  http-reuse always\n  \
         server nginx 127.0.0.1:{upstream} ssl ca-file {dir}/ca.pem verify required verifyhost localhost\n",
        dir = directory.display(),
        bind = bind.replace("{dir}", &directory.display().to_string()),
        plain = ports.plain,
        jwt = ports.jwt,
        upstream = ports.upstream,
    )
}

fn kubeconfig(directory: &Path, ports: &Ports) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: bench\n\
         clusters:\n- name: bench\n  cluster: {{server: 'https://127.0.0.1:{}', certificate-authority: '{}/ca.pem'}}\n\
         users:\n- name: gateway\n  user: {{token: the-gateways-own}}\n\
         contexts:\n- name: bench\n  context: {{cluster: bench, user: gateway}}\n",
        ports.upstream,
        directory.display(),
    )
}

fn gateway(ports: &Ports) -> anyhow::Result<String> {
    let plugins = root().join("plugins/dist");
    Ok(format!(
        "listeners:\n- address: 127.0.0.1:{gateway}\n  tls: {{certificateFile: certificate.pem, keyFile: key.pem}}\n\
         state: {{directory: state}}\n\
         plugins:\n  passthrough: {{kind: claims, file: '{plugins}/claims-passthrough.wasm'}}\n\
         identity:\n  publicUrl: https://localhost:{gateway}\n  issuers:\n  \
         - {{name: bench, url: 'http://127.0.0.1:{issuer}', clientId: witgate, claims: passthrough}}\n\
         clusters:\n- {{name: bench, kubeconfig: kubeconfig}}\n\
         audit: {{file: audit.log}}\n",
        gateway = ports.gateway,
        issuer = ports.issuer,
        plugins = plugins.display(),
    ))
}
