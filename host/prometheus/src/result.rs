//! The answer to a query while it is being collected: series in any order, compressed as they come,
//! so that it is a few bytes for each sample that wait to be sorted.

use std::{collections::BTreeMap, hash::BuildHasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use witgate_chunk::{Appender, Chunk, Damaged, Encoding, SAMPLES, Samples, histogram::Histograms, message};

use crate::{
    histogram,
    labels::{ChunkRef, SeriesRef},
    proto::{Label, Sample, TimeSeries},
};

/// What a series takes besides its labels and samples.
const SERIES: usize = 256;

/// Series of one result.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    hasher: RandomState,
    table: HashTable<usize>,
    series: Vec<Series>,
    /// The series that was added to last.
    last: usize,
    /// About what all of it takes in memory.
    pub(crate) bytes: usize,
    /// Samples and histograms that were added.
    pub(crate) samples: u64,
}

/// A series of a result.
#[derive(Debug, Default)]
pub(crate) struct Series {
    labels: Vec<(String, String)>,
    chunks: Vec<Chunk>,
    open: Appender,
    /// Samples that came after later ones.
    late: Vec<(i64, u64)>,
    histograms: BTreeMap<i64, Vec<u8>>,
}

impl Collected {
    /// Adds what a series has between two times, both included; only the series itself where nothing
    /// else is wanted.
    pub(crate) fn add(
        &mut self,
        labels: &[(&str, &str)],
        found: &SeriesRef<'_>,
        (start, end): (i64, i64),
        only_series: bool,
    ) {
        let within = |time: &i64| (start..=end).contains(time);
        let mut samples = found.samples().filter(|(time, _)| within(time)).peekable();
        let mut histograms = found.histograms().filter(|(time, _)| within(time)).peekable();
        if samples.peek().is_none() && histograms.peek().is_none() && !only_series {
            return;
        }
        let at = self.find(labels);
        let Some(series) = self.series.get_mut(at) else {
            return;
        };
        let before = series.size();
        for (time, bits) in samples {
            series.push(time, bits);
            self.samples += 1;
        }
        self.bytes += series.size() - before;
        for (time, message) in histograms {
            self.bytes += message.len() + 64;
            self.samples += 1;
            series.histograms.insert(time, message.to_vec());
        }
    }

    /// Adds what is in a series' chunks between two times. A chunk stays as it is if it can.
    pub(crate) fn add_chunks<'a>(
        &mut self,
        labels: &[(&str, &str)],
        chunks: impl Iterator<Item = ChunkRef<'a>>,
        (start, end): (i64, i64),
        only_series: bool,
    ) -> Result<(), Damaged> {
        let mut chunks = chunks
            .filter(|chunk| chunk.first <= end && chunk.last >= start)
            .peekable();
        if chunks.peek().is_none() && !only_series {
            return Ok(());
        }
        let at = self.find(labels);
        let Some(series) = self.series.get_mut(at) else {
            return Ok(());
        };
        let within = |time: &i64| (start..=end).contains(time);
        let before = series.size();
        for chunk in chunks {
            match chunk.encoding {
                Encoding::Xor if within(&chunk.first) && within(&chunk.last) && series.takes(&chunk) => {
                    self.samples += u64::from(witgate_chunk::count(chunk.bytes));
                    series.push_chunk(&chunk);
                }
                Encoding::Xor => {
                    for sample in Samples::of(chunk.bytes)? {
                        let (time, bits) = sample?;
                        if within(&time) {
                            series.push(time, bits);
                            self.samples += 1;
                        }
                    }
                }
                Encoding::Histogram | Encoding::FloatHistogram => {
                    for histogram in Histograms::of(chunk.encoding, chunk.bytes)? {
                        let histogram = histogram?;
                        if within(&histogram.time) {
                            let message = message::write(&histogram);
                            self.bytes += message.len() + 64;
                            self.samples += 1;
                            series.histograms.insert(histogram.time, message);
                        }
                    }
                }
            }
        }
        self.bytes += series.size() - before;
        Ok(())
    }

    fn find(&mut self, labels: &[(&str, &str)]) -> usize {
        let is = |series: &Series| {
            let theirs = series
                .labels
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()));
            theirs.eq(labels.iter().copied())
        };
        if self.series.get(self.last).is_some_and(is) {
            return self.last;
        }
        let hash = self.hasher.hash_one(labels);
        let known = self.table.find(hash, |&at| self.series.get(at).is_some_and(is));
        self.last = match known {
            Some(&at) => at,
            None => self.begin(labels, hash),
        };
        self.last
    }

    fn begin(&mut self, labels: &[(&str, &str)], hash: u64) -> usize {
        let at = self.series.len();
        let owned = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.series.push(Series {
            labels: owned.collect(),
            ..Series::default()
        });
        let text: usize = labels
            .iter()
            .map(|(name, value)| name.len() + value.len() + 48)
            .sum();
        self.bytes += SERIES + text;
        let (series, hasher) = (&self.series, &self.hasher);
        self.table.insert_unique(hash, at, |&at| {
            let labels = series.get(at).map_or(&[][..], |series| &series.labels);
            let labels: Vec<(&str, &str)> = { labels.iter() }
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            hasher.hash_one(labels.as_slice())
        });
        at
    }

    /// The series, sorted by their labels.
    pub(crate) fn finish(mut self) -> Vec<Series> {
        self.series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        for series in &mut self.series {
            series.close();
        }
        self.series
    }
}

impl Series {
    fn size(&self) -> usize {
        self.chunks
            .iter()
            .map(|chunk| chunk.bytes.len() + size_of::<Chunk>())
            .sum::<usize>()
            + self.open.size()
            + self.late.len() * 16
    }

    fn push(&mut self, time: i64, bits: u64) {
        let is_first = self.open.count() == 0 && self.chunks.is_empty();
        if is_first || time > self.last() {
            if self.open.count() == SAMPLES {
                self.chunks.push(std::mem::take(&mut self.open).finish());
            }
            self.open.push(time, bits);
        } else {
            self.late.push((time, bits));
        }
    }

    /// Whether a chunk comes after everything that there is.
    fn takes(&self, chunk: &ChunkRef<'_>) -> bool {
        let is_first = self.open.count() == 0 && self.chunks.is_empty();
        is_first || chunk.first > self.last()
    }

    fn push_chunk(&mut self, chunk: &ChunkRef<'_>) {
        if self.open.count() > 0 {
            self.chunks.push(std::mem::take(&mut self.open).finish());
        }
        self.chunks.push(Chunk {
            encoding: chunk.encoding,
            first: chunk.first,
            last: chunk.last,
            bytes: chunk.bytes.to_vec(),
        });
    }

    fn last(&self) -> i64 {
        match (self.open.count(), self.chunks.last()) {
            (0, Some(chunk)) => chunk.last,
            _ => self.open.last(),
        }
    }

    /// Puts what came late in its place: of two samples at one time the later one counts.
    fn close(&mut self) {
        if self.open.count() > 0 {
            self.chunks.push(std::mem::take(&mut self.open).finish());
        }
        if self.late.is_empty() {
            return;
        }
        let mut all: BTreeMap<i64, u64> = self.samples().collect();
        all.extend(std::mem::take(&mut self.late));
        self.chunks.clear();
        for (time, bits) in all {
            self.push(time, bits);
        }
        self.chunks.push(std::mem::take(&mut self.open).finish());
    }

    /// The samples of a closed series, by time.
    fn samples(&self) -> impl Iterator<Item = (i64, u64)> {
        let chunks = self
            .chunks
            .iter()
            .filter_map(|chunk| Samples::of(&chunk.bytes).ok());
        // They were encoded here, or are the backend's: what is damaged in there is left out.
        chunks.flatten().filter_map(Result::ok)
    }

    /// How many samples and histograms there are.
    pub(crate) fn count(&self) -> u64 {
        let samples: u64 = self.chunks.iter().map(|chunk| u64::from(chunk.count())).sum();
        samples + self.histograms.len() as u64
    }

    /// Its labels, sorted by name.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let labels = self.labels.iter();
        labels.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// All of it, uncompressed.
    pub(crate) fn expand(self) -> TimeSeries {
        let samples = self.samples();
        TimeSeries {
            labels: { self.labels.iter().cloned() }
                .map(|(name, value)| Label { name, value })
                .collect(),
            samples: samples
                .map(|(timestamp, value)| Sample { value, timestamp })
                .collect(),
            histograms: self.histograms.into_values().collect(),
            exemplars: Vec::new(),
        }
    }

    /// All of it in chunks, by time.
    pub(crate) fn chunks(mut self) -> Vec<Chunk> {
        let histograms = self.histograms.values();
        // They were checked when they were written; one that is damaged in its backend is left out.
        let histograms = histograms.filter_map(|message| histogram::parse(message).ok());
        self.chunks.extend(histograms.map(|histogram| histogram.chunk()));
        self.chunks.sort_by_key(|chunk| chunk.first);
        self.chunks
    }
}
