//! Native histograms, from their message to their parts (`prompb/types.proto`), and whether the parts
//! fit (`model/histogram`, `Histogram.Validate` and `FloatHistogram.Validate`).

use witgate_chunk::histogram::{CUSTOM_BUCKETS, Counts, Histogram, Reset, Span};

use crate::wire::{Damaged, Fields, Value, fixed64s, varints};

/// Resolutions that Prometheus has.
const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

/// Reads a message.
pub(crate) fn parse(message: &[u8]) -> Result<Histogram, Damaged> {
    let mut histogram = Histogram::default();
    let (mut whole, mut float) = ([0_u64; 2], [0_u64; 2]);
    let (mut deltas, mut counts) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let mut is_float = false;
    let mut fields = Fields(message);
    while let Some((number, value)) = fields.next()? {
        let [positive_deltas, negative_deltas] = &mut deltas;
        let [positive_counts, negative_counts] = &mut counts;
        match (number, value) {
            (1, Value::Varint(count)) => (whole[0], is_float) = (count, false),
            (2, Value::Fixed64(count)) => (float[0], is_float) = (count, true),
            (3, Value::Fixed64(sum)) => histogram.sum = sum,
            (4, Value::Varint(schema)) => histogram.schema = narrow(zigzag(schema)),
            (5, Value::Fixed64(threshold)) => histogram.zero_threshold = threshold,
            (6, Value::Varint(count)) => whole[1] = count,
            (7, Value::Fixed64(count)) => float[1] = count,
            (8, Value::Bytes(message)) => histogram.negative_spans.push(span(message)?),
            (9, value) => varints(value, |delta| negative_deltas.push(zigzag(delta)))?,
            (10, value) => fixed64s(value, |count| negative_counts.push(count))?,
            (11, Value::Bytes(message)) => histogram.positive_spans.push(span(message)?),
            (12, value) => varints(value, |delta| positive_deltas.push(zigzag(delta)))?,
            (13, value) => fixed64s(value, |count| positive_counts.push(count))?,
            (14, Value::Varint(reset)) => {
                histogram.reset = match reset {
                    1 => Reset::Yes,
                    2 => Reset::No,
                    3 => Reset::Gauge,
                    _ => Reset::Unknown,
                }
            }
            (15, Value::Varint(time)) => histogram.time = time.cast_signed(),
            (16, value) => fixed64s(value, |bound| histogram.bounds.push(bound))?,
            _ => {}
        }
    }
    let [positive, negative] = deltas;
    let [positive_counts, negative_counts] = counts;
    histogram.counts = if is_float {
        Counts::Float {
            count: float[0],
            zero: float[1],
            positive: positive_counts,
            negative: negative_counts,
        }
    } else {
        Counts::Whole {
            count: whole[0],
            zero: whole[1],
            positive,
            negative,
        }
    };
    Ok(histogram)
}

/// Whether its parts fit each other; the error says which don't.
pub(crate) fn validate(histogram: &Histogram) -> Result<(), &'static str> {
    let (positive, negative) = match &histogram.counts {
        Counts::Whole {
            positive, negative, ..
        } => (positive.len(), negative.len()),
        Counts::Float {
            positive, negative, ..
        } => (positive.len(), negative.len()),
    };
    spans(&histogram.positive_spans, positive)?;
    spans(&histogram.negative_spans, negative)?;
    if histogram.schema == CUSTOM_BUCKETS {
        custom(histogram, negative)?;
    } else if !SCHEMAS.contains(&histogram.schema) {
        return Err("a histogram of a schema that Prometheus does not have");
    } else if !histogram.bounds.is_empty() {
        return Err("a histogram with bounds of its own whose schema has none");
    }
    match &histogram.counts {
        Counts::Whole {
            count,
            zero,
            positive,
            negative,
        } => {
            let mut observed = u128::from(*zero);
            for buckets in [positive, negative] {
                let mut bucket = 0_i64;
                for delta in buckets {
                    bucket = bucket.checked_add(*delta).unwrap_or(-1);
                    observed += u128::from(
                        u64::try_from(bucket).map_err(|_| "a histogram with a bucket below zero")?,
                    );
                }
            }
            let count = u128::from(*count);
            // What is not a number is observed too, and is in no bucket.
            let fits = match f64::from_bits(histogram.sum).is_nan() {
                true => observed <= count,
                false => observed == count,
            };
            match fits {
                true => Ok(()),
                false => Err("a histogram whose count is not that of its buckets"),
            }
        }
        Counts::Float {
            count,
            zero,
            positive,
            negative,
        } => {
            let is_below_zero = |bits: &u64| f64::from_bits(*bits) < 0.0;
            if positive.iter().chain(negative).any(is_below_zero) {
                return Err("a histogram with a bucket below zero");
            }
            match is_below_zero(count) || is_below_zero(zero) {
                true => Err("a histogram with a count below zero"),
                false => Ok(()),
            }
        }
    }
}

fn spans(spans: &[Span], buckets: usize) -> Result<(), &'static str> {
    if spans.iter().skip(1).any(|span| span.offset < 0) {
        return Err("a histogram whose spans overlap");
    }
    let expected: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    match expected == buckets as u64 {
        true => Ok(()),
        false => Err("a histogram with other buckets than its spans say"),
    }
}

fn custom(histogram: &Histogram, negative: usize) -> Result<(), &'static str> {
    let zero = match &histogram.counts {
        Counts::Whole { zero, .. } => *zero != 0,
        Counts::Float { zero, .. } => f64::from_bits(*zero) != 0.0,
    };
    if zero || histogram.zero_threshold != 0 || negative > 0 || !histogram.negative_spans.is_empty() {
        return Err("a histogram with bounds of its own and a zero bucket or negative ones");
    }
    let bounds = || histogram.bounds.iter().map(|bits| f64::from_bits(*bits));
    let ascends = bounds().zip(bounds().skip(1)).all(|(low, high)| low < high);
    if !ascends || bounds().any(|bound| bound.is_nan() || bound == f64::INFINITY) {
        return Err("a histogram whose bounds do not ascend");
    }
    let mut end = 0_i64;
    for span in &histogram.positive_spans {
        end += i64::from(span.offset) + i64::from(span.length);
        if span.offset < 0
            || end
                > i64::try_from(histogram.bounds.len())
                    .unwrap_or(i64::MAX)
                    .saturating_add(1)
        {
            return Err("a histogram with buckets beyond its bounds");
        }
    }
    Ok(())
}

fn span(message: &[u8]) -> Result<Span, Damaged> {
    let mut span = Span { offset: 0, length: 0 };
    let mut fields = Fields(message);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Varint(offset)) => span.offset = narrow(zigzag(offset)),
            (2, Value::Varint(length)) => span.length = u32::try_from(length).unwrap_or(u32::MAX),
            _ => {}
        }
    }
    Ok(span)
}

/// A signed number whose sign is its last bit.
fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// A number that is valid only within 32 bits.
fn narrow(value: i64) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
