//! Whether the columns of a batch fit each other, so that whoever reads it need not ask again.

use super::{Batch, Datum, Rejection};

/// What is wrong with a batch or a rejection that a plugin returned.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Breach {
    /// Ends that go back, or don't cover their column.
    #[error("`{0}` does not divide its column into consecutive parts")]
    Ends(&'static str),
    /// The first symbol is not the empty one.
    #[error("symbol 0 is not the empty string")]
    FirstSymbol,
    /// A symbol that is not UTF-8.
    #[error("the symbols are not UTF-8")]
    Text,
    /// A label that names no symbol.
    #[error("`labels` refers to symbol {0}, and there are {1}")]
    Symbol(u32, usize),
    /// A label without a value.
    #[error("`label-ends` has an odd end, so a label has no value")]
    Pair,
    /// Columns of different lengths.
    #[error("`{0}` and `{1}` are of different lengths")]
    Lengths(&'static str, &'static str),
    /// A chunk in an encoding that is not one of the contract's.
    #[error("`encodings` has {0}, and the contract 1, 2 and 3")]
    Encoding(u8),
    /// A chunk that ends before it begins, or begins before the one before has ended.
    #[error(
        "a chunk of series {series} from {first} to {last} ends before it begins, or begins before \
         the one before it has ended"
    )]
    Order {
        /// The series' place.
        series: u32,
        /// The chunk's first timestamp.
        first: i64,
        /// Its last one.
        last: i64,
    },
    /// A chunk without a sample.
    #[error("the chunk of series {series} at {first} has no sample")]
    EmptyChunk {
        /// The series' place.
        series: u32,
        /// The chunk's first timestamp.
        first: i64,
    },
    /// A rejection that is about nothing.
    #[error("it rejects {count} of kind {kind:?} of series {series}, which has {has}")]
    Rejection {
        /// The series' place.
        series: u32,
        /// What was rejected.
        kind: Datum,
        /// How many of them.
        count: u32,
        /// How many there are.
        has: u32,
    },
}

impl Batch {
    /// Checks all that the layout of `witgate:storage` promises about indexes: every end lies in
    /// its column and after the one before, every label is a pair of symbols, and every symbol is
    /// UTF-8. The order of labels and samples is not checked.
    pub fn check(&self) -> Result<(), Breach> {
        labels(
            &self.symbol_ends,
            &self.symbol_bytes,
            &self.label_ends,
            &self.labels,
        )?;
        ends("sample-ends", &self.sample_ends, self.timestamps.len())?;
        same("timestamps", self.timestamps.len(), "values", self.values.len())?;
        let series = self.label_ends.len();
        same("label-ends", series, "sample-ends", self.sample_ends.len())?;
        let families = { &self.families }.iter();
        let families = families.flat_map(|family| [&family.name, &family.help, &family.unit]);
        let named = self.labels.iter().chain(&self.exemplars.labels).chain(families);
        symbols(named, self.symbol_ends.len())?;
        self.check_others()
    }

    fn check_others(&self) -> Result<(), Breach> {
        if !self.start_timestamps.is_empty() {
            let starts = self.start_timestamps.len();
            same("start-timestamps", starts, "timestamps", self.timestamps.len())?;
        }
        let series = self.label_ends.len();
        let histograms = &self.histograms;
        let count = histograms.timestamps.len();
        of_series("histograms.ends", &histograms.ends, series, count)?;
        same(
            "histograms.message-ends",
            histograms.message_ends.len(),
            "histograms.timestamps",
            count,
        )?;
        ends(
            "histograms.message-ends",
            &histograms.message_ends,
            histograms.messages.len(),
        )?;
        let exemplars = &self.exemplars;
        let count = exemplars.timestamps.len();
        of_series("exemplars.ends", &exemplars.ends, series, count)?;
        for (name, length) in [
            ("exemplars.values", exemplars.values.len()),
            ("exemplars.label-ends", exemplars.label_ends.len()),
        ] {
            same(name, length, "exemplars.timestamps", count)?;
        }
        pairs(
            "exemplars.label-ends",
            &exemplars.label_ends,
            exemplars.labels.len(),
        )
    }
}

impl Rejection {
    /// Checks that it is about samples that are in `batch`.
    pub fn check(&self, batch: &Batch) -> Result<(), Breach> {
        let series = self.series as usize;
        let ends = match self.kind {
            Datum::Sample => &batch.sample_ends,
            Datum::Histogram => &batch.histograms.ends,
            Datum::Exemplar => &batch.exemplars.ends,
        };
        let begin = series
            .checked_sub(1)
            .and_then(|before| ends.get(before))
            .unwrap_or(&0);
        let has = ends.get(series).map_or(0, |end| end.saturating_sub(*begin));
        if self.count <= has {
            return Ok(());
        }
        Err(Breach::Rejection {
            series: self.series,
            kind: self.kind,
            count: self.count,
            has,
        })
    }
}

/// Whether every symbol is UTF-8 and the first one empty, and every label a pair.
pub(super) fn labels(
    symbol_ends: &[u32],
    symbol_bytes: &[u8],
    label_ends: &[u32],
    labels: &[u32],
) -> Result<(), Breach> {
    ends("symbol-ends", symbol_ends, symbol_bytes.len())?;
    pairs("label-ends", label_ends, labels.len())?;
    if symbol_ends.first().is_some_and(|end| *end != 0) {
        return Err(Breach::FirstSymbol);
    }
    let text = std::str::from_utf8(symbol_bytes).map_err(|_| Breach::Text)?;
    match symbol_ends.iter().all(|end| text.is_char_boundary(*end as usize)) {
        true => Ok(()),
        false => Err(Breach::Text),
    }
}

/// Whether `label_ends` divides so many symbols into pairs.
fn pairs(name: &'static str, label_ends: &[u32], length: usize) -> Result<(), Breach> {
    ends(name, label_ends, length)?;
    match label_ends.iter().any(|end| end % 2 == 1) {
        true => Err(Breach::Pair),
        false => Ok(()),
    }
}

/// Whether each series has its end in a column of so many. One with nothing in it may have no ends.
fn of_series(name: &'static str, its_ends: &[u32], series: usize, count: usize) -> Result<(), Breach> {
    if count > 0 || !its_ends.is_empty() {
        same(name, its_ends.len(), "label-ends", series)?;
    }
    ends(name, its_ends, count)
}

/// Whether all that are named are there.
pub(super) fn symbols<'a>(named: impl Iterator<Item = &'a u32>, symbols: usize) -> Result<(), Breach> {
    match named.max() {
        Some(symbol) if *symbol as usize >= symbols => Err(Breach::Symbol(*symbol, symbols)),
        _ => Ok(()),
    }
}

/// Whether two columns are of one length.
pub(super) fn same(a: &'static str, has: usize, b: &'static str, expected: usize) -> Result<(), Breach> {
    match has == expected {
        true => Ok(()),
        false => Err(Breach::Lengths(a, b)),
    }
}

/// Whether `ends` goes up to exactly `length` without going back.
pub(super) fn ends(name: &'static str, ends: &[u32], length: usize) -> Result<(), Breach> {
    let covers = ends.last().map_or(0, |end| *end as usize) == length;
    if covers && ends.is_sorted() {
        Ok(())
    } else {
        Err(Breach::Ends(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Exemplars, Histograms};

    /// The example of the contract.
    fn example() -> Batch {
        Batch {
            symbol_bytes: b"__name__upjobab".to_vec(),
            symbol_ends: vec![0, 8, 10, 13, 14, 15],
            labels: vec![1, 2, 3, 4, 1, 2, 3, 5],
            label_ends: vec![4, 8],
            timestamps: vec![1000, 2000, 1000],
            values: vec![1, 2, 3],
            sample_ends: vec![2, 3],
            ..Batch::default()
        }
    }

    #[test]
    fn a_batch_as_the_contract_shows_it_is_sound() {
        assert_eq!(example().check(), Ok(()));
        assert_eq!(Batch::default().check(), Ok(()));
    }

    #[test]
    fn columns_that_do_not_fit_are_named() {
        let broken = |change: fn(&mut Batch)| {
            let mut batch = example();
            change(&mut batch);
            batch.check().unwrap_err()
        };
        assert_eq!(broken(|b| b.symbol_ends[5] = 99), Breach::Ends("symbol-ends"));
        assert_eq!(broken(|b| b.symbol_ends.swap(1, 2)), Breach::Ends("symbol-ends"));
        assert_eq!(broken(|b| b.symbol_ends[0] = 1), Breach::FirstSymbol);
        assert_eq!(broken(|b| b.label_ends = vec![4]), Breach::Ends("label-ends"));
        assert_eq!(broken(|b| b.label_ends = vec![3, 8]), Breach::Pair);
        assert_eq!(
            broken(|b| b.label_ends = vec![8]),
            Breach::Lengths("label-ends", "sample-ends")
        );
        assert_eq!(broken(|b| b.labels[0] = 6), Breach::Symbol(6, 6));
        assert_eq!(
            broken(|b| b.values.truncate(1)),
            Breach::Lengths("timestamps", "values")
        );
        assert_eq!(
            broken(|b| b.sample_ends = vec![2, u32::MAX]),
            Breach::Ends("sample-ends")
        );
        assert_eq!(broken(|b| b.symbol_bytes[9] = 0xff), Breach::Text);
        assert_eq!(
            broken(|b| b.symbol_bytes[9..11].copy_from_slice("é".as_bytes())),
            Breach::Text
        );
    }

    #[test]
    fn only_what_was_sent_can_be_rejected() {
        let check = |series, kind, count| {
            let rejection = Rejection {
                series,
                kind,
                count,
                reason: String::new(),
            };
            rejection.check(&example())
        };
        let breach = |series, kind, count, has| {
            Err(Breach::Rejection {
                series,
                kind,
                count,
                has,
            })
        };
        assert_eq!(check(0, Datum::Sample, 2), Ok(()));
        assert_eq!(check(1, Datum::Sample, 1), Ok(()));
        assert_eq!(check(1, Datum::Sample, 2), breach(1, Datum::Sample, 2, 1));
        assert_eq!(check(2, Datum::Sample, 1), breach(2, Datum::Sample, 1, 0));
        assert_eq!(check(0, Datum::Exemplar, 1), breach(0, Datum::Exemplar, 1, 0));
    }

    #[test]
    fn histograms_and_exemplars_have_as_many_series_as_there_are() {
        let broken = |change: fn(&mut Batch)| {
            let mut batch = example();
            batch.histograms = Histograms {
                ends: vec![0, 1],
                timestamps: vec![1000],
                message_ends: vec![3],
                messages: vec![1, 2, 3],
            };
            batch.exemplars = Exemplars {
                ends: vec![1, 1],
                timestamps: vec![1000],
                values: vec![1],
                labels: vec![3, 4],
                label_ends: vec![2],
            };
            assert_eq!(batch.check(), Ok(()));
            change(&mut batch);
            batch.check().unwrap_err()
        };
        assert_eq!(
            broken(|b| b.histograms.ends = vec![1]),
            Breach::Lengths("histograms.ends", "label-ends")
        );
        assert_eq!(
            broken(|b| b.histograms.message_ends = vec![2]),
            Breach::Ends("histograms.message-ends")
        );
        assert_eq!(
            broken(|b| b.exemplars.values.clear()),
            Breach::Lengths("exemplars.values", "exemplars.timestamps")
        );
        assert_eq!(broken(|b| b.exemplars.labels[1] = 6), Breach::Symbol(6, 6));
        assert_eq!(
            broken(|b| b.start_timestamps = vec![1]),
            Breach::Lengths("start-timestamps", "timestamps")
        );
    }
}
