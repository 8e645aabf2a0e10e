//! Whether the parts of a native histogram fit (`model/histogram`, `Histogram.Validate` and
//! `FloatHistogram.Validate`).

use witgate_chunk::histogram::{CUSTOM_BUCKETS, Counts, Histogram, Span};
pub(crate) use witgate_chunk::message::parse;

/// Resolutions that Prometheus has.
const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

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

#[cfg(test)]
mod tests;
