//! Batches, and the lines that they become.

use witgate_sdk::storage::{Batch, BatchBuilder, Sample};

use super::{BODY, Encoder, MAX_TIMESTAMP};

type Labels<'a> = &'a [(&'a str, &'a str)];

fn batch(series: &[(Labels<'_>, &[(i64, u64)])]) -> Batch {
    let mut builder = BatchBuilder::default();
    for (labels, samples) in series {
        builder.series(labels.iter().copied());
        for &(timestamp, bits) in *samples {
            builder.sample(Sample { timestamp, bits });
        }
    }
    builder.finish()
}

fn text(batch: &Batch) -> String {
    let lines = Encoder::new(batch).next(BODY);
    String::from_utf8(lines.map(|lines| lines.body).unwrap_or_default()).unwrap()
}

fn one(labels: &[(&str, &str)], value: f64) -> String {
    text(&batch(&[(labels, &[(1000, value.to_bits())])]))
}

#[test]
fn the_metric_is_the_measurement_and_every_label_a_tag() {
    let up: &[_] = &[("__name__", "up"), ("job", "a")];
    let down: &[_] = &[
        ("Zone", "x"),
        ("__name__", "a_name_that_is_longer_than_one_stride_of_copying"),
    ];
    let batch = batch(&[
        (up, &[(1000, 1f64.to_bits()), (2000, 2.5f64.to_bits())]),
        (down, &[(2000, 0)]),
    ]);
    let expected = "up,__name__=up,job=a value=1 1000\n\
        up,__name__=up,job=a value=2.5 2000\n\
        a_name_that_is_longer_than_one_stride_of_copying,Zone=x,\
        __name__=a_name_that_is_longer_than_one_stride_of_copying value=0 2000\n";
    assert_eq!(text(&batch), expected);
}

#[test]
fn separators_are_escaped_in_tags_and_an_equals_sign_is_none_in_a_measurement() {
    let line = one(&[("__name__", "m=a b,c"), ("k=e y", r#"v,=\, "q""#)], 1.0);
    assert_eq!(
        line,
        "m=a\\ b\\,c,__name__=m\\=a\\ b\\,c,k\\=e\\ y=v\\,\\=\\\\,\\ \"q\" value=1 1000\n"
    );
}

#[test]
fn every_finite_value_reads_back_as_the_same_bits() {
    let values = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.1,
        5e-324,
        2.2250738585072014e-308,
        f64::MAX,
        f64::MIN,
        1e21,
        123456789012345680000.0,
        9007199254740991.0,
        9007199254740992.0,
        9007199254740993.0,
        -9007199254740994.0,
        1e16,
        1.5e300,
        std::f64::consts::PI,
    ];
    for value in values {
        let line = one(&[("__name__", "m")], value);
        let text = line
            .strip_prefix("m,__name__=m value=")
            .unwrap()
            .strip_suffix(" 1000\n")
            .unwrap();
        assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
        assert!(!text.contains("inf") && !text.contains("NaN"));
    }
}

#[test]
fn what_is_not_finite_goes_by_its_bits() {
    for bits in [
        0x7ff0_0000_0000_0002,
        f64::NAN.to_bits(),
        f64::INFINITY.to_bits(),
        f64::NEG_INFINITY.to_bits(),
    ] {
        let line = text(&batch(&[(&[("__name__", "m")], &[(1000, bits)])]));
        let text = line
            .strip_prefix("m,__name__=m vb=")
            .unwrap()
            .strip_suffix("i 1000\n")
            .unwrap();
        assert_eq!(text.parse::<i64>().unwrap().cast_unsigned(), bits);
    }
}

#[test]
fn what_lines_cannot_hold_is_set_aside() {
    let good: &[_] = &[("__name__", "up")];
    let samples: &[_] = &[(1000, 0), (2000, 0)];
    let series: [(&[_], _); 8] = [
        (good, samples),
        (&[("__name__", "up"), ("a", "line\nbreak")], samples),
        (&[("__name__", "#comment")], samples),
        (&[("__name__", "up"), ("a", "end\\")], samples),
        (&[("__name__", "back\\slash")], samples),
        (&[("__name__", "up"), ("time", "x")], samples),
        (&[("a", "#x")], samples),
        (&[("__name__", "up"), ("a", "#x"), ("b", "time")], samples),
    ];
    let batch = batch(&series);
    let mut encoder = Encoder::new(&batch);
    let lines = encoder.next(BODY).unwrap();
    assert_eq!(
        lines.pieces.iter().map(|piece| piece.series).collect::<Vec<_>>(),
        [0, 7]
    );
    assert!(encoder.next(BODY).is_none());
    assert_eq!(encoder.unfit, [1, 2]);
    let rejected: Vec<_> = encoder
        .rejected
        .iter()
        .map(|r| (r.series, r.count, r.reason.as_str()))
        .collect();
    let expected = [
        (3, 2, "InfluxDB can't hold a label that ends with a backslash"),
        (4, 2, "InfluxDB can't hold a metric name with a backslash"),
        (5, 2, "the label `time` is reserved in InfluxDB"),
        (6, 2, "the series has no metric name"),
    ];
    assert_eq!(rejected, expected);
}

#[test]
fn times_that_influxdb_has_not_are_rejected_alone() {
    let samples: &[_] = &[(i64::MIN, 0), (5, 0), (MAX_TIMESTAMP, 0), (MAX_TIMESTAMP + 1, 0)];
    let batch = batch(&[(&[("__name__", "m")], samples)]);
    let mut encoder = Encoder::new(&batch);
    let lines = encoder.next(BODY).unwrap();
    assert_eq!(
        String::from_utf8(lines.body).unwrap(),
        "m,__name__=m value=0 5\nm,__name__=m value=0 9223372036854\n"
    );
    assert_eq!((encoder.rejected[0].series, encoder.rejected[0].count), (0, 2));
}

#[test]
fn a_batch_is_cut_into_bodies_that_have_all_of_it() {
    let long: Vec<_> = (0..100i64).map(|t| (t, t.cast_unsigned())).collect();
    let batch = batch(&[
        (&[("__name__", "a")], &long),
        (&[("__name__", "b")], &long),
        (&[("__name__", "c")], &[(1, 1)]),
    ]);
    let whole = text(&batch);
    for limit in [1, 100, 1000, 2500] {
        let mut encoder = Encoder::new(&batch);
        let (mut bodies, mut covered) = (String::new(), Vec::new());
        while let Some(lines) = encoder.next(limit) {
            assert!(lines.body.len() < limit + 100);
            assert_eq!(lines.pieces.last().unwrap().bytes.end, lines.body.len());
            bodies.push_str(std::str::from_utf8(&lines.body).unwrap());
            covered.extend(lines.pieces.into_iter().flat_map(|piece| piece.samples));
        }
        assert_eq!(bodies, whole);
        assert_eq!(covered, (0..201).collect::<Vec<_>>());
    }
}
