//! Time until an answer, at half of the requests that the gateway can do; the same requests at the same
//! times to nginx itself are what it is compared with.

use std::time::Duration;

use anyhow::ensure;
use futures::future::try_join_all;
use tokio::time::Instant;

use crate::{
    figure,
    site::{Algorithm, Site, wrk},
};

/// How long each of the two is asked, and how often by turns.
const TURN: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;

/// Connections, each of which has its share of the requests.
const CONNECTIONS: u32 = 16;

pub(crate) async fn run() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let token = site.issuer.token(Algorithm::Rs256, "bench")?;
    let (through, direct) = (site.through(), site.direct());
    let most = wrk(&through, &token, TURN).await? / TURN.as_secs_f64();
    let rate = most / 2.0;
    figure("latency_rate", rate, "requests/s");
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.extend(times(&site, &direct, &token, rate).await?);
        with.extend(times(&site, &through, &token, rate).await?);
    }
    for (percent, name) in [(50, "p50"), (99, "p99")] {
        let (with, without) = (percentile(&mut with, percent), percentile(&mut without, percent));
        figure(&format!("latency_direct_{name}"), without * 1e6, "us");
        figure(&format!("latency_witgate_{name}"), with * 1e6, "us");
        figure(&format!("latency_added_{name}"), (with - without) * 1e6, "us");
    }
    Ok(())
}

/// How long each answer took, counted from when its request was to be sent: one that had to wait for
/// another is late.
async fn times(site: &Site, url: &str, token: &str, rate: f64) -> anyhow::Result<Vec<f64>> {
    let client = site.client()?;
    let interval = Duration::from_secs_f64(f64::from(CONNECTIONS) / rate);
    let start = Instant::now() + Duration::from_millis(50);
    let connections = (0..CONNECTIONS).map(async |index| {
        let mut due = start + interval * index / CONNECTIONS;
        let mut times = Vec::new();
        while due < start + TURN {
            tokio::time::sleep_until(due).await;
            let answer = client.get(url).bearer_auth(token).send().await?;
            ensure!(answer.status().is_success(), "{}", answer.status());
            answer.bytes().await?;
            times.push(due.elapsed().as_secs_f64());
            due += interval;
        }
        Ok(times)
    });
    Ok(try_join_all(connections).await?.concat())
}

fn percentile(times: &mut [f64], percent: usize) -> f64 {
    times.sort_by(f64::total_cmp);
    let index = times.len() * percent / 100;
    times.get(index).or(times.last()).copied().unwrap_or_default()
}
