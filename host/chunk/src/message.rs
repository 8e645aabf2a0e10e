//! Native histograms as messages (`prompb/types.proto`, `Histogram`).

use crate::{
    histogram::{Counts, Histogram, Reset, Span},
    wire::{Damaged, Fields, Value, fixed64s, varints},
};

/// Reads a message.
pub fn parse(message: &[u8]) -> Result<Histogram, Damaged> {
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

/// Writes the message that [`parse`] reads.
#[must_use]
pub fn write(histogram: &Histogram) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    match &histogram.counts {
        Counts::Whole {
            count,
            zero,
            positive,
            negative,
        } => {
            varint_field(&mut out, 1, *count);
            varint_field(&mut out, 6, *zero);
            for (number, deltas) in [(9, negative), (12, positive)] {
                let mut packed = Vec::with_capacity(2 * deltas.len());
                for delta in deltas {
                    varint(&mut packed, zagzig(*delta));
                }
                bytes_field(&mut out, number, &packed);
            }
        }
        Counts::Float {
            count,
            zero,
            positive,
            negative,
        } => {
            fixed64_field(&mut out, 2, *count);
            fixed64_field(&mut out, 7, *zero);
            for (number, counts) in [(10, negative), (13, positive)] {
                bytes_field(&mut out, number, &packed(counts));
            }
        }
    }
    fixed64_field(&mut out, 3, histogram.sum);
    varint_field(&mut out, 4, zagzig(histogram.schema.into()));
    fixed64_field(&mut out, 5, histogram.zero_threshold);
    for (number, spans) in [(8, &histogram.negative_spans), (11, &histogram.positive_spans)] {
        for span in spans {
            let mut message = Vec::with_capacity(8);
            varint_field(&mut message, 1, zagzig(span.offset.into()));
            varint_field(&mut message, 2, span.length.into());
            varint(&mut out, number << 3 | 2);
            varint(&mut out, message.len() as u64);
            out.extend(message);
        }
    }
    let reset = match histogram.reset {
        Reset::Unknown => 0,
        Reset::Yes => 1,
        Reset::No => 2,
        Reset::Gauge => 3,
    };
    varint_field(&mut out, 14, reset);
    varint_field(&mut out, 15, histogram.time.cast_unsigned());
    bytes_field(&mut out, 16, &packed(&histogram.bounds));
    out
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

/// The other way round.
fn zagzig(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

fn packed(bits: &[u64]) -> Vec<u8> {
    bits.iter().flat_map(|bits| bits.to_le_bytes()).collect()
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn varint_field(out: &mut Vec<u8>, number: u64, value: u64) {
    varint(out, number << 3);
    varint(out, value);
}

fn fixed64_field(out: &mut Vec<u8>, number: u64, bits: u64) {
    varint(out, number << 3 | 1);
    out.extend(bits.to_le_bytes());
}

/// Nothing, if there are no bytes.
fn bytes_field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    if !bytes.is_empty() {
        varint(out, number << 3 | 2);
        varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}
