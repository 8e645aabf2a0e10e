//! Reads by remote read.

use witgate_remote::compress;
use witgate_remote::read::{Form, HEADERS, Samples, encode};
use witgate_sdk::http::{Client, Response};
use witgate_sdk::storage::{Cursor, Failure, MatchOperation, Matcher, Piece, Query};

use crate::endpoint::{Endpoint, failure};

/// The most bytes of an answer, compressed or not: it has to be in memory as a whole.
const LIMIT: usize = 96 << 20;

/// The endpoint's answer to a query.
#[derive(Debug)]
pub struct Answer {
    samples: Samples,
    url: String,
}

/// Sends a query.
pub(crate) fn open<C: Client>(
    endpoint: &Endpoint<C>,
    url: &str,
    headers: &[(String, String)],
    query: &Query,
) -> Result<Answer, Failure> {
    let body = compress(&encode(query, &[Form::Samples]));
    let response = endpoint.post(url, &HEADERS, headers, &body)?;
    match response.status {
        200 => {}
        _ => return Err(failure(url, response)),
    }
    let message = uncompress(url, response)?;
    let samples = Samples::new(message).map_err(|error| broken(url, &error.to_string()))?;
    Ok(Answer {
        samples,
        url: url.to_owned(),
    })
}

/// Whether one may read: a query that finds nothing.
pub(crate) fn probe<C: Client>(
    endpoint: &Endpoint<C>,
    url: &str,
    headers: &[(String, String)],
) -> Result<(), Failure> {
    let query = Query {
        start: 0,
        end: 0,
        matchers: vec![Matcher {
            name: "__name__".to_owned(),
            operation: MatchOperation::Equal,
            value: "witgate_check".to_owned(),
        }],
        only_series: true,
        without: None,
    };
    open(endpoint, url, headers, &query).map(drop)
}

impl Cursor for Answer {
    fn next(&mut self, samples: u32) -> Result<Option<Piece>, Failure> {
        let batch =
            { self.samples.next(samples as usize) }.map_err(|error| broken(&self.url, &error.to_string()))?;
        Ok(batch.map(Piece::Samples))
    }
}

fn uncompress(url: &str, mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let too_large = || {
        Failure::unavailable(format!(
            "the answer of {url} is over {LIMIT} bytes: ask for less time or fewer series"
        ))
    };
    while let Some(piece) = response
        .body
        .next_piece()
        .map_err(|error| Failure::unavailable(error.to_string()))?
    {
        body.extend_from_slice(&piece);
        if body.len() > LIMIT {
            return Err(too_large());
        }
    }
    let length = snap::raw::decompress_len(&body).map_err(|error| broken(url, &error.to_string()))?;
    if length > LIMIT {
        return Err(too_large());
    }
    snap::raw::Decoder::new()
        .decompress_vec(&body)
        .map_err(|error| broken(url, &error.to_string()))
}

fn broken(url: &str, why: &str) -> Failure {
    Failure::unavailable(format!("the answer of {url} is not one of remote read: {why}"))
}
