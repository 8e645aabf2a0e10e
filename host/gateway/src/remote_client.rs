//! `witgate prometheus write` and `read`: a remote-write and remote-read client for people.

mod selector;

use std::{
    fmt::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow, ensure};
use prost::Message;
use secrecy::{ExposeSecret, SecretString};
use witgate_prometheus::proto::{
    Label, MatchType, Query, ReadRequest, ReadResponse, ResponseType, Sample, TimeSeries, WriteRequest,
};

use crate::cli::GatewayArgs;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The most that an answer may decompress to.
const ANSWER_BYTES: usize = 256 << 20;

/// A gateway, and how to authenticate to it.
struct Client {
    http: reqwest::Client,
    gateway: url::Url,
    token: SecretString,
}

/// Writes samples with the time of now.
pub(crate) async fn write(gateway: &GatewayArgs, samples: &[String]) -> anyhow::Result<()> {
    let timestamp = now()?;
    let mut request = WriteRequest::default();
    for text in samples {
        let parsed = selector::parse(text).map_err(|error| anyhow!(error))?;
        let value: f64 = parsed.rest.parse().map_err(|_| {
            anyhow!(
                "{text:?}: {:?} is not a number: write 'name{{label=\"value\"}} 21.5'",
                parsed.rest
            )
        })?;
        let mut labels = Vec::new();
        for matcher in parsed.matchers {
            ensure!(
                matcher.r#type == i32::from(MatchType::Eq),
                "{text:?}: a sample's labels are given with `=`"
            );
            labels.push(Label {
                name: matcher.name,
                value: matcher.value,
            });
        }
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        let samples = vec![Sample {
            value: value.to_bits(),
            timestamp,
        }];
        request.timeseries.push(TimeSeries {
            labels,
            samples,
            ..TimeSeries::default()
        });
    }
    let client = Client::new(gateway)?;
    client
        .call("/api/v1/write", &request, "X-Prometheus-Remote-Write-Version")
        .await?;
    println!("{} sample(s) written", request.timeseries.len());
    Ok(())
}

/// Prints the samples of a selector.
pub(crate) async fn read(gateway: &GatewayArgs, selector: &str, minutes: u32) -> anyhow::Result<()> {
    let parsed = selector::parse(selector).map_err(|error| anyhow!(error))?;
    ensure!(
        parsed.rest.is_empty(),
        "{selector:?}: {:?} is too much",
        parsed.rest
    );
    let end = now()?;
    let query = Query {
        start_timestamp_ms: end - i64::from(minutes) * 60_000,
        end_timestamp_ms: end,
        matchers: parsed.matchers,
        hints: None,
    };
    let request = ReadRequest {
        queries: vec![query],
        accepted_response_types: vec![ResponseType::Samples.into()],
    };
    let client = Client::new(gateway)?;
    let body = client
        .call("/api/v1/read", &request, "X-Prometheus-Remote-Read-Version")
        .await?;
    let length = snap::raw::decompress_len(&body).context("the answer is not snappy")?;
    ensure!(
        length <= ANSWER_BYTES,
        "the answer is {length} bytes large: ask for less with --minutes"
    );
    let body = snap::raw::Decoder::new()
        .decompress_vec(&body)
        .context("the answer is not snappy")?;
    let answer = ReadResponse::decode(body.as_slice()).context("the answer is not a ReadResponse")?;
    let series = answer.results.iter().flat_map(|result| &result.timeseries);
    let mut text = String::new();
    for series in series {
        let name = line_name(&series.labels)?;
        for sample in &series.samples {
            writeln!(
                text,
                "{name} {} {}",
                f64::from_bits(sample.value),
                sample.timestamp
            )?;
        }
    }
    ensure!(
        !text.is_empty(),
        "no samples of {selector:?} in the last {minutes} minutes"
    );
    print!("{text}");
    Ok(())
}

// === impl Client ===

impl Client {
    fn new(gateway: &GatewayArgs) -> anyhow::Result<Self> {
        let token = std::fs::read_to_string(&gateway.token_file)
            .with_context(|| format!("{}: can't be read", gateway.token_file.display()))?;
        let mut builder = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(file) = &gateway.ca_file {
            let pem = std::fs::read(file).with_context(|| format!("{}: can't be read", file.display()))?;
            let authorities = reqwest::Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("{}: holds no PEM certificates", file.display()))?;
            builder = builder.tls_certs_only(authorities);
        }
        Ok(Self {
            http: builder.build()?,
            gateway: gateway.server.clone(),
            token: token.trim().into(),
        })
    }

    async fn call(&self, path: &str, message: &impl Message, version: &str) -> anyhow::Result<Vec<u8>> {
        let body = snap::raw::Encoder::new().compress_vec(&message.encode_to_vec())?;
        let url = self.gateway.join(path)?;
        let answer = self
            .http
            .post(url.clone())
            .bearer_auth(self.token.expose_secret())
            .header("Content-Type", "application/x-protobuf")
            .header("Content-Encoding", "snappy")
            .header(version, "0.1.0")
            .body(body)
            .send()
            .await
            .with_context(|| format!("{url} does not answer"))?;
        let status = answer.status();
        let body = answer.bytes().await?;
        ensure!(
            status.is_success(),
            "{url} answers {status}: {}",
            String::from_utf8_lossy(&body).trim()
        );
        Ok(body.into())
    }
}

/// `up{job="a"}`
fn line_name(labels: &[Label]) -> Result<String, std::fmt::Error> {
    let name = labels.iter().find(|label| label.name == "__name__");
    let mut line = name.map_or(String::new(), |label| label.value.clone());
    let mut separator = '{';
    for label in labels.iter().filter(|label| label.name != "__name__") {
        write!(line, "{separator}{}={:?}", label.name, label.value)?;
        separator = ',';
    }
    if separator == ',' {
        line.push('}');
    }
    Ok(line)
}

fn now() -> anyhow::Result<i64> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?;
    Ok(i64::try_from(since.as_millis())?)
}
