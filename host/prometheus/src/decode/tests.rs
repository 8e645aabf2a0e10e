use prost::Message;
use witgate_plugins::Size;

use super::*;
use crate::{
    labels::SeriesIter,
    proto::{Label, Sample, TimeSeries, WriteRequest},
    relabel::{Relabel, RelabelConfig},
    series::ActiveSeries,
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
        treatment: None,
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

fn counts(batch: &Batch) -> Vec<String> {
    let all = SeriesIter::new(batch).map(|series| {
        let labels: Vec<_> = series
            .labels()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        format!("{} {}", labels.join(","), series.samples().count())
    });
    all.collect()
}

/// Rules are for what a series has, the tenant's label comes after them.
#[test]
fn series_go_through_the_tenants_rules_and_then_get_its_label() {
    let rule = |text: &str| -> RelabelConfig { serde_saphyr::from_str(text).unwrap() };
    let relabel = Relabel::new(&[
        rule("{source_labels: [__name__], regex: secret, action: drop}"),
        rule("{source_labels: [job], target_label: task}"),
        rule("{regex: 'job|bare', action: labeldrop}"),
        rule("{source_labels: [name], regex: '(.+)', target_label: __name__}"),
        rule("{source_labels: [forge], regex: '(.+)', target_label: tenant}"),
    ]);
    let treatment = Arc::new(Treatment {
        relabel: relabel.unwrap(),
        ..Treatment::default()
    });
    let limits = Limits::default();
    let rules = Rules {
        label: Some(("tenant", "t")),
        treatment: Some(&treatment),
        holds: Kinds::default(),
        ..rules(&limits)
    };
    let mut secret = series(&[("__name__", "secret")], &[(1, 1), (2, 2)]);
    secret.histograms.push(Vec::new());
    let mut nameless = series(&[("bare", "x")], &[(1, 1)]);
    nameless.histograms.push(Vec::new());
    let sent = body(vec![
        series(&[("__name__", "up"), ("job", "a")], &[(1, 1)]),
        secret,
        series(
            &[("__name__", "up"), ("job", "b"), ("zone", "z")],
            &[(1, 1), (2, 2)],
        ),
        nameless,
        series(&[("name", "named")], &[(1, 1)]),
        series(&[("__name__", "up"), ("forge", "other")], &[(1, 1)]),
        series(&[("__name__", "up"), ("forge", "t")], &[(1, 1)]),
    ]);
    let mut decoder = Decoder::default();
    for _ in 0..2 {
        let (batch, refused) = decoder.decode(&sent, Form::default(), &rules).unwrap();
        batch.check().unwrap();
        let expected = [
            "__name__=up,task=a,tenant=t 1",
            "__name__=up,task=b,tenant=t,zone=z 2",
            "__name__=named,name=named,tenant=t 1",
            "__name__=up,forge=t,tenant=t 1",
        ];
        assert_eq!(counts(batch), expected);
        assert_eq!(
            refused.dropped,
            [2, 1, 0],
            "no kind is refused of what is dropped anyway"
        );
        let reasons: Vec<_> = refused
            .counts
            .keys()
            .map(|(datum, reason)| (*datum, *reason))
            .collect();
        let expected = [
            (
                Datum::Sample,
                "another tenant's value of `prometheus.tenantLabel`",
            ),
            (Datum::Sample, "no label `__name__`"),
            (
                Datum::Histogram,
                "native histograms, which the storage does not hold",
            ),
        ];
        assert_eq!(reasons, expected);
    }
}

#[test]
fn a_new_series_beyond_the_tenants_limit_is_refused_alone() {
    let treatment = Arc::new(Treatment {
        series: Some(Arc::new(ActiveSeries::new(
            2,
            std::time::Duration::from_secs(3600),
        ))),
        ..Treatment::default()
    });
    let limits = Limits::default();
    let rules = Rules {
        treatment: Some(&treatment),
        ..rules(&limits)
    };
    let one = |job: &str| series(&[("__name__", "up"), ("job", job)], &[(1, 1)]);
    let sent = body(vec![one("a"), one("b"), one("c"), one("a"), one("b")]);
    let mut decoder = Decoder::default();
    let (batch, refused) = decoder.decode(&sent, Form::default(), &rules).unwrap();
    batch.check().unwrap();
    let expected = ["a", "b", "a", "b"].map(|job| format!("__name__=up,job={job} 1"));
    assert_eq!(counts(batch), expected);
    assert_eq!(refused.counts.values().sum::<u64>(), 1);
}
