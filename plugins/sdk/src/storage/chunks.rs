//! Building an answer of Prometheus' own chunks, and reading one.

use super::Chunks;
use super::symbols::{Symbols, length, part, sorted, symbol};

/// How a chunk is encoded, by Prometheus' numbers (`prompb.Chunk.Encoding`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Floats.
    Xor = 1,
    /// Native histograms whose counts are integers.
    Histogram = 2,
    /// Native histograms whose counts are floats.
    FloatHistogram = 3,
}

/// Some samples of one series, as Prometheus encodes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// How it is encoded.
    pub encoding: Encoding,
    /// The first timestamp in it, in milliseconds since 1970-01-01 UTC.
    pub first: i64,
    /// The last one.
    pub last: i64,
    /// The samples. The first two bytes are their number, and there is at least one.
    pub bytes: &'a [u8],
}

/// One series of [`Chunks`].
#[derive(Clone, Copy, Debug)]
pub struct ChunksSeries<'a> {
    of: &'a Chunks,
    /// The series' place.
    index: usize,
}

/// Builds [`Chunks`], with each string in it once.
///
/// ```
/// use witgate_sdk::storage::{Chunk, ChunksBuilder, Encoding};
///
/// let mut builder = ChunksBuilder::default();
/// builder.series([("job", "a"), ("__name__", "up")]);
/// let bytes = &[0, 1, 0xd0, 0x0f, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0];
/// builder.chunk(Chunk { encoding: Encoding::Xor, first: 1000, last: 1000, bytes });
///
/// let chunks = builder.finish();
/// let up = chunks.series().next().unwrap();
/// assert_eq!(up.labels().collect::<Vec<_>>(), [("__name__", "up"), ("job", "a")]);
/// assert_eq!(up.chunks().next().unwrap().bytes, bytes);
/// ```
#[derive(Debug)]
pub struct ChunksBuilder {
    chunks: Chunks,
    symbols: Symbols,
    samples: u64,
}

impl Encoding {
    /// The encoding with this number, if it is one that a plugin may return: Prometheus has later
    /// ones, which older clients can't read.
    pub fn of(number: i32) -> Option<Self> {
        match number {
            1 => Some(Encoding::Xor),
            2 => Some(Encoding::Histogram),
            3 => Some(Encoding::FloatHistogram),
            _ => None,
        }
    }
}

impl Chunk<'_> {
    /// How many samples it has.
    pub fn count(&self) -> u16 {
        self.bytes
            .first_chunk()
            .map_or(0, |count| u16::from_be_bytes(*count))
    }
}

impl Chunks {
    /// The series in the order in which they stand.
    pub fn series(&self) -> impl ExactSizeIterator<Item = ChunksSeries<'_>> {
        (0..self.label_ends.len()).map(|index| ChunksSeries { of: self, index })
    }
}

impl<'a> ChunksSeries<'a> {
    /// Name and value of each label, sorted by name.
    pub fn labels(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let of = self.of;
        let text = move |index| symbol(&of.symbol_bytes, &of.symbol_ends, index);
        of.labels[part(&of.label_ends, self.index)]
            .chunks_exact(2)
            .map(move |pair| (text(pair[0]), text(pair[1])))
    }

    /// The chunks in the order in which they stand.
    pub fn chunks(self) -> impl Iterator<Item = Chunk<'a>> {
        let of = self.of;
        part(&of.ends, self.index).filter_map(move |at| {
            Some(Chunk {
                encoding: Encoding::of(of.encodings[at].into())?,
                first: of.first_timestamps[at],
                last: of.last_timestamps[at],
                bytes: &of.bytes[part(&of.byte_ends, at)],
            })
        })
    }
}

impl Default for ChunksBuilder {
    fn default() -> Self {
        ChunksBuilder {
            chunks: Chunks {
                symbol_bytes: Vec::new(),
                symbol_ends: vec![0],
                labels: Vec::new(),
                label_ends: Vec::new(),
                ends: Vec::new(),
                encodings: Vec::new(),
                first_timestamps: Vec::new(),
                last_timestamps: Vec::new(),
                byte_ends: Vec::new(),
                bytes: Vec::new(),
            },
            symbols: Symbols::default(),
            samples: 0,
        }
    }
}

impl ChunksBuilder {
    /// Begins a series. Its labels are sorted here; one with an empty value is left out.
    pub fn series<'l>(&mut self, labels: impl IntoIterator<Item = (&'l str, &'l str)>) {
        let chunks = &mut self.chunks;
        for text in sorted(labels).into_iter().flat_map(|(name, value)| [name, value]) {
            let (bytes, ends) = (&mut chunks.symbol_bytes, &mut chunks.symbol_ends);
            chunks.labels.push(self.symbols.intern(text, bytes, ends));
        }
        chunks.label_ends.push(length(chunks.labels.len()));
        chunks.ends.push(length(chunks.encodings.len()));
    }

    /// Adds a chunk to the series that was begun last. It begins after the one before has ended.
    pub fn chunk(&mut self, chunk: Chunk<'_>) {
        self.samples += u64::from(chunk.count());
        let chunks = &mut self.chunks;
        chunks.encodings.push(chunk.encoding as u8);
        chunks.first_timestamps.push(chunk.first);
        chunks.last_timestamps.push(chunk.last);
        chunks.bytes.extend_from_slice(chunk.bytes);
        chunks.byte_ends.push(length(chunks.bytes.len()));
        if let Some(end) = chunks.ends.last_mut() {
            *end = length(chunks.encodings.len());
        }
    }

    /// How many samples there are in the chunks that were added.
    pub fn sample_count(&self) -> u64 {
        self.samples
    }

    /// How many bytes the chunks that were added have.
    pub fn byte_count(&self) -> usize {
        self.chunks.bytes.len()
    }

    /// Whether no series was begun.
    pub fn is_empty(&self) -> bool {
        self.chunks.label_ends.is_empty()
    }

    /// The chunks.
    pub fn finish(self) -> Chunks {
        self.chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_by_series() {
        let chunk = |first, bytes| Chunk {
            encoding: Encoding::Xor,
            first,
            last: first + 1,
            bytes,
        };
        let histogram = Chunk {
            encoding: Encoding::FloatHistogram,
            ..chunk(7, &[0, 1, 2])
        };
        let mut builder = ChunksBuilder::default();
        assert!(builder.is_empty());
        builder.series([("__name__", "none")]);
        builder.series([("z", "up"), ("__name__", "up"), ("gone", "")]);
        builder.chunk(chunk(1, &[0, 2, 9]));
        builder.chunk(chunk(3, &[1, 0]));
        builder.series([("__name__", "latency")]);
        builder.chunk(histogram);
        assert_eq!((builder.sample_count(), builder.byte_count()), (259, 8));
        let built = builder.finish();
        assert_eq!(built.symbol_bytes, b"__name__noneupzlatency");
        assert_eq!(built.encodings, [1, 1, 3]);
        let [none, up, latency] = built.series().collect::<Vec<_>>()[..] else {
            panic!("there are three series");
        };
        assert_eq!(none.chunks().count(), 0);
        assert_eq!(up.labels().collect::<Vec<_>>(), [("__name__", "up"), ("z", "up")]);
        assert_eq!(
            up.chunks().collect::<Vec<_>>(),
            [chunk(1, &[0, 2, 9]), chunk(3, &[1, 0])]
        );
        assert_eq!(latency.chunks().collect::<Vec<_>>(), [histogram]);
    }

    #[test]
    fn later_encodings_are_nobodys() {
        assert_eq!(Encoding::of(3), Some(Encoding::FloatHistogram));
        for number in [-1, 0, 4, 5, 6] {
            assert_eq!(Encoding::of(number), None);
        }
    }
}
