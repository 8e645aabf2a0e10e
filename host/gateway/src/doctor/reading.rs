//! Reads what was written, until it is there or it is late.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use witgate_prometheus::{Endpoint, proto::ResponseType};

use super::{
    Door,
    found::{self, Found},
    report::{Check, Failure, Hop},
    snappy,
    specimen::Kind,
    verdict,
};

/// How long something that was acknowledged may stay invisible: VictoriaMetrics shows it after a second
/// or two.
const VISIBLE: Duration = Duration::from_secs(10);

/// How long to wait before a read is repeated the first time; each time it is twice as long.
const AGAIN: Duration = Duration::from_millis(100);

/// What was read, in both forms, and how long it took until everything was there.
pub(super) struct Read {
    pub(super) samples: Found,
    pub(super) chunks: Found,
    pub(super) took: Duration,
}

pub(super) async fn read_back(door: &dyn Door, run: &str, time: i64, taken: &[Kind]) -> Result<Read, Check> {
    let began = Instant::now();
    let read = async |form| {
        let mut pause = AGAIN;
        loop {
            let body = snappy(&found::request(run, time, form));
            let reply = door.post(Endpoint::Read, read_headers(), body).await?;
            if reply.status != StatusCode::OK {
                let failure = verdict::refused(&reply);
                let hop = match failure.hop {
                    Hop::Write => Hop::Read,
                    hop => hop,
                };
                return Err(Failure { hop, ..failure });
            }
            let found = Found::parse(&reply.body, form).map_err(|found| Failure {
                hop: Hop::Read,
                found,
                advice: "something between here and the gateway changes answers: go to the gateway directly"
                    .to_owned(),
            })?;
            if taken.iter().all(|kind| found.has(*kind)) || began.elapsed() + pause > VISIBLE {
                return Ok(found);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    };
    let both = async {
        let samples = read(ResponseType::Samples).await?;
        let chunks = read(ResponseType::StreamedXorChunks).await?;
        Ok((samples, chunks))
    };
    match both.await {
        Ok((samples, chunks)) => Ok(Read {
            samples,
            chunks,
            took: began.elapsed(),
        }),
        Err(failure) => Err(Check::failed(Hop::Read.name(), Some(began.elapsed()), failure)),
    }
}

fn read_headers() -> HeaderMap {
    HeaderMap::from_iter([
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        ),
        (header::CONTENT_ENCODING, HeaderValue::from_static("snappy")),
        (
            header::HeaderName::from_static("x-prometheus-remote-read-version"),
            HeaderValue::from_static("0.1.0"),
        ),
    ])
}
