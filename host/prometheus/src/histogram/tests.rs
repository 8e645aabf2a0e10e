use prost::Message;
use witgate_chunk::histogram::{Counts, Reset};

use super::*;
use crate::proto::{self, BucketSpan};

/// Two buckets with two and three observations, and one in the zero bucket.
fn good() -> proto::Histogram {
    proto::Histogram {
        count_int: Some(6),
        sum: 12.5_f64.to_bits(),
        schema: 3,
        zero_threshold: 0.001_f64.to_bits(),
        zero_count_int: Some(1),
        positive_spans: vec![BucketSpan {
            offset: -2,
            length: 2,
        }],
        positive_deltas: vec![2, 1],
        timestamp: 1000,
        reset_hint: 2,
        ..proto::Histogram::default()
    }
}

fn float() -> proto::Histogram {
    proto::Histogram {
        count_int: None,
        count_float: Some(6.5_f64.to_bits()),
        zero_count_int: None,
        zero_count_float: Some(1f64.to_bits()),
        positive_deltas: Vec::new(),
        positive_counts: vec![2.5_f64.to_bits(), 3f64.to_bits()],
        ..good()
    }
}

fn custom() -> proto::Histogram {
    proto::Histogram {
        count_int: Some(5),
        schema: CUSTOM_BUCKETS,
        zero_threshold: 0,
        zero_count_int: None,
        positive_spans: vec![BucketSpan { offset: 1, length: 2 }],
        custom_values: [0.5, 1.0].map(f64::to_bits).to_vec(),
        ..good()
    }
}

fn read(histogram: &proto::Histogram) -> Histogram {
    parse(&histogram.encode_to_vec()).unwrap()
}

#[test]
fn a_message_is_read_to_its_last_bit() {
    let histogram = read(&good());
    assert_eq!(
        (histogram.time, histogram.schema, histogram.reset),
        (1000, 3, Reset::No)
    );
    assert_eq!(
        histogram.positive_spans,
        [Span {
            offset: -2,
            length: 2
        }]
    );
    let expected = Counts::Whole {
        count: 6,
        zero: 1,
        positive: vec![2, 1],
        negative: Vec::new(),
    };
    assert_eq!(histogram.counts, expected);
    let Counts::Float { count, positive, .. } = read(&float()).counts else {
        panic!("it is one of floats");
    };
    assert_eq!(count, 6.5_f64.to_bits());
    assert_eq!(positive, [2.5_f64.to_bits(), 3f64.to_bits()]);
}

#[test]
fn what_fits_is_valid() {
    let no_number = proto::Histogram {
        count_int: Some(9),
        sum: f64::NAN.to_bits(),
        ..good()
    };
    for histogram in [good(), float(), custom(), no_number, proto::Histogram::default()] {
        assert_eq!(validate(&read(&histogram)), Ok(()), "{histogram:?}");
    }
}

#[test]
fn what_does_not_fit_is_named() {
    type Change = fn(&mut proto::Histogram);
    let cases: [(proto::Histogram, Change, &str); 10] = [
        (good(), |h| h.count_int = Some(99), "count is not that"),
        (good(), |h| h.positive_deltas = vec![2, -3], "below zero"),
        (good(), |h| h.positive_deltas = vec![i64::MAX, 1], "below zero"),
        (good(), |h| h.positive_spans[0].length = 3, "other buckets"),
        (good(), |h| h.schema = 9, "schema"),
        (good(), |h| h.custom_values = vec![0], "bounds of its own"),
        (
            float(),
            |h| h.positive_counts[0] = (-1f64).to_bits(),
            "below zero",
        ),
        (custom(), |h| h.custom_values.reverse(), "do not ascend"),
        (custom(), |h| h.positive_spans[0].offset = 2, "beyond its bounds"),
        (custom(), |h| h.zero_count_int = Some(1), "zero bucket"),
    ];
    for (mut histogram, change, expected) in cases {
        change(&mut histogram);
        let refused = validate(&read(&histogram)).unwrap_err();
        assert!(refused.contains(expected), "{expected}: {refused}");
    }
}
