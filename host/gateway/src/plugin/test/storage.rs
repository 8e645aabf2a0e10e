//! Cases of storage plugins: what is written and read, through the gateway's own remote endpoints.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, anyhow, bail, ensure};
use axum::body::Body;
use http::{Request, header};
use prost::Message;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use witgate_identity::{Method, Principal, Proof};
use witgate_plugins::Kind;
use witgate_prometheus::{
    Foundations, Remote,
    proto::{
        Label, LabelMatcher, MatchType, Query, ReadRequest, ReadResponse, ResponseType, Sample, TimeSeries,
        WriteRequest,
    },
};

use super::{Loaded, Outcome, claims::said, recorded::Exchange};
use crate::remote_client::{line_name, selector};

/// Prometheus' mark for the end of a series, and its plain NaN (`model/value`).
const STALE: u64 = 0x7ff0_0000_0000_0002;
const NAN: u64 = 0x7ff8_0000_0000_0001;

/// The most that an answer may take.
const ANSWER_BYTES: usize = 256 << 20;

/// Requests, one after the other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Case {
    name: String,
    /// What the configuration would say of tenants in `attributes`. Those without need not be named.
    #[serde(default)]
    attributes: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    http: Vec<Exchange>,
    steps: Vec<Step>,
}

/// A request, and what has to come of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Step {
    #[serde(default)]
    write: Option<Write>,
    #[serde(default)]
    read: Option<Read>,
    /// What is read: all of it.
    #[serde(default)]
    found: Option<Series>,
    /// What the sender or reader is told instead.
    #[serde(default)]
    refused: Option<Refused>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Write {
    tenant: String,
    series: Series,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    tenant: String,
    /// `up{job=~"a|b"}`
    selector: String,
    start: i64,
    end: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    /// The status of HTTP.
    status: u16,
    /// Words that are in what is said.
    says: String,
}

/// By `up{job="a"}`, timestamps with values.
type Series = BTreeMap<String, Vec<(i64, Number)>>;

/// A number, or `stale`, `NaN`, `+Inf`, `-Inf`, or all bits of one: `0x7ff8000000000001`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(f64),
    Word(String),
}

/// The endpoints, with one storage behind them.
struct Endpoints(Remote);

#[async_trait::async_trait]
impl super::Case for Case {
    const KIND: Kind = Kind::Storage;

    fn name(&self) -> &str {
        &self.name
    }

    fn http(&self) -> &[Exchange] {
        &self.http
    }

    async fn run(&self, plugin: &Loaded) -> anyhow::Result<Outcome> {
        let endpoints = Endpoints::new(self, plugin)?;
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        for (number, step) in self.steps.iter().enumerate() {
            let came = endpoints
                .take(step)
                .await
                .with_context(|| format!("step {}", number + 1))?;
            expected.push(step.expected(&came)?);
            found.push(came);
        }
        Ok(Outcome {
            expected: Value::Array(expected),
            found: Value::Array(found),
        })
    }
}

impl Step {
    fn expected(&self, came: &Value) -> anyhow::Result<Value> {
        match (self, &self.refused) {
            (_, Some(refused)) => {
                let came = came.get("refused").unwrap_or(&Value::Null);
                let mut refusal = said(came, "says", &refused.says);
                if let Some(refusal) = refusal.as_object_mut() {
                    refusal.insert("status".to_owned(), refused.status.into());
                }
                Ok(json!({"refused": refusal}))
            }
            (
                Step {
                    read: Some(_), found, ..
                },
                None,
            ) => {
                let found = found
                    .as_ref()
                    .context("a `read` has either `found` or `refused`")?;
                Ok(json!({"found": shown(series(found)?)?}))
            }
            (_, None) => Ok(json!("stored")),
        }
    }
}

impl Endpoints {
    fn new(case: &Case, plugin: &Loaded) -> anyhow::Result<Self> {
        let asked = case.steps.iter().flat_map(|step| {
            let write = step.write.iter().map(|write| &write.tenant);
            write.chain(step.read.iter().map(|read| &read.tenant))
        });
        let tenant = |name: &String| {
            let everybody = json!({"users": ["test"]});
            json!({
                "name": name, "storage": plugin.name, "write": everybody, "read": everybody,
                "attributes": case.attributes.get(name).cloned().unwrap_or_default(),
            })
        };
        let tenants: BTreeSet<_> = asked.collect();
        let tenants: Vec<_> = tenants.into_iter().map(tenant).collect();
        let config = serde_json::from_value(json!({"tenants": tenants}))?;
        let replicas = plugin.state.space("prometheus-replicas")?;
        let foundations = Foundations {
            storage: &|name| plugin.plugins.storage(name),
            replicas: &replicas,
        };
        Ok(Self(Remote::new(&config, foundations, None)?))
    }

    /// Sends a step's request; says what came of it.
    async fn take(&self, step: &Step) -> anyhow::Result<Value> {
        match (&step.write, &step.read) {
            (Some(write), None) => {
                ensure!(step.found.is_none(), "a `write` finds nothing");
                let message = WriteRequest {
                    timeseries: series(&write.series)?,
                    ..WriteRequest::default()
                };
                let (status, body) = self.send(&write.tenant, "/api/v1/write", &message).await?;
                Ok(match status {
                    200..300 => json!("stored"),
                    _ => refused(status, &body),
                })
            }
            (None, Some(read)) => {
                let parsed = selector::parse(&read.selector).map_err(|error| anyhow!(error))?;
                let query = Query {
                    start_timestamp_ms: read.start,
                    end_timestamp_ms: read.end,
                    matchers: parsed.matchers,
                    hints: None,
                };
                let message = ReadRequest {
                    queries: vec![query],
                    accepted_response_types: vec![ResponseType::Samples.into()],
                };
                let (status, body) = self.send(&read.tenant, "/api/v1/read", &message).await?;
                if status != 200 {
                    return Ok(refused(status, &body));
                }
                let body = snap::raw::Decoder::new().decompress_vec(&body)?;
                let answer = ReadResponse::decode(body.as_slice())?;
                let series = answer.results.into_iter().flat_map(|result| result.timeseries);
                Ok(json!({"found": shown(series.collect())?}))
            }
            _ => bail!("a step is either a `write` or a `read`"),
        }
    }

    async fn send(&self, tenant: &str, path: &str, message: &impl Message) -> anyhow::Result<(u16, Vec<u8>)> {
        let body = snap::raw::Encoder::new().compress_vec(&message.encode_to_vec())?;
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::CONTENT_ENCODING, "snappy")
            .header("X-Scope-OrgID", tenant)
            .body(Body::from(body))?;
        let caller = Principal {
            user: "test".to_owned(),
            uid: None,
            groups: Vec::new(),
            extra: Vec::new(),
            method: Method::Basic,
            expires: None,
            proof: Proof::default(),
        };
        let response = match path {
            "/api/v1/write" => self.0.write(&caller, request).await,
            _ => self.0.read(&caller, request).await,
        };
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), ANSWER_BYTES).await?;
        Ok((status, body.to_vec()))
    }
}

fn refused(status: u16, body: &[u8]) -> Value {
    json!({"refused": {"status": status, "says": String::from_utf8_lossy(body).trim()}})
}

/// The series of a case as they are sent.
fn series(given: &Series) -> anyhow::Result<Vec<TimeSeries>> {
    let one = |(name, samples): (&String, &Vec<(i64, Number)>)| {
        let parsed = selector::parse(name).map_err(|error| anyhow!(error))?;
        ensure!(parsed.rest.is_empty(), "{name:?}: {:?} is too much", parsed.rest);
        let label = |matcher: LabelMatcher| {
            let is_value = matcher.r#type == i32::from(MatchType::Eq);
            ensure!(is_value, "{name:?}: a series' labels are given with `=`");
            Ok(Label {
                name: matcher.name,
                value: matcher.value,
            })
        };
        let mut labels = parsed
            .matchers
            .into_iter()
            .map(label)
            .collect::<anyhow::Result<Vec<_>>>()?;
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        let sample = |(timestamp, number): &(i64, Number)| {
            let (timestamp, value) = (*timestamp, number.bits()?);
            Ok(Sample { value, timestamp })
        };
        Ok(TimeSeries {
            labels,
            samples: samples.iter().map(sample).collect::<anyhow::Result<_>>()?,
            ..TimeSeries::default()
        })
    };
    given.iter().map(one).collect()
}

/// Series as a person reads them, in one order.
fn shown(series: Vec<TimeSeries>) -> anyhow::Result<Map<String, Value>> {
    let mut all = Map::new();
    for TimeSeries { labels, samples, .. } in series {
        let shown = |sample: Sample| json!(format!("[{}, {}]", sample.timestamp, word(sample.value)));
        let samples = samples.into_iter().map(shown);
        all.insert(line_name(&labels)?, samples.collect());
    }
    all.sort_keys();
    Ok(all)
}

impl Number {
    fn bits(&self) -> anyhow::Result<u64> {
        let word = match self {
            Self::Plain(number) if number.is_nan() => return Ok(NAN),
            Self::Plain(number) => return Ok(number.to_bits()),
            Self::Word(word) => word.as_str(),
        };
        match (word, word.strip_prefix("0x")) {
            ("stale", _) => Ok(STALE),
            ("NaN", _) => Ok(NAN),
            ("+Inf", _) => Ok(f64::INFINITY.to_bits()),
            ("-Inf", _) => Ok(f64::NEG_INFINITY.to_bits()),
            (_, Some(bits)) => {
                u64::from_str_radix(bits, 16).with_context(|| format!("{word:?} is not 64 bits"))
            }
            _ => bail!("{word:?} is no value: write a number, stale, NaN, +Inf, -Inf or 0x and all bits"),
        }
    }
}

/// A value such that two have the same word only if all their bits are the same.
fn word(bits: u64) -> String {
    let number = f64::from_bits(bits);
    match bits {
        STALE => "stale".to_owned(),
        NAN => "NaN".to_owned(),
        _ if number.is_nan() => format!("{bits:#x}"),
        _ if number.is_infinite() => format!("{}Inf", if number > 0.0 { '+' } else { '-' }),
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_apart_by_all_their_bits() {
        let bits = |text: &str| serde_json::from_str::<Number>(text).unwrap().bits().unwrap();
        for (text, shown) in [
            ("21.5", "21.5"),
            ("-0.0", "-0"),
            ("\"stale\"", "stale"),
            ("\"NaN\"", "NaN"),
            ("\"-Inf\"", "-Inf"),
            ("\"0x7ff8000000000000\"", "0x7ff8000000000000"),
        ] {
            assert_eq!(word(bits(text)), shown);
        }
        let error = serde_json::from_str::<Number>("\"much\"")
            .unwrap()
            .bits()
            .unwrap_err();
        assert!(error.to_string().contains("\"much\" is no value"), "{error}");
    }
}
