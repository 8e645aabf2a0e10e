//! A streamed answer to a remote read, as a client takes it apart (`storage/remote/chunked.go`).

use prost::Message;
use witgate_chunk::{
    Encoding, Samples,
    histogram::{Histogram, Histograms},
};
use witgate_prometheus::proto::{Chunk, ChunkedReadResponse, ChunkedSeries, Label};

use super::pairs;

/// The content type of a streamed answer.
pub const CONTENT_TYPE: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// A series out of frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streamed {
    /// Its labels, in the order in which they came.
    pub labels: Vec<(String, String)>,
    /// Milliseconds and bits.
    pub samples: Vec<(i64, u64)>,
    /// Its native histograms.
    pub histograms: Vec<Histogram>,
}

/// The series of each query.
///
/// # Panics
/// If a frame is not whole or its checksum is wrong, if a frame has several series, if the series of a
/// query are not sorted or one comes twice, or if a chunk says something else of itself than it has.
pub fn read(mut body: &[u8], queries: usize) -> Vec<Vec<Streamed>> {
    let mut results = vec![Vec::<Streamed>::new(); queries];
    while !body.is_empty() {
        let message = frame(&mut body);
        let response = ChunkedReadResponse::decode(message).expect("a frame is a ChunkedReadResponse");
        let result = &mut results[usize::try_from(response.query_index).expect("an index is not negative")];
        let [series] = <[ChunkedSeries; 1]>::try_from(response.chunked_series).expect("one series a frame");
        add(result, series.labels, &series.chunks);
    }
    results
}

/// The series of one query with their chunks as they came. One that goes on in a later frame is there as
/// one.
///
/// # Panics
/// If a frame is not whole or its checksum is wrong.
pub fn chunks(mut body: &[u8]) -> Vec<ChunkedSeries> {
    let mut all: Vec<ChunkedSeries> = Vec::new();
    while !body.is_empty() {
        let message = frame(&mut body);
        let response = ChunkedReadResponse::decode(message).expect("a frame is a ChunkedReadResponse");
        for series in response.chunked_series {
            match all.last_mut() {
                Some(last) if last.labels == series.labels => last.chunks.extend(series.chunks),
                _ => all.push(series),
            }
        }
    }
    all
}

fn frame<'a>(body: &mut &'a [u8]) -> &'a [u8] {
    let length = prost::encoding::decode_varint(body).expect("a frame begins with its length");
    let (sum, rest) = body.split_first_chunk().expect("a frame has a checksum");
    let (message, rest) = rest
        .split_at_checked(usize::try_from(length).expect("a frame fits into memory"))
        .expect("a frame is whole");
    assert_eq!(crc32c::crc32c(message), u32::from_be_bytes(*sum));
    *body = rest;
    message
}

fn add(result: &mut Vec<Streamed>, labels: Vec<Label>, chunks: &[Chunk]) {
    let labels = pairs(labels);
    if result.last().is_none_or(|last| last.labels != labels) {
        if let Some(last) = result.last() {
            assert!(last.labels < labels, "{:?} is before {labels:?}", last.labels);
        }
        result.push(Streamed {
            labels,
            ..Streamed::default()
        });
    }
    let series = result.last_mut().expect("there is one by now");
    for chunk in chunks {
        let number = u8::try_from(chunk.r#type).ok();
        let encoding = { number.and_then(Encoding::of) }.expect("every reader knows its encoding");
        if encoding == Encoding::Xor {
            let samples = Samples::of(&chunk.data).expect("a chunk has a count");
            let samples: Vec<_> = samples.map(|sample| sample.expect("a chunk is whole")).collect();
            let times = chunk.min_time_ms..=chunk.max_time_ms;
            assert!(
                samples.iter().all(|(time, _)| times.contains(time)),
                "{times:?} {samples:?}"
            );
            series.samples.extend(samples);
        } else {
            let histograms = Histograms::of(encoding, &chunk.data).expect("a chunk has a count");
            let histograms = histograms.map(|histogram| histogram.expect("a chunk is whole"));
            series.histograms.extend(histograms);
        }
    }
}
