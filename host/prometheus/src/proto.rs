//! The messages of remote write 1.0 and remote read (`prompb/types.proto`, `prompb/remote.proto`).
//!
//! Values are declared as `fixed64` where Prometheus has `double`: the bytes are the same, and no
//! float operation can touch the payload of a NaN.

use prost::{Enumeration, Message};

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
}

/// The body of a remote write 1.0, as a client sends it. The gateway itself decodes it otherwise.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct WriteRequest {
    /// The series.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
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

/// One query. Its hints are left out: they are only hints.
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
