//! One of each kind of data, with values that are easily spoilt on the way.

use http::{HeaderMap, HeaderValue, header};
use prost::Message;
use witgate_prometheus::{
    Holds,
    proto::{self, BucketSpan, Histogram, Label, v2},
};

use super::{JOB, PREFIX, RUN};

/// A kind of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A plain value, by remote write 1.0; everything else goes by 2.0.
    Float,
    /// Prometheus' mark for the end of a series: one particular NaN (`model/value.StaleNaN`).
    StaleMarker,
    /// Another NaN, with a payload that no arithmetic makes.
    Nan,
    /// Above every number.
    Infinity,
    /// A native histogram.
    Histogram,
    /// What a value was seen with.
    Exemplar,
    /// What is said about a metric.
    Metadata,
}

/// A value as it is compared: bits, or the bytes of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Of a float.
    Bits(u64),
    /// Of a histogram: a chunk of it alone, without what is said about its counter, which whoever
    /// reads it decides anew.
    Chunk(Vec<u8>),
}

/// How close a number is that is close: about twelve digits, as VictoriaMetrics keeps.
const CLOSE: f64 = 1e-12;

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::Float,
        Self::StaleMarker,
        Self::Nan,
        Self::Infinity,
        Self::Histogram,
        Self::Exemplar,
        Self::Metadata,
    ];

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::StaleMarker => "stale marker",
            Self::Nan => "NaN payload",
            Self::Infinity => "infinity",
            Self::Histogram => "histogram",
            Self::Exemplar => "exemplar",
            Self::Metadata => "metadata",
        }
    }

    /// The name of its series.
    pub(super) fn metric(self) -> String {
        let name = match self {
            Self::Float => "float",
            Self::StaleMarker => "stale_marker",
            Self::Nan => "nan",
            Self::Infinity => "infinity",
            Self::Histogram => "histogram",
            Self::Exemplar => "exemplars_total",
            Self::Metadata => "metadata",
        };
        format!("{PREFIX}{name}")
    }

    /// Whether a storage says that it holds it. All hold floats; which ones is for the plugin to say
    /// of each.
    pub(super) fn is_held(self, holds: &Holds) -> bool {
        match self {
            Self::Float | Self::StaleMarker | Self::Nan | Self::Infinity => true,
            Self::Histogram => holds.histograms,
            Self::Exemplar => holds.exemplars,
            Self::Metadata => holds.metadata,
        }
    }

    /// Samples, histograms and exemplars that it writes.
    pub(super) fn counts(self) -> [u64; 3] {
        match self {
            Self::Histogram => [0, 1, 0],
            Self::Exemplar => [1, 0, 1],
            _ => [1, 0, 0],
        }
    }

    /// What is to come back from a storage that takes it.
    pub(super) fn value(self, time: i64) -> Value {
        match self {
            Self::Histogram => Value::histogram(&histogram(time)),
            other => Value::Bits(other.bits()),
        }
    }

    fn bits(self) -> u64 {
        match self {
            Self::StaleMarker => 0x7ff0_0000_0000_0002,
            Self::Nan => 0x7ff8_dead_beef_cafe,
            Self::Infinity => f64::INFINITY.to_bits(),
            // No binary fraction, so that every bit counts.
            Self::Float | Self::Histogram => 0.1_f64.to_bits(),
            Self::Exemplar | Self::Metadata => 1_f64.to_bits(),
        }
    }

    /// Its labels, sorted, but for those that a storage gives to tenants.
    pub(super) fn labels(self, run: &str) -> Vec<(String, String)> {
        vec![
            ("__name__".to_owned(), self.metric()),
            ("job".to_owned(), JOB.to_owned()),
            (RUN.to_owned(), run.to_owned()),
        ]
    }

    /// The headers and the uncompressed body of its remote write.
    pub(super) fn request(self, run: &str, time: i64) -> (HeaderMap, Vec<u8>) {
        let (proto, version, body) = match self {
            Self::Float => (
                "prometheus.WriteRequest",
                "0.1.0",
                self.v1(run, time).encode_to_vec(),
            ),
            _ => (
                "io.prometheus.write.v2.Request",
                "2.0.0",
                self.v2(run, time).encode_to_vec(),
            ),
        };
        let mut headers = HeaderMap::new();
        if let Ok(content) = HeaderValue::try_from(format!("application/x-protobuf;proto={proto}")) {
            headers.insert(header::CONTENT_TYPE, content);
        }
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        headers.insert(
            "x-prometheus-remote-write-version",
            HeaderValue::from_static(version),
        );
        (headers, body)
    }

    fn v1(self, run: &str, timestamp: i64) -> proto::WriteRequest {
        let labels = self.labels(run).into_iter();
        proto::WriteRequest {
            timeseries: vec![proto::TimeSeries {
                labels: labels.map(|(name, value)| Label { name, value }).collect(),
                samples: vec![proto::Sample {
                    value: self.bits(),
                    timestamp,
                }],
                ..proto::TimeSeries::default()
            }],
            ..proto::WriteRequest::default()
        }
    }

    fn v2(self, run: &str, timestamp: i64) -> v2::Request {
        let mut symbols = vec![String::new()];
        let mut symbol = |text: &str| {
            symbols.push(text.to_owned());
            u32::try_from(symbols.len() - 1).unwrap_or_default()
        };
        let mut series = v2::TimeSeries {
            labels_refs: { self.labels(run).into_iter() }
                .flat_map(|(name, value)| [symbol(&name), symbol(&value)])
                .collect(),
            ..v2::TimeSeries::default()
        };
        if self == Self::Histogram {
            series.histograms = vec![histogram(timestamp).encode_to_vec()];
        } else {
            series.samples = vec![v2::Sample {
                value: self.bits(),
                timestamp,
                start_timestamp: 0,
            }];
        }
        if self == Self::Exemplar {
            series.exemplars = vec![v2::Exemplar {
                labels_refs: vec![symbol("trace_id"), symbol(run)],
                value: self.bits(),
                timestamp,
            }];
        }
        if self == Self::Metadata {
            series.metadata = Some(v2::Metadata {
                r#type: 2,
                help_ref: symbol("Written by witgate doctor."),
                unit_ref: symbol("runs"),
            });
        }
        v2::Request {
            symbols,
            timeseries: vec![series],
        }
    }
}

impl Value {
    pub(super) fn histogram(histogram: &Histogram) -> Self {
        Self::chunk(histogram.chunk().map(|chunk| chunk.bytes).unwrap_or_default())
    }

    /// A chunk of one histogram. The byte after its count says what the counter did
    /// (`tsdb/chunkenc/histogram.go`, `CounterResetHeader`).
    pub(super) fn chunk(mut chunk: Vec<u8>) -> Self {
        if let Some(reset) = chunk.get_mut(2) {
            *reset = 0;
        }
        Self::Chunk(chunk)
    }

    /// Whether it is what was expected: bit for bit, or, of a storage that says that it is not exact, a
    /// number close to it, or a NaN for a NaN. A marker that is lost makes a series go on for ever, so
    /// that has to come back as it is.
    pub(super) fn is_as(&self, expected: &Self, is_exact: bool) -> bool {
        let (Self::Bits(found), Self::Bits(wanted), false) = (self, expected, is_exact) else {
            return self == expected;
        };
        if found == wanted {
            return true;
        }
        let is_stale = *wanted == Kind::StaleMarker.bits() || *found == Kind::StaleMarker.bits();
        let (found, wanted) = (f64::from_bits(*found), f64::from_bits(*wanted));
        let is_close = wanted.is_finite() && (found - wanted).abs() <= wanted.abs() * CLOSE;
        !is_stale && (is_close || found.is_nan() && wanted.is_nan())
    }

    /// For people.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Bits(bits) => format!("the bits {bits:#018x}"),
            Self::Chunk(bytes) => format!("a histogram of {} bytes", bytes.len()),
        }
    }
}

/// With both kinds of spans, a zero bucket, and deltas up and down.
fn histogram(timestamp: i64) -> Histogram {
    Histogram {
        count_int: Some(10),
        sum: 0.1_f64.to_bits(),
        schema: 3,
        // 2^-128, as client libraries have it.
        zero_threshold: 0x37f0_0000_0000_0000,
        zero_count_int: Some(2),
        negative_spans: vec![BucketSpan { offset: 0, length: 2 }],
        negative_deltas: vec![1, 1],
        positive_spans: vec![
            BucketSpan {
                offset: -1,
                length: 2,
            },
            BucketSpan { offset: 3, length: 2 },
        ],
        positive_deltas: vec![1, 1, -1, 0],
        timestamp,
        ..Histogram::default()
    }
}
