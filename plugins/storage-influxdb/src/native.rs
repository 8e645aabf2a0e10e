//! InfluxDB's own remote write and remote read: for the few series that line protocol has no way to
//! write, and for all of them in the mode `native`.

use witgate_remote::read::{self, Form, Samples};
use witgate_sdk::http::Client;
use witgate_sdk::storage::{Batch, BatchBuilder, Cursor, Failure, MatchOperation, Piece, Query, Rejection};

use crate::lines::{Fitness, MAX_TIMESTAMP, Symbols, in_range, rejection};
use crate::server::{Place, Server};

/// Why a value that is not finite is refused where all series go this way.
const NOT_FINITE: &str = "InfluxDB drops a value that is not finite: this plugin's `mode: line` keeps it";

/// Why it is refused of a series that has to go this way.
const NOT_FINITE_OF_UNFIT: &str = "InfluxDB can't hold a value that is not finite in a series with a line break in \
    a label, or with a name that begins with #";

/// Labels that InfluxDB leaves out of what it reads.
const HIDDEN: [&str; 2] = ["_field", "_measurement"];

/// What of a batch InfluxDB stores by remote write, and what not: it answers 204 whatever it drops.
#[derive(Debug)]
pub(crate) struct Fit {
    /// What it stores.
    pub(crate) batch: Batch,
    /// Where each series stands in the whole batch.
    pub(crate) series: Vec<usize>,
    /// What it drops.
    pub(crate) rejected: Vec<Rejection>,
}

/// Of all series of a batch.
pub(crate) fn of_all(batch: &Batch) -> Fit {
    let symbols = Symbols::new(batch);
    let mut start = 0;
    let reasons: Vec<_> = { batch.series().zip(&batch.label_ends) }
        .map(|(series, end)| {
            let labels = &batch.labels[start..*end as usize];
            start = *end as usize;
            match symbols.fitness(labels) {
                Fitness::Impossible(reason) => Some(reason),
                Fitness::Fits(_) | Fitness::Unfit => { series.labels() }
                    .any(|(name, _)| HIDDEN.contains(&name))
                    .then_some("InfluxDB leaves the labels `_field` and `_measurement` out when it reads"),
            }
        })
        .collect();
    fit(batch, NOT_FINITE, |index| {
        Some(reasons.get(index).copied().flatten())
    })
}

/// Of these series, which are in order and have labels that InfluxDB can hold.
pub(crate) fn of_unfit(batch: &Batch, unfit: &[usize]) -> Fit {
    fit(batch, NOT_FINITE_OF_UNFIT, |index| {
        unfit.binary_search(&index).is_ok().then_some(None)
    })
}

/// `wanted` says of a series whether it is of interest, and then why it is refused as a whole.
fn fit(batch: &Batch, not_finite: &str, wanted: impl Fn(usize) -> Option<Option<&'static str>>) -> Fit {
    let mut builder = BatchBuilder::default();
    let (mut places, mut rejected) = (Vec::new(), Vec::new());
    for (index, series) in batch.series().enumerate() {
        let Some(refused) = wanted(index) else { continue };
        if let Some(reason) = refused {
            rejected.push(rejection(index, series.samples().len(), reason));
            continue;
        }
        let (mut infinite, mut outside) = (0, 0);
        let mut is_begun = false;
        for sample in series.samples() {
            if !in_range(sample.timestamp) {
                outside += 1;
            } else if !f64::from_bits(sample.bits).is_finite() {
                infinite += 1;
            } else {
                if !is_begun {
                    builder.series(series.labels());
                    places.push(index);
                    is_begun = true;
                }
                builder.sample(sample);
            }
        }
        for (count, reason) in [(infinite, not_finite), (outside, crate::lines::OUTSIDE)] {
            if count > 0 {
                rejected.push(rejection(index, count, reason));
            }
        }
    }
    Fit {
        batch: builder.finish(),
        series: places,
        rejected,
    }
}

/// What a query finds by remote read.
#[derive(Debug)]
pub struct Found {
    /// None where nothing can be found.
    samples: Option<Samples>,
    url: String,
}

/// Sends a query.
pub(crate) fn open<C: Client>(server: &Server<C>, place: &Place, mut query: Query) -> Result<Found, Failure> {
    let url = server.url().to_owned();
    query.start = query.start.max(-MAX_TIMESTAMP);
    query.end = query.end.min(MAX_TIMESTAMP);
    if query.start > query.end {
        return Ok(Found { samples: None, url });
    }
    for matcher in &mut query.matchers {
        // InfluxDB before 1.8 does not anchor, and for later ones it makes no difference. In Prometheus
        // a dot is a line break too.
        if matches!(
            matcher.operation,
            MatchOperation::Matches | MatchOperation::NotMatches
        ) {
            matcher.value = format!("^(?s:{})$", matcher.value);
        }
    }
    let body = witgate_remote::compress(&read::encode(&query, &[Form::Samples]));
    let mut response = server.read_native(place, &body)?;
    let samples = Samples::of_body(&mut response.body).map_err(|error| broken(&url, &error))?;
    Ok(Found {
        samples: Some(samples),
        url,
    })
}

/// Whether one may read: a query that finds nothing.
pub(crate) fn probe<C: Client>(server: &Server<C>, place: &Place) -> Result<(), Failure> {
    open(server, place, read::probe()).map(drop)
}

impl Cursor for Found {
    fn next(&mut self, samples: u32) -> Result<Option<Piece>, Failure> {
        let Some(found) = &mut self.samples else {
            return Ok(None);
        };
        let next = found
            .next(samples as usize)
            .map_err(|error| broken(&self.url, &error))?;
        Ok(next.map(Piece::Samples))
    }
}

fn broken(url: &str, why: &dyn std::error::Error) -> Failure {
    Failure::unavailable(format!("InfluxDB at {url}: its answer to a remote read: {why}"))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use witgate_sdk::http::{Request, Response, Scripted};
    use witgate_sdk::storage::{Matcher, Sample};

    use super::*;

    const VALUES: [f64; 5] = [1.0, f64::NAN, -0.0, f64::INFINITY, f64::MAX];

    fn batch(labels: &[&[(&str, &str)]]) -> Batch {
        let mut builder = BatchBuilder::default();
        for labels in labels {
            builder.series(labels.iter().copied());
            for (timestamp, value) in (0..).zip(VALUES) {
                builder.sample(Sample {
                    timestamp,
                    bits: value.to_bits(),
                });
            }
            builder.sample(Sample {
                timestamp: i64::MAX,
                bits: 0,
            });
        }
        builder.finish()
    }

    #[test]
    fn what_influxdb_would_drop_without_a_word_is_refused_with_its_count() {
        let batch = batch(&[
            &[("__name__", "up"), ("time", "x")],
            &[("__name__", "up"), ("a", "x\ny")],
            &[("__name__", "up"), ("a", "x\\")],
            &[("__name__", "u\\p")],
            &[("__name__", "up"), ("_field", "x")],
            &[("__name__", "up")],
        ]);
        let fit = of_all(&batch);
        assert_eq!(fit.series, [1, 5]);
        let kept: Vec<_> = fit.batch.series().map(|series| series.samples().len()).collect();
        assert_eq!(kept, [3, 3]);
        let rejected: Vec<_> = { fit.rejected.iter() }
            .map(|one| (one.series, one.count, one.reason.as_str()))
            .collect();
        let expected = [
            (0, 6, "`time`"),
            (1, 2, "`mode: line`"),
            (1, 1, "1677"),
            (2, 6, "backslash"),
            (3, 6, "backslash"),
            (4, 6, "`_field`"),
            (5, 2, "`mode: line`"),
            (5, 1, "1677"),
        ];
        assert_eq!(rejected.len(), expected.len(), "{rejected:?}");
        for (found, expected) in rejected.iter().zip(expected) {
            assert_eq!((found.0, found.1), (expected.0, expected.1), "{found:?}");
            assert!(found.2.contains(expected.2), "{found:?}");
        }
    }

    #[test]
    fn of_some_series_only_these_are_looked_at() {
        let batch = batch(&[&[("__name__", "a")], &[("__name__", "#b")], &[("__name__", "c")]]);
        let fit = of_unfit(&batch, &[1]);
        assert_eq!(fit.series, [1]);
        let series: Vec<_> = fit.rejected.iter().map(|one| one.series).collect();
        assert_eq!(series, [1, 1]);
    }

    #[test]
    fn expressions_are_anchored_and_an_answer_that_is_cut_is_none() {
        let body = RefCell::new(Vec::new());
        let client = Scripted::new(|request: &Request<'_>| {
            assert_eq!(request.url, "http://influx:8086/api/v1/prom/read?db=db");
            *body.borrow_mut() = snap::raw::Decoder::new().decompress_vec(request.body).unwrap();
            Ok(Response::new(200, witgate_remote::compress(b"\x0a\x02\x0a\x01")))
        });
        let server = Server::new(client, "http://influx:8086", None).unwrap();
        let place = Place {
            database: "db".into(),
            retention_policy: None,
        };
        let query = |start| Query {
            start,
            end: i64::MAX,
            matchers: vec![Matcher {
                name: "job".into(),
                operation: MatchOperation::Matches,
                value: "a|b".into(),
            }],
            only_series: false,
            without: None,
        };
        let mut found = open(&server, &place, query(0)).unwrap();
        let Err(Failure::Unavailable(trouble)) = found.next(10) else {
            panic!("half of an answer is none")
        };
        assert!(trouble.message.contains("remote read"), "{}", trouble.message);
        let asked = body.take();
        let pattern = b"^(?s:a|b)$";
        assert!(asked.windows(pattern.len()).any(|window| window == pattern));
        assert!(
            open(&server, &place, query(i64::MAX))
                .unwrap()
                .next(1)
                .unwrap()
                .is_none()
        );
    }
}
