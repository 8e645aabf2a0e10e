//! Whether the columns of a batch fit each other, so that whoever reads it need not ask again.

use super::{Batch, Rejection};

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
    /// A rejection that is about nothing.
    #[error("it rejects {samples} samples of series {series}, which has {has}")]
    Rejection {
        /// The series' place.
        series: u32,
        /// How many samples were rejected.
        samples: u32,
        /// How many there are.
        has: u32,
    },
}

impl Batch {
    /// Checks all that the layout of `witgate:storage` promises about indexes: every end lies in
    /// its column and after the one before, every label is a pair of symbols, and every symbol is
    /// UTF-8. The order of labels and samples is not checked.
    pub fn check(&self) -> Result<(), Breach> {
        ends("symbol-ends", &self.symbol_ends, self.symbol_bytes.len())?;
        ends("label-ends", &self.label_ends, self.labels.len())?;
        ends("sample-ends", &self.sample_ends, self.timestamps.len())?;
        if self.timestamps.len() != self.values.len() {
            return Err(Breach::Lengths("timestamps", "values"));
        }
        if self.label_ends.len() != self.sample_ends.len() {
            return Err(Breach::Lengths("label-ends", "sample-ends"));
        }
        if self.label_ends.iter().any(|end| end % 2 == 1) {
            return Err(Breach::Pair);
        }
        if self.symbol_ends.first().is_some_and(|end| *end != 0) {
            return Err(Breach::FirstSymbol);
        }
        let text = std::str::from_utf8(&self.symbol_bytes).map_err(|_| Breach::Text)?;
        if self
            .symbol_ends
            .iter()
            .any(|end| !text.is_char_boundary(*end as usize))
        {
            return Err(Breach::Text);
        }
        let symbols = self.symbol_ends.len();
        match self.labels.iter().max() {
            Some(symbol) if *symbol as usize >= symbols => Err(Breach::Symbol(*symbol, symbols)),
            _ => Ok(()),
        }
    }
}

impl Rejection {
    /// Checks that it is about samples that are in `batch`.
    pub fn check(&self, batch: &Batch) -> Result<(), Breach> {
        let series = self.series as usize;
        let begin = series
            .checked_sub(1)
            .and_then(|before| batch.sample_ends.get(before))
            .unwrap_or(&0);
        let has = batch
            .sample_ends
            .get(series)
            .map_or(0, |end| end.saturating_sub(*begin));
        if self.samples <= has {
            return Ok(());
        }
        Err(Breach::Rejection {
            series: self.series,
            samples: self.samples,
            has,
        })
    }
}

/// Whether `ends` goes up to exactly `length` without going back.
fn ends(name: &'static str, ends: &[u32], length: usize) -> Result<(), Breach> {
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
        let receipt = |series, samples| Rejection {
            series,
            samples,
            reason: String::new(),
        };
        assert_eq!(receipt(0, 2).check(&example()), Ok(()));
        assert_eq!(receipt(1, 1).check(&example()), Ok(()));
        assert_eq!(
            receipt(1, 2).check(&example()),
            Err(Breach::Rejection {
                series: 1,
                samples: 2,
                has: 1
            })
        );
        assert_eq!(
            receipt(2, 1).check(&example()),
            Err(Breach::Rejection {
                series: 2,
                samples: 1,
                has: 0
            })
        );
    }
}
