//! What `tests/fuzz` feeds with bytes of any kind: each function panics if what it looks at does
//! something that must not be. The decoders are compared with a second reading of the same bytes, by
//! `prost` and by the rules as they are written down, not only kept from panicking.

#![expect(
    clippy::expect_used,
    reason = "a panic is how a fuzzer is told that something is wrong"
)]

mod model;
mod relabel;

use prost::Message;
use witgate_chunk::{
    Appender, Chunk, Damaged, Encoding, Samples,
    histogram::{Histogram, Histograms, Reset},
    message, trim,
};
use witgate_plugins::{Kinds, Size};

use crate::{
    compression::{Compression, CompressionError},
    config::Limits,
    decode::{Decoder, Form, Protocol, Rules},
    histogram as histograms,
    matcher::Matchers,
    proto::{LabelMatcher, MatchType, ReadRequest},
    re2,
};

/// More than any input of a fuzzer comes to, so that the model need not know of limits.
const UNLIMITED: usize = 1 << 20;

/// The label that tenants are kept apart by, where an input says so.
const LABEL: (&str, &str) = ("tenant", "own");

/// What stands for the sum of a histogram that marks the end of a series.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// A remote write 1.0, behind a byte that says how it is taken.
pub fn write_v1(data: &[u8]) {
    write(data, Protocol::V1);
}

/// A remote write 2.0, behind a byte that says how it is taken.
pub fn write_v2(data: &[u8]) {
    write(data, Protocol::V2);
}

fn write(data: &[u8], protocol: Protocol) {
    let Some((options, message)) = data.split_first() else {
        return;
    };
    let label = (options & 1 == 1).then_some(LABEL);
    let holds = match options & 2 == 2 {
        true => Kinds::default(),
        false => Kinds::ALL,
    };
    let body = snap::raw::Encoder::new()
        .compress_vec(message)
        .expect("an input is small enough to be compressed");
    let form = Form {
        protocol,
        compression: Compression::Snappy,
    };
    let unlimited = Limits {
        labels: UNLIMITED,
        label: Size(UNLIMITED as u64),
        ..Limits::default()
    };
    let narrow = Limits {
        labels: 2,
        label: Size(4),
        ..Limits::default()
    };
    let mut decoder = Decoder::default();
    for limits in [&narrow, &unlimited] {
        let rules = Rules {
            limits,
            holds,
            label,
            treatment: None,
        };
        // One decoder for both: nothing of a request may be left for the next.
        let Ok((batch, refused)) = decoder.decode(&body, form, &rules) else {
            continue;
        };
        batch.check().expect("the columns fit each other");
        let found = model::found(batch);
        found.iter().for_each(|series| series.is_well_formed(label));
        if limits.labels == UNLIMITED
            && let Some(expected) = model::expected(message, protocol, holds, label)
        {
            assert_eq!(found, expected.series, "the series");
            assert_eq!(
                model::counts(batch, refused),
                expected.counts,
                "what was taken and refused"
            );
        }
    }
}

/// The body of a remote read, decompressed: its matchers, asked by a tenant with a label.
pub fn read_request(data: &[u8]) {
    let Ok(request) = ReadRequest::decode(data) else {
        return;
    };
    let series: [&[(&str, &str)]; 5] = [
        &[("__name__", "up")],
        &[("__name__", "up"), ("tenant", "own")],
        &[("__name__", "up"), ("tenant", "other")],
        &[("__name__", "up"), ("job", "a\nb"), ("tenant", "own")],
        &[("Tenant", "own"), ("__name__", "up"), ("job", "own")],
    ];
    for query in request.queries.iter().take(8) {
        let (Ok(own), Ok(all)) = (
            Matchers::new(&query.matchers, Some(LABEL)),
            Matchers::new(&query.matchers, None),
        ) else {
            continue;
        };
        for labels in series {
            let is_own = labels.contains(&LABEL);
            let expected = query.matchers.iter().all(|matcher| holds(matcher, labels));
            assert_eq!(all.hold(labels), expected, "{:?} of {labels:?}", query.matchers);
            let seen = !own.is_void && own.hold(labels);
            assert_eq!(seen, is_own && expected, "{:?} of {labels:?}", query.matchers);
        }
        let asked: Vec<_> = own
            .plain
            .iter()
            .filter(|matcher| matcher.name == LABEL.0)
            .collect();
        assert_eq!(asked.len(), 1, "the storage is asked for one tenant");
        assert!(asked.iter().all(|matcher| matcher.value == LABEL.1));
    }
}

/// One matcher by its definition.
fn holds(matcher: &LabelMatcher, labels: &[(&str, &str)]) -> bool {
    let value = { labels.iter() }
        .find(|(name, _)| *name == matcher.name)
        .map_or("", |(_, value)| *value);
    let regex = || re2::whole(&matcher.value).expect("it was compiled before");
    match MatchType::try_from(matcher.r#type).expect("it was accepted") {
        MatchType::Eq => value == matcher.value,
        MatchType::Neq => value != matcher.value,
        MatchType::Re => regex().is_match(value),
        MatchType::Nre => !regex().is_match(value),
    }
}

/// A compressed body, behind a byte that says how: it never takes more memory than it may.
pub fn compression(data: &[u8]) {
    const LIMIT: u64 = 1 << 16;
    let Some((how, body)) = data.split_first() else {
        return;
    };
    let compression = match how & 1 {
        0 => Compression::Snappy,
        _ => Compression::Zstd,
    };
    let mut out = Vec::new();
    let result = compression.decompress(body, LIMIT, &mut out);
    assert!(out.capacity() as u64 <= 4 * LIMIT, "it takes {}", out.capacity());
    match result {
        Ok(()) => assert!(out.len() as u64 <= LIMIT),
        Err(CompressionError::TooLarge { limit }) => assert_eq!(limit, LIMIT),
        Err(CompressionError::NotSnappy(_) | CompressionError::NotZstd(_)) => {}
    }
}

/// An expression, a line break, and a text.
pub fn regex(data: &[u8]) {
    let Ok(data) = std::str::from_utf8(data) else {
        return;
    };
    let (expression, text) = data.split_once('\n').unwrap_or((data, "up"));
    if !text.contains("\\E") {
        let literal = re2::whole(&format!("\\Q{text}\\E")).expect("a literal is an expression");
        assert!(literal.is_match(text));
    }
    let Ok(regex) = re2::whole(expression) else {
        return;
    };
    let is_match = regex.is_match(text);
    if let Some(found) = regex.find(text) {
        assert_eq!(
            found.range(),
            0..text.len(),
            "{expression:?} matches a part of {text:?}"
        );
    }
    // Nothing in an expression reaches out of it.
    for around in [
        format!("(?:{expression})"),
        format!("(?:{expression})|{expression}"),
    ] {
        if let Ok(regex) = re2::whole(&around) {
            assert_eq!(regex.is_match(text), is_match, "{around:?} of {text:?}");
        }
    }
}

/// Rules of relabelling, and labels that go through them.
pub fn relabelling(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        relabel::Input::parse(text).check();
    }
}

/// A native histogram: what is valid comes back out of its chunk, and out of its message.
pub fn histogram(data: &[u8]) {
    let Ok(mut histogram) = message::parse(data) else {
        return;
    };
    if histograms::validate(&histogram).is_err() {
        return;
    }
    assert_eq!(message::parse(&message::write(&histogram)), Ok(histogram.clone()));
    let chunk = histogram.chunk();
    assert_eq!(
        (chunk.count(), chunk.first, chunk.last),
        (1, histogram.time, histogram.time)
    );
    let read = Histograms::of(chunk.encoding, &chunk.bytes).expect("its own chunk can be read");
    let mut read: Vec<_> = read.map(|read| read.expect("to its end")).collect();
    assert_eq!(read.len(), 1);
    if histogram.sum == STALE {
        // Nothing else of a marker is looked at.
        read.iter_mut()
            .for_each(|read| read.counts = histogram.counts.clone());
        histogram = Histogram {
            time: histogram.time,
            sum: STALE,
            counts: histogram.counts,
            ..Histogram::default()
        };
    } else if histogram.reset == Reset::No {
        // A chunk can't say that of its first one.
        histogram.reset = Reset::Unknown;
    }
    assert_eq!(read, [histogram]);
}

/// A chunk of floats or histograms, whole and trimmed; and the same bytes as samples.
pub fn xor_chunk(data: &[u8]) {
    for encoding in [Encoding::Xor, Encoding::Histogram, Encoding::FloatHistogram] {
        let Ok(times) = times(encoding, data) else {
            continue;
        };
        let (start, end) = (times.iter().min(), times.iter().max());
        for (start, end) in [(i64::MIN, i64::MAX), (0, 1 << 40)]
            .into_iter()
            .chain(start.copied().zip(end.copied()))
        {
            let within = |time: &&i64| (start..=end).contains(*time);
            let Ok(chunks) = trim(encoding, data, start, end) else {
                continue;
            };
            let mut trimmed = Vec::new();
            for chunk in chunks {
                trimmed.extend(times_of(&chunk));
            }
            let expected: Vec<_> = times.iter().filter(within).copied().collect();
            assert_eq!(trimmed, expected, "{encoding:?} from {start} to {end}");
        }
    }
    if let Ok(samples) = Samples::of(data)
        && let Ok(samples) = samples.collect::<Result<Vec<_>, _>>()
    {
        round_trip(&samples);
    }
    let numbers = data.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
    let numbers: Vec<_> = numbers.collect();
    let pairs = numbers.as_chunks().0.iter();
    let samples: Vec<_> = pairs.map(|[value, time]| (time.cast_signed(), *value)).collect();
    round_trip(&samples);
}

/// The times in a chunk, if it is whole.
fn times(encoding: Encoding, chunk: &[u8]) -> Result<Vec<i64>, Damaged> {
    match encoding {
        Encoding::Xor => Samples::of(chunk)?
            .map(|sample| sample.map(|(time, _)| time))
            .collect(),
        _ => Histograms::of(encoding, chunk)?
            .map(|histogram| histogram.map(|histogram| histogram.time))
            .collect(),
    }
}

fn times_of(chunk: &Chunk) -> Vec<i64> {
    let times = times(chunk.encoding, &chunk.bytes).expect("its own chunk can be read");
    assert_eq!(times.first().zip(times.last()), Some((&chunk.first, &chunk.last)));
    assert_eq!(times.len(), usize::from(chunk.count()));
    times
}

fn round_trip(samples: &[(i64, u64)]) {
    let mut appender = Appender::default();
    for (time, value) in samples.iter().take(usize::from(u16::MAX)) {
        appender.push(*time, *value);
    }
    let chunk = appender.finish();
    let read = Samples::of(&chunk.bytes).expect("its own chunk can be read");
    let read = read.collect::<Result<Vec<_>, _>>();
    assert_eq!(
        read.as_deref(),
        Ok(samples.get(..usize::from(u16::MAX)).unwrap_or(samples))
    );
}

#[cfg(test)]
mod tests;
