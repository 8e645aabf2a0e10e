//! InfluxDB's answer to a query: JSON, a line for each chunk, read as it comes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use witgate_sdk::http::{Body, Client};
use witgate_sdk::storage::{BatchBuilder, Cursor, Failure, Piece, Sample};

use crate::server::{Place, Server, query_error};

/// How many rows InfluxDB puts into one chunk: a piece of the answer can't be smaller.
const CHUNK: usize = 2_000;

/// The most bytes of one chunk. Its rows are far below that; the rest is one series' labels.
const MAX_CHUNK: usize = 8 << 20;

/// The rows of an answer.
#[derive(Debug)]
pub struct Rows {
    /// None once the answer has ended.
    body: Option<Body>,
    /// What has come and was not used yet, from `used` on.
    buffer: Vec<u8>,
    used: usize,
    url: String,
    place: Place,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    results: Vec<Statement<'a>>,
    #[serde(borrow)]
    error: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Statement<'a> {
    #[serde(borrow, default)]
    series: Vec<Series<'a>>,
    #[serde(borrow)]
    error: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Series<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    tags: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    /// Time, `value`, `vb`.
    #[serde(default)]
    values: Vec<(i64, Option<f64>, Option<i64>)>,
}

/// The labels of the series that was read last.
type Labels = Vec<(String, String)>;

/// Sends a statement.
pub(crate) fn open<C: Client>(server: &Server<C>, place: &Place, statement: &str) -> Result<Rows, Failure> {
    let response = server.query(place, statement, CHUNK)?;
    Ok(Rows {
        body: Some(response.body),
        buffer: Vec::new(),
        used: 0,
        url: server.url().to_owned(),
        place: place.clone(),
    })
}

impl Rows {
    /// An answer without rows.
    pub(crate) fn none() -> Self {
        let place = Place {
            database: String::new(),
            retention_policy: None,
        };
        Rows {
            body: None,
            buffer: Vec::new(),
            used: 0,
            url: String::new(),
            place,
        }
    }

    /// Reads until there is a whole chunk, and returns where it ends.
    fn fill(&mut self) -> Result<Option<usize>, Failure> {
        let mut searched = self.used;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[searched..]) {
                return Ok(Some(searched + at));
            }
            searched = self.buffer.len();
            let Some(body) = &mut self.body else {
                return Ok((self.used < self.buffer.len()).then_some(self.buffer.len()));
            };
            if searched - self.used > MAX_CHUNK {
                let message = format!("a chunk of its answer is over {MAX_CHUNK} bytes");
                return Err(query_error(&self.url, &self.place, &message));
            }
            let piece = body
                .next_piece()
                .map_err(|error| Failure::unavailable(format!("InfluxDB: {error}")))?;
            match piece {
                Some(piece) => {
                    self.buffer.drain(..self.used);
                    searched -= self.used;
                    self.used = 0;
                    self.buffer.extend_from_slice(&piece);
                }
                None => self.body = None,
            }
        }
    }

    /// Adds the rows of the next chunk. False at the end of the answer.
    fn chunk(&mut self, builder: &mut BatchBuilder, last: &mut Labels) -> Result<bool, Failure> {
        let Some(end) = self.fill()? else { return Ok(false) };
        let line = self.buffer[self.used..end].trim_ascii();
        if !line.is_empty() {
            let chunk: Chunk<'_> = serde_json::from_slice(line).map_err(|error| {
                let message = format!("its answer is not what a query's answer looks like: {error}");
                query_error(&self.url, &self.place, &message)
            })?;
            let error = chunk
                .error
                .or_else(|| chunk.results.iter().find_map(|statement| statement.error.clone()));
            if let Some(message) = error {
                return Err(query_error(&self.url, &self.place, &message));
            }
            for series in chunk.results.iter().flat_map(|statement| &statement.series) {
                add(builder, last, series);
            }
        }
        self.used = (end + 1).min(self.buffer.len());
        Ok(true)
    }
}

impl Cursor for Rows {
    fn next(&mut self, samples: u32) -> Result<Option<Piece>, Failure> {
        let mut builder = BatchBuilder::default();
        let mut last = Labels::new();
        while builder.sample_count() < samples.max(1) as usize && self.chunk(&mut builder, &mut last)? {}
        Ok((builder.sample_count() > 0).then(|| builder.finish().into()))
    }
}

/// Adds the rows of a series, which may go on with the series before it.
fn add(builder: &mut BatchBuilder, last: &mut Labels, series: &Series<'_>) {
    let mut samples = series.values.iter().filter_map(|&(timestamp, value, bits)| {
        // A point that has both was written twice, once without a value: the value counts, as it
        // does for who reads InfluxDB without this plugin.
        let bits = value.map(f64::to_bits).or(bits.map(i64::cast_unsigned))?;
        Some(Sample { timestamp, bits })
    });
    let Some(first) = samples.next() else { return };
    let named = series.tags.get("__name__").is_some_and(|name| !name.is_empty());
    let name = (!named).then_some(("__name__", series.name.as_ref()));
    let tags = series
        .tags
        .iter()
        .map(|(name, value)| (name.as_ref(), value.as_ref()))
        .filter(|tag| !tag.1.is_empty());
    let labels = || name.into_iter().chain(tags.clone());
    if !labels().eq(last.iter().map(|(name, value)| (name.as_str(), value.as_str()))) {
        builder.series(labels());
        *last = labels()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
    }
    builder.sample(first);
    samples.for_each(|sample| builder.sample(sample));
}

#[cfg(test)]
mod tests {
    use witgate_sdk::storage::Batch;

    use super::*;

    fn rows(pieces: &[&str]) -> Rows {
        struct Script(std::vec::IntoIter<Vec<u8>>);
        impl witgate_sdk::http::Pieces for Script {
            fn next(&mut self) -> Result<Option<Vec<u8>>, witgate_sdk::http::Error> {
                Ok(self.0.next())
            }
        }
        let pieces: Vec<_> = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
        Rows {
            body: Some(Body::new(Script(pieces.into_iter()))),
            ..Rows::none()
        }
    }

    fn piece(rows: &mut Rows, samples: u32) -> Option<Batch> {
        match rows.next(samples).unwrap()? {
            Piece::Samples(batch) => Some(batch),
            Piece::Chunks(_) => panic!("InfluxDB has none"),
        }
    }

    fn all(batch: &Batch) -> Vec<(String, Vec<(i64, u64)>)> {
        let series = batch.series().map(|series| {
            let labels: Vec<_> = series
                .labels()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            (
                labels.join(","),
                series
                    .samples()
                    .map(|sample| (sample.timestamp, sample.bits))
                    .collect(),
            )
        });
        series.collect()
    }

    const FIRST: &str = concat!(
        r#"{"results":[{"statement_id":0,"series":[{"name":"up","tags":{"__name__":"up","job":"a","none":""},"#,
        r#""columns":["time","value","vb"],"values":[[1,-0,null],[2,1e+21,null],[3,null,9218868437227405314]],"#,
        r#""partial":true}],"partial":true}]}"#,
        "\n"
    );
    const SECOND: &str = concat!(
        r#"{"results":[{"statement_id":0,"series":[{"name":"up","tags":{"__name__":"up","job":"a","none":""},"#,
        r#""columns":["time","value","vb"],"values":[[4,123456789012345680000,null],[5,2.5,9218868437227405314],[6,null,null]]}],"#,
        r#""partial":true}]}"#,
        "\n"
    );
    const THIRD: &str = concat!(
        r#"{"results":[{"statement_id":0,"series":[{"name":"cpu","tags":{"host":"x\u00e9\n"},"#,
        r#""columns":["time","value","vb"],"values":[[4,7,null]]}]}]}"#,
        "\n"
    );

    #[test]
    fn every_bit_comes_back_and_a_series_that_is_cut_goes_on() {
        let stale = 0x7ff0_0000_0000_0002;
        let batch = piece(&mut rows(&[FIRST, SECOND, THIRD]), u32::MAX).unwrap();
        let up = [
            (1, (-0.0f64).to_bits()),
            (2, 1e21f64.to_bits()),
            (3, stale),
            (4, 1.2345678901234568e20f64.to_bits()),
            (5, 2.5f64.to_bits()),
        ];
        let expected = [
            ("__name__=up,job=a".to_owned(), up.to_vec()),
            ("__name__=cpu,host=xé\n".to_owned(), vec![(4, 7f64.to_bits())]),
        ];
        assert_eq!(all(&batch), expected);
    }

    #[test]
    fn pieces_end_with_a_chunk_whatever_way_the_bytes_come() {
        let whole = [FIRST, SECOND, THIRD].concat();
        let (head, tail) = whole.split_at(FIRST.len() + 10);
        let mut rows = rows(&[&head[..5], &head[5..], tail.trim_end()]);
        let sizes: Vec<_> = std::iter::from_fn(|| piece(&mut rows, 3))
            .map(|batch| batch.sample_count())
            .collect();
        assert_eq!(sizes, [3, 3]);
        assert!(rows.next(3).unwrap().is_none());
    }

    #[test]
    fn an_error_in_the_answer_is_not_an_end() {
        let error = "{\"results\":[{\"statement_id\":0,\"error\":\"database not found: x\"}]}\n";
        for (answer, expected) in [
            (error, "database not found: x; create it with"),
            ("{\"error\":\"timeout\"}\n", "timeout"),
            ("<html>", "not what a query's answer looks like"),
        ] {
            let mut rows = rows(&[FIRST, answer]);
            assert!(rows.next(1).unwrap().is_some());
            let Err(Failure::Unavailable(trouble)) = rows.next(1) else {
                panic!("{answer}")
            };
            assert!(trouble.message.contains(expected), "{}", trouble.message);
        }
    }
}
