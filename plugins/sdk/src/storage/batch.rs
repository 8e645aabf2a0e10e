//! Reading a columnar batch, and building one.

use super::symbols::{Symbols, length, part, sorted, symbol};
use super::{Batch, Exemplars, Family, Histograms, MetricKind};

/// One series of a [`Batch`].
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    batch: &'a Batch,
    /// The series' place in the batch.
    index: usize,
    labels: &'a [u32],
    first_sample: usize,
    end_sample: usize,
}

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamp: i64,
    /// The value's 64 bits. Not an `f64`: that may change the payload of a NaN.
    pub bits: u64,
}

/// A native histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram<'a> {
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamp: i64,
    /// The protobuf message `io.prometheus.write.v2.Histogram`.
    pub message: &'a [u8],
}

/// An exemplar: what a value was seen with.
#[derive(Clone, Copy, Debug)]
pub struct Exemplar<'a> {
    batch: &'a Batch,
    labels: &'a [u32],
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamp: i64,
    /// The value's 64 bits.
    pub bits: u64,
}

/// Builds a [`Batch`], with each string in it once.
///
/// ```
/// use witgate_sdk::storage::{BatchBuilder, Sample};
///
/// let mut builder = BatchBuilder::default();
/// builder.series([("job", "a"), ("__name__", "up")]);
/// builder.sample(Sample { timestamp: 1000, bits: 1f64.to_bits() });
/// builder.series([("__name__", "up"), ("job", "b")]);
/// builder.sample(Sample { timestamp: 1000, bits: 0f64.to_bits() });
///
/// let batch = builder.finish();
/// let up = batch.series().next().unwrap();
/// assert_eq!(up.labels().collect::<Vec<_>>(), [("__name__", "up"), ("job", "a")]);
/// assert_eq!(up.label("job"), Some("a"));
/// assert_eq!(batch.symbol_ends.len(), 6);
/// ```
#[derive(Debug)]
pub struct BatchBuilder {
    batch: Batch,
    symbols: Symbols,
}

impl Batch {
    /// How many series are in the batch.
    pub fn series_count(&self) -> usize {
        self.label_ends.len()
    }

    /// How many samples are in the batch.
    pub fn sample_count(&self) -> usize {
        self.timestamps.len()
    }

    /// A symbol's text.
    pub fn symbol(&self, index: u32) -> &str {
        symbol(&self.symbol_bytes, &self.symbol_ends, index)
    }

    /// The series in the order in which they stand.
    pub fn series(&self) -> impl ExactSizeIterator<Item = Series<'_>> {
        let (mut label, mut sample) = (0, 0);
        self.label_ends.iter().zip(&self.sample_ends).enumerate().map(
            move |(index, (&label_end, &sample_end))| {
                let series = Series {
                    batch: self,
                    index,
                    labels: &self.labels[label..label_end as usize],
                    first_sample: sample,
                    end_sample: sample_end as usize,
                };
                (label, sample) = (label_end as usize, sample_end as usize);
                series
            },
        )
    }
}

impl<'a> Series<'a> {
    /// Name and value of each label, sorted by name.
    pub fn labels(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.labels
            .chunks_exact(2)
            .map(move |pair| (self.batch.symbol(pair[0]), self.batch.symbol(pair[1])))
    }

    /// The value of a label.
    pub fn label(self, name: &str) -> Option<&'a str> {
        self.labels()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// The samples in the order in which they stand.
    pub fn samples(self) -> impl ExactSizeIterator<Item = Sample> + 'a {
        let range = self.first_sample..self.end_sample;
        let columns = self.batch.timestamps[range.clone()]
            .iter()
            .zip(&self.batch.values[range]);
        columns.map(|(&timestamp, &bits)| Sample { timestamp, bits })
    }

    /// When the counter behind each sample began, in milliseconds since 1970; 0 where nobody said.
    /// As many as there are samples, or none.
    pub fn start_timestamps(self) -> &'a [i64] {
        let range = self.first_sample..self.end_sample;
        self.batch.start_timestamps.get(range).unwrap_or_default()
    }

    /// The native histograms in the order in which they stand.
    pub fn histograms(self) -> impl Iterator<Item = Histogram<'a>> {
        let histograms = &self.batch.histograms;
        part(&histograms.ends, self.index).map(|at| Histogram {
            timestamp: histograms.timestamps[at],
            message: &histograms.messages[part(&histograms.message_ends, at)],
        })
    }

    /// The exemplars in the order in which they stand.
    pub fn exemplars(self) -> impl Iterator<Item = Exemplar<'a>> {
        let exemplars = &self.batch.exemplars;
        part(&exemplars.ends, self.index).map(move |at| Exemplar {
            batch: self.batch,
            labels: &exemplars.labels[part(&exemplars.label_ends, at)],
            timestamp: exemplars.timestamps[at],
            bits: exemplars.values[at],
        })
    }
}

impl<'a> Exemplar<'a> {
    /// Name and value of each label.
    pub fn labels(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.labels
            .chunks_exact(2)
            .map(move |pair| (self.batch.symbol(pair[0]), self.batch.symbol(pair[1])))
    }
}

impl Default for BatchBuilder {
    fn default() -> Self {
        let batch = Batch {
            symbol_bytes: Vec::new(),
            symbol_ends: vec![0],
            labels: Vec::new(),
            label_ends: Vec::new(),
            timestamps: Vec::new(),
            values: Vec::new(),
            sample_ends: Vec::new(),
            start_timestamps: Vec::new(),
            histograms: Histograms {
                ends: Vec::new(),
                timestamps: Vec::new(),
                message_ends: Vec::new(),
                messages: Vec::new(),
            },
            exemplars: Exemplars {
                ends: Vec::new(),
                timestamps: Vec::new(),
                values: Vec::new(),
                labels: Vec::new(),
                label_ends: Vec::new(),
            },
            families: Vec::new(),
        };
        BatchBuilder {
            batch,
            symbols: Symbols::default(),
        }
    }
}

impl BatchBuilder {
    /// Begins a series. Its labels are sorted here; one with an empty value is left out.
    pub fn series<'l>(&mut self, labels: impl IntoIterator<Item = (&'l str, &'l str)>) {
        for (name, value) in sorted(labels) {
            let pair = [self.intern(name), self.intern(value)];
            self.batch.labels.extend(pair);
        }
        self.batch.label_ends.push(length(self.batch.labels.len()));
        self.batch.sample_ends.push(length(self.batch.timestamps.len()));
        let histograms = &mut self.batch.histograms;
        histograms.ends.push(length(histograms.timestamps.len()));
        let exemplars = &mut self.batch.exemplars;
        exemplars.ends.push(length(exemplars.timestamps.len()));
    }

    /// Adds a sample to the series that was begun last.
    pub fn sample(&mut self, sample: Sample) {
        self.batch.timestamps.push(sample.timestamp);
        self.batch.values.push(sample.bits);
        if let Some(end) = self.batch.sample_ends.last_mut() {
            *end = length(self.batch.timestamps.len());
        }
    }

    /// Adds a native histogram to the series that was begun last.
    pub fn histogram(&mut self, histogram: Histogram<'_>) {
        let histograms = &mut self.batch.histograms;
        histograms.timestamps.push(histogram.timestamp);
        histograms.messages.extend_from_slice(histogram.message);
        histograms.message_ends.push(length(histograms.messages.len()));
        if let Some(end) = histograms.ends.last_mut() {
            *end = length(histograms.timestamps.len());
        }
    }

    /// Adds an exemplar to the series that was begun last. The gateway takes none from a plugin: this
    /// makes batches to test plugins with.
    pub fn exemplar<'l>(&mut self, sample: Sample, labels: impl IntoIterator<Item = (&'l str, &'l str)>) {
        for (name, value) in labels {
            let pair = [self.intern(name), self.intern(value)];
            self.batch.exemplars.labels.extend(pair);
        }
        let exemplars = &mut self.batch.exemplars;
        exemplars.label_ends.push(length(exemplars.labels.len()));
        exemplars.timestamps.push(sample.timestamp);
        exemplars.values.push(sample.bits);
        if let Some(end) = exemplars.ends.last_mut() {
            *end = length(exemplars.timestamps.len());
        }
    }

    /// Adds what is said about a metric. To test plugins with, as [`exemplar`](Self::exemplar).
    pub fn family(&mut self, name: &str, kind: MetricKind, help: &str, unit: &str) {
        let [name, help, unit] = [name, help, unit].map(|text| self.intern(text));
        self.batch.families.push(Family {
            name,
            kind,
            help,
            unit,
        });
    }

    /// How many samples and histograms were added.
    pub fn sample_count(&self) -> usize {
        self.batch.sample_count() + self.batch.histograms.timestamps.len()
    }

    /// The batch.
    pub fn finish(mut self) -> Batch {
        if self.batch.histograms.timestamps.is_empty() {
            self.batch.histograms.ends.clear();
        }
        if self.batch.exemplars.timestamps.is_empty() {
            self.batch.exemplars.ends.clear();
        }
        self.batch
    }

    fn intern(&mut self, text: &str) -> u32 {
        let (bytes, ends) = (&mut self.batch.symbol_bytes, &mut self.batch.symbol_ends);
        self.symbols.intern(text, bytes, ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_example_of_the_contract() {
        let batch = Batch {
            symbol_bytes: b"__name__upjobab".to_vec(),
            symbol_ends: vec![0, 8, 10, 13, 14, 15],
            labels: vec![1, 2, 3, 4, 1, 2, 3, 5],
            label_ends: vec![4, 8],
            timestamps: vec![1000, 2000, 1000],
            values: vec![1, 2, 3],
            sample_ends: vec![2, 3],
            ..BatchBuilder::default().finish()
        };
        let series: Vec<_> = batch.series().collect();
        assert_eq!(
            series[0].labels().collect::<Vec<_>>(),
            [("__name__", "up"), ("job", "a")]
        );
        assert_eq!(series[1].label("job"), Some("b"));
        let samples: Vec<_> = series[0].samples().collect();
        assert_eq!(
            samples,
            [
                Sample {
                    timestamp: 1000,
                    bits: 1
                },
                Sample {
                    timestamp: 2000,
                    bits: 2
                }
            ]
        );
        assert_eq!(
            series[1].samples().collect::<Vec<_>>(),
            [Sample {
                timestamp: 1000,
                bits: 3
            }]
        );
    }

    #[test]
    fn what_goes_in_besides_samples_comes_out() {
        let mut builder = BatchBuilder::default();
        builder.series([("__name__", "plain")]);
        builder.series([("__name__", "latency")]);
        let histogram = Histogram {
            timestamp: 7,
            message: &[1, 2],
        };
        builder.histogram(histogram);
        let sample = Sample {
            timestamp: 8,
            bits: 9,
        };
        builder.exemplar(sample, [("trace_id", "abc")]);
        builder.family("latency", MetricKind::Histogram, "how long it takes", "seconds");
        let batch = builder.finish();
        let [plain, latency] = batch.series().collect::<Vec<_>>()[..] else {
            panic!("there are two series");
        };
        assert_eq!((plain.histograms().count(), plain.exemplars().count()), (0, 0));
        assert_eq!(latency.histograms().collect::<Vec<_>>(), [histogram]);
        let exemplar = latency.exemplars().next().unwrap();
        assert_eq!((exemplar.timestamp, exemplar.bits), (8, 9));
        assert_eq!(exemplar.labels().collect::<Vec<_>>(), [("trace_id", "abc")]);
        assert_eq!(batch.symbol(batch.families[0].unit), "seconds");
    }

    #[test]
    fn builds_sorted_series_without_empty_labels_and_each_string_once() {
        let mut builder = BatchBuilder::default();
        builder.series([("z", "up"), ("__name__", "up"), ("gone", "")]);
        builder.sample(Sample {
            timestamp: 1,
            bits: 0x7ff0_0000_0000_0002,
        });
        builder.series([("__name__", "up")]);
        let batch = builder.finish();
        assert_eq!(batch.symbol_bytes, b"__name__upz");
        assert_eq!(batch.labels, [1, 2, 3, 2, 1, 2]);
        assert_eq!(
            (batch.label_ends.as_slice(), batch.sample_ends.as_slice()),
            (&[4, 6][..], &[1, 1][..])
        );
        assert_eq!(batch.values, [0x7ff0_0000_0000_0002]);
    }
}
