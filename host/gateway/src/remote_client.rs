//! `witgate prometheus write` and `read`: a remote-write and remote-read client for people.

mod connection;
pub(crate) mod selector;

pub(crate) use self::connection::{Connection, Credential, Reply};

use std::{
    fmt::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow, ensure};
use http::{HeaderMap, HeaderValue, header};
use prost::Message;
use witgate_prometheus::proto::{
    Label, MatchType, Query, ReadRequest, ReadResponse, ResponseType, Sample, TimeSeries, WriteRequest,
};

use crate::cli::GatewayArgs;

/// The most that an answer may decompress to.
const ANSWER_BYTES: usize = 256 << 20;

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
    let version = "x-prometheus-remote-write-version";
    call(gateway, "/api/v1/write", &request, version).await?;
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
    let version = "x-prometheus-remote-read-version";
    let body = call(gateway, "/api/v1/read", &request, version).await?;
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

async fn call(
    gateway: &GatewayArgs,
    path: &str,
    message: &impl Message,
    version: &'static str,
) -> anyhow::Result<bytes::Bytes> {
    let connection = Connection::new(gateway)?;
    let credential = Credential::of(gateway).await?;
    let body = snap::raw::Encoder::new().compress_vec(&message.encode_to_vec())?;
    let headers = HeaderMap::from_iter([
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        ),
        (header::CONTENT_ENCODING, HeaderValue::from_static("snappy")),
        (
            header::HeaderName::from_static(version),
            HeaderValue::from_static("0.1.0"),
        ),
    ]);
    let answer = connection.post(path, &credential, headers, body).await?;
    ensure!(
        answer.status.is_success(),
        "{}{path} answers {}: {}",
        gateway.server.as_str().trim_end_matches('/'),
        answer.status,
        answer.line()
    );
    Ok(answer.body)
}

/// `up{job="a"}`
pub(crate) fn line_name(labels: &[Label]) -> Result<String, std::fmt::Error> {
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
