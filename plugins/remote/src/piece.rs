//! What of a batch goes into one request.

use std::ops::Range;

use witgate_sdk::storage::{Batch, Datum, Rejection};

use crate::symbol;

/// Some of what a series of a batch has: ranges of the batch's columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The series' place in the batch.
    pub series: usize,
    /// Where its labels are in [`Batch::labels`].
    pub labels: Range<usize>,
    /// Which of the batch's samples.
    pub samples: Range<usize>,
    /// Which of its histograms.
    pub histograms: Range<usize>,
    /// Which of its exemplars.
    pub exemplars: Range<usize>,
}

/// The most samples, histograms or exemplars of one piece, so that a series with very many of them
/// can be spread over several requests.
const MAX: usize = 50_000;

/// All that is in a batch.
#[must_use]
pub fn pieces(batch: &Batch) -> Vec<Piece> {
    let range = |ends: &[u32], index: usize| columns(ends, &(index..index + 1));
    let mut pieces = Vec::with_capacity(batch.series_count());
    for series in 0..batch.series_count() {
        let whole = Piece {
            series,
            labels: range(&batch.label_ends, series),
            samples: range(&batch.sample_ends, series),
            histograms: range(&batch.histograms.ends, series),
            exemplars: range(&batch.exemplars.ends, series),
        };
        whole.within_bounds(&mut pieces);
    }
    pieces
}

/// Groups of pieces that take about `limit` bytes in a request, or one piece each where that takes
/// more.
pub fn requests<'p>(
    batch: &'p Batch,
    mut pieces: &'p [Piece],
    limit: usize,
) -> impl Iterator<Item = &'p [Piece]> {
    std::iter::from_fn(move || {
        let mut size = 0;
        let fits = |piece: &&Piece| {
            let first = size == 0;
            size += piece.size(batch);
            first || size <= limit
        };
        let count = pieces.iter().take_while(fits).count();
        let (now, later) = pieces.split_at(count);
        pieces = later;
        (!now.is_empty()).then_some(now)
    })
}

impl Piece {
    /// How many samples, histograms and exemplars it has.
    #[must_use]
    pub fn counts(&self) -> [usize; 3] {
        [self.samples.len(), self.histograms.len(), self.exemplars.len()]
    }

    /// Cuts it in two: its samples and histograms by time if there are several, or else its exemplars
    /// from the rest, or these.
    #[must_use]
    pub fn halves(&self) -> Option<(Piece, Piece)> {
        let [samples, histograms, exemplars] = self.counts();
        let (mut first, mut second) = (self.clone(), self.clone());
        match samples + histograms {
            0 if exemplars > 1 => {
                (first.exemplars, second.exemplars) = cut(&self.exemplars, exemplars / 2);
            }
            1 if exemplars > 0 => {
                first.exemplars = 0..0;
                (second.samples, second.histograms) = (0..0, 0..0);
            }
            0 | 1 => return None,
            several => {
                let middle = several / 2;
                (first.samples, second.samples) = cut(&self.samples, middle.min(samples));
                (first.histograms, second.histograms) = cut(&self.histograms, middle.saturating_sub(samples));
                // A receiver of 2.0 wants exemplars with a sample.
                second.exemplars = 0..0;
            }
        }
        Some((first, second))
    }

    /// Rejections of all of it.
    pub fn reject<'r>(&self, reason: &'r str) -> impl Iterator<Item = Rejection> + use<'r> {
        rejections(self.series, self.counts(), reason)
    }

    fn within_bounds(self, out: &mut Vec<Piece>) {
        if self.counts().iter().all(|count| *count <= MAX) {
            out.push(self);
            return;
        }
        if let Some((first, second)) = self.halves() {
            first.within_bounds(out);
            second.within_bounds(out);
        }
    }

    /// About how many bytes it takes in a request.
    fn size(&self, batch: &Batch) -> usize {
        let text = |labels: &[u32]| -> usize {
            let symbols = labels.iter().map(|&label| symbol(batch, label).len() + 4);
            symbols.sum()
        };
        let histograms = &batch.histograms.message_ends;
        let exemplars = &batch.exemplars.label_ends;
        let exemplars = &batch.exemplars.labels[columns(exemplars, &self.exemplars)];
        16 + text(&batch.labels[self.labels.clone()])
            + self.samples.len() * 28
            + columns(histograms, &self.histograms).len()
            + self.histograms.len() * 8
            + text(exemplars)
            + self.exemplars.len() * 28
    }
}

/// Where these elements are in a column that others refer to by its ends.
pub(crate) fn columns(ends: &[u32], range: &Range<usize>) -> Range<usize> {
    if range.is_empty() {
        return 0..0;
    }
    let end = |index: usize| ends.get(index).map_or(0, |&end| end as usize);
    range.start.checked_sub(1).map_or(0, end)..end(range.end - 1)
}

fn cut(range: &Range<usize>, middle: usize) -> (Range<usize>, Range<usize>) {
    let middle = range.start + middle;
    (range.start..middle, middle..range.end)
}

/// Rejections of so many samples, histograms and exemplars of a series.
pub fn rejections(
    series: usize,
    counts: [usize; 3],
    reason: &str,
) -> impl Iterator<Item = Rejection> + use<'_> {
    let kinds = [Datum::Sample, Datum::Histogram, Datum::Exemplar];
    kinds
        .into_iter()
        .zip(counts)
        .filter(|(_, count)| *count > 0)
        .map(move |(kind, count)| Rejection {
            series: short(series),
            kind,
            count: short(count),
            reason: reason.to_owned(),
        })
}

/// A place in memory, of which a component has at most 4 GiB.
fn short(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use witgate_sdk::storage::{BatchBuilder, Histogram, Sample};

    use super::*;

    /// A series with so many samples, histograms and exemplars.
    fn add(builder: &mut BatchBuilder, name: &str, counts: [i64; 3]) {
        builder.series([("__name__", name)]);
        let sample = |timestamp| Sample { timestamp, bits: 0 };
        (0..counts[0]).for_each(|time| builder.sample(sample(time)));
        for timestamp in 0..counts[1] {
            builder.histogram(Histogram {
                timestamp,
                message: b"message",
            });
        }
        (0..counts[2]).for_each(|time| builder.exemplar(sample(time), [("trace_id", "x")]));
    }

    #[test]
    fn all_of_a_batch_is_in_its_pieces() {
        let mut builder = BatchBuilder::default();
        add(&mut builder, "a", [2, 0, 1]);
        add(&mut builder, "b", [0, 3, 0]);
        add(&mut builder, "c", [1, 0, 2]);
        let pieces = pieces(&builder.finish());
        let counts: Vec<_> = pieces.iter().map(Piece::counts).collect();
        assert_eq!(counts, [[2, 0, 1], [0, 3, 0], [1, 0, 2]]);
        assert_eq!((&pieces[1].histograms, &pieces[2].exemplars), (&(0..3), &(1..3)));
    }

    #[test]
    fn cutting_on_ends_with_single_data_and_loses_none() {
        let mut builder = BatchBuilder::default();
        add(&mut builder, "a", [3, 2, 3]);
        let (mut whole, mut single) = (pieces(&builder.finish()), Vec::new());
        while let Some(piece) = whole.pop() {
            match piece.halves() {
                Some((first, second)) => whole.extend([first, second]),
                None => single.push(piece.counts()),
            }
        }
        single.sort_unstable();
        let (sample, histogram, exemplar) = ([1, 0, 0], [0, 1, 0], [0, 0, 1]);
        assert_eq!(
            single,
            [
                exemplar, exemplar, exemplar, histogram, histogram, sample, sample, sample
            ]
        );
    }

    #[test]
    fn a_request_has_what_fits_and_at_least_one_piece() {
        let mut builder = BatchBuilder::default();
        for name in ["a", "b", "c"] {
            add(&mut builder, name, [1, 1, 1]);
        }
        let batch = builder.finish();
        let pieces = pieces(&batch);
        let sizes = |limit| {
            requests(&batch, &pieces, limit)
                .map(<[Piece]>::len)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (sizes(1), sizes(350), sizes(1000)),
            (vec![1, 1, 1], vec![2, 1], vec![3])
        );
    }
}
