//! Remote Write 1.0: `prometheus.WriteRequest` (`prompb/{remote,types}.proto`).

use witgate_sdk::storage::{Batch, Family, MetricKind};

use crate::{
    piece::{Piece, columns},
    symbol,
    wire::{bytes, bytes_len, double, head, integer, varint_len},
};

/// What a request says of itself in its headers.
pub const HEADERS: [(&str, &str); 3] = [
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "0.1.0"),
];

/// A request with these pieces of a batch, and with what is said of these families.
#[must_use]
pub fn encode(batch: &Batch, pieces: &[Piece], families: &[Family]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut part = Vec::new();
    let mut written = Written::default();
    for piece in pieces {
        let labels = &batch.labels[piece.labels.clone()];
        let length = written.measure(batch, labels);
        head(&mut out, 1, length + data_len(batch, piece));
        written.write(&mut out, batch, labels);
        let samples = batch.timestamps[piece.samples.clone()]
            .iter()
            .zip(&batch.values[piece.samples.clone()]);
        for (&timestamp, &bits) in samples {
            head(&mut out, 2, sample_len(timestamp));
            double(&mut out, 1, bits);
            integer(&mut out, 2, timestamp.cast_unsigned());
        }
        for exemplar in piece.exemplars.clone() {
            part.clear();
            self::exemplar(&mut part, batch, exemplar);
            bytes(&mut out, 3, &part);
        }
        for message in messages(batch, piece) {
            bytes(&mut out, 4, message);
        }
    }
    for family in families {
        part.clear();
        integer(&mut part, 1, kind(family.kind).into());
        bytes(&mut part, 2, symbol(batch, family.name));
        bytes(&mut part, 4, symbol(batch, family.help));
        bytes(&mut part, 5, symbol(batch, family.unit));
        bytes(&mut out, 3, &part);
    }
    out
}

/// The number of a kind of metric, in both protocols.
pub(crate) fn kind(kind: MetricKind) -> u8 {
    match kind {
        MetricKind::Unknown => 0,
        MetricKind::Counter => 1,
        MetricKind::Gauge => 2,
        MetricKind::Histogram => 3,
        MetricKind::GaugeHistogram => 4,
        MetricKind::Summary => 5,
        MetricKind::Info => 6,
        MetricKind::StateSet => 7,
    }
}

/// The messages of a piece's histograms.
pub(crate) fn messages<'b>(batch: &'b Batch, piece: &Piece) -> impl Iterator<Item = &'b [u8]> + use<'b> {
    let histograms = &batch.histograms;
    let message = |at: usize| &histograms.messages[columns(&histograms.message_ends, &(at..at + 1))];
    piece.histograms.clone().map(message)
}

/// The labels of the series before, as they are in the request already. Consecutive series mostly have
/// the same label at the same place, and what stands next to each other there is copied as a whole:
/// in a component many small copies cost more than their bytes.
#[derive(Default)]
struct Written {
    labels: Vec<Place>,
}

/// Where a label is in the request, with the field's own head.
struct Place {
    pair: [u32; 2],
    start: usize,
    length: usize,
}

impl Written {
    /// How many bytes labels will take.
    fn measure(&self, batch: &Batch, labels: &[u32]) -> usize {
        let mut before = self.labels.iter();
        let length = |pair: &[u32]| match before.next().filter(|place| place.pair == *pair) {
            Some(place) => place.length,
            None => bytes_len(label_len(batch, pair)),
        };
        labels.chunks_exact(2).map(length).sum()
    }

    /// Writes labels, sorted as they are.
    fn write(&mut self, out: &mut Vec<u8>, batch: &Batch, labels: &[u32]) {
        self.labels.truncate(labels.len() / 2);
        let mut same = 0..0;
        for (at, pair) in labels.chunks_exact(2).enumerate() {
            let start = out.len() + same.len();
            match self.labels.get_mut(at) {
                Some(place) if place.pair == *pair => {
                    let was = place.start..place.start + place.length;
                    place.start = start;
                    if same.end == was.start {
                        same.end = was.end;
                    } else {
                        out.extend_from_within(std::mem::replace(&mut same, was));
                    }
                }
                other => {
                    out.extend_from_within(std::mem::take(&mut same));
                    label(out, batch, pair);
                    let place = Place {
                        pair: [pair[0], pair[1]],
                        start,
                        length: out.len() - start,
                    };
                    match other {
                        Some(other) => *other = place,
                        None => self.labels.push(place),
                    }
                }
            }
        }
        out.extend_from_within(same);
    }
}

/// How many bytes the rest of a series takes.
fn data_len(batch: &Batch, piece: &Piece) -> usize {
    let samples = batch.timestamps[piece.samples.clone()]
        .iter()
        .map(|&timestamp| bytes_len(sample_len(timestamp)));
    let exemplars = piece
        .exemplars
        .clone()
        .map(|at| bytes_len(exemplar_len(batch, at)));
    let messages = messages(batch, piece).map(|message| bytes_len(message.len()));
    samples.sum::<usize>() + exemplars.sum::<usize>() + messages.sum::<usize>()
}

fn sample_len(timestamp: i64) -> usize {
    9 + 1 + varint_len(timestamp.cast_unsigned())
}

fn label_len(batch: &Batch, pair: &[u32]) -> usize {
    pair.iter()
        .map(|&text| bytes_len(symbol(batch, text).len()))
        .sum()
}

fn label(out: &mut Vec<u8>, batch: &Batch, pair: &[u32]) {
    head(out, 1, label_len(batch, pair));
    for (number, &text) in (1..).zip(pair) {
        bytes(out, number, symbol(batch, text));
    }
}

fn exemplar(out: &mut Vec<u8>, batch: &Batch, at: usize) {
    let exemplars = &batch.exemplars;
    let labels = &exemplars.labels[columns(&exemplars.label_ends, &(at..at + 1))];
    labels.chunks_exact(2).for_each(|pair| label(out, batch, pair));
    double(out, 2, exemplars.values[at]);
    integer(out, 3, exemplars.timestamps[at].cast_unsigned());
}

fn exemplar_len(batch: &Batch, at: usize) -> usize {
    let exemplars = &batch.exemplars;
    let labels = exemplars.labels[columns(&exemplars.label_ends, &(at..at + 1))]
        .chunks_exact(2)
        .map(|pair| bytes_len(label_len(batch, pair)));
    labels.sum::<usize>() + sample_len(exemplars.timestamps[at])
}

#[cfg(test)]
mod tests {
    use witgate_sdk::storage::{BatchBuilder, Histogram, Sample};

    use super::*;
    use crate::{
        piece::pieces,
        wire::{Fields, Value},
    };

    /// The labels of each series of a request, as they are read.
    fn read(request: &[u8]) -> Vec<Vec<Vec<u8>>> {
        let parts = |message: &[u8]| {
            let (mut fields, mut parts) = (Fields(message), Vec::new());
            while let Some((number, value)) = fields.next().unwrap() {
                match value {
                    Value::Bytes(bytes) if number < 3 => parts.push(bytes.to_vec()),
                    _ => {}
                }
            }
            parts
        };
        let series = parts(request).into_iter().map(|series| {
            let labels = parts(&series)
                .into_iter()
                .filter(|label| label.first() == Some(&0x0a));
            labels.flat_map(|label| parts(&label)).collect()
        });
        series.collect()
    }

    #[test]
    fn labels_are_the_same_whatever_the_series_before_has() {
        // Every way in which four labels, each of three values or missing, can follow on another.
        let value = |number: usize, at: u32| number / 4_usize.pow(at) % 4;
        for first in 0..256 {
            let mut builder = BatchBuilder::default();
            let mut wanted = Vec::new();
            for number in [first, (first * 7 + 3) % 256, first, (first * 5 + 1) % 256] {
                let labels: Vec<_> = (0..4)
                    .filter(|at| value(number, *at) > 0)
                    .map(|at| (format!("label{at}"), "x".repeat(value(number, at) * 60)))
                    .collect();
                builder.series(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
                builder.sample(Sample {
                    timestamp: 1,
                    bits: 2,
                });
                let texts = labels.into_iter().flat_map(|(name, value)| [name, value]);
                wanted.push(texts.map(String::into_bytes).collect::<Vec<_>>());
            }
            let batch = builder.finish();
            assert_eq!(read(&encode(&batch, &pieces(&batch), &[])), wanted, "{first}");
        }
    }

    #[test]
    fn a_request_is_what_the_protocol_says() {
        let mut builder = BatchBuilder::default();
        builder.series([("__name__", "up"), ("a", "x\ny")]);
        builder.sample(Sample {
            timestamp: 300,
            bits: 1f64.to_bits(),
        });
        builder.exemplar(
            Sample {
                timestamp: 1,
                bits: 0x7ff0_0000_0000_0002,
            },
            [("t", "i")],
        );
        builder.histogram(Histogram {
            timestamp: 7,
            message: b"\x08\x01",
        });
        builder.family("up", MetricKind::Gauge, "h", "u");
        let batch = builder.finish();
        let series = b"\x0a\x0e\x0a\x08__name__\x12\x02up\x0a\x08\x0a\x01a\x12\x03x\ny\
            \x12\x0c\x09\0\0\0\0\0\0\xf0\x3f\x10\xac\x02\
            \x1a\x13\x0a\x06\x0a\x01t\x12\x01i\x11\x02\0\0\0\0\0\xf0\x7f\x18\x01\
            \x22\x02\x08\x01";
        let mut expected = vec![0x0a, u8::try_from(series.len()).unwrap()];
        expected.extend(series);
        expected.extend(b"\x1a\x0c\x08\x02\x12\x02up\x22\x01h\x2a\x01u");
        assert_eq!(encode(&batch, &pieces(&batch), &batch.families), expected);
    }
}
