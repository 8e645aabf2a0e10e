//! `witgate prometheus config`: what a Prometheus has to be told to write to a tenant and read from it.

mod shown;
mod yaml;

use anyhow::{Context, bail, ensure};
use http::HeaderMap;
use witgate_prometheus::{Choice, Endpoint, Standing, TenantStanding};

use self::{
    shown::Shown,
    yaml::{Fields, Yaml},
};
use crate::{
    api::MetricsStatus,
    cli::PrometheusConfigArgs,
    doctor::{Selection, TENANT},
    remote_client::{Connection, Credential},
};

/// Samples of one request, as Prometheus sends them if it is not told otherwise.
const SAMPLES_PER_SEND: u32 = 2000;

/// Samples that wait in a shard for each that is sent: Prometheus advises three to ten.
const WAITING_PER_SENT: u32 = 5;

/// Prints the configuration.
pub(crate) async fn run(args: &PrometheusConfigArgs) -> anyhow::Result<()> {
    let connection = Connection::new(&args.gateway)?;
    let credential = Credential::of(&args.gateway).await?;
    let reply = connection.get("/gateway/v1/prometheus", &credential, HeaderMap::new());
    let reply = reply.await?;
    ensure!(
        reply.status.is_success(),
        "{} answers {}: {}",
        connection.server,
        reply.status,
        reply.line()
    );
    let status: MetricsStatus = serde_json::from_slice(&reply.body)
        .context("what the gateway says of its endpoints can't be read")?;
    let standing = status
        .standing
        .context("the gateway has no Prometheus endpoint")?;
    let tenant = tenant(&standing, args.tenant.as_deref(), &status.user)?;
    let shown = Shown::of(args, &credential)?;
    print!("{}", text(args, &standing, tenant, &shown, &status.user)?);
    Ok(())
}

/// The tenant that was named, or the only one.
fn tenant<'a>(standing: &'a Standing, named: Option<&str>, user: &str) -> anyhow::Result<&'a TenantStanding> {
    let names: Vec<_> = { standing.tenants.iter() }
        .map(|tenant| tenant.name.as_str())
        .collect();
    match (named, standing.tenants.as_slice()) {
        (_, []) => bail!(
            "{user} may use no tenant: add the user, or a group, to `write` and `read` of one under \
             `prometheus.tenants`"
        ),
        (None, [only]) => Ok(only),
        (None, _) => bail!("which tenant? {user} may use {}: say --tenant", names.join(", ")),
        (Some(name), tenants) => { tenants.iter() }
            .find(|tenant| tenant.name == name)
            .with_context(|| format!("{user} may use no tenant {name:?}: there is {}", names.join(", "))),
    }
}

fn text(
    args: &PrometheusConfigArgs,
    standing: &Standing,
    tenant: &TenantStanding,
    shown: &Shown,
    user: &str,
) -> anyhow::Result<String> {
    let is_v2 = tenant.holds.metadata
        || tenant.holds.start_timestamps
        || tenant.holds.histograms
        || tenant.holds.exemplars;
    let mut text = format!(
        "# For the tenant {} of {}",
        tenant.name,
        args.gateway.server.as_str().trim_end_matches('/')
    );
    text.push_str(match args.operator {
        true => ", in the `spec` of a Prometheus (monitoring.coreos.com/v1).\n",
        false => ".\n",
    });
    if is_v2 {
        text.push_str(match args.operator {
            true => "# messageVersion needs Prometheus 2.54 or newer: leave it out for an older one.\n",
            false => "# protobuf_message needs Prometheus 2.54 or newer: leave it out for an older one.\n",
        });
    }
    for endpoint in [Endpoint::Write, Endpoint::Read] {
        let (granted, word) = match endpoint {
            Endpoint::Write => (&tenant.write, "write"),
            Endpoint::Read => (&tenant.read, "read"),
        };
        if shown.is_own && granted.is_none() {
            text.push_str(&format!("# No remote_{word}: {user} may not {word}.\n"));
            continue;
        }
        let mut fields = address(args, standing, tenant, endpoint);
        if endpoint == Endpoint::Write {
            fields.extend(sent(args, tenant, is_v2));
        }
        fields.extend(shown.fields());
        if endpoint == Endpoint::Write {
            fields.extend(queue(args, tenant));
        }
        let section = match (endpoint, args.operator) {
            (Endpoint::Write, false) => "remote_write",
            (Endpoint::Read, false) => "remote_read",
            (Endpoint::Write, true) => "remoteWrite",
            (Endpoint::Read, true) => "remoteRead",
        };
        let block = Yaml::Map(vec![(section, Yaml::List(vec![Yaml::Map(fields)]))]);
        let block = serde_saphyr::to_string(&block)?;
        text.push_str(block.trim_end());
        text.push('\n');
    }
    Ok(text)
}

/// Where requests go, and how they say that they are for the tenant where another one is before it.
fn address(
    args: &PrometheusConfigArgs,
    standing: &Standing,
    tenant: &TenantStanding,
    endpoint: Endpoint,
) -> Fields {
    let chosen = match endpoint {
        Endpoint::Write => &standing.write,
        Endpoint::Read => &standing.read,
    };
    let server = args.gateway.server.as_str().trim_end_matches('/');
    let url = format!("{server}{}", Selection::default().path(endpoint));
    let mut fields = vec![
        ("url", Yaml::text(url)),
        ("name", Yaml::text(format!("witgate-{}", tenant.name))),
    ];
    if *chosen != Choice::Tenant(tenant.name.clone()) {
        let header = Yaml::Map(vec![(TENANT, Yaml::text(&tenant.name))]);
        fields.push(("headers", header));
    }
    fields
}

/// What is sent, by what the storage holds.
fn sent(args: &PrometheusConfigArgs, tenant: &TenantStanding, is_v2: bool) -> Fields {
    let mut fields = Fields::new();
    let names = match args.operator {
        false => [
            "protobuf_message",
            "send_exemplars",
            "send_native_histograms",
            "metadata_config",
        ],
        true => [
            "messageVersion",
            "sendExemplars",
            "sendNativeHistograms",
            "metadataConfig",
        ],
    };
    let [message, exemplars, histograms, metadata] = names;
    if is_v2 {
        let version = match args.operator {
            false => "io.prometheus.write.v2.Request",
            true => "V2.0",
        };
        fields.push((message, Yaml::text(version)));
    } else if !tenant.holds.metadata {
        // A 1.0 sends it in requests of its own.
        fields.push((metadata, Yaml::Map(vec![("send", Yaml::Flag(false))])));
    }
    if tenant.holds.exemplars {
        fields.push((exemplars, Yaml::Flag(true)));
    }
    if tenant.holds.histograms {
        fields.push((histograms, Yaml::Flag(true)));
    }
    fields
}

/// How much is sent at a time: no more than the tenant may write at once. What is over its rate comes
/// again; Prometheus would otherwise drop it.
fn queue(args: &PrometheusConfigArgs, tenant: &TenantStanding) -> Fields {
    let burst = tenant.bounds.burst.unwrap_or(SAMPLES_PER_SEND);
    let samples = SAMPLES_PER_SEND.min(burst);
    let queue = match args.operator {
        false => [
            "queue_config",
            "capacity",
            "max_samples_per_send",
            "retry_on_http_429",
        ],
        true => ["queueConfig", "capacity", "maxSamplesPerSend", "retryOnRateLimit"],
    };
    let [queue, capacity, per_send, retry] = queue;
    vec![(
        queue,
        Yaml::Map(vec![
            (capacity, Yaml::Number(samples.saturating_mul(WAITING_PER_SENT))),
            (per_send, Yaml::Number(samples)),
            (retry, Yaml::Flag(true)),
        ]),
    )]
}
