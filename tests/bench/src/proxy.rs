//! Processor time per request: TLS, verified identity, impersonation and audit, against HAProxy.
//!
//! nginx answers every request with 2 KB over TLS. In front of it stand in turn the gateway, HAProxy
//! that only forwards, and HAProxy that verifies the token with `jwt_verify`; wrk asks through each
//! with 32 connections.

use std::{path::Path, time::Duration};

use tokio::process::Command;

use crate::{
    figure, median,
    process::{Program, free_port},
    site::{Algorithm, Site, wrk},
};

/// Rounds, in each of which every proxy has its turn.
const ROUNDS: usize = 5;

/// How long one turn is.
const TURN: Duration = Duration::from_secs(4);

pub(crate) async fn run() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let (plain_port, jwt_port) = (free_port()?, free_port()?);
    let file = site.directory().join("haproxy.cfg");
    std::fs::write(
        &file,
        haproxy(site.directory(), site.upstream, plain_port, jwt_port),
    )?;
    let mut haproxy = Command::new("haproxy");
    haproxy.arg("-f").arg(file);
    let log = site.directory().join("haproxy.log");
    let haproxy = Program::start(&mut haproxy, &log, plain_port).await?;
    let token = site.issuer.token(Algorithm::Rs256, "bench")?;

    let (plain, jwt, gate) = (
        format!("https://127.0.0.1:{plain_port}/api/v1/nodes"),
        format!("https://127.0.0.1:{jwt_port}/api/v1/nodes"),
        site.through(),
    );
    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..=ROUNDS {
        let turn = [
            per_request(&haproxy, &plain, &token).await?,
            per_request(&haproxy, &jwt, &token).await?,
            per_request(&site.witgate, &gate, &token).await?,
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
    let requests = wrk(url, token, TURN).await?;
    Ok((proxy.processor_time()? - before) / requests)
}

fn haproxy(directory: &Path, upstream: u16, plain: u16, jwt: u16) -> String {
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
    )
}
