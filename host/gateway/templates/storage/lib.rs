//! Keeps samples in the key-value space that the gateway grants, one pair for each.
//!
//! That is simple and true, and slow for much data: every sample has its series' labels in its key. The
//! plugin `storage-local` of witgate does the same in Prometheus' chunks.

use serde::Deserialize;
use witgate_sdk::{
    key_value::{Change, Entry, Error, Granted, KeyValue, MAX_KEY},
    storage::{
        Batch, BatchBuilder, Context, Cursor, Datum, Failure, Piece, Query, Receipt, Rejection, Sample, Storage,
    },
};

/// What the operator writes under `plugins.PLUGIN_NAME.config`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The most samples that are stored at once. A batch with more of them is refused with a hint.
    /// Default: 100000.
    #[serde(default = "batch")]
    pub batch: usize,
}

fn batch() -> usize {
    100_000
}

/// The plugin, on the granted space or, in tests, on one in memory.
#[derive(Debug)]
pub struct Plugin<K = Granted> {
    config: Config,
    space: K,
}

/// A query's answer: where the next page of the space begins.
#[derive(Debug)]
pub struct Pages<K> {
    space: K,
    query: Query,
    from: Vec<u8>,
    end: Vec<u8>,
}

impl<K: KeyValue + Clone + Default + 'static> Storage for Plugin<K> {
    type Config = Config;
    type Cursor = Pages<K>;

    fn new(config: Config) -> Result<Self, String> {
        if config.batch == 0 {
            return Err("config.batch: is 0, so nothing could ever be stored".to_owned());
        }
        let space = K::default();
        Ok(Self { config, space })
    }

    fn check(&mut self) -> Result<(), Failure> {
        self.space.get_many(&[b"any".to_vec()]).map(drop).map_err(failure)
    }

    fn write(&mut self, context: &Context, batch: &Batch) -> Result<Receipt, Failure> {
        if batch.sample_count() > self.config.batch {
            let most = self.config.batch;
            return Err(Failure::invalid(format!("more than {most} samples at once: send fewer (max_samples_per_send)")));
        }
        let (mut changes, mut rejected) = (Vec::new(), Vec::new());
        for (place, series) in (0_u32..).zip(batch.series()) {
            let prefix = prefix(&context.tenant, &series.labels().collect::<Vec<_>>())?;
            if prefix.len() + 8 > MAX_KEY {
                rejected.push(Rejection {
                    series: place,
                    kind: Datum::Sample,
                    count: u32::try_from(series.samples().len()).unwrap_or(u32::MAX),
                    reason: format!("the labels take more than {MAX_KEY} bytes"),
                });
                continue;
            }
            // The same sample has the same key, so it is stored once however often it is sent.
            changes.extend(series.samples().map(|sample| {
                Change::Put(Entry {
                    key: [&prefix[..], &ordered(sample.timestamp)].concat(),
                    value: sample.bits.to_be_bytes().to_vec(),
                })
            }));
        }
        // What this has returned from is on disk.
        self.space.commit(&changes).map_err(failure)?;
        Ok(Receipt { rejected })
    }

    fn read(&mut self, context: &Context, query: Query) -> Result<Pages<K>, Failure> {
        Ok(Pages {
            space: self.space.clone(),
            query,
            from: format!("{}\0", context.tenant).into_bytes(),
            end: format!("{}\u{1}", context.tenant).into_bytes(),
        })
    }
}

impl<K: KeyValue + 'static> Cursor for Pages<K> {
    fn next(&mut self, samples: u32) -> Result<Option<Piece>, Failure> {
        let page = self.space.scan(&self.from, &self.end, samples).map_err(failure)?;
        let Some(last) = page.last() else { return Ok(None) };
        self.from = [&last.key[..], &[0]].concat();
        let mut builder = BatchBuilder::default();
        let mut begun: &[u8] = &[];
        for Entry { key, value } in &page {
            let Some((prefix, sample)) = sample(key, value) else {
                return Err(Failure::unavailable("the space has a pair that is no sample"));
            };
            if begun != prefix {
                builder.series(labels(prefix)?);
                begun = prefix;
            }
            // The gateway looks at labels and times again, so only what is easily told apart is left out.
            if (self.query.start..=self.query.end).contains(&sample.timestamp) {
                builder.sample(sample);
            }
        }
        Ok(Some(builder.finish().into()))
    }
}

/// What the keys of a tenant's series begin with. JSON has no zero byte in it.
fn prefix(tenant: &str, labels: &[(&str, &str)]) -> Result<Vec<u8>, Failure> {
    let labels = serde_json::to_string(labels).map_err(|error| Failure::invalid(error.to_string()))?;
    Ok(format!("{tenant}\0{labels}\0").into_bytes())
}

/// The labels in such a prefix.
fn labels(prefix: &[u8]) -> Result<Vec<(&str, &str)>, Failure> {
    let text = prefix.split(|byte| *byte == 0).nth(1).unwrap_or_default();
    serde_json::from_slice(text).map_err(|_| Failure::unavailable("the space has a key without labels in it"))
}

/// Eight bytes that are ordered as the timestamps are, those before 1970 too.
fn ordered(timestamp: i64) -> [u8; 8] {
    (timestamp ^ i64::MIN).to_be_bytes()
}

/// A key's prefix, and the sample that the pair is.
fn sample<'a>(key: &'a [u8], value: &[u8]) -> Option<(&'a [u8], Sample)> {
    let (prefix, time) = key.split_last_chunk()?;
    let sample = Sample {
        timestamp: i64::from_be_bytes(*time) ^ i64::MIN,
        bits: u64::from_be_bytes(value.try_into().ok()?),
    };
    Some((prefix, sample))
}

/// The sender keeps its samples and comes again, unless that can't help.
fn failure(error: Error) -> Failure {
    match error {
        Error::Unavailable(reason) => Failure::unavailable(reason),
        Error::QuotaExceeded(reason) => Failure::unavailable(format!("{reason}; raise grants.keyValue.maxBytes")),
        Error::TooLarge(reason) => Failure::invalid(reason),
    }
}

witgate_sdk::export_storage!(Plugin);

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use witgate_sdk::{key_value::Memory, storage::Kinds};

    use super::*;

    #[test]
    fn what_was_written_twice_is_read_once() {
        let mut plugin: Plugin<Rc<Memory>> = Plugin::new(Config { batch: 10 }).unwrap();
        assert_eq!(plugin.holds(), Kinds::empty());
        let context = Context {
            tenant: "platform".to_owned(),
            attributes: Vec::new(),
            request_id: "1".to_owned(),
        };
        let mut batch = BatchBuilder::default();
        batch.series([("__name__", "up"), ("job", "a")]);
        for timestamp in [-1, 2000] {
            batch.sample(Sample {
                timestamp,
                bits: 1f64.to_bits(),
            });
        }
        let batch = batch.finish();
        for _ in 0..2 {
            assert!(plugin.write(&context, &batch).unwrap().rejected.is_empty());
        }
        let query = Query {
            start: -10,
            end: 3000,
            matchers: Vec::new(),
            only_series: false,
            without: None,
        };
        let mut pages = plugin.read(&context, query).unwrap();
        assert_eq!(pages.next(100).unwrap(), Some(batch.into()));
        assert_eq!(pages.next(100).unwrap(), None);
    }
}
