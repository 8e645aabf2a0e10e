//! The answer of remote read in Prometheus' own chunks: frames of a length, a checksum and a
//! `ChunkedReadResponse` (`storage/remote/chunked.go`). The chunks are passed on as they are.

use witgate_sdk::http::{Body, Error};
use witgate_sdk::storage::{Chunk, Chunks, ChunksBuilder, Encoding};

use crate::read::{Labels, labels};
use crate::wire::{Damaged, Fields, Value};

/// How an answer in chunks announces itself.
pub const CONTENT_TYPE: &str = "application/x-streamed-protobuf";

/// The most bytes of one frame, which is also what Prometheus takes as a client.
const MAX_FRAME: usize = 50_000_000;

/// Bytes of chunks of one piece at about the most. Histograms have many for each sample.
const PIECE: usize = 8 << 20;

/// Samples of the piece by which it is seen what an answer is like: about as many as the gateway asks
/// for at a time.
const FIRST: u32 = 100_000;

/// The frames of an answer.
#[derive(Debug)]
pub struct Frames {
    body: Body,
    buffer: Vec<u8>,
    /// What of the buffer is used.
    used: usize,
    /// Whether the body has ended.
    ended: bool,
    /// The first piece, until it is asked for.
    first: Option<Chunks>,
    /// The series that came last.
    last: Option<Labels>,
    /// Whether each series came after the one before.
    is_sorted: bool,
    /// Whether it is an error if one does not.
    must_be_sorted: bool,
}

/// Why there is no next piece.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The answer broke off.
    #[error(transparent)]
    Body(#[from] Error),
    /// It is not what it should be.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// A chunk is of an encoding that not every client can read.
    #[error("it has chunks of the encoding {0}, which is not one of 1, 2 and 3")]
    Encoding(u64),
    /// A series does not come after the one before.
    #[error("the series {0:?} is not in the order of labels")]
    Order(Labels),
    /// A frame is too long.
    #[error("it has a frame of {0} bytes, where {MAX_FRAME} are the most")]
    TooLong(usize),
}

impl Frames {
    /// The frames in a body.
    #[must_use]
    pub fn new(body: Body) -> Self {
        Frames {
            body,
            buffer: Vec::new(),
            used: 0,
            ended: false,
            first: None,
            last: None,
            is_sorted: true,
            must_be_sorted: false,
        }
    }

    /// Reads the first piece, and keeps it for `next`. Says whether its series are sorted.
    pub fn begin(&mut self) -> Result<bool, FrameError> {
        self.first = self.next(FIRST)?;
        Ok(self.is_sorted)
    }

    /// Has a series that is not in its place be an error from now on.
    pub fn must_be_sorted(&mut self) {
        self.must_be_sorted = true;
    }

    /// The next series, with about so many samples. None at the end.
    pub fn next(&mut self, samples: u32) -> Result<Option<Chunks>, FrameError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let mut builder = ChunksBuilder::default();
        while builder.sample_count() < samples.max(1).into() && builder.byte_count() < PIECE {
            let Some(frame) = self.frame()? else { break };
            self.add(&frame, &mut builder)?;
        }
        Ok((!builder.is_empty()).then(|| builder.finish()))
    }

    /// Adds the series of a frame.
    fn add(&mut self, frame: &[u8], builder: &mut ChunksBuilder) -> Result<(), FrameError> {
        let mut fields = Fields(frame);
        while let Some((number, value)) = fields.next()? {
            let (1, Value::Bytes(series)) = (number, value) else {
                continue;
            };
            let labels = labels(series)?;
            let mut is_begun = !builder.is_empty() && self.last.as_ref() == Some(&labels);
            self.is_sorted &= self.last.as_ref().is_none_or(|last| *last <= labels);
            if self.must_be_sorted && !self.is_sorted {
                return Err(FrameError::Order(labels));
            }
            let mut fields = Fields(series);
            while let Some((number, value)) = fields.next()? {
                let (2, Value::Bytes(message)) = (number, value) else {
                    continue;
                };
                // A series that is in two frames goes on.
                if !is_begun {
                    builder.series(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
                    is_begun = true;
                }
                builder.chunk(chunk(message)?);
            }
            if is_begun {
                self.last = Some(labels);
            }
        }
        Ok(())
    }

    /// The next frame's data. None at the end.
    fn frame(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        let length = loop {
            let mut start = Fields(self.buffer.get(self.used..).unwrap_or_default());
            let before = start.0.len();
            match start.varint() {
                Ok(length) => {
                    self.used += before - start.0.len();
                    break usize::try_from(length).unwrap_or(usize::MAX);
                }
                Err(error) if before >= 10 => return Err(error.into()),
                Err(_) if self.more()? => {}
                Err(_) if before == 0 => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        };
        if length > MAX_FRAME {
            return Err(FrameError::TooLong(length));
        }
        self.rest(length)
    }

    /// A frame's checksum and data.
    fn rest(&mut self, length: usize) -> Result<Option<Vec<u8>>, FrameError> {
        while self.buffer.len() - self.used < 4 + length {
            if !self.more()? {
                return Err(Damaged("it ends within a frame").into());
            }
        }
        let (sum, data) = self
            .buffer
            .get(self.used..self.used + 4 + length)
            .and_then(<[u8]>::split_first_chunk)
            .ok_or(Damaged("it ends within a frame"))?;
        if crc32c::crc32c(data) != u32::from_be_bytes(*sum) {
            return Err(Damaged("a frame's checksum is wrong").into());
        }
        let data = data.to_vec();
        self.used += 4 + length;
        Ok(Some(data))
    }

    /// Reads more of the body. False at its end.
    fn more(&mut self) -> Result<bool, Error> {
        if self.ended {
            return Ok(false);
        }
        match self.body.next_piece()? {
            Some(piece) => {
                self.buffer.drain(..self.used);
                self.used = 0;
                self.buffer.extend_from_slice(&piece);
            }
            None => self.ended = true,
        }
        Ok(!self.ended)
    }
}

fn chunk(message: &[u8]) -> Result<Chunk<'_>, FrameError> {
    let (mut encoding, mut first, mut last, mut bytes) = (0, 0, 0, &[][..]);
    let mut fields = Fields(message);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Varint(time)) => first = time.cast_signed(),
            (2, Value::Varint(time)) => last = time.cast_signed(),
            (3, Value::Varint(number)) => encoding = number,
            (4, Value::Bytes(samples)) => bytes = samples,
            _ => {}
        }
    }
    let known = i32::try_from(encoding).ok().and_then(Encoding::of);
    Ok(Chunk {
        encoding: known.ok_or(FrameError::Encoding(encoding))?,
        first,
        last,
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use witgate_sdk::http::Pieces;

    use super::*;
    use crate::wire::{bytes, integer, varint};

    /// A frame with one series and its chunks: encoding, first and last time.
    fn frame(name: &str, chunks: &[(u64, u64, u64)]) -> Vec<u8> {
        frame_of(name, chunks, &[0, 2, 7, 7])
    }

    /// A frame with one chunk of so many bytes.
    fn large_frame(length: usize) -> Vec<u8> {
        let mut chunk = vec![0; length];
        chunk[1] = 1;
        frame_of("a", &[(1, 1, 2)], &chunk)
    }

    fn frame_of(name: &str, chunks: &[(u64, u64, u64)], samples: &[u8]) -> Vec<u8> {
        let (mut label, mut series, mut data) = (Vec::new(), Vec::new(), Vec::new());
        bytes(&mut label, 1, b"__name__");
        bytes(&mut label, 2, name.as_bytes());
        bytes(&mut series, 1, &label);
        for &(encoding, first, last) in chunks {
            let mut chunk = Vec::new();
            integer(&mut chunk, 1, first);
            integer(&mut chunk, 2, last);
            integer(&mut chunk, 3, encoding);
            bytes(&mut chunk, 4, samples);
            bytes(&mut series, 2, &chunk);
        }
        bytes(&mut data, 1, &series);
        let mut frame = Vec::new();
        varint(&mut frame, data.len() as u64);
        frame.extend(crc32c::crc32c(&data).to_be_bytes());
        frame.extend(data);
        frame
    }

    /// The pieces of a body, of which some may be missing.
    struct Script {
        pieces: std::vec::IntoIter<Vec<u8>>,
        end: Result<(), Error>,
        /// How many bytes were asked for so far.
        given: Rc<Cell<usize>>,
    }

    impl Pieces for Script {
        fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
            let piece = self.pieces.next();
            let length = piece.as_ref().map_or(0, Vec::len);
            self.given.set(self.given.get() + length);
            match piece {
                Some(piece) => Ok(Some(piece)),
                None => self.end.clone().map(|()| None),
            }
        }
    }

    fn script(whole: &[u8], size: usize) -> Script {
        let pieces: Vec<_> = whole.chunks(size).map(<[u8]>::to_vec).collect();
        Script {
            pieces: pieces.into_iter(),
            end: Ok(()),
            given: Rc::default(),
        }
    }

    /// A body in pieces of so many bytes.
    fn frames(whole: &[u8], size: usize) -> Frames {
        Frames::new(Body::new(script(whole, size)))
    }

    fn names(chunks: &Chunks) -> Vec<(String, usize)> {
        let names = chunks.series().map(|series| {
            let name = series.labels().next().map(|(_, value)| value.to_owned());
            (name.unwrap(), series.chunks().count())
        });
        names.collect()
    }

    #[test]
    fn a_series_in_two_frames_is_one_whatever_way_the_bytes_come() {
        let whole = [
            frame("a", &[(1, 1, 2), (1, 3, 4)]),
            frame("a", &[(2, 5, 6)]),
            frame("b", &[(3, 1, 2)]),
        ]
        .concat();
        for size in 1..=whole.len() {
            let mut frames = frames(&whole, size);
            assert!(frames.begin().unwrap());
            frames.must_be_sorted();
            let chunks = frames.next(1).unwrap().unwrap();
            assert_eq!(names(&chunks), [("a".to_owned(), 3), ("b".to_owned(), 1)]);
            assert!(frames.next(1).unwrap().is_none());
        }
        let mut frames = frames(&whole, 10);
        let mut seen = Vec::new();
        while let Some(chunks) = frames.next(1).unwrap() {
            seen.push(names(&chunks));
        }
        let piece = |name: &str, chunks| vec![(name.to_owned(), chunks)];
        assert_eq!(seen, [piece("a", 2), piece("a", 1), piece("b", 1)]);
    }

    #[test]
    fn what_is_cut_or_changed_is_an_error_and_no_end() {
        let whole = [frame("a", &[(1, 1, 2)]), frame("b", &[(1, 1, 2)])].concat();
        let first = whole.len() / 2;
        for cut in (first + 1)..whole.len() {
            let mut frames = frames(&whole[..cut], 7);
            assert!(frames.next(1).unwrap().is_some());
            assert!(frames.next(1).is_err(), "cut at {cut}");
        }
        let mut changed = whole.clone();
        changed[first - 1] ^= 1;
        assert!(matches!(frames(&changed, 7).next(1), Err(FrameError::Damaged(_))));
        let long = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(matches!(frames(&long, 7).next(1), Err(FrameError::TooLong(_))));
        assert!(frames(&[0xff; 12], 7).next(1).is_err());
    }

    #[test]
    fn no_more_is_read_than_is_asked_for() {
        let one = frame("a", &[(1, 1, 2)]);
        let whole = one.repeat(1000);
        let body = script(&whole, one.len() + 3);
        let given = Rc::clone(&body.given);
        let mut frames = Frames::new(Body::new(body));
        for asked in 1..=1000 {
            assert!(frames.next(1).unwrap().is_some());
            assert!(given.get() <= (asked + 1) * one.len() + 3, "{asked}");
            assert!(frames.buffer.len() <= 2 * (one.len() + 3), "{asked}");
        }
        assert!(frames.next(1).unwrap().is_none());
        // A piece is as large as its bytes allow, whatever the number of its samples.
        let large = large_frame(PIECE / 4).repeat(8);
        let mut frames = Frames::new(Body::new(script(&large, 1 << 16)));
        let chunks = frames.next(u32::MAX).unwrap().unwrap();
        assert_eq!(names(&chunks), [("a".to_owned(), 4)]);
    }

    #[test]
    fn a_body_that_breaks_off_between_frames_is_no_end() {
        let mut body = script(&frame("a", &[(1, 1, 2)]), 1000);
        body.end = Err(Error::Broken {
            origin: "http://prometheus:9090".to_owned(),
            detail: "connection reset".to_owned(),
        });
        let mut frames = Frames::new(Body::new(body));
        assert!(frames.next(1).unwrap().is_some());
        assert!(matches!(frames.next(1), Err(FrameError::Body(_))));
    }

    #[test]
    fn what_can_not_be_passed_on_is_seen_before_anything_is() {
        for encoding in [0, 4, 6, u64::MAX] {
            let whole = [frame("a", &[(1, 1, 2)]), frame("b", &[(encoding, 1, 2)])].concat();
            let found = frames(&whole, 100).begin();
            assert!(matches!(found, Err(FrameError::Encoding(found)) if found == encoding));
        }
    }

    #[test]
    fn series_out_of_order_are_seen_at_the_beginning_and_later_an_error() {
        let whole = [
            frame("b", &[(1, 1, 2)]),
            frame("c", &[(1, 1, 2)]),
            frame("a", &[(1, 1, 2)]),
        ]
        .concat();
        let mut unsorted = frames(&whole, 100);
        assert!(!unsorted.begin().unwrap());
        assert_eq!(names(&unsorted.next(1).unwrap().unwrap()).len(), 3);
        let mut later = frames(&whole, 100);
        later.must_be_sorted();
        for _ in 0..2 {
            assert!(later.next(1).unwrap().is_some());
        }
        assert!(matches!(later.next(1), Err(FrameError::Order(_))));
    }
}
