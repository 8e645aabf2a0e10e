//! Requests of both versions, from one description of series.

use prost::Message;
use reqwest::header;
use witgate_chunk::histogram::{Counts, Histogram, Reset};
use witgate_prometheus::proto::{self, BucketSpan, Label, WriteRequest, v2};
use witgate_tests::remote::compress;

use crate::world::{PASSWORD, USER, World};

/// Which protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// A series that is sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// In an order that is not the sorted one, as the public suite has them.
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) histograms: Vec<proto::Histogram>,
    pub(crate) exemplars: Vec<Exemplar>,
    /// Kind, help and unit.
    pub(crate) metadata: Option<(i32, String, String)>,
    /// Whether a receiver has to take it.
    pub(crate) is_right: bool,
    /// When its counter began, before now.
    pub(crate) began: i64,
}

/// A sample, at first some milliseconds from now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) time: i64,
    pub(crate) bits: u64,
}

/// An exemplar, at first some milliseconds from now.
#[derive(Clone, Debug)]
pub(crate) struct Exemplar {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) bits: u64,
    pub(crate) time: i64,
}

/// What a receiver said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Samples, histograms and exemplars, if it said anything of them.
    pub(crate) written: Option<[u64; 3]>,
    pub(crate) said: String,
}

impl Series {
    /// A series with the labels that it is described with, in reverse.
    pub(crate) fn new(labels: &[(&str, &str)]) -> Self {
        let labels = labels.iter().rev();
        Self {
            labels: labels
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            is_right: true,
            ..Self::default()
        }
    }

    pub(crate) fn sample(self, value: f64) -> Self {
        self.sample_of(value.to_bits(), 0)
    }

    pub(crate) fn sample_of(mut self, bits: u64, time: i64) -> Self {
        self.samples.push(Sample { time, bits });
        self
    }

    pub(crate) fn histogram(mut self, histogram: proto::Histogram) -> Self {
        self.histograms.push(histogram);
        self
    }

    pub(crate) fn exemplar(self, labels: &[(&str, &str)], value: f64) -> Self {
        self.exemplar_at(labels, value.to_bits(), 0)
    }

    pub(crate) fn exemplar_at(mut self, labels: &[(&str, &str)], bits: u64, time: i64) -> Self {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.exemplars.push(Exemplar {
            labels: labels.collect(),
            bits,
            time,
        });
        self
    }

    pub(crate) fn metadata(mut self, kind: i32, help: &str, unit: &str) -> Self {
        self.metadata = Some((kind, help.to_owned(), unit.to_owned()));
        self
    }

    pub(crate) fn began(mut self, before: i64) -> Self {
        self.began = before;
        self
    }

    pub(crate) fn wrong(mut self) -> Self {
        self.is_right = false;
        self
    }

    /// The same with times that count from this one.
    pub(crate) fn at(&self, now: i64) -> Self {
        let mut series = self.clone();
        series.samples.iter_mut().for_each(|sample| sample.time += now);
        series
            .exemplars
            .iter_mut()
            .for_each(|exemplar| exemplar.time += now);
        { series.histograms.iter_mut() }.for_each(|histogram| histogram.timestamp += now);
        if self.began != 0 {
            series.began = now - self.began;
        }
        series
    }

    /// Its labels as they are read back.
    pub(crate) fn sorted(&self) -> Vec<(String, String)> {
        let mut labels = self.labels.clone();
        labels.retain(|(_, value)| !value.is_empty());
        labels.sort();
        labels
    }
}

/// The message, uncompressed.
pub(crate) fn body(version: Version, series: &[Series]) -> Vec<u8> {
    match version {
        Version::V1 => body_v1(series),
        Version::V2 => body_v2(series),
    }
}

fn body_v1(series: &[Series]) -> Vec<u8> {
    let label = |(name, value): &(String, String)| Label {
        name: name.clone(),
        value: value.clone(),
    };
    let timeseries = series.iter().map(|series| proto::TimeSeries {
        labels: series.labels.iter().map(label).collect(),
        samples: { series.samples.iter() }
            .map(|sample| proto::Sample {
                value: sample.bits,
                timestamp: sample.time,
            })
            .collect(),
        exemplars: { series.exemplars.iter() }
            .map(|exemplar| proto::Exemplar {
                labels: exemplar.labels.iter().map(label).collect(),
                value: exemplar.bits,
                timestamp: exemplar.time,
            })
            .collect(),
        histograms: series.histograms.iter().map(Message::encode_to_vec).collect(),
    });
    let named = |series: &Series| {
        let (kind, help, unit) = series.metadata.clone()?;
        let name = series.labels.iter().find(|(name, _)| name == "__name__");
        Some(proto::MetricMetadata {
            r#type: kind,
            metric_family_name: name.map(|(_, name)| name.clone()).unwrap_or_default(),
            help,
            unit,
        })
    };
    let request = WriteRequest {
        timeseries: timeseries.collect(),
        metadata: series.iter().filter_map(named).collect(),
    };
    request.encode_to_vec()
}

fn body_v2(series: &[Series]) -> Vec<u8> {
    let mut symbols = vec![String::new()];
    let mut symbol = |text: &str| {
        let known = symbols.iter().position(|symbol| symbol == text);
        let at = known.unwrap_or_else(|| {
            symbols.push(text.to_owned());
            symbols.len() - 1
        });
        u32::try_from(at).unwrap()
    };
    let mut references = |labels: &[(String, String)]| -> Vec<u32> {
        let texts = labels.iter().flat_map(|(name, value)| [name, value]);
        texts.map(|text| symbol(text)).collect()
    };
    let mut timeseries = Vec::new();
    for series in series {
        let exemplars = { series.exemplars.iter() }.map(|exemplar| v2::Exemplar {
            labels_refs: references(&exemplar.labels),
            value: exemplar.bits,
            timestamp: exemplar.time,
        });
        let exemplars = exemplars.collect();
        let metadata = series.metadata.as_ref().map(|(kind, help, unit)| {
            let [help_ref, unit_ref] =
                <[u32; 2]>::try_from(references(&[(help.clone(), unit.clone())])).unwrap();
            v2::Metadata {
                r#type: *kind,
                help_ref,
                unit_ref,
            }
        });
        timeseries.push(v2::TimeSeries {
            labels_refs: references(&series.labels),
            samples: { series.samples.iter() }
                .map(|sample| v2::Sample {
                    value: sample.bits,
                    timestamp: sample.time,
                    start_timestamp: series.began,
                })
                .collect(),
            histograms: series.histograms.iter().map(Message::encode_to_vec).collect(),
            exemplars,
            metadata,
            // Where senders had it before 2.0-rc.4.
            created_timestamp: series.began,
        });
    }
    v2::Request { symbols, timeseries }.encode_to_vec()
}

/// Sends series, and hears what becomes of them.
pub(crate) async fn send(world: &World, version: Version, series: &[Series]) -> Answer {
    send_body(world, version, compress(&body(version, series)), &[]).await
}

/// Sends a body with some headers changed.
pub(crate) async fn send_body(
    world: &World,
    version: Version,
    body: Vec<u8>,
    changed: &[(&'static str, &'static str)],
) -> Answer {
    let (content_type, number) = match version {
        Version::V1 => ("application/x-protobuf", "0.1.0"),
        Version::V2 => (
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            "2.0.0",
        ),
    };
    let mut headers = header::HeaderMap::new();
    let all = [
        ("content-type", content_type),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", number),
    ];
    for (name, value) in all.iter().chain(changed) {
        headers.insert(*name, value.parse().unwrap());
    }
    let request = world
        .bare("/api/v1/write", body)
        .basic_auth(USER, Some(PASSWORD))
        .headers(headers);
    let answer = request.send().await.unwrap();
    let written = ["samples", "histograms", "exemplars"].map(|kind| {
        let name = format!("x-prometheus-remote-write-{kind}-written");
        let value = answer.headers().get(name)?;
        Some(value.to_str().unwrap().parse().unwrap())
    });
    let is_silent = written.iter().all(Option::is_none);
    Answer {
        status: answer.status().as_u16(),
        written: (!is_silent).then(|| written.map(|count| count.expect("one without the others"))),
        said: answer.text().await.unwrap(),
    }
}

/// A native histogram out of a chunk, as it was sent.
pub(crate) fn message(histogram: &Histogram) -> proto::Histogram {
    let spans = |spans: &[witgate_chunk::histogram::Span]| {
        let spans = spans.iter().map(|span| BucketSpan {
            offset: span.offset,
            length: span.length,
        });
        spans.collect()
    };
    let mut message = proto::Histogram {
        sum: histogram.sum,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        positive_spans: spans(&histogram.positive_spans),
        negative_spans: spans(&histogram.negative_spans),
        reset_hint: match histogram.reset {
            Reset::Unknown => 0,
            Reset::Yes => 1,
            Reset::No => 2,
            Reset::Gauge => 3,
        },
        timestamp: histogram.time,
        custom_values: histogram.bounds.clone(),
        ..proto::Histogram::default()
    };
    match histogram.counts.clone() {
        Counts::Whole {
            count,
            zero,
            positive,
            negative,
        } => {
            (message.count_int, message.zero_count_int) = (Some(count), Some(zero));
            (message.positive_deltas, message.negative_deltas) = (positive, negative);
        }
        Counts::Float {
            count,
            zero,
            positive,
            negative,
        } => {
            (message.count_float, message.zero_count_float) = (Some(count), Some(zero));
            (message.positive_counts, message.negative_counts) = (positive, negative);
        }
    }
    message
}
