//! An InfluxDB in a few lines, and what becomes of a batch in front of it.

use std::cell::RefCell;

use witgate_sdk::http::{Client, Error, Request, Response, Scripted};
use witgate_sdk::storage::{Batch, BatchBuilder, Context, Failure, Sample};

use crate::server::{Place, Server};
use crate::{Config, Influx};

use super::write;

fn place() -> Place {
    Place {
        database: "db".into(),
        retention_policy: None,
    }
}

/// `count` series `s0`, `s1`, …, each with one sample at its own number.
fn batch(count: usize) -> Batch {
    let mut builder = BatchBuilder::default();
    for index in 0..count {
        builder.series([("__name__", format!("s{index}").as_str())]);
        builder.sample(Sample {
            timestamp: index as i64,
            bits: 0,
        });
    }
    builder.finish()
}

fn error(status: u16, message: &str) -> Response {
    Response::new(status, serde_json::json!({ "error": message }).to_string())
}

/// Takes all lines but those of the given series, and remembers what it took.
fn picky<'a>(bad: &'a [&'a str], why: &'a str, taken: &'a RefCell<Vec<String>>) -> impl Client + 'a {
    Scripted::new(move |request: &Request<'_>| {
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        let (refused, good): (Vec<_>, Vec<_>) = body
            .lines()
            .partition(|line| bad.contains(&line.split(',').next().unwrap()));
        taken
            .borrow_mut()
            .extend(good.iter().map(|line| (*line).to_owned()));
        Ok(match refused.len() {
            0 => Response::new(204, ""),
            n => error(400, &format!("partial write: {why} dropped={n}")),
        })
    })
}

fn rejections(client: impl Client, batch: &Batch) -> Vec<(u32, u32)> {
    let server = Server::new(client, "http://influx:8086", None).unwrap();
    let receipt = write(&server, &place(), batch).unwrap();
    let mut rejected: Vec<_> = receipt.rejected.iter().map(|r| (r.series, r.count)).collect();
    rejected.sort_unstable();
    rejected
}

#[test]
fn the_series_that_influxdb_does_not_take_are_found_and_the_others_stored() {
    let taken = RefCell::default();
    let found = rejections(
        picky(&["s3", "s700"], "max-values-per-tag limit exceeded", &taken),
        &batch(1000),
    );
    assert_eq!(found, [(3, 1), (700, 1)]);
    let mut taken = taken.into_inner();
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), 998);
}

#[test]
fn the_count_is_right_when_there_are_too_many_to_find() {
    let names: Vec<_> = (0..1000).step_by(2).map(|index| format!("s{index}")).collect();
    let bad: Vec<_> = names.iter().map(String::as_str).collect();
    let requests = RefCell::new(0);
    let taken = RefCell::default();
    let influx = picky(&bad, "max-series-per-database limit exceeded: (1)", &taken);
    let counted = Scripted::new(|request: &Request<'_>| {
        *requests.borrow_mut() += 1;
        influx.send(request)
    });
    let found = rejections(counted, &batch(1000));
    assert_eq!(found.iter().map(|(_, samples)| samples).sum::<u32>(), 500);
    assert!(*requests.borrow() <= 1 + super::SEARCHES);
}

#[test]
fn what_is_beyond_the_retention_policy_is_what_is_oldest() {
    let taken = RefCell::default();
    let found = rejections(
        picky(&["s0", "s1", "s2"], "points beyond retention policy", &taken),
        &batch(50),
    );
    assert_eq!(found, [(0, 1), (1, 1), (2, 1)]);
    assert_eq!(taken.into_inner().len(), 47, "found without another request");
}

#[test]
fn a_body_that_is_too_large_is_sent_in_halves() {
    let taken = RefCell::new(Vec::new());
    let small = Scripted::new(|request: &Request<'_>| {
        if request.body.len() > 100 {
            return Ok(Response::new(413, "Request Entity Too Large"));
        }
        taken.borrow_mut().extend_from_slice(request.body);
        Ok(Response::new(204, ""))
    });
    let batch = batch(100);
    assert_eq!(rejections(small, &batch), []);
    let whole = crate::lines::Encoder::new(&batch).next(usize::MAX).unwrap().body;
    assert_eq!(taken.into_inner(), whole);
}

#[test]
fn only_wrong_data_is_wrong_and_everything_else_is_for_later() {
    let cases = [
        (401, "authorization failed", "check the plugin's `secret`"),
        (
            403,
            "\"joe\" user is not authorized to write to database \"db\"",
            "grant the user ALL on database db",
        ),
        (
            404,
            "database not found: \"db\"",
            "create it with `CREATE DATABASE \"db\"`",
        ),
        (400, "database is required", "answered 400: database is required"),
        (500, "retention policy not found: x", "correct `retentionPolicy`"),
        (503, "timeout", "answered 503: timeout"),
    ];
    for (status, message, expected) in cases {
        let client = Scripted::new(|_: &Request<'_>| Ok(error(status, message)));
        let server = Server::new(client, "http://influx:8086/", None).unwrap();
        let Err(Failure::Unavailable(trouble)) = write(&server, &place(), &batch(2)) else {
            panic!("{status}")
        };
        assert!(trouble.message.contains(expected), "{}", trouble.message);
    }
    let client = Scripted::new(|_: &Request<'_>| {
        let mut response = error(429, "slow down");
        response.headers.push(("retry-after".into(), b"7".to_vec()));
        Ok(response)
    });
    let server = Server::new(client, "http://influx:8086", None).unwrap();
    let Err(Failure::Overloaded(trouble)) = write(&server, &place(), &batch(2)) else {
        panic!()
    };
    assert_eq!(trouble.retry_after, Some(7000));
    let away = Scripted::new(|_: &Request<'_>| {
        Err(Error::Unreachable {
            origin: "http://influx:8086".into(),
            detail: "connection refused".into(),
        })
    });
    let server = Server::new(away, "http://influx:8086", None).unwrap();
    assert!(matches!(
        write(&server, &place(), &batch(2)),
        Err(Failure::Unavailable(_))
    ));
}

#[test]
fn the_tenants_attributes_say_where_and_the_secret_who() {
    let requests = RefCell::new(Vec::new());
    let client = Scripted::new(|request: &Request<'_>| {
        requests
            .borrow_mut()
            .push((request.url.clone(), request.headers.clone()));
        Ok(Response::new(204, ""))
    });
    let config = r#"{"url":"http://influx:8086","database":"default","secret":"influx"}"#;
    let influx = Influx::with_client(serde_json::from_str::<Config>(config).unwrap(), client).unwrap();
    let mut context = Context {
        tenant: "a".into(),
        attributes: vec![],
        request_id: "1".into(),
    };
    write(&influx.server, &influx.place(&context).unwrap(), &batch(1)).unwrap();
    context.attributes = vec![("db".into(), "team a".into()), ("rp".into(), "long".into())];
    write(&influx.server, &influx.place(&context).unwrap(), &batch(1)).unwrap();
    let requests = requests.take();
    let urls: Vec<_> = requests.iter().map(|(url, _)| url.as_str()).collect();
    assert_eq!(
        urls,
        [
            "http://influx:8086/write?db=default&precision=ms",
            "http://influx:8086/write?db=team+a&rp=long&precision=ms"
        ]
    );
    assert!(
        requests[0]
            .1
            .contains(&("authorization".into(), "{{secret:influx}}".into()))
    );
}

#[test]
fn series_that_lines_cannot_hold_go_by_prometheus_own_protocol() {
    let mut builder = BatchBuilder::default();
    builder.series([("__name__", "up"), ("a", "x\ny")]);
    builder.sample(Sample {
        timestamp: 1,
        bits: 0,
    });
    builder.sample(Sample {
        timestamp: 2,
        bits: f64::NAN.to_bits(),
    });
    builder.series([("__name__", "up")]);
    builder.sample(Sample {
        timestamp: 1,
        bits: 0,
    });
    let urls = RefCell::new(Vec::new());
    let client = Scripted::new(|request: &Request<'_>| {
        urls.borrow_mut().push(request.url.clone());
        Ok(Response::new(204, ""))
    });
    assert_eq!(rejections(client, &builder.finish()), [(0, 1)]);
    assert_eq!(
        urls.take(),
        [
            "http://influx:8086/write?db=db&precision=ms",
            "http://influx:8086/api/v1/prom/write?db=db"
        ]
    );
}

#[test]
fn by_remote_write_the_series_that_influxdb_does_not_take_are_found_too() {
    let mut builder = BatchBuilder::default();
    for index in 0..100 {
        let name = format!("s{index}x");
        // InfluxDB never sees these.
        let label = if index % 10 == 0 { "time" } else { "a" };
        builder.series([("__name__", name.as_str()), (label, "b")]);
        for timestamp in [1, 2] {
            builder.sample(Sample { timestamp, bits: 0 });
        }
    }
    let taken = RefCell::new(std::collections::BTreeSet::new());
    let client = Scripted::new(|request: &Request<'_>| {
        assert_eq!(request.url, "http://influx:8086/api/v1/prom/write?db=db");
        let body = snap::raw::Decoder::new().decompress_vec(request.body).unwrap();
        let has = |index: usize| {
            let name = format!("s{index}x").into_bytes();
            body.windows(name.len()).any(|window| window == name)
        };
        let (bad, good): (Vec<_>, Vec<_>) = (0..100)
            .filter(|index| has(*index))
            .partition(|index| [33, 77].contains(index));
        taken.borrow_mut().extend(good);
        Ok(match bad.len() {
            0 => Response::new(204, ""),
            n => error(
                400,
                &format!("partial write: max key length exceeded dropped={}", 2 * n),
            ),
        })
    });
    let server = Server::new(client, "http://influx:8086", None).unwrap();
    let receipt = super::write_native(&server, &place(), &builder.finish()).unwrap();
    let mut rejected: Vec<_> = { receipt.rejected.iter() }
        .map(|one| (one.series, one.count, one.reason.contains("max key length")))
        .collect();
    rejected.sort_unstable();
    let expected = (0..100).filter_map(|index| match index {
        33 | 77 => Some((index, 2, true)),
        _ => (index % 10 == 0).then_some((index, 2, false)),
    });
    assert_eq!(rejected, expected.collect::<Vec<_>>());
    assert_eq!(taken.take().len(), 88);
}
