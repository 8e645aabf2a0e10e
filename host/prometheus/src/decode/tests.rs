use prost::Message;
use witgate_plugins::Size;

use super::*;
use crate::{
    labels::SeriesIter,
    proto::{Label, Sample, TimeSeries, WriteRequest},
};

fn series(labels: &[(&str, &str)], samples: &[(i64, u64)]) -> TimeSeries {
    TimeSeries {
        labels: labels
            .iter()
            .map(|(name, value)| Label {
                name: (*name).into(),
                value: (*value).into(),
            })
            .collect(),
        samples: samples
            .iter()
            .map(|&(timestamp, value)| Sample { value, timestamp })
            .collect(),
        ..TimeSeries::default()
    }
}

fn body(timeseries: Vec<TimeSeries>) -> Vec<u8> {
    compress(
        &WriteRequest {
            timeseries,
            ..WriteRequest::default()
        }
        .encode_to_vec(),
    )
}

fn rules(limits: &Limits) -> Rules<'_> {
    Rules {
        limits,
        holds: Kinds::ALL,
        label: None,
    }
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

#[test]
fn what_was_encoded_is_decoded_sorted_and_with_every_bit() {
    let stale = 0x7ff0_0000_0000_0002;
    let sent = vec![
        series(
            &[("__name__", "up"), ("job", "a")],
            &[(1, 1.0_f64.to_bits()), (2, stale)],
        ),
        series(&[("job", "b"), ("__name__", "up"), ("empty", "")], &[(-5, 0)]),
        series(&[("__name__", "up"), ("job", "a")], &[(3, u64::MAX)]),
    ];
    let mut decoder = Decoder::default();
    for _ in 0..2 {
        let (batch, refused) = decoder
            .decode(&body(sent.clone()), Form::default(), &rules(&Limits::default()))
            .unwrap();
        assert_eq!(*refused, Refused::default());
        batch.check().unwrap();
        let found: Vec<_> = SeriesIter::new(batch)
            .map(|series| {
                (
                    series.labels().collect::<Vec<_>>(),
                    series.samples().collect::<Vec<_>>(),
                )
            })
            .collect();
        let expected = vec![
            (
                vec![("__name__", "up"), ("job", "a")],
                vec![(1, 1.0_f64.to_bits()), (2, stale)],
            ),
            (vec![("__name__", "up"), ("job", "b")], vec![(-5, 0)]),
            (vec![("__name__", "up"), ("job", "a")], vec![(3, u64::MAX)]),
        ];
        assert_eq!(found, expected);
        assert_eq!(batch.symbol_ends.len(), 6, "each string stands once");
    }
}

#[test]
fn a_wrong_series_is_refused_and_the_others_are_taken() {
    let long = "x".repeat(20_000);
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[("job", "a")], "no label `__name__`"),
        (
            &[("__name__", "up"), ("job", "a"), ("job", "b")],
            "a label that is there twice",
        ),
        (&[("__name__", "up"), ("", "a")], "a label without a name"),
        (&[("__name__", "up"), ("a", &long)], "a label longer than"),
    ];
    for (labels, reason) in cases {
        let good = series(&[("__name__", "good")], &[(1, 1)]);
        let sent = body(vec![good.clone(), series(labels, &[(1, 1), (2, 2)]), good]);
        let mut decoder = Decoder::default();
        let (batch, refused) = decoder
            .decode(&sent, Form::default(), &rules(&Limits::default()))
            .unwrap();
        batch.check().unwrap();
        assert_eq!(batch.timestamps, [1, 1], "{reason}");
        let (found, count) = refused.counts.iter().next().unwrap();
        assert!(found.1.contains(reason) && *count == 2, "{refused:?}");
        assert!(refused.first.is_some());
    }
}

#[test]
fn a_claimed_size_is_refused_before_it_is_allocated() {
    let four_gib = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let error = Decoder::default()
        .decode(&four_gib, Form::default(), &rules(&Limits::default()))
        .unwrap_err();
    assert_eq!(
        error,
        DecodeError::Compression(CompressionError::TooLarge { limit: 32 << 20 })
    );
    let limits = Limits {
        decoded: Size(10),
        ..Limits::default()
    };
    let sent = body(vec![series(&[("__name__", "up")], &[(1, 1)])]);
    assert!(matches!(
        Decoder::default().decode(&sent, Form::default(), &rules(&limits)),
        Err(DecodeError::Compression(CompressionError::TooLarge { .. }))
    ));
}

#[test]
fn other_bodies_are_told_apart() {
    let mut decoder = Decoder::default();
    let mut decode = |bytes: &[u8]| {
        decoder
            .decode(bytes, Form::default(), &rules(&Limits::default()))
            .map(|_| ())
            .unwrap_err()
    };
    assert!(matches!(
        decode(b"\xff\x06\x00\x00sNaPpY"),
        DecodeError::Compression(CompressionError::NotSnappy(_))
    ));
    assert!(matches!(
        decode(b""),
        DecodeError::Compression(CompressionError::NotSnappy(_))
    ));
    // Field 4, length-delimited: the symbols of remote write 2.0.
    assert_eq!(decode(&compress(b"\x22\x00\x22\x02up")), DecodeError::Version2);
    assert!(matches!(decode(&compress(b"\x0a\x7f")), DecodeError::Damaged(_)));
}

#[test]
fn a_body_that_is_cut_or_changed_anywhere_is_never_more_than_an_error() {
    let sent = WriteRequest {
        timeseries: vec![
            series(&[("__name__", "up"), ("job", "a")], &[(1, 1), (2, 2)]),
            series(&[("__name__", "up"), ("job", "b")], &[(1, 1)]),
        ],
        ..WriteRequest::default()
    }
    .encode_to_vec();
    let mut decoder = Decoder::default();
    for end in 0..sent.len() {
        let _ = decoder.decode(
            &compress(sent.get(..end).unwrap()),
            Form::default(),
            &rules(&Limits::default()),
        );
    }
    let mut state = 1_u64;
    for _ in 0..20_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut changed = sent.clone();
        let at = usize::try_from(state >> 33).unwrap() % changed.len();
        changed[at] ^= 1 << (state % 8);
        if let Ok((batch, _)) =
            decoder.decode(&compress(&changed), Form::default(), &rules(&Limits::default()))
        {
            batch.check().unwrap();
        }
    }
}

#[test]
fn series_that_come_unsorted_one_after_the_other_are_sorted_each() {
    let unsorted =
        |value: &'static str| series(&[("zone", "z"), ("__name__", "up"), ("job", value)], &[(1, 1)]);
    let sent = body(vec![unsorted("a"), unsorted("a"), unsorted("b")]);
    let mut decoder = Decoder::default();
    let (batch, refused) = decoder
        .decode(&sent, Form::default(), &rules(&Limits::default()))
        .unwrap();
    assert_eq!(*refused, Refused::default());
    for (series, job) in SeriesIter::new(batch).zip(["a", "a", "b"]) {
        let labels: Vec<_> = series.labels().collect();
        assert_eq!(labels, [("__name__", "up"), ("job", job), ("zone", "z")]);
    }
}

#[test]
fn every_series_gets_the_tenants_label_in_its_place() {
    let limits = Limits::default();
    let rules = Rules {
        label: Some(("tenant", "a")),
        ..rules(&limits)
    };
    let sent = body(vec![
        series(&[("__name__", "up"), ("job", "x"), ("zone", "z")], &[(1, 1)]),
        series(&[("__name__", "up"), ("job", "y"), ("zone", "z")], &[(1, 1)]),
        series(&[("zone", "z"), ("__name__", "up")], &[(1, 1)]),
        series(&[("__name__", "up"), ("tenant", "a")], &[(1, 1)]),
        series(&[("__name__", "up"), ("tenant", "b")], &[(1, 1), (2, 2)]),
        series(&[("__name__", "up"), ("tenant", "")], &[(1, 1)]),
    ]);
    let mut decoder = Decoder::default();
    let (batch, refused) = decoder.decode(&sent, Form::default(), &rules).unwrap();
    batch.check().unwrap();
    let found: Vec<Vec<_>> = SeriesIter::new(batch)
        .map(|series| series.labels().collect())
        .collect();
    let expected = [
        vec![("__name__", "up"), ("job", "x"), ("tenant", "a"), ("zone", "z")],
        vec![("__name__", "up"), ("job", "y"), ("tenant", "a"), ("zone", "z")],
        vec![("__name__", "up"), ("tenant", "a"), ("zone", "z")],
        vec![("__name__", "up"), ("tenant", "a")],
        vec![("__name__", "up"), ("tenant", "a")],
    ];
    assert_eq!(found, expected);
    assert_eq!(refused.counts.values().sum::<u64>(), 2);
}
