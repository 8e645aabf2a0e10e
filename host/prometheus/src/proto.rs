//! The messages of remote write and remote read (`prompb/types.proto`, `prompb/remote.proto`,
//! `prompb/io/prometheus/write/v2/types.proto`).
//!
//! Values are declared as `fixed64` where Prometheus has `double`: the bytes are the same, and no
//! float operation can touch the payload of a NaN.

use prost::{Enumeration, Message};
use witgate_plugins::MetricKind;

/// A label.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Label {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A sample.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Sample {
    /// The bits of the value.
    #[prost(fixed64, tag = "1")]
    pub value: u64,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

/// A series with samples.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TimeSeries {
    /// Its labels, sorted by name.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// Its samples, sorted by time.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// What samples were seen with.
    #[prost(message, repeated, tag = "3")]
    pub exemplars: Vec<Exemplar>,
    /// Its native histograms, sorted by time: messages [`Histogram`], which are handed on as they are.
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub histograms: Vec<Vec<u8>>,
}

/// What a value was seen with.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Exemplar {
    /// A trace's id, mostly.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// The bits of the value.
    #[prost(fixed64, tag = "2")]
    pub value: u64,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

/// A native histogram, in remote write 1.0 and 2.0 alike. Floats are bits.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Histogram {
    /// All observations, if whole ones are counted.
    #[prost(uint64, optional, tag = "1")]
    pub count_int: Option<u64>,
    /// All observations, if parts are counted.
    #[prost(fixed64, optional, tag = "2")]
    pub count_float: Option<u64>,
    /// Their sum.
    #[prost(fixed64, tag = "3")]
    pub sum: u64,
    /// The resolution.
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    /// The width of the zero bucket.
    #[prost(fixed64, tag = "5")]
    pub zero_threshold: u64,
    /// What is in the zero bucket.
    #[prost(uint64, optional, tag = "6")]
    pub zero_count_int: Option<u64>,
    /// What is in the zero bucket, of parts.
    #[prost(fixed64, optional, tag = "7")]
    pub zero_count_float: Option<u64>,
    /// Which negative buckets there are.
    #[prost(message, repeated, tag = "8")]
    pub negative_spans: Vec<BucketSpan>,
    /// What is in them, each as the difference from the one before.
    #[prost(sint64, repeated, tag = "9")]
    pub negative_deltas: Vec<i64>,
    /// What is in them, of parts.
    #[prost(fixed64, repeated, tag = "10")]
    pub negative_counts: Vec<u64>,
    /// Which positive buckets there are.
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<BucketSpan>,
    /// What is in them, each as the difference from the one before.
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    /// What is in them, of parts.
    #[prost(fixed64, repeated, tag = "13")]
    pub positive_counts: Vec<u64>,
    /// What its counter did.
    #[prost(int32, tag = "14")]
    pub reset_hint: i32,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
    /// Bounds of buckets of its own (schema -53).
    #[prost(fixed64, repeated, tag = "16")]
    pub custom_values: Vec<u64>,
}

impl Histogram {
    /// The chunk of this one histogram, in the form in which a read streams it.
    pub fn chunk(&self) -> Option<witgate_chunk::Chunk> {
        let histogram = witgate_chunk::message::parse(&self.encode_to_vec()).ok()?;
        Some(histogram.chunk())
    }
}

/// Some consecutive buckets.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct BucketSpan {
    /// How many are left out before.
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    /// How many there are.
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

/// What is said about a metric.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct MetricMetadata {
    /// The kind, as [`metric_kind`] reads it.
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    /// The metric's name.
    #[prost(string, tag = "2")]
    pub metric_family_name: String,
    /// What it is.
    #[prost(string, tag = "4")]
    pub help: String,
    /// What it is measured in.
    #[prost(string, tag = "5")]
    pub unit: String,
}

/// The kind of a metric by its number; numbers of a later time are unknown.
pub fn metric_kind(number: u64) -> MetricKind {
    match number {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::GaugeHistogram,
        5 => MetricKind::Summary,
        6 => MetricKind::Info,
        7 => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    }
}

/// The body of a remote write 1.0, as a client sends it. The gateway itself decodes it otherwise.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct WriteRequest {
    /// The series.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
    /// What is said about metrics.
    #[prost(message, repeated, tag = "3")]
    pub metadata: Vec<MetricMetadata>,
}

/// Remote write 2.0, as a client sends it.
pub mod v2 {
    use prost::Message;

    /// The body.
    #[derive(Clone, PartialEq, Eq, Message)]
    pub struct Request {
        /// All strings, the first one empty.
        #[prost(string, repeated, tag = "4")]
        pub symbols: Vec<String>,
        /// The series.
        #[prost(message, repeated, tag = "5")]
        pub timeseries: Vec<TimeSeries>,
    }

    /// A series.
    #[derive(Clone, PartialEq, Eq, Message)]
    pub struct TimeSeries {
        /// Pairs of symbols, name and value.
        #[prost(uint32, repeated, tag = "1")]
        pub labels_refs: Vec<u32>,
        /// Its samples.
        #[prost(message, repeated, tag = "2")]
        pub samples: Vec<Sample>,
        /// Its native histograms: messages [`Histogram`](super::Histogram).
        #[prost(bytes = "vec", repeated, tag = "3")]
        pub histograms: Vec<Vec<u8>>,
        /// What samples were seen with.
        #[prost(message, repeated, tag = "4")]
        pub exemplars: Vec<Exemplar>,
        /// What is said about its metric.
        #[prost(message, optional, tag = "5")]
        pub metadata: Option<Metadata>,
        /// When its counter began, as senders had it before 2.0-rc.4.
        #[prost(int64, tag = "6")]
        pub created_timestamp: i64,
    }

    /// A sample.
    #[derive(Clone, Copy, PartialEq, Eq, Message)]
    pub struct Sample {
        /// The bits of the value.
        #[prost(fixed64, tag = "1")]
        pub value: u64,
        /// Milliseconds since 1970.
        #[prost(int64, tag = "2")]
        pub timestamp: i64,
        /// When its counter began, 0 if nobody says.
        #[prost(int64, tag = "3")]
        pub start_timestamp: i64,
    }

    /// What a value was seen with.
    #[derive(Clone, PartialEq, Eq, Message)]
    pub struct Exemplar {
        /// Pairs of symbols, name and value.
        #[prost(uint32, repeated, tag = "1")]
        pub labels_refs: Vec<u32>,
        /// The bits of the value.
        #[prost(fixed64, tag = "2")]
        pub value: u64,
        /// Milliseconds since 1970.
        #[prost(int64, tag = "3")]
        pub timestamp: i64,
    }

    /// What is said about a metric.
    #[derive(Clone, Copy, PartialEq, Eq, Message)]
    pub struct Metadata {
        /// The kind, as [`metric_kind`](super::metric_kind) reads it.
        #[prost(int32, tag = "1")]
        pub r#type: i32,
        /// The symbol of what it is.
        #[prost(uint32, tag = "3")]
        pub help_ref: u32,
        /// The symbol of what it is measured in.
        #[prost(uint32, tag = "4")]
        pub unit_ref: u32,
    }
}

/// The body of a remote read.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ReadRequest {
    /// The queries; the answer has one result for each.
    #[prost(message, repeated, tag = "1")]
    pub queries: Vec<Query>,
    /// The forms of answer that the client takes, the best first. None means samples.
    #[prost(enumeration = "ResponseType", repeated, tag = "2")]
    pub accepted_response_types: Vec<i32>,
}

/// One query.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Query {
    /// The first millisecond.
    #[prost(int64, tag = "1")]
    pub start_timestamp_ms: i64,
    /// The last one, included.
    #[prost(int64, tag = "2")]
    pub end_timestamp_ms: i64,
    /// All must hold.
    #[prost(message, repeated, tag = "3")]
    pub matchers: Vec<LabelMatcher>,
    /// What the answer is for.
    #[prost(message, optional, tag = "4")]
    pub hints: Option<ReadHints>,
}

/// What an answer is for, as far as it makes a difference.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ReadHints {
    /// The function that is applied: `series` where only labels are wanted.
    #[prost(string, tag = "2")]
    pub func: String,
}

/// A condition on a label.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LabelMatcher {
    /// How it compares.
    #[prost(enumeration = "MatchType", tag = "1")]
    pub r#type: i32,
    /// The label's name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// What it is compared with.
    #[prost(string, tag = "3")]
    pub value: String,
}

/// The answer to a remote read.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ReadResponse {
    /// In the order of the queries.
    #[prost(message, repeated, tag = "1")]
    pub results: Vec<QueryResult>,
}

/// The answer to one query.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct QueryResult {
    /// Sorted by labels.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

/// One frame of a streamed answer.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ChunkedReadResponse {
    /// A series, or a part of one.
    #[prost(message, repeated, tag = "1")]
    pub chunked_series: Vec<ChunkedSeries>,
    /// Which query it answers.
    #[prost(int64, tag = "2")]
    pub query_index: i64,
}

/// A series in chunks.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ChunkedSeries {
    /// Its labels, sorted by name.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// Its chunks, sorted by time.
    #[prost(message, repeated, tag = "2")]
    pub chunks: Vec<Chunk>,
}

/// Some samples of a series.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Chunk {
    /// The first sample's time.
    #[prost(int64, tag = "1")]
    pub min_time_ms: i64,
    /// The last one's.
    #[prost(int64, tag = "2")]
    pub max_time_ms: i64,
    /// How it is encoded: the numbers of [`witgate_chunk::Encoding`].
    #[prost(int32, tag = "3")]
    pub r#type: i32,
    /// The samples.
    #[prost(bytes = "vec", tag = "4")]
    pub data: Vec<u8>,
}

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum MatchType {
    /// `=`
    Eq = 0,
    /// `!=`
    Neq = 1,
    /// `=~`
    Re = 2,
    /// `!~`
    Nre = 3,
}

/// The forms of a read's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum ResponseType {
    /// One `ReadResponse`.
    Samples = 0,
    /// A stream of XOR chunks.
    StreamedXorChunks = 1,
}
