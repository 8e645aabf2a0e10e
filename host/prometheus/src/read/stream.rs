//! An answer in chunks, sent while it is read.
//!
//! What a storage gives sorted goes on frame by frame, so that it is a piece of it that is in memory,
//! however large the whole. Anything else is collected first.
//!
//! The answer is made by a task of its own. It ends when its client has gone, and when the client takes
//! nothing for a while: the storage's query, and its place among the reads, are free then.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use witgate_chunk::{Appender, Chunk, Damaged, SAMPLES, trim};
use witgate_plugins::{Batch, Chunks, Cursor, Piece, StorageError};

use super::{
    ReadError, Reading,
    frames::Frames,
    selection::{Cover, Selection},
};
use crate::{
    histogram,
    labels::{ChunkRef, ChunksRef, SeriesIter, SeriesRef},
    result::Series,
};

/// How much is sent at a time.
const PART: usize = 64 << 10;

/// Parts that wait for the client.
const WAITING: usize = 4;

/// How long a client may take nothing: as long as Prometheus waits for a whole answer by default.
const STALLED: Duration = Duration::from_secs(60);

/// Some of an answer.
#[derive(Debug)]
pub(super) enum Part {
    Some(Bytes),
    /// The end of it, and what it came to.
    Last(Bytes, Count),
}

/// What an answer came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) series: u64,
    pub(super) samples: u64,
}

/// Parts of an answer as they come. The one after an error never comes.
pub(super) type Parts = mpsc::Receiver<Result<Part, ReadError>>;

/// Begins to answer. `place` is given back when the answer has ended, one way or another.
pub(super) fn begin<P: Send + 'static>(reading: Reading, selections: Vec<Selection>, place: P) -> Parts {
    let (sender, parts) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let _place = place;
        let stream = Stream {
            reading,
            parts: sender.clone(),
            frames: Frames::default(),
            count: Count::default(),
        };
        let end = tokio::select! {
            () = sender.closed() => return,
            end = stream.answer(&selections) => end,
        };
        let is_stalled = match end {
            Err(ReadError::Stalled) => true,
            end => tokio::time::timeout(STALLED, sender.send(end)).await.is_err(),
        };
        if is_stalled {
            tracing::info!("a read's client took nothing for {STALLED:?}");
        }
    });
    parts
}

struct Stream {
    reading: Reading,
    parts: mpsc::Sender<Result<Part, ReadError>>,
    frames: Frames,
    count: Count,
}

/// The series of a sorted answer that is being passed on.
#[derive(Default)]
struct Open {
    labels: Vec<(String, String)>,
    /// Whether it is in the answer already.
    is_begun: bool,
    /// The last time in it.
    last: Option<i64>,
    samples: Appender,
}

impl Stream {
    async fn answer(mut self, selections: &[Selection]) -> Result<Part, ReadError> {
        for (index, selection) in (0..).zip(selections) {
            if selection.is_void() {
                continue;
            }
            self.frames.query(index);
            self.reading.spent.samples = self.count.samples;
            let cursor = self.reading.open(selection).await?;
            if cursor.is_sorted() {
                self.pass_on(selection, cursor).await?;
                continue;
            }
            for series in self.reading.collect(selection, cursor).await?.finish() {
                self.whole(series);
                self.send().await?;
            }
        }
        self.frames.end();
        Ok(Part::Last(self.frames.done.freeze(), self.count))
    }

    fn whole(&mut self, series: Series) {
        self.count.series += 1;
        self.count.samples += series.count();
        self.frames.series(series.labels());
        for chunk in series.chunks() {
            let Chunk {
                encoding,
                first,
                last,
                bytes,
            } = chunk;
            self.frames.chunk(encoding as u8, first, last, &bytes);
        }
        self.frames.end();
    }

    /// Passes a sorted answer on.
    async fn pass_on(&mut self, selection: &Selection, mut cursor: Box<dyn Cursor>) -> Result<(), ReadError> {
        let mut open: Option<Open> = None;
        let mut given = 0;
        while let Some(piece) = cursor.next(super::PIECE).await? {
            self.reading.given(&mut given, &piece)?;
            match piece {
                Piece::Samples(batch) => self.batch(selection, &batch, &mut open)?,
                Piece::Chunks(chunks) => self.chunks(selection, &chunks, &mut open).await?,
            }
            self.send().await?;
        }
        self.close(&mut open)
    }

    async fn chunks(
        &mut self,
        selection: &Selection,
        chunks: &Chunks,
        open: &mut Option<Open>,
    ) -> Result<(), ReadError> {
        for series in ChunksRef::all(chunks) {
            let Some(labels) = selection.labels(series.labels()) else {
                continue;
            };
            self.turn_to(&labels, selection, open)?;
            let Some(open) = open.as_mut() else { continue };
            self.flush(open);
            for chunk in series.chunks() {
                self.chunk(selection, open, &chunk)?;
            }
            // A piece may be much larger than what is sent at a time.
            self.send().await?;
        }
        Ok(())
    }

    fn chunk(
        &mut self,
        selection: &Selection,
        open: &mut Open,
        chunk: &ChunkRef<'_>,
    ) -> Result<(), ReadError> {
        match selection.covers(chunk.first, chunk.last) {
            Cover::Nothing => return Ok(()),
            Cover::All => {
                self.put(open, *chunk)?;
            }
            Cover::Part => {
                let (start, end) = selection.range;
                let kept = trim(chunk.encoding, chunk.bytes, start, end)
                    .map_err(|Damaged| damaged(&open.labels, chunk.first))?;
                for chunk in &kept {
                    let chunk = ChunkRef {
                        encoding: chunk.encoding,
                        first: chunk.first,
                        last: chunk.last,
                        bytes: &chunk.bytes,
                    };
                    self.put(open, chunk)?;
                }
            }
        }
        self.reading.within_samples(self.count.samples)
    }

    fn batch(
        &mut self,
        selection: &Selection,
        batch: &Batch,
        open: &mut Option<Open>,
    ) -> Result<(), ReadError> {
        for series in SeriesIter::new(batch) {
            let Some(labels) = selection.labels(series.labels()) else {
                continue;
            };
            self.turn_to(&labels, selection, open)?;
            if let Some(open) = open.as_mut() {
                self.samples(selection, open, &series)?;
            }
        }
        self.reading.within_samples(self.count.samples)
    }

    /// Passes on the samples and histograms of a series, by time.
    fn samples(
        &mut self,
        selection: &Selection,
        open: &mut Open,
        series: &SeriesRef<'_>,
    ) -> Result<(), ReadError> {
        let is_wanted = |time: i64| selection.covers(time, time) == Cover::All;
        let mut histograms = series
            .histograms()
            .filter(|(time, _)| is_wanted(*time))
            .peekable();
        for (time, value) in series.samples().filter(|(time, _)| is_wanted(*time)) {
            while let Some((_, message)) = histograms.next_if(|(other, _)| *other < time) {
                self.histogram(open, message)?;
            }
            open.go_on(time, time)?;
            open.samples.push(time, value);
            if open.samples.count() == SAMPLES {
                self.flush(open);
            }
        }
        for (_, message) in histograms {
            self.histogram(open, message)?;
        }
        Ok(())
    }

    fn histogram(&mut self, open: &mut Open, message: &[u8]) -> Result<(), ReadError> {
        self.flush(open);
        let chunk = histogram::parse(message)
            .map_err(|_| damaged(&open.labels, open.last.unwrap_or_default()))?
            .chunk();
        let chunk = ChunkRef {
            encoding: chunk.encoding,
            first: chunk.first,
            last: chunk.last,
            bytes: &chunk.bytes,
        };
        self.put(open, chunk)
    }

    /// Turns to a series, which is the one before or comes after it.
    fn turn_to(
        &mut self,
        labels: &[(&str, &str)],
        selection: &Selection,
        open: &mut Option<Open>,
    ) -> Result<(), ReadError> {
        if let Some(before) = open {
            let theirs = before.labels.iter();
            let order = labels
                .iter()
                .copied()
                .cmp(theirs.map(|(name, value)| (&**name, &**value)));
            if order.is_eq() {
                return Ok(());
            }
            if order.is_lt() {
                return Err(disorder(&format!("{labels:?} comes after {:?}", before.labels)));
            }
        }
        self.close(open)?;
        let owned = { labels.iter() }.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let begun = open.insert(Open {
            labels: owned.collect(),
            ..Open::default()
        });
        if selection.only_series {
            self.begin(begun);
        }
        Ok(())
    }

    fn close(&mut self, open: &mut Option<Open>) -> Result<(), ReadError> {
        if let Some(mut open) = open.take() {
            self.flush(&mut open);
        }
        self.frames.end();
        self.reading.within_samples(self.count.samples)
    }

    /// Ends the chunk of samples that came by themselves.
    fn flush(&mut self, open: &mut Open) {
        if open.samples.count() > 0 {
            let chunk = std::mem::take(&mut open.samples).finish();
            self.begin(open);
            self.count.samples += u64::from(chunk.count());
            let Chunk { first, last, .. } = chunk;
            self.frames.chunk(chunk.encoding as u8, first, last, &chunk.bytes);
        }
    }

    /// Puts a chunk behind what there is of its series.
    fn put(&mut self, open: &mut Open, chunk: ChunkRef<'_>) -> Result<(), ReadError> {
        open.go_on(chunk.first, chunk.last)?;
        self.begin(open);
        self.count.samples += u64::from(witgate_chunk::count(chunk.bytes));
        self.frames
            .chunk(chunk.encoding as u8, chunk.first, chunk.last, chunk.bytes);
        Ok(())
    }

    fn begin(&mut self, open: &mut Open) {
        if !open.is_begun {
            open.is_begun = true;
            self.count.series += 1;
            let labels = open.labels.iter();
            self.frames
                .series(labels.map(|(name, value)| (name.as_str(), value.as_str())));
        }
    }

    /// Sends what is done, if it is worth it.
    async fn send(&mut self) -> Result<(), ReadError> {
        while self.frames.done.len() >= PART {
            let part = self.frames.done.split_to(PART).freeze();
            let sent = self.parts.send(Ok(Part::Some(part)));
            match tokio::time::timeout(STALLED, sent).await {
                Ok(Ok(())) => {}
                // Who has gone does not mind.
                Ok(Err(_)) | Err(_) => return Err(ReadError::Stalled),
            }
        }
        if self.frames.done.capacity() == 0 {
            self.frames.done = BytesMut::with_capacity(PART);
        }
        Ok(())
    }
}

impl Open {
    /// Whether what is from `first` to `last` comes after what was there before.
    fn go_on(&mut self, first: i64, last: i64) -> Result<(), ReadError> {
        if let Some(before) = self.last.filter(|before| first <= *before) {
            let labels = &self.labels;
            return Err(disorder(&format!("in {labels:?} {first} comes after {before}")));
        }
        self.last = Some(last);
        Ok(())
    }
}

/// A storage whose answer is not what it says.
fn disorder(what: &str) -> ReadError {
    ReadError::Storage(StorageError::Unavailable {
        message: format!("the storage says that its answer is sorted, and it is not: {what}"),
        retry_after: None,
    })
}

/// Data that the storage has damaged. What is left out silently would be taken for not being there.
fn damaged(labels: &[(String, String)], time: i64) -> ReadError {
    ReadError::Storage(StorageError::Unavailable {
        message: format!("the storage has damaged data of {labels:?} at {time}"),
        retry_after: None,
    })
}
