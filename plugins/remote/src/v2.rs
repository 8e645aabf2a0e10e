//! Remote Write 2.0: `io.prometheus.write.v2.Request` (`prompb/io/prometheus/write/v2/types.proto`).

use std::collections::HashMap;

use witgate_sdk::http::Response;
use witgate_sdk::storage::{Batch, Family, MetricKind};

use crate::{
    piece::{Piece, columns},
    symbol,
    v1::{kind, messages},
    wire::{bytes, double, head, integer, varint, varint_len},
};

/// What a request says of itself in its headers.
pub const HEADERS: [(&str, &str); 3] = [
    (
        "content-type",
        "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    ),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "2.0.0"),
];

/// What a receiver says that it has stored: samples, histograms, exemplars.
pub const WRITTEN: [&str; 3] = [
    "x-prometheus-remote-write-samples-written",
    "x-prometheus-remote-write-histograms-written",
    "x-prometheus-remote-write-exemplars-written",
];

/// How many samples, histograms and exemplars a receiver says that it has stored. None where it says
/// nothing, and so is no receiver of 2.0.
#[must_use]
pub fn written(response: &Response) -> Option<[usize; 3]> {
    let counts = WRITTEN.map(|name| Some(response.header(name)?.trim().parse().ok()));
    if counts.iter().all(Option::is_none) {
        return None;
    }
    Some(counts.map(|count| count.flatten().unwrap_or(0)))
}

/// The symbols of a request: those of the batch that it needs.
struct Symbols {
    /// The place in the request of each symbol of the batch that is in it.
    places: Vec<Option<u32>>,
    used: Vec<u32>,
}

/// A request with these pieces of a batch. What is said of a family goes with each of its series.
#[must_use]
pub fn encode(batch: &Batch, pieces: &[Piece], families: &[Family]) -> Vec<u8> {
    let mut symbols = Symbols {
        places: vec![None; batch.symbol_ends.len()],
        used: Vec::new(),
    };
    symbols.place(0);
    let families: HashMap<&[u8], &Family> = families
        .iter()
        .map(|family| (symbol(batch, family.name), family))
        .collect();
    let (mut series, mut message, mut refs) = (Vec::new(), Vec::new(), Vec::new());
    let mut out = Vec::new();
    for piece in pieces {
        series.clear();
        let labels = &batch.labels[piece.labels.clone()];
        symbols.refs(&mut refs, labels);
        bytes(&mut series, 1, &refs);
        for at in piece.samples.clone() {
            let timestamp = batch.timestamps[at].cast_unsigned();
            let start = batch
                .start_timestamps
                .get(at)
                .map_or(0, |start| start.cast_unsigned());
            let started = if start == 0 { 0 } else { 1 + varint_len(start) };
            head(&mut series, 2, 9 + 1 + varint_len(timestamp) + started);
            double(&mut series, 1, batch.values[at]);
            integer(&mut series, 2, timestamp);
            if start != 0 {
                integer(&mut series, 3, start);
            }
        }
        for histogram in messages(batch, piece) {
            bytes(&mut series, 3, histogram);
        }
        for at in piece.exemplars.clone() {
            let exemplars = &batch.exemplars;
            message.clear();
            symbols.refs(
                &mut refs,
                &exemplars.labels[columns(&exemplars.label_ends, &(at..at + 1))],
            );
            bytes(&mut message, 1, &refs);
            double(&mut message, 2, exemplars.values[at]);
            integer(&mut message, 3, exemplars.timestamps[at].cast_unsigned());
            bytes(&mut series, 4, &message);
        }
        if let Some(family) = family(batch, labels, &families) {
            message.clear();
            integer(&mut message, 1, kind(family.kind).into());
            integer(&mut message, 3, symbols.place(family.help).into());
            integer(&mut message, 4, symbols.place(family.unit).into());
            bytes(&mut series, 5, &message);
        }
        bytes(&mut out, 5, &series);
    }
    // The order of fields does not matter, but Prometheus itself sends symbols first.
    let mut request = Vec::with_capacity(out.len() + symbols.used.len() * 16);
    for used in symbols.used {
        bytes(&mut request, 4, symbol(batch, used));
    }
    request.append(&mut out);
    request
}

impl Symbols {
    fn place(&mut self, symbol: u32) -> u32 {
        let Some(place) = self.places.get_mut(symbol as usize) else {
            return 0;
        };
        *place.get_or_insert_with(|| {
            self.used.push(symbol);
            u32::try_from(self.used.len() - 1).unwrap_or(u32::MAX)
        })
    }

    fn refs(&mut self, out: &mut Vec<u8>, labels: &[u32]) {
        out.clear();
        for &label in labels {
            varint(out, self.place(label).into());
        }
    }
}

/// The family of a series: of its name, or of what its name is without the suffix that the parts of a
/// family have.
fn family<'f>(batch: &Batch, labels: &[u32], families: &HashMap<&[u8], &'f Family>) -> Option<&'f Family> {
    if families.is_empty() {
        return None;
    }
    let name = labels
        .chunks_exact(2)
        .find(|pair| symbol(batch, pair[0]) == b"__name__")
        .map(|pair| symbol(batch, pair[1]))?;
    if let Some(family) = families.get(name) {
        return Some(family);
    }
    let suffixes: [&[u8]; 7] = [
        b"_bucket",
        b"_count",
        b"_sum",
        b"_total",
        b"_created",
        b"_info",
        b"_gcount",
    ];
    let stem = suffixes.iter().find_map(|suffix| name.strip_suffix(*suffix))?;
    let family = families.get(stem)?;
    let has_parts = !matches!(family.kind, MetricKind::Gauge | MetricKind::Unknown);
    has_parts.then_some(*family)
}

#[cfg(test)]
mod tests {
    use witgate_sdk::storage::{BatchBuilder, Sample};

    use super::*;
    use crate::piece::pieces;

    #[test]
    fn a_request_is_what_the_protocol_says() {
        let mut builder = BatchBuilder::default();
        builder.series([("__name__", "other")]);
        builder.series([("__name__", "lat_sum")]);
        let sample = |timestamp| Sample {
            timestamp,
            bits: 1f64.to_bits(),
        };
        builder.sample(sample(5));
        builder.exemplar(sample(6), [("t", "i")]);
        builder.family("lat", MetricKind::Summary, "h", "");
        let mut batch = builder.finish();
        batch.start_timestamps = vec![3];
        let expected = b"\x22\0\x22\x08__name__\x22\x07lat_sum\x22\x01t\x22\x01i\x22\x01h\
            \x2a\x2c\x0a\x02\x01\x02\
            \x12\x0d\x09\0\0\0\0\0\0\xf0\x3f\x10\x05\x18\x03\
            \x22\x0f\x0a\x02\x03\x04\x11\0\0\0\0\0\0\xf0\x3f\x18\x06\
            \x2a\x06\x08\x05\x18\x05\x20\0";
        let second = &pieces(&batch)[1..];
        assert_eq!(encode(&batch, second, &batch.families), expected);
    }

    #[test]
    fn only_a_receiver_of_2_0_counts() {
        let mut response = Response::new(204, "");
        assert_eq!(written(&response), None);
        response.headers.push((WRITTEN[0].to_owned(), b"3".to_vec()));
        assert_eq!(written(&response), Some([3, 0, 0]));
    }
}
