//! What comes back of what was written, in either form of a read's answer.

use std::collections::BTreeMap;

use prost::Message;
use witgate_chunk::Samples;
use witgate_prometheus::{
    frames,
    proto::{self, Label, LabelMatcher, MatchType, Query, ReadRequest, ReadResponse, ResponseType},
};

use super::{
    PREFIX, RUN,
    specimen::{Kind, Value},
};

/// The most that an answer may decompress to: it has less than ten samples.
const ANSWER_BYTES: usize = 1 << 20;

/// Encodings of chunks (`prompb.Chunk.Encoding`).
const XOR: i32 = witgate_chunk::Encoding::Xor as i32;

/// What was found, by the name of its series.
#[derive(Debug, Default)]
pub(super) struct Found(BTreeMap<String, Vec<Series>>);

#[derive(Debug)]
struct Series {
    labels: Vec<(String, String)>,
    points: Vec<(i64, Value)>,
}

/// The uncompressed body of a read of everything that a run wrote.
pub(super) fn request(run: &str, time: i64, form: ResponseType) -> Vec<u8> {
    let matcher = |r#type: MatchType, name: &str, value: String| LabelMatcher {
        r#type: r#type.into(),
        name: name.to_owned(),
        value,
    };
    let query = Query {
        start_timestamp_ms: time,
        end_timestamp_ms: time,
        matchers: vec![
            matcher(MatchType::Re, "__name__", format!("{PREFIX}.+")),
            matcher(MatchType::Eq, RUN, run.to_owned()),
        ],
        hints: None,
    };
    let request = ReadRequest {
        queries: vec![query],
        accepted_response_types: vec![form.into()],
    };
    request.encode_to_vec()
}

impl Found {
    /// Takes an answer apart; the error says what is wrong with it.
    pub(super) fn parse(answer: &[u8], form: ResponseType) -> Result<Self, String> {
        match form {
            ResponseType::Samples => Self::samples(answer),
            ResponseType::StreamedXorChunks => Self::chunks(answer),
        }
    }

    fn samples(answer: &[u8]) -> Result<Self, String> {
        let length = snap::raw::decompress_len(answer).map_err(|error| error.to_string())?;
        if length > ANSWER_BYTES {
            return Err(format!(
                "the answer is {length} bytes large, for a handful of samples"
            ));
        }
        let answer = snap::raw::Decoder::new().decompress_vec(answer);
        let answer = answer.map_err(|error| error.to_string())?;
        let answer = ReadResponse::decode(answer.as_slice()).map_err(|error| error.to_string())?;
        let mut found = Self::default();
        for series in answer.results.into_iter().flat_map(|result| result.timeseries) {
            let mut points = Vec::new();
            for sample in series.samples {
                points.push((sample.timestamp, Value::Bits(sample.value)));
            }
            for message in series.histograms {
                let histogram =
                    proto::Histogram::decode(message.as_slice()).map_err(|error| error.to_string())?;
                points.push((histogram.timestamp, Value::histogram(&histogram)));
            }
            found.add(series.labels, points);
        }
        Ok(found)
    }

    fn chunks(answer: &[u8]) -> Result<Self, String> {
        let messages = frames(answer).map_err(|error| error.to_string())?;
        let mut found = Self::default();
        for series in messages.into_iter().flat_map(|message| message.chunked_series) {
            let mut points = Vec::new();
            for chunk in series.chunks {
                if chunk.r#type == XOR {
                    let samples = Samples::of(&chunk.data).map_err(|error| error.to_string())?;
                    for sample in samples {
                        let (time, bits) = sample.map_err(|error| error.to_string())?;
                        points.push((time, Value::Bits(bits)));
                    }
                } else {
                    points.push((chunk.min_time_ms, Value::chunk(chunk.data)));
                }
            }
            found.add(series.labels, points);
        }
        Ok(found)
    }

    fn add(&mut self, labels: Vec<Label>, points: Vec<(i64, Value)>) {
        let labels: Vec<_> = { labels.into_iter() }
            .map(|label| (label.name, label.value))
            .collect();
        let name = labels.iter().find(|(name, _)| name == "__name__");
        let name = name.map(|(_, name)| name.clone()).unwrap_or_default();
        let all = self.0.entry(name).or_default();
        // A series may be cut over several frames.
        match all.iter_mut().find(|series| series.labels == labels) {
            Some(series) => series.points.extend(points),
            None => all.push(Series { labels, points }),
        }
    }

    /// Whether there is anything of a kind.
    pub(super) fn has(&self, kind: Kind) -> bool {
        let series = self.0.get(&kind.metric());
        series.is_some_and(|series| series.iter().any(|series| !series.points.is_empty()))
    }

    /// What is different from what was written, if anything.
    pub(super) fn difference(&self, kind: Kind, run: &str, time: i64, is_exact: bool) -> Option<String> {
        let series = match self.0.get(&kind.metric()).map(Vec::as_slice) {
            None | Some([]) => return Some("nothing came back".to_owned()),
            Some([series]) => series,
            Some(more) => return Some(format!("{} series came back instead of one", more.len())),
        };
        if series.labels != kind.labels(run) {
            let labels: Vec<_> = { series.labels.iter() }
                .map(|(name, value)| format!("{name}={value:?}"))
                .collect();
            return Some(format!("other labels came back: {}", labels.join(", ")));
        }
        let expected = kind.value(time);
        match series.points.as_slice() {
            [(at, value)] if *at == time && value.is_as(&expected, is_exact) => None,
            [(at, value)] if *at == time => Some(format!(
                "{} came back instead of {}",
                value.in_words(),
                expected.in_words()
            )),
            [(at, _)] => Some(format!("the time {at} came back instead of {time}")),
            more => Some(format!("{} samples came back instead of one", more.len())),
        }
    }
}
