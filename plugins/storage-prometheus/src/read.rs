//! Reads by remote read: in chunks where the endpoint has them, else in samples.

use std::cell::Cell;
use std::rc::Rc;

use witgate_remote::compress;
use witgate_remote::frames::{CONTENT_TYPE, FrameError, Frames};
use witgate_remote::read::{self, Form, HEADERS, Samples, encode};
use witgate_sdk::http::{Client, Response};
use witgate_sdk::storage::{Cursor, Failure, Piece, Query};

use crate::endpoint::{Endpoint, failure};

/// What an instance has seen of how the endpoint answers.
#[derive(Debug, Default)]
pub(crate) struct Habits {
    /// It has chunks that not every client can read, and so is asked for samples.
    samples_only: Cell<bool>,
    /// Its series are not sorted. A Prometheus sorts them, and then adds its `external_labels`.
    unsorted: Cell<bool>,
}

/// The endpoint's answer to a query.
#[derive(Debug)]
pub struct Answer {
    series: Series,
    sorted: bool,
    url: String,
}

#[derive(Debug)]
enum Series {
    Samples(Samples),
    Frames(Box<Frames>, Rc<Habits>),
}

/// Sends a query.
pub(crate) fn open<C: Client>(
    endpoint: &Endpoint<C>,
    url: &str,
    headers: &[(String, String)],
    query: &Query,
    habits: &Rc<Habits>,
) -> Result<Answer, Failure> {
    // In chunks a series without any is left out.
    let forms = match query.only_series || habits.samples_only.get() {
        true => &[Form::Samples][..],
        false => &[Form::Chunks, Form::Samples],
    };
    let response = ask(endpoint, url, headers, query, forms)?;
    let is_chunks = response
        .header("content-type")
        .is_some_and(|form| form.starts_with(CONTENT_TYPE));
    let mut response = if is_chunks {
        let mut frames = Frames::new(response.body);
        match frames.begin() {
            Ok(is_sorted) => {
                // Without a label that they were sorted by, series are sorted otherwise.
                let sorted = is_sorted && query.without.is_none() && !habits.unsorted.get();
                if sorted {
                    frames.must_be_sorted();
                }
                return Ok(Answer {
                    series: Series::Frames(Box::new(frames), Rc::clone(habits)),
                    sorted,
                    url: url.to_owned(),
                });
            }
            Err(FrameError::Encoding(_)) => habits.samples_only.set(true),
            Err(error) => return Err(broken(url, &error.to_string())),
        }
        drop(frames);
        ask(endpoint, url, headers, query, &[Form::Samples])?
    } else {
        response
    };
    let samples = Samples::of_body(&mut response.body).map_err(|error| broken(url, &error.to_string()))?;
    Ok(Answer {
        series: Series::Samples(samples),
        sorted: false,
        url: url.to_owned(),
    })
}

fn ask<C: Client>(
    endpoint: &Endpoint<C>,
    url: &str,
    headers: &[(String, String)],
    query: &Query,
    forms: &[Form],
) -> Result<Response, Failure> {
    let response = endpoint.post(url, &HEADERS, headers, &compress(&encode(query, forms)))?;
    match response.status {
        200 => Ok(response),
        _ => Err(failure(url, response)),
    }
}

/// Whether one may read: a query that finds nothing.
pub(crate) fn probe<C: Client>(
    endpoint: &Endpoint<C>,
    url: &str,
    headers: &[(String, String)],
    habits: &Rc<Habits>,
) -> Result<(), Failure> {
    open(endpoint, url, headers, &read::probe(), habits).map(drop)
}

impl Cursor for Answer {
    fn sorted(&self) -> bool {
        self.sorted
    }

    fn next(&mut self, samples: u32) -> Result<Option<Piece>, Failure> {
        match &mut self.series {
            Series::Samples(series) => match series.next(samples as usize) {
                Ok(batch) => Ok(batch.map(Piece::Samples)),
                Err(error) => Err(broken(&self.url, &error.to_string())),
            },
            Series::Frames(frames, habits) => frames.next(samples).map_or_else(
                |error| {
                    // Some of the answer is given already.
                    let again = match error {
                        FrameError::Encoding(_) => {
                            habits.samples_only.set(true);
                            "; ask again, and it comes in samples"
                        }
                        FrameError::Order(_) => {
                            habits.unsorted.set(true);
                            "; ask again, and it is sorted here"
                        }
                        _ => "",
                    };
                    Err(broken(&self.url, &format!("{error}{again}")))
                },
                |chunks| Ok(chunks.map(Piece::Chunks)),
            ),
        }
    }
}

fn broken(url: &str, why: &str) -> Failure {
    Failure::unavailable(format!("the answer of {url} to a remote read: {why}"))
}
