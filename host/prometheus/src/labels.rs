//! Looks at the series of a batch.

use witgate_plugins::Batch;

/// The series of a batch, one after the other.
#[derive(Debug)]
pub(crate) struct SeriesIter<'a> {
    batch: &'a Batch,
    next: usize,
}

/// One series of a batch.
#[derive(Clone, Debug)]
pub(crate) struct SeriesRef<'a> {
    batch: &'a Batch,
    labels: &'a [u32],
    timestamps: &'a [i64],
    values: &'a [u64],
    histograms: std::ops::Range<usize>,
}

impl<'a> SeriesIter<'a> {
    pub(crate) fn new(batch: &'a Batch) -> Self {
        Self { batch, next: 0 }
    }
}

impl<'a> Iterator for SeriesIter<'a> {
    type Item = SeriesRef<'a>;

    fn next(&mut self) -> Option<SeriesRef<'a>> {
        let batch = self.batch;
        let between = |ends: &[u32]| {
            let start = self
                .next
                .checked_sub(1)
                .and_then(|before| ends.get(before))
                .copied()
                .unwrap_or(0);
            Some(start as usize..*ends.get(self.next)? as usize)
        };
        let (labels, samples) = (between(&batch.label_ends)?, between(&batch.sample_ends)?);
        let histograms = between(&batch.histograms.ends).unwrap_or_default();
        self.next += 1;
        Some(SeriesRef {
            batch,
            labels: batch.labels.get(labels)?,
            timestamps: batch.timestamps.get(samples.clone())?,
            values: batch.values.get(samples)?,
            histograms,
        })
    }
}

impl<'a> SeriesRef<'a> {
    /// Names and values, sorted by name.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let batch = self.batch;
        let text = move |symbol: u32| {
            let end = |symbol: usize| batch.symbol_ends.get(symbol).map_or(0, |&end| end as usize);
            let symbol = symbol as usize;
            let bytes = batch.symbol_bytes.get(end(symbol.saturating_sub(1))..end(symbol));
            std::str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
        };
        self.labels
            .as_chunks()
            .0
            .iter()
            .map(move |&[name, value]| (text(name), text(value)))
    }

    /// Milliseconds and bits.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (i64, u64)> + use<'a> {
        self.timestamps.iter().copied().zip(self.values.iter().copied())
    }

    /// Milliseconds and messages.
    pub(crate) fn histograms(&self) -> impl Iterator<Item = (i64, &'a [u8])> + use<'a> {
        let histograms = &self.batch.histograms;
        let end = |at: usize| histograms.message_ends.get(at).map_or(0, |&end| end as usize);
        self.histograms.clone().filter_map(move |at| {
            let message = histograms
                .messages
                .get(at.checked_sub(1).map_or(0, end)..end(at))?;
            Some((*histograms.timestamps.get(at)?, message))
        })
    }
}
