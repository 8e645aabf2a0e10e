//! Requests that are wrong as such, and messages that no sender's library makes.

use prost::Message;
use witgate_prometheus::proto::{ResponseType, v2};
use witgate_tests::remote::compress;

use super::{
    Stored, now, read,
    request::{Answer, Series, Version, body, send, send_body},
};
use crate::world::{Setup, World};

fn good() -> Series {
    Series::new(&[("__name__", "good")]).sample(1.0).at(now())
}

/// `TestBadContentTypes`, `TestBadContentEncodings`, `TestCorruptRequestBody`, `TestRW1ErrorHandling`.
#[tokio::test]
async fn a_body_of_another_kind_is_refused_with_the_status_for_it() {
    let world = World::start(&Setup::local()).await;
    for version in [Version::V1, Version::V2] {
        let whole = || compress(&body(version, &[good()]));
        let changed = |at: usize, byte: u8| {
            let mut body = whole();
            body[at] = byte;
            body
        };
        let cut = {
            let body = body(version, &[good()]);
            compress(&body[..body.len() - 3])
        };
        let typed = |value| vec![("content-type", value)];
        let encoded = |value| vec![("content-encoding", value)];
        let other = match version {
            Version::V1 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            Version::V2 => "application/x-protobuf;proto=prometheus.WriteRequest",
        };
        let cases = [
            ("JSON", changed(0, b'0'), typed("application/json"), 415),
            ("a picture", changed(0, b'0'), typed("image/png"), 415),
            (
                "a message of a later time",
                whole(),
                typed("application/x-protobuf;proto=io.prometheus.write.v3.Request"),
                415,
            ),
            ("gzip", changed(0, b'0'), encoded("gzip"), 415),
            ("deflate", changed(0, b'0'), encoded("deflate"), 415),
            ("a corrupt length", changed(0, b'0'), Vec::new(), 400),
            (
                "a corrupt length of several bytes",
                changed(0, 0xff),
                Vec::new(),
                400,
            ),
            ("a cut message", cut, Vec::new(), 400),
            ("the other version", whole(), typed(other), 415),
            ("no snappy at all", body(version, &[good()]), Vec::new(), 400),
        ];
        for (what, body, headers, status) in cases {
            let answer = send_body(&world, version, body, &headers).await;
            assert_eq!(answer.status, status, "{version:?} {what}: {answer:?}");
            assert!(answer.said.len() > 10, "{version:?} {what}: {answer:?}");
            // Once it is known that it is a 2.0, nothing is what it is told was written.
            if let Some(written) = answer.written {
                assert_eq!(written, [0; 3], "{version:?} {what}");
            }
            assert!(
                version == Version::V1 || status == 415 || answer.written.is_some(),
                "{what}: {answer:?}"
            );
        }
    }
    let stored = read(&world, ResponseType::Samples).await;
    assert_eq!(stored, Stored::default(), "nothing of them is stored");
}

#[tokio::test]
async fn a_series_that_refers_to_what_is_not_there_is_refused_and_the_one_beside_it_is_not() {
    let world = World::start(&Setup::local()).await;
    let time = now();
    let request = |change: fn(&mut v2::TimeSeries)| {
        let other = Series::new(&[("__name__", "other"), ("job", "a")]).sample(1.0);
        let body = body(Version::V2, &[good(), other.at(time)]);
        let mut request = v2::Request::decode(body.as_slice()).unwrap();
        change(&mut request.timeseries[1]);
        compress(&request.encode_to_vec())
    };
    let cases = [
        (
            "a symbol that is not there",
            request(|series| series.labels_refs[1] = 99),
            [1, 0, 0],
            "a symbol that is not there",
        ),
        (
            "an uneven number of references",
            request(|series| {
                series.labels_refs.pop();
            }),
            [1, 0, 0],
            "not pairs",
        ),
        (
            "samples and histograms in one series",
            request(|series| series.histograms.push(Vec::new())),
            [1, 0, 0],
            "samples and histograms in one series",
        ),
        (
            "neither",
            request(|series| series.samples.clear()),
            [1, 0, 0],
            "neither a sample nor a histogram",
        ),
        (
            "an exemplar",
            request(|series| {
                series.exemplars.push(v2::Exemplar {
                    labels_refs: vec![1],
                    value: 1f64.to_bits(),
                    timestamp: 1,
                });
            }),
            [2, 0, 0],
            "1 exemplar with",
        ),
    ];
    for (what, body, written, words) in cases {
        let answer = send_body(&world, Version::V2, body, &[]).await;
        assert_eq!(
            (answer.status, answer.written),
            (400, Some(written)),
            "{what}: {answer:?}"
        );
        assert!(answer.said.contains(words), "{what}: {answer:?}");
    }
}

/// What was refused is in the gateway's own metrics by its reason, and what was taken by its kind.
#[tokio::test]
async fn everything_is_counted() {
    let world = World::start(&Setup::local()).await;
    let nameless = Series::new(&[("job", "a")]).sample(1.0).at(now());
    for version in [Version::V1, Version::V2] {
        let Answer { status, .. } = send(&world, version, &[good(), nameless.clone()]).await;
        assert_eq!(status, 400);
    }
    for (metric, expected) in [
        (
            r#"witgate_prometheus_written_total{tenant="lab",storage="local",kind="sample"}"#,
            2.0,
        ),
        (
            r#"witgate_prometheus_refused_total{tenant="lab",storage="local",kind="sample",reason="no label `__name__`"}"#,
            2.0,
        ),
    ] {
        let counted = world.metric(metric).await;
        assert!((counted - expected).abs() < 0.5, "{metric} {counted}");
    }
}
