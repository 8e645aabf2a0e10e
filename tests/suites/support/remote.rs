//! Remote write and read as a client sends them.

pub mod streamed;

use prost::Message;
use witgate_prometheus::proto::{
    Label, LabelMatcher, MatchType, Query, ReadRequest, ReadResponse, ResponseType, Sample, TimeSeries,
    WriteRequest,
};

/// A series with its samples, as `(milliseconds, bits)`.
pub type Series = (Vec<(String, String)>, Vec<(i64, u64)>);

/// Labels from pairs, in the order given.
pub fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// The body of a remote write.
pub fn write_body(series: &[Series]) -> Vec<u8> {
    let timeseries = series.iter().map(|(labels, samples)| TimeSeries {
        labels: labels
            .iter()
            .map(|(name, value)| Label {
                name: name.clone(),
                value: value.clone(),
            })
            .collect(),
        samples: samples
            .iter()
            .map(|&(timestamp, value)| Sample { value, timestamp })
            .collect(),
        ..TimeSeries::default()
    });
    compress(
        &WriteRequest {
            timeseries: timeseries.collect(),
            ..WriteRequest::default()
        }
        .encode_to_vec(),
    )
}

/// The body of a remote read of one query, whose answer is in samples.
pub fn read_body(matchers: &[(&str, MatchType, &str)], start: i64, end: i64) -> Vec<u8> {
    read_body_for(ResponseType::Samples, matchers, start, end)
}

/// The same for an answer of this form.
pub fn read_body_for(
    form: ResponseType,
    matchers: &[(&str, MatchType, &str)],
    start: i64,
    end: i64,
) -> Vec<u8> {
    let matchers = matchers.iter().map(|(name, operation, value)| LabelMatcher {
        r#type: (*operation).into(),
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    });
    let query = Query {
        start_timestamp_ms: start,
        end_timestamp_ms: end,
        matchers: matchers.collect(),
        hints: None,
    };
    let accepted_response_types = vec![form.into()];
    compress(
        &ReadRequest {
            queries: vec![query],
            accepted_response_types,
        }
        .encode_to_vec(),
    )
}

/// The series of the first result of a remote read's answer.
pub fn read_answer(body: &[u8]) -> Vec<Series> {
    let body = snap::raw::Decoder::new()
        .decompress_vec(body)
        .expect("the answer is snappy");
    let answer = ReadResponse::decode(body.as_slice()).expect("the answer is a ReadResponse");
    let result = answer
        .results
        .into_iter()
        .next()
        .expect("the answer has a result");
    let series = result.timeseries.into_iter().map(|series| {
        let labels = pairs(series.labels);
        let samples = series
            .samples
            .into_iter()
            .map(|sample| (sample.timestamp, sample.value))
            .collect();
        (labels, samples)
    });
    series.collect()
}

fn pairs(labels: Vec<Label>) -> Vec<(String, String)> {
    let pairs = labels.into_iter().map(|label| (label.name, label.value));
    pairs.collect()
}

/// A snappy block.
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new()
        .compress_vec(bytes)
        .expect("a body can be compressed")
}
