//! Processor time of a request whose token was never seen before: its signature is verified and the
//! claims plugin is asked; against one whose token is remembered.

use anyhow::ensure;
use futures::future::try_join_all;

use crate::{
    figure,
    site::{Algorithm, Site},
};

/// Requests of each kind.
const REQUESTS: usize = 4000;

/// Connections at a time.
const CONNECTIONS: usize = 8;

pub(crate) async fn run() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let kept = site.issuer.token(Algorithm::Rs256, "kept")?;
    let kept = vec![kept; REQUESTS];
    // Connections, keys and code are warm after this.
    per_request(&site, &kept).await?;
    let kept = per_request(&site, &kept).await?;
    figure("token_kept", kept * 1e6, "us/request");
    for (algorithm, name) in [(Algorithm::Rs256, "rs256"), (Algorithm::Es256, "es256")] {
        let tokens: Result<Vec<_>, _> = (0..REQUESTS)
            .map(|index| site.issuer.token(algorithm, &format!("{name}-{index}")))
            .collect();
        let fresh = per_request(&site, &tokens?).await?;
        figure(&format!("token_fresh_{name}"), fresh * 1e6, "us/request");
        figure(
            &format!("token_fresh_{name}_added"),
            (fresh - kept) * 1e6,
            "us/request",
        );
    }
    Ok(())
}

/// Processor seconds that the gateway takes for a request with one of these tokens.
async fn per_request(site: &Site, tokens: &[String]) -> anyhow::Result<f64> {
    let client = site.client()?;
    let url = site.through();
    let before = site.witgate.processor_time()?;
    let parts = tokens
        .chunks(tokens.len().div_ceil(CONNECTIONS))
        .map(async |tokens| {
            for token in tokens {
                let answer = client.get(&url).bearer_auth(token).send().await?;
                ensure!(answer.status().is_success(), "{}", answer.status());
                answer.bytes().await?;
            }
            Ok(())
        });
    try_join_all(parts).await?;
    #[expect(clippy::cast_precision_loss, reason = "there are thousands")]
    let count = tokens.len() as f64;
    Ok((site.witgate.processor_time()? - before) / count)
}
