//! Remote read (`prompb/remote.proto`): a query, and the answer in samples.

use witgate_sdk::http::{self, Body};
use witgate_sdk::storage::{Batch, BatchBuilder, Histogram, MatchOperation, Matcher, Query, Sample};

use crate::wire::{Damaged, Fields, Value, bytes, integer};

/// What a request says of itself in its headers.
pub const HEADERS: [(&str, &str); 4] = [
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("accept-encoding", "snappy"),
    ("x-prometheus-remote-read-version", "0.1.0"),
];

/// In which form an answer may come, by its number in `ReadRequest.ResponseType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// All of it in one message.
    Samples = 0,
    /// Chunks, in a frame for each few of a series.
    Chunks = 1,
}

/// A query that finds nothing, to see whether there is an answer.
#[must_use]
pub fn probe() -> Query {
    Query {
        start: 0,
        end: 0,
        matchers: vec![Matcher {
            name: "__name__".to_owned(),
            operation: MatchOperation::Equal,
            value: "witgate_check".to_owned(),
        }],
        only_series: true,
        without: None,
    }
}

/// A request for one query, of forms in the order in which they are liked.
#[must_use]
pub fn encode(query: &Query, forms: &[Form]) -> Vec<u8> {
    let (start, end) = (query.start.cast_unsigned(), query.end.cast_unsigned());
    let mut message = Vec::new();
    integer(&mut message, 1, start);
    integer(&mut message, 2, end);
    for matcher in &query.matchers {
        let mut part = Vec::new();
        let operation = match matcher.operation {
            MatchOperation::Equal => 0,
            MatchOperation::NotEqual => 1,
            MatchOperation::Matches => 2,
            MatchOperation::NotMatches => 3,
        };
        integer(&mut part, 1, operation);
        bytes(&mut part, 2, matcher.name.as_bytes());
        // For Prometheus before 3 a dot was no line break, and since then it is.
        let is_pattern = matches!(
            matcher.operation,
            MatchOperation::Matches | MatchOperation::NotMatches
        );
        match is_pattern && matcher.value.contains('.') {
            true => bytes(&mut part, 3, format!("(?s:{})", matcher.value).as_bytes()),
            false => bytes(&mut part, 3, matcher.value.as_bytes()),
        }
        bytes(&mut message, 3, &part);
    }
    if query.only_series {
        let mut hints = Vec::new();
        bytes(&mut hints, 2, b"series");
        integer(&mut hints, 3, start);
        integer(&mut hints, 4, end);
        bytes(&mut message, 4, &hints);
    }
    let mut request = Vec::new();
    bytes(&mut request, 1, &message);
    for form in forms {
        integer(&mut request, 2, *form as u64);
    }
    request
}

/// The most bytes of an answer in samples, compressed or not: it has to be in memory as a whole.
pub const LIMIT: usize = 96 << 20;

/// Why an answer in samples can't be read.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// It broke off.
    #[error(transparent)]
    Body(#[from] http::Error),
    /// It is not what it should be.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// It is no snappy block.
    #[error("it is no snappy block: {0}")]
    Compression(#[from] snap::Error),
    /// It is too long.
    #[error("it is over {LIMIT} bytes: ask for less time or fewer series")]
    TooLarge,
}

/// The labels of a series.
pub type Labels = Vec<(String, String)>;

/// The series of an answer that came in one message.
#[derive(Debug)]
pub struct Samples {
    message: Vec<u8>,
    /// What of the message's result is not read yet.
    rest: Place,
    /// The series that is being read, and what of it is not read yet.
    series: Option<(Labels, Place)>,
}

/// A part of the message.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    end: usize,
}

impl Samples {
    /// The series of the first result of an answer.
    pub fn of_body(body: &mut Body) -> Result<Self, AnswerError> {
        let mut compressed = Vec::new();
        while let Some(piece) = body.next_piece()? {
            compressed.extend_from_slice(&piece);
            if compressed.len() > LIMIT {
                return Err(AnswerError::TooLarge);
            }
        }
        if snap::raw::decompress_len(&compressed)? > LIMIT {
            return Err(AnswerError::TooLarge);
        }
        let message = snap::raw::Decoder::new().decompress_vec(&compressed)?;
        Ok(Samples::new(message)?)
    }

    /// The series of the first result of an uncompressed `ReadResponse`.
    pub fn new(message: Vec<u8>) -> Result<Self, Damaged> {
        let mut all = Place {
            start: 0,
            end: message.len(),
        };
        let mut rest = Place { start: 0, end: 0 };
        while let Some((number, value)) = all.field(&message)? {
            if let (1, Found::Bytes(result)) = (number, value) {
                rest = result;
                break;
            }
        }
        Ok(Samples {
            message,
            rest,
            series: None,
        })
    }

    /// The next series, with about so many samples. None at the end. A series that has no samples at
    /// all is there too.
    pub fn next(&mut self, samples: usize) -> Result<Option<Batch>, Damaged> {
        let mut builder = BatchBuilder::default();
        let mut series = 0;
        while builder.sample_count() + series < samples.max(1) {
            let (labels, mut place) = match self.series.take() {
                Some(open) => open,
                None => match self.open()? {
                    Some(open) => open,
                    None => break,
                },
            };
            builder.series(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            series += 1;
            while let Some((number, found)) = place.field(&self.message)? {
                match (number, found) {
                    (2, Found::Bytes(sample)) => builder.sample(self.sample(sample)?),
                    (4, Found::Bytes(histogram)) => {
                        let message = histogram.of(&self.message);
                        builder.histogram(Histogram {
                            timestamp: histogram_time(message)?,
                            message,
                        });
                    }
                    _ => {}
                }
                if builder.sample_count() >= samples.max(1) && place.start < place.end {
                    self.series = Some((labels, place));
                    break;
                }
            }
        }
        Ok((series > 0).then(|| builder.finish()))
    }

    /// The next series of the result.
    fn open(&mut self) -> Result<Option<(Labels, Place)>, Damaged> {
        while let Some((number, found)) = self.rest.field(&self.message)? {
            if let (1, Found::Bytes(series)) = (number, found) {
                return Ok(Some((labels(series.of(&self.message))?, series)));
            }
        }
        Ok(None)
    }

    fn sample(&self, place: Place) -> Result<Sample, Damaged> {
        let mut sample = Sample {
            timestamp: 0,
            bits: 0,
        };
        let mut fields = Fields(place.of(&self.message));
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Fixed64(bits)) => sample.bits = bits,
                (2, Value::Varint(time)) => sample.timestamp = time.cast_signed(),
                _ => {}
            }
        }
        Ok(sample)
    }
}

/// A field's value as a place in the message.
enum Found {
    Bytes(Place),
    Other,
}

impl Place {
    fn of(self, message: &[u8]) -> &[u8] {
        message.get(self.start..self.end).unwrap_or_default()
    }

    /// The next field, which is taken away from the place.
    fn field(&mut self, message: &[u8]) -> Result<Option<(u64, Found)>, Damaged> {
        let mut fields = Fields(self.of(message));
        let Some((number, value)) = fields.next()? else {
            return Ok(None);
        };
        let end = self.end - fields.0.len();
        let found = match value {
            Value::Bytes(bytes) => Found::Bytes(Place {
                start: end - bytes.len(),
                end,
            }),
            _ => Found::Other,
        };
        self.start = end;
        Ok(Some((number, found)))
    }
}

/// The labels of a message that has them in its field 1: `TimeSeries`, `ChunkedSeries`.
pub(crate) fn labels(series: &[u8]) -> Result<Labels, Damaged> {
    let mut labels = Labels::new();
    let mut fields = Fields(series);
    while let Some((number, value)) = fields.next()? {
        let (1, Value::Bytes(label)) = (number, value) else {
            continue;
        };
        let (mut name, mut text) = (String::new(), String::new());
        let mut fields = Fields(label);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Bytes(bytes)) => name = utf8(bytes)?,
                (2, Value::Bytes(bytes)) => text = utf8(bytes)?,
                _ => {}
            }
        }
        labels.push((name, text));
    }
    Ok(labels)
}

fn utf8(bytes: &[u8]) -> Result<String, Damaged> {
    let text = std::str::from_utf8(bytes).map_err(|_| Damaged("a label is not UTF-8"))?;
    Ok(text.to_owned())
}

fn histogram_time(message: &[u8]) -> Result<i64, Damaged> {
    let mut time = 0;
    let mut fields = Fields(message);
    while let Some((number, value)) = fields.next()? {
        if let (15, Value::Varint(value)) = (number, value) {
            time = value.cast_signed();
        }
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use witgate_sdk::storage::Matcher;

    use super::*;
    use crate::wire::double;

    fn label(name: &str, value: &str) -> Vec<u8> {
        let mut label = Vec::new();
        bytes(&mut label, 1, name.as_bytes());
        bytes(&mut label, 2, value.as_bytes());
        label
    }

    fn answer(series: &[(&str, i64)]) -> Vec<u8> {
        let mut result = Vec::new();
        for &(name, samples) in series {
            let mut message = Vec::new();
            bytes(&mut message, 1, &label("__name__", name));
            for time in 0..samples {
                let mut sample = Vec::new();
                double(&mut sample, 1, 7);
                integer(&mut sample, 2, time.cast_unsigned());
                bytes(&mut message, 2, &sample);
            }
            let mut histogram = Vec::new();
            integer(&mut histogram, 15, 99);
            bytes(&mut message, 4, &histogram);
            bytes(&mut result, 1, &message);
        }
        let mut answer = Vec::new();
        bytes(&mut answer, 1, &result);
        answer
    }

    #[test]
    fn a_series_that_does_not_fit_goes_on_in_the_next_piece() {
        let mut samples = Samples::new(answer(&[("a", 5), ("b", 0)])).unwrap();
        let mut seen = Vec::new();
        while let Some(batch) = samples.next(2).unwrap() {
            let part = batch.series().map(|series| {
                let times: Vec<_> = series.samples().map(|sample| sample.timestamp).collect();
                let histograms: Vec<_> = series.histograms().map(|one| one.timestamp).collect();
                (series.label("__name__").unwrap().to_owned(), times, histograms)
            });
            seen.extend(part);
        }
        let a = |times: &[i64], histograms: &[i64]| ("a".to_owned(), times.to_vec(), histograms.to_vec());
        let b = ("b".to_owned(), vec![], vec![99]);
        assert_eq!(seen, [a(&[0, 1], &[]), a(&[2, 3], &[]), a(&[4], &[99]), b]);
    }

    #[test]
    fn what_is_cut_off_is_no_end() {
        let whole = answer(&[("a", 3)]);
        let mut cut = Samples::new(whole[..whole.len() - 1].to_vec());
        assert!(cut.as_mut().map_or(true, |cut| cut.next(10).is_err()));
        assert!(Samples::new(Vec::new()).unwrap().next(1).unwrap().is_none());
    }

    #[test]
    fn a_query_is_what_the_protocol_says() {
        let query = Query {
            start: 1,
            end: 2,
            matchers: vec![Matcher {
                name: "a".into(),
                operation: MatchOperation::Matches,
                value: "b".into(),
            }],
            only_series: true,
            without: None,
        };
        let expected = b"\x0a\x1c\x08\x01\x10\x02\x1a\x08\x08\x02\x12\x01a\x1a\x01b\
            \x22\x0c\x12\x06series\x18\x01\x20\x02\x10\x01\x10\x00";
        assert_eq!(encode(&query, &[Form::Chunks, Form::Samples]), expected);
    }
}
