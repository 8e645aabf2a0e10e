//! An endpoint in a few lines, and what becomes of a batch in front of it.

use std::cell::RefCell;

use witgate_remote::v2::WRITTEN;
use witgate_remote::{compress, wire};
use witgate_sdk::http::{Error, Response, Scripted};
use witgate_sdk::storage::{BatchBuilder, Cursor, Datum, Piece, Sample};

use super::*;

/// `count` series `s0`, `s1`, …, each with two samples.
fn batch(count: usize) -> Batch {
    let mut builder = BatchBuilder::default();
    for index in 0..count {
        builder.series([("__name__", format!("s{index}").as_str())]);
        for timestamp in [1, 2] {
            builder.sample(Sample { timestamp, bits: 0 });
        }
    }
    builder.finish()
}

fn context() -> Context {
    Context {
        tenant: "lab".into(),
        attributes: vec![("org".into(), "7".into())],
        request_id: "r".into(),
    }
}

fn config(version: Version) -> Config {
    Config {
        write_url: Some("http://prometheus:9090/api/v1/write".into()),
        read_url: None,
        version,
        holds: None,
        utf8_names: None,
        headers: BTreeMap::from([("X-Scope-OrgID".to_owned(), "{attributes.org}".to_owned())]),
        secret: Some("token".into()),
    }
}

fn write<C: Client>(version: Version, client: C, batch: &Batch) -> Result<Receipt, Failure> {
    let remote = Remote::with_client(config(version), client).unwrap();
    let headers = remote.headers(&context()).unwrap();
    write::write(&remote, remote.write_url.as_ref().unwrap(), &headers, batch)
}

fn counting(status: u16, samples: usize, body: &str) -> Response {
    let mut response = Response::new(status, body);
    let counts = [samples, 0, 0].map(|count| count.to_string().into_bytes());
    response.headers = WRITTEN.map(str::to_owned).into_iter().zip(counts).collect();
    response
}

/// What a body has in it, uncompressed.
fn uncompressed(body: &[u8]) -> Vec<u8> {
    snap::raw::Decoder::new().decompress_vec(body).unwrap()
}

fn has(body: &[u8], name: &str) -> bool {
    let needle = [&[0x12, u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
    body.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn a_request_says_who_it_is_from_and_what_it_is() {
    let client = Scripted::new(|request: &witgate_sdk::http::Request<'_>| {
        let header = |name: &str| {
            let found = request.headers.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        assert_eq!(header("authorization"), "{{secret:token}}");
        assert_eq!(header("x-scope-orgid"), "7");
        assert_eq!(header("x-prometheus-remote-write-version"), "2.0.0");
        assert_eq!(header("content-encoding"), "snappy");
        Ok(counting(204, 4, ""))
    });
    assert!(write(Version::V2, client, &batch(2)).unwrap().rejected.is_empty());
}

#[test]
fn of_a_receiver_that_rolls_back_all_that_is_right_is_stored() {
    let stored = RefCell::new(Vec::new());
    let client = Scripted::new(|request: &witgate_sdk::http::Request<'_>| {
        let body = uncompressed(request.body);
        if has(&body, "s3") || has(&body, "s7") {
            return Ok(Response::new(400, "out of order sample"));
        }
        stored
            .borrow_mut()
            .extend((0..10).filter(|n| has(&body, &format!("s{n}"))));
        Ok(Response::new(204, ""))
    });
    let receipt = write(Version::V1, client, &batch(10)).unwrap();
    let counts: Vec<_> = receipt
        .rejected
        .iter()
        .map(|one| (one.series, one.kind, one.count))
        .collect();
    let one = |series| (series, Datum::Sample, 1);
    assert_eq!(counts, [one(3), one(3), one(7), one(7)]);
    assert!(
        receipt.rejected[0].reason.contains("out of order sample"),
        "{receipt:?}"
    );
    let mut stored = stored.into_inner();
    stored.sort_unstable();
    assert_eq!(stored, [0, 1, 2, 4, 5, 6, 8, 9]);
}

#[test]
fn a_receiver_that_counts_is_believed_whatever_its_status() {
    for (status, stored) in [(204, 6), (204, 5), (400, 5), (400, 0)] {
        let client = Scripted::new(|request: &witgate_sdk::http::Request<'_>| {
            // A request without data is fine.
            if uncompressed(request.body).len() <= 2 {
                return Ok(counting(204, 0, ""));
            }
            Ok(counting(status, stored, "out of order"))
        });
        let receipt = write(Version::V2, client, &batch(3)).unwrap();
        let rejected: u32 = receipt.rejected.iter().map(|one| one.count).sum();
        assert_eq!(rejected as usize, 6 - stored, "{status}");
    }
}

#[test]
fn nothing_is_given_up_for_what_is_not_about_the_data() {
    let cases: [(Version, u16, &str); 9] = [
        (Version::V2, 204, "version"),
        (Version::V1, 302, "redirects"),
        (Version::V1, 401, "secret"),
        (Version::V1, 403, "grant"),
        (Version::V1, 404, "enable-remote-write-receiver"),
        (Version::V2, 415, "version"),
        (Version::V1, 500, "answered 500"),
        (Version::V1, 503, "answered 503"),
        // Of everybody, also of an empty request: a proxy, or plain HTTP to a port of TLS.
        (Version::V1, 400, "request without data"),
    ];
    for (version, status, expected) in cases {
        let client = Scripted::new(|_: &witgate_sdk::http::Request<'_>| Ok(Response::new(status, "no")));
        let Err(Failure::Unavailable(trouble)) = write(version, client, &batch(1)) else {
            panic!("{status}")
        };
        assert!(trouble.message.contains(expected), "{}", trouble.message);
    }
    let refused = Scripted::new(|request: &witgate_sdk::http::Request<'_>| {
        Err(Error::Unreachable {
            origin: request.url.clone(),
            detail: "connection refused".into(),
        })
    });
    assert!(matches!(
        write(Version::V1, refused, &batch(1)),
        Err(Failure::Unavailable(_))
    ));
}

#[test]
fn an_endpoint_that_asks_for_time_gets_it() {
    for (status, overloaded) in [(429, true), (503, false)] {
        let client = Scripted::new(|_: &witgate_sdk::http::Request<'_>| {
            let mut response = Response::new(status, "later");
            response.headers.push(("retry-after".into(), b"7".to_vec()));
            Ok(response)
        });
        match write(Version::V1, client, &batch(1)) {
            Err(Failure::Overloaded(trouble)) if overloaded => assert_eq!(trouble.retry_after, Some(7000)),
            Err(Failure::Unavailable(trouble)) if !overloaded => assert_eq!(trouble.retry_after, Some(7000)),
            other => panic!("{status}: {other:?}"),
        }
    }
}

#[test]
fn names_that_an_old_receiver_would_drop_are_rejected_here() {
    let mut builder = BatchBuilder::default();
    for (name, label) in [
        ("a:b", "c"),
        ("a.b", "c"),
        ("a", "c d"),
        ("1a", "c"),
        ("a", "c:d"),
    ] {
        builder.series([("__name__", name), (label, "é")]);
        builder.sample(Sample {
            timestamp: 1,
            bits: 0,
        });
    }
    let client = || Scripted::new(|_: &witgate_sdk::http::Request<'_>| Ok(Response::new(204, "")));
    let receipt = write(Version::V1, client(), &builder.finish()).unwrap();
    let series: Vec<_> = receipt.rejected.iter().map(|one| one.series).collect();
    assert_eq!(series, [1, 2, 3, 4]);
}

#[test]
fn a_wrong_configuration_says_what_is_right() {
    let client = || Scripted::new(|_: &witgate_sdk::http::Request<'_>| Ok(Response::new(204, "")));
    let faulty = |change: &dyn Fn(&mut Config)| {
        let mut config = config(Version::V1);
        change(&mut config);
        Remote::with_client(config, client()).err().unwrap()
    };
    let cases = [
        (faulty(&|config| config.write_url = None), "`writeUrl`"),
        (
            faulty(&|config| config.write_url = Some("prometheus:9090".into())),
            "config.writeUrl",
        ),
        (
            faulty(&|config| config.read_url = Some("http://a:b@c/".into())),
            "no credentials",
        ),
        (
            faulty(&|config| config.holds = Some(vec![Kind::StartTimestamps])),
            "config.holds",
        ),
        (
            faulty(&|config| {
                config.headers.insert("Authorization".into(), "Bearer x".into());
            }),
            "`secret`",
        ),
        (
            faulty(&|config| {
                config.headers.insert("X-Org".into(), "{org}".into());
            }),
            "config.headers.X-Org",
        ),
    ];
    for (error, expected) in cases {
        assert!(error.contains(expected), "{error}");
    }
}

/// A chunk of a series as it stands in a frame, with its encoding.
fn frame(name: &str, encoding: u64) -> Vec<u8> {
    let (mut label, mut chunk, mut series, mut data) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    wire::bytes(&mut label, 1, b"__name__");
    wire::bytes(&mut label, 2, name.as_bytes());
    wire::bytes(&mut series, 1, &label);
    wire::integer(&mut chunk, 1, 1);
    wire::integer(&mut chunk, 2, 2);
    wire::integer(&mut chunk, 3, encoding);
    wire::bytes(&mut chunk, 4, &[0, 2, 7, 7]);
    wire::bytes(&mut series, 2, &chunk);
    wire::bytes(&mut data, 1, &series);
    let mut frame = Vec::new();
    wire::varint(&mut frame, data.len() as u64);
    frame.extend(crc32c::crc32c(&data).to_be_bytes());
    frame.extend(data);
    frame
}

fn in_frames(frames: &[Vec<u8>]) -> Response {
    let mut response = Response::new(200, frames.concat());
    let form = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    response.headers.push(("content-type".into(), form.into()));
    response
}

/// An answer in samples that has one series, `sampled`.
fn in_samples() -> Response {
    let (mut label, mut series, mut result, mut answer) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    wire::bytes(&mut label, 1, b"__name__");
    wire::bytes(&mut label, 2, b"sampled");
    wire::bytes(&mut series, 1, &label);
    wire::bytes(&mut result, 1, &series);
    wire::bytes(&mut answer, 1, &result);
    Response::new(200, compress(&answer))
}

/// Reads all of an answer: the names of its series, in chunks or not.
fn read<C: Client>(remote: &Remote<C>, only_series: bool) -> Result<(Vec<(String, bool)>, bool), Failure> {
    let query = Query {
        start: 0,
        end: 9,
        matchers: Vec::new(),
        only_series,
        without: None,
    };
    let url = remote.read_url.as_deref().unwrap();
    let mut answer = read::open(&remote.endpoint, url, &[], &query, &remote.habits)?;
    let mut found = Vec::new();
    while let Some(piece) = answer.next(1)? {
        match piece {
            Piece::Samples(batch) => {
                let names = batch
                    .series()
                    .filter_map(|series| series.label("__name__").map(str::to_owned));
                found.extend(names.map(|name| (name, false)));
            }
            Piece::Chunks(chunks) => {
                let names = chunks.series().filter_map(|series| series.labels().next());
                found.extend(names.map(|(_, name)| (name.to_owned(), true)));
            }
        }
    }
    Ok((found, answer.sorted()))
}

fn reading<C: Client>(client: C) -> Remote<C> {
    let config = Config {
        read_url: Some("http://prometheus:9090/api/v1/read".into()),
        ..config(Version::V2)
    };
    Remote::with_client(config, client).unwrap()
}

/// Which forms a request takes.
fn forms(request: &witgate_sdk::http::Request<'_>) -> Vec<u64> {
    let body = uncompressed(request.body);
    let mut fields = wire::Fields(&body);
    let mut forms = Vec::new();
    while let Some((number, value)) = fields.next().unwrap() {
        if let (2, wire::Value::Varint(form)) = (number, value) {
            forms.push(form);
        }
    }
    forms
}

#[test]
fn chunks_are_passed_on_and_samples_taken_where_there_are_no_chunks() {
    let asked = RefCell::new(Vec::new());
    let has_chunks = std::cell::Cell::new(true);
    let remote = reading(Scripted::new(|request: &witgate_sdk::http::Request<'_>| {
        let forms = forms(request);
        let answer = match has_chunks.get() && forms[0] == 1 {
            true => in_frames(&[frame("a", 1), frame("b", 3)]),
            false => in_samples(),
        };
        asked.borrow_mut().push(forms);
        Ok(answer)
    }));
    let both = vec![("a".to_owned(), true), ("b".to_owned(), true)];
    let sampled = vec![("sampled".to_owned(), false)];
    assert_eq!(read(&remote, false).unwrap(), (both, true));
    // A series that has nothing in it would be missing in chunks.
    assert_eq!(read(&remote, true).unwrap(), (sampled.clone(), false));
    has_chunks.set(false);
    assert_eq!(read(&remote, false).unwrap(), (sampled, false));
    assert_eq!(*asked.borrow(), [vec![1, 0], vec![0], vec![1, 0]]);
}

#[test]
fn chunks_that_the_gateway_has_no_place_for_come_as_samples() {
    let asked = RefCell::new(Vec::new());
    let remote = reading(Scripted::new(|request: &witgate_sdk::http::Request<'_>| {
        let forms = forms(request);
        let answer = match forms[0] {
            1 => in_frames(&[frame("a", 1), frame("b", 4)]),
            _ => in_samples(),
        };
        asked.borrow_mut().push(forms);
        Ok(answer)
    }));
    for _ in 0..2 {
        assert_eq!(read(&remote, false).unwrap().0, [("sampled".to_owned(), false)]);
    }
    assert_eq!(
        *asked.borrow(),
        [vec![1, 0], vec![0], vec![0]],
        "it is remembered"
    );
}

#[test]
fn an_answer_that_turns_out_otherwise_is_a_failure_once() {
    // More than is looked at before it is passed on.
    let many: Vec<_> = (0..50_001).map(|_| frame("b", 1)).collect();
    for (last, expected, then) in [
        (frame("c", 4), "encoding 4", "sampled"),
        (frame("a", 1), "the order of labels", "b"),
    ] {
        let frames = [many.as_slice(), &[last]].concat();
        let remote = reading(Scripted::new(|request: &witgate_sdk::http::Request<'_>| {
            Ok(match forms(request)[0] {
                1 => in_frames(&frames),
                _ => in_samples(),
            })
        }));
        let Err(Failure::Unavailable(trouble)) = read(&remote, false) else {
            panic!("half of an answer is none")
        };
        assert!(trouble.message.contains(expected), "{}", trouble.message);
        let (found, sorted) = read(&remote, false).unwrap();
        assert_eq!((found[0].0.as_str(), sorted), (then, false));
    }
    let unsorted = reading(Scripted::new(|_: &witgate_sdk::http::Request<'_>| {
        Ok(in_frames(&[frame("b", 1), frame("a", 1)]))
    }));
    assert!(!read(&unsorted, false).unwrap().1);
}

#[test]
fn frames_that_are_cut_or_changed_are_a_failure() {
    let whole = [frame("a", 1), frame("b", 1)].concat();
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    for (frames, expected) in [
        (whole[..whole.len() - 1].to_vec(), "ends within a frame"),
        (changed, "checksum"),
        (b"\xff\xff\xff\xff\x7f".to_vec(), "50000000 are the most"),
    ] {
        let remote = reading(Scripted::new(|_: &witgate_sdk::http::Request<'_>| {
            Ok(in_frames(std::slice::from_ref(&frames)))
        }));
        let Err(Failure::Unavailable(trouble)) = read(&remote, false) else {
            panic!("{expected}")
        };
        assert!(trouble.message.contains(expected), "{}", trouble.message);
        assert!(trouble.message.contains("/api/v1/read"), "{}", trouble.message);
    }
}
