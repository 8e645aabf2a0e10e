//! What can be wrong with a request: each has its own answer, and the next good one succeeds.

use reqwest::{RequestBuilder, header};
use sha2::{Digest, Sha256};
use witgate_lab::{Component, FaultProxy, InfluxDb, eventually, require};
use witgate_prometheus::proto::MatchType;
use witgate_tests::remote::{Series, compress, labels, read_body, write_body};

use crate::world::{PASSWORD, SOON, STRANGER, Setup, USER, World};

const LIMITS: &str = "{body: 64KiB, decoded: 256KiB, labels: 8, label: 1KiB, readSamples: 100}";

/// A request that is refused: the status, and words of the answer.
type Case = (&'static str, RequestBuilder, u16, &'static str);

fn up(pairs: &[(&str, &str)]) -> Vec<u8> {
    write_body(&[(labels(pairs), vec![(1, 1)])])
}

fn good() -> Vec<u8> {
    up(&[("__name__", "up"), ("job", "good")])
}

/// A snappy block of nothing that says it is so many bytes.
fn claiming(size: u32) -> Vec<u8> {
    let mut left = size;
    let mut block = Vec::new();
    while left >= 0x80 {
        block.push(left as u8 | 0x80);
        left >>= 7;
    }
    block.push(left as u8);
    block.push(0);
    block
}

#[tokio::test]
async fn each_wrong_write_has_its_own_answer_and_the_next_good_one_succeeds() {
    let world = World::start(&Setup {
        limits: LIMITS,
        ..Setup::local()
    })
    .await;
    let write = |body| world.post("/api/v1/write", body);
    let typed = |content_type: &'static str| {
        let bare = world
            .bare("/api/v1/write", good())
            .basic_auth(USER, Some(PASSWORD));
        bare.header(header::CONTENT_TYPE, content_type)
    };
    let truncated = {
        let body = snap::raw::Decoder::new().decompress_vec(&good()).unwrap();
        compress(&body[..body.len() - 3])
    };
    let long = "x".repeat(1025);
    let many: Vec<_> = (0..9).map(|n| (format!("l{n}"), "v".to_owned())).collect();
    let noise: Vec<u8> = (0..70_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let cases: Vec<Case> = vec![
        (
            "no snappy",
            write(b"up 1".to_vec()),
            400,
            "not in snappy's block format",
        ),
        (
            "an empty body",
            write(Vec::new()),
            400,
            "not in snappy's block format",
        ),
        (
            "4 GiB in six bytes",
            write(claiming(u32::MAX)),
            413,
            "over 262144 bytes large decompressed",
        ),
        (
            "a damaged block",
            write(claiming(100)),
            400,
            "not in snappy's block format",
        ),
        ("truncated protobuf", write(truncated), 400, "it ends within"),
        (
            "a label twice",
            write(up(&[("__name__", "up"), ("a", "1"), ("a", "2")])),
            400,
            "a label that is there twice",
        ),
        ("no name", write(up(&[("job", "a")])), 400, "no label `__name__`"),
        (
            "a long label",
            write(up(&[("__name__", "up"), ("a", &long)])),
            400,
            "prometheus.limits.label`",
        ),
        (
            "many labels",
            write(write_body(&[(many, vec![(1, 1)])])),
            400,
            "prometheus.limits.labels`",
        ),
        ("a large body", write(noise), 413, "prometheus.limits.body"),
        (
            "a body that is large inside",
            write(compress(&vec![0; 300_000])),
            413,
            "over 262144 bytes large decompressed",
        ),
        (
            "remote write 1.0 as 2.0",
            typed("application/x-protobuf;proto=io.prometheus.write.v2.Request"),
            415,
            "remote write 1.0",
        ),
        (
            "remote write 2.0 by its body",
            write(compress(b"\x22\x00\x22\x02up")),
            415,
            "remote write 2.0",
        ),
        ("JSON", typed("application/json"), 415, "application/json"),
        (
            "gzip",
            typed("application/x-protobuf").header(header::CONTENT_ENCODING, "gzip"),
            415,
            "gzip",
        ),
        ("nobody", world.bare("/api/v1/write", good()), 401, "credential"),
        (
            "a wrong password",
            world
                .bare("/api/v1/write", good())
                .basic_auth(USER, Some("wrong")),
            401,
            "password is wrong",
        ),
        (
            "a stranger",
            world
                .bare("/api/v1/write", good())
                .basic_auth(STRANGER, Some(PASSWORD)),
            403,
            "stranger",
        ),
    ];
    all_refused(&world, cases).await;

    let untyped = world
        .bare("/api/v1/write", good())
        .basic_auth(USER, Some(PASSWORD));
    assert_eq!(
        untyped.send().await.unwrap().status(),
        204,
        "without a content type it is 1.0"
    );
}

/// One bad series does not cost the good ones beside it.
#[tokio::test]
async fn of_a_mixed_request_the_good_series_are_stored() {
    let world = World::start(&Setup::local()).await;
    let good = (
        labels(&[("__name__", "up"), ("job", "good")]),
        vec![(1, 1), (2, 2)],
    );
    let bad = (labels(&[("job", "nameless")]), vec![(1, 1), (2, 2), (3, 3)]);
    let (status, said) = world.write(&[bad, good.clone()]).await;
    assert_eq!(status, 400);
    assert!(
        said.starts_with("stored: 2 samples; not stored: 3 samples with no label `__name__`"),
        "{said}"
    );
    assert!(said.contains("nameless"), "{said}");
    let read = world.read(&[("job", MatchType::Re, ".+")], 0, 10).await;
    assert_eq!(read, [good]);
}

#[tokio::test]
async fn each_wrong_read_has_its_own_answer_and_the_next_good_one_succeeds() {
    let world = World::start(&Setup {
        limits: LIMITS,
        ..Setup::local()
    })
    .await;
    let crowd: Series = (
        labels(&[("__name__", "crowd")]),
        (0..101).map(|n| (n, 1)).collect(),
    );
    assert_eq!(world.write(&[crowd]).await.0, 204);
    let read = |body| world.post("/api/v1/read", body);
    let unknown_type = {
        // Query { matchers: { type: 9, name: "job" } }
        let matcher = b"\x1a\x07\x08\x09\x12\x03job";
        let mut query = vec![0x0a, matcher.len() as u8];
        query.extend(matcher);
        compress(&query)
    };
    let unknown_form = compress(b"\x12\x01\x09");
    let name = [("__name__", MatchType::Eq, "crowd")];
    let cases: Vec<Case> = vec![
        (
            "an expression",
            read(read_body(&[("job", MatchType::Re, "a(")], 0, 9)),
            400,
            "\"a(\" of \"job\"",
        ),
        ("a matcher type", read(unknown_type), 400, "unknown type 9"),
        ("no matcher", read(read_body(&[], 0, 9)), 400, "no matcher"),
        (
            "too many samples",
            read(read_body(&name, 0, 1000)),
            400,
            "prometheus.limits.readSamples",
        ),
        ("an unknown form", read(unknown_form), 400, "SAMPLES"),
        ("no snappy", read(b"up".to_vec()), 400, "snappy"),
        (
            "4 GiB",
            read(claiming(u32::MAX)),
            413,
            "over 262144 bytes large decompressed",
        ),
        (
            "no protobuf",
            read(compress(b"\x0a\x7f")),
            400,
            "prometheus.ReadRequest",
        ),
        (
            "a stranger",
            world
                .bare("/api/v1/read", read_body(&name, 0, 9))
                .basic_auth(STRANGER, Some(PASSWORD)),
            403,
            "stranger",
        ),
    ];
    all_refused(&world, cases).await;
    assert_eq!(world.read(&name, 0, 99).await[0].1.len(), 100);
}

#[tokio::test]
async fn an_outage_of_the_backend_is_a_503_and_never_the_senders_fault() {
    if require(Component::InfluxDb).is_err() {
        return;
    }
    let influx = InfluxDb::start().await.unwrap();
    let proxy = FaultProxy::start(influx.address()).await.unwrap();
    let world = World::start(&Setup::influx(proxy.address())).await;
    let write = || world.post("/api/v1/write", good());
    let read = || world.post("/api/v1/read", read_body(&[("job", MatchType::Eq, "good")], 0, 9));

    refused(&world, "a missing database", write(), 503, "prometheus").await;
    influx.create_database("prometheus").await.unwrap();
    assert_eq!(write().send().await.unwrap().status(), 204);

    proxy.refuse();
    proxy.cut();
    refused(&world, "write without a backend", write(), 503, "").await;
    refused(&world, "read without a backend", read(), 503, "").await;

    proxy.pass();
    let succeeds = async || {
        let status = write().send().await.unwrap().status();
        if status == 204 {
            Ok(())
        } else {
            Err(status.to_string())
        }
    };
    eventually("the backend is back", SOON, succeeds).await.unwrap();
}

/// Whoever drops its samples for a wrong credential is found by its name, and not by its secret.
#[tokio::test]
async fn a_credential_that_does_not_hold_is_counted_by_its_name() {
    let world = World::start(&Setup::local()).await;
    let bare = || world.bare("/api/v1/write", good());
    let token = "no-token-of-anybody";
    for (request, times) in [
        (bare().basic_auth(USER, Some("wrong")), 3),
        (bare().bearer_auth(token), 2),
        (bare(), 1),
    ] {
        for _ in 0..times {
            let answer = request.try_clone().unwrap().send().await.unwrap();
            assert_eq!(answer.status(), 401);
        }
    }
    let digest = Sha256::digest(token);
    let digest: String = { digest.iter().take(6) }
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let found = async |credential: &str| {
        let counter = format!(
            r#"witgate_prometheus_unauthorized_requests_total{{credential="{credential}",code="401"}}"#
        );
        world.metric(&counter).await as u64
    };
    let mut counts = Vec::new();
    for credential in [
        format!("user {USER}"),
        format!("token {digest}"),
        "none".to_owned(),
    ] {
        counts.push(found(&credential).await);
    }
    assert_eq!(counts, [3, 2, 1]);
}

/// Sends each, and a good one after it.
async fn all_refused(world: &World, cases: Vec<Case>) {
    for (what, request, status, words) in cases {
        refused(world, what, request, status, words).await;
        let next = world.post("/api/v1/write", good()).send().await.unwrap();
        assert_eq!(next.status(), 204, "the good one after {what}");
    }
}

/// Sees the status, the words, and the same words in the audit line.
async fn refused(world: &World, what: &str, request: RequestBuilder, status: u16, words: &str) {
    let answer = request.send().await.unwrap();
    let actual = answer.status();
    let headers = answer.headers().clone();
    let said = answer.text().await.unwrap();
    assert_eq!(actual, status, "{what}: {said}");
    assert!(said.contains(words) && said.len() > 10, "{what}: {said}");
    assert_eq!(headers.contains_key(header::RETRY_AFTER), status == 503, "{what}");
    assert_eq!(
        headers.contains_key(header::WWW_AUTHENTICATE),
        status == 401,
        "{what}"
    );
    let line = world.audited(headers["x-request-id"].to_str().unwrap()).await;
    assert_eq!(line["status"], status, "{what}: {line}");
    assert_eq!(line["reason"], said.trim_end(), "{what}: {line}");
}
