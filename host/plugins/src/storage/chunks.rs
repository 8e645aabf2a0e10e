//! Series in Prometheus' own chunks, as a backend has them.

use super::{Breach, shape};

/// Some series in chunks, in columns, laid out as `witgate:storage` describes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    /// The symbols' UTF-8 bytes, one after the other.
    pub symbol_bytes: Vec<u8>,
    /// Where each symbol ends in `symbol_bytes`; the first one is 0.
    pub symbol_ends: Vec<u32>,
    /// Pairs of symbols, name and value.
    pub labels: Vec<u32>,
    /// Where each series ends in `labels`.
    pub label_ends: Vec<u32>,
    /// Where each series ends in the columns that follow.
    pub ends: Vec<u32>,
    /// How each chunk is encoded: 1 (XOR), 2 (HISTOGRAM) or 3 (FLOAT_HISTOGRAM).
    pub encodings: Vec<u8>,
    /// The first timestamp in each chunk, in milliseconds since 1970-01-01 UTC.
    pub firsts: Vec<i64>,
    /// The last timestamp in each chunk.
    pub lasts: Vec<i64>,
    /// Where each chunk ends in `bytes`.
    pub byte_ends: Vec<u32>,
    /// The chunks, one after the other.
    pub bytes: Vec<u8>,
}

/// A chunk's first bytes: the number of its samples.
const COUNT: usize = 2;

impl Chunks {
    /// Checks all that the layout of `witgate:storage` promises about indexes, and of each chunk its
    /// encoding, that it isn't empty, and that it begins after the one before in its series has
    /// ended. The order of labels and the samples in the chunks are not checked.
    pub fn check(&self) -> Result<(), Breach> {
        shape::labels(
            &self.symbol_ends,
            &self.symbol_bytes,
            &self.label_ends,
            &self.labels,
        )?;
        shape::symbols(self.labels.iter(), self.symbol_ends.len())?;
        let count = self.encodings.len();
        for (name, length) in [
            ("first-timestamps", self.firsts.len()),
            ("last-timestamps", self.lasts.len()),
            ("byte-ends", self.byte_ends.len()),
        ] {
            shape::same(name, length, "encodings", count)?;
        }
        shape::same("ends", self.ends.len(), "label-ends", self.label_ends.len())?;
        shape::ends("ends", &self.ends, count)?;
        shape::ends("byte-ends", &self.byte_ends, self.bytes.len())?;
        if let Some(encoding) = self
            .encodings
            .iter()
            .find(|encoding| !(1..=3).contains(*encoding))
        {
            return Err(Breach::Encoding(*encoding));
        }
        self.check_each()
    }

    /// Goes through the chunks of each series in turn.
    fn check_each(&self) -> Result<(), Breach> {
        let mut start = 0;
        let mut begin = 0;
        for (series, end) in (0..).zip(&self.ends) {
            let range = start..*end as usize;
            start = range.end;
            let [firsts, lasts] = [&self.firsts, &self.lasts].map(|times| times.get(range.clone()));
            let byte_ends = self.byte_ends.get(range);
            let times = { firsts.into_iter().flatten() }.zip(lasts.into_iter().flatten());
            let mut before = None;
            for ((&first, &last), &end) in times.zip(byte_ends.into_iter().flatten()) {
                let bytes = self.bytes.get(begin..end as usize).unwrap_or_default();
                begin = end as usize;
                if first > last || before.is_some_and(|before| first <= before) {
                    return Err(Breach::Order { series, first, last });
                }
                before = Some(last);
                if bytes
                    .first_chunk::<COUNT>()
                    .is_none_or(|count| *count == [0; COUNT])
                {
                    return Err(Breach::EmptyChunk { series, first });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two series, of two chunks and of one.
    fn example() -> Chunks {
        Chunks {
            symbol_bytes: b"__name__upjobab".to_vec(),
            symbol_ends: vec![0, 8, 10, 13, 14, 15],
            labels: vec![1, 2, 3, 4, 1, 2, 3, 5],
            label_ends: vec![4, 8],
            ends: vec![2, 3],
            encodings: vec![1, 2, 3],
            firsts: vec![10, 21, 10],
            lasts: vec![20, 21, 20],
            byte_ends: vec![3, 5, 8],
            bytes: vec![0, 1, 9, 0, 1, 1, 0, 9],
        }
    }

    #[test]
    fn what_the_contract_allows_passes() {
        assert_eq!(example().check(), Ok(()));
        assert_eq!(Chunks::default().check(), Ok(()));
        let only_series = Chunks {
            ends: vec![0, 0],
            encodings: Vec::new(),
            firsts: Vec::new(),
            lasts: Vec::new(),
            byte_ends: Vec::new(),
            bytes: Vec::new(),
            ..example()
        };
        assert_eq!(only_series.check(), Ok(()));
    }

    #[test]
    fn every_column_is_checked_against_the_others() {
        let broken = |change: fn(&mut Chunks)| {
            let mut chunks = example();
            change(&mut chunks);
            chunks.check().unwrap_err()
        };
        assert_eq!(broken(|c| c.symbol_ends[5] = 16), Breach::Ends("symbol-ends"));
        assert_eq!(broken(|c| c.labels[7] = 6), Breach::Symbol(6, 6));
        assert_eq!(broken(|c| c.label_ends[0] = 3), Breach::Pair);
        assert_eq!(
            broken(|c| c.ends = vec![2]),
            Breach::Lengths("ends", "label-ends")
        );
        assert_eq!(broken(|c| c.ends[1] = 4), Breach::Ends("ends"));
        assert_eq!(broken(|c| c.ends[0] = u32::MAX), Breach::Ends("ends"));
        assert_eq!(
            broken(|c| c.firsts.truncate(2)),
            Breach::Lengths("first-timestamps", "encodings")
        );
        assert_eq!(
            broken(|c| c.lasts.push(1)),
            Breach::Lengths("last-timestamps", "encodings")
        );
        assert_eq!(
            broken(|c| c.byte_ends.truncate(2)),
            Breach::Lengths("byte-ends", "encodings")
        );
        assert_eq!(broken(|c| c.byte_ends[2] = 9), Breach::Ends("byte-ends"));
        assert_eq!(broken(|c| c.byte_ends[0] = 6), Breach::Ends("byte-ends"));
        assert_eq!(broken(|c| c.encodings[0] = 4), Breach::Encoding(4));
        assert_eq!(broken(|c| c.encodings[2] = 0), Breach::Encoding(0));
    }

    #[test]
    fn chunks_of_a_series_follow_each_other_and_have_samples() {
        let broken = |change: fn(&mut Chunks)| {
            let mut chunks = example();
            change(&mut chunks);
            chunks.check().unwrap_err()
        };
        let order = |series, first, last| Breach::Order { series, first, last };
        assert_eq!(broken(|c| c.firsts[0] = 21), order(0, 21, 20));
        assert_eq!(broken(|c| c.firsts[1] = 20), order(0, 20, 21));
        assert_eq!(broken(|c| c.lasts[2] = 9), order(1, 10, 9));
        let empty = |series, first| Breach::EmptyChunk { series, first };
        assert_eq!(broken(|c| c.bytes[5] = 0), empty(1, 10));
        assert_eq!(broken(|c| c.byte_ends[1] = 4), empty(0, 21));
        assert_eq!(broken(|c| c.byte_ends[1] = 3), empty(0, 21));
    }
}
