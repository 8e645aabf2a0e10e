//! Giving out what series have, in chunks.

use std::collections::{HashMap, VecDeque};

use witgate_sdk::key_value::{Entry, KeyValue};
use witgate_sdk::storage::{self, ChunksBuilder, Cursor, Encoding, Failure, Piece, Query};

use crate::ahead::Ahead;
use crate::block::Entries;
use crate::find::{Found, find};
use crate::key::{self, SHARDS, SeriesId, Tenant};
use crate::pages::pages_of;
use crate::value::{Stored, Value, Values, encode};
use crate::{failure_of, labels};

/// Bytes of one piece at about the most.
const PIECE: usize = 8 << 20;

/// What a query found: series after series, each day by day.
///
/// What is not folded yet was read when the query was opened, and before any chunk is: what is folded
/// in between is then seen twice and never missed.
#[derive(Debug)]
pub struct Series<K> {
    space: K,
    tenant: Tenant,
    start: i64,
    end: i64,
    only_series: bool,
    left: VecDeque<Found>,
    /// How many days of the first one are through.
    through: usize,
    ahead: Ahead,
    /// What is in blocks, in the order in which it was written.
    head: HashMap<SeriesId, Vec<(i64, Value)>>,
}

impl<K: KeyValue> Series<K> {
    /// Finds the series that match.
    pub(crate) fn find(space: K, tenant: Tenant, query: &Query) -> Result<Self, Failure> {
        let mut found = Vec::new();
        if query.start <= query.end {
            found = find(&space, tenant, query)?;
        }
        let mut series = Series {
            space,
            tenant,
            start: query.start,
            end: query.end,
            only_series: query.only_series,
            head: found.iter().map(|found| (found.id, Vec::new())).collect(),
            left: found.into(),
            through: 0,
            ahead: Ahead::default(),
        };
        series.read_head()?;
        Ok(series)
    }

    /// Reads the blocks of the shards that the series are in.
    fn read_head(&mut self) -> Result<(), Failure> {
        let mut shards = [false; SHARDS];
        for found in &self.left {
            shards[found.id.shard()] = true;
        }
        let range = self.start..=self.end;
        let shards = { shards.iter().enumerate() }.filter(|(_, is_wanted)| **is_wanted);
        let shards = shards.map(|(shard, _)| key::head(self.tenant, shard));
        pages_of(&self.space, shards, |page| {
            for block in page {
                for entry in Entries::of(&block.value) {
                    if range.contains(&entry.time)
                        && let Some(values) = self.head.get_mut(&entry.series)
                        && let Some(value) = entry.value()
                    {
                        values.push((entry.time, value));
                    }
                }
            }
        })?;
        self.head.retain(|_, values| !values.is_empty());
        for values in self.head.values_mut() {
            // What was written last counts.
            values.reverse();
            values.sort_by_key(|(time, _)| *time);
            values.dedup_by_key(|(time, _)| *time);
        }
        Ok(())
    }

    /// The chunks of the day of a series that comes next.
    fn chunks(&mut self) -> Result<Vec<Entry>, Failure> {
        let (through, mut days) = (self.through, self.left.iter());
        let first = days.next().into_iter().flat_map(|found| {
            let days = found.days.iter().skip(through);
            days.map(|day| (found.id, *day))
        });
        let others = days.flat_map(|found| found.days.iter().map(|day| (found.id, *day)));
        self.ahead.take(&self.space, self.tenant, first.chain(others))
    }

    /// Adds what the first series has on a day to a piece, and says whether that is anything. The last
    /// one of its chunks comes first.
    fn day(&self, day: i64, mut chunks: Vec<Entry>, piece: &mut Open) -> Result<bool, Failure> {
        let Some(found) = self.left.front() else {
            return Ok(false);
        };
        chunks.reverse();
        let mut stored = Vec::with_capacity(chunks.len());
        for chunk in &chunks {
            let (Some(first), Ok(read)) = (key::start_at_end(&chunk.key), Stored::read(&chunk.value)) else {
                return Err(failure_of(chunk));
            };
            if first <= self.end && read.last >= self.start {
                stored.push((first, read, chunk));
            }
        }
        let head = self.head.get(&found.id).map_or(&[][..], |head| head);
        let begin = head.partition_point(|(time, _)| key::day_of(*time) < day);
        let end = head.partition_point(|(time, _)| key::day_of(*time) <= day);
        let head = &head[begin..end];
        if self.only_series {
            let any = !stored.is_empty() || !head.is_empty();
            if any {
                piece.begin(found);
            }
            return Ok(any);
        }
        // What is later than all chunks comes behind them; what comes between is put there.
        let merged = match (head.first(), stored.last()) {
            (Some((first, _)), Some(_)) => stored.iter().position(|(_, read, _)| read.last >= *first),
            _ => None,
        };
        let (whole, mixed) = stored.split_at(merged.unwrap_or(stored.len()));
        for (first, read, _) in whole {
            piece.chunk(found, *first, read);
        }
        let mut values = Values::new();
        let fresh = if mixed.is_empty() {
            encode(head.iter().map(|(time, value)| (*time, value)))
        } else {
            values.extend(head.iter().cloned());
            for (_, read, chunk) in mixed {
                read.decode(&mut values).map_err(|_| failure_of(chunk))?;
            }
            encode(values.iter().map(|(time, value)| (*time, value)))
        };
        for chunk in &fresh {
            let read = Stored {
                encoding: chunk.encoding,
                last: chunk.last,
                bytes: &chunk.bytes,
            };
            piece.chunk(found, chunk.first, &read);
        }
        Ok(!whole.is_empty() || !fresh.is_empty())
    }
}

/// A piece that is being made.
#[derive(Default)]
struct Open {
    builder: ChunksBuilder,
    series: Option<SeriesId>,
}

impl Open {
    fn begin(&mut self, found: &Found) {
        if self.series != Some(found.id) {
            self.builder.series(labels::decode(&found.labels));
            self.series = Some(found.id);
        }
    }

    fn chunk(&mut self, found: &Found, first: i64, chunk: &Stored<'_>) {
        self.begin(found);
        self.builder.chunk(storage::Chunk {
            encoding: match chunk.encoding {
                witgate_chunk::Encoding::Xor => Encoding::Xor,
                witgate_chunk::Encoding::Histogram => Encoding::Histogram,
                witgate_chunk::Encoding::FloatHistogram => Encoding::FloatHistogram,
            },
            first,
            last: chunk.last,
            bytes: chunk.bytes,
        });
    }
}

impl<K: KeyValue + 'static> Cursor for Series<K> {
    fn sorted(&self) -> bool {
        true
    }

    fn next(&mut self, samples: u32) -> Result<Option<Piece>, Failure> {
        let mut piece = Open::default();
        while let Some(found) = self.left.front() {
            if piece.builder.sample_count() >= samples.max(1).into() || piece.builder.byte_count() >= PIECE {
                break;
            }
            let mut is_through = true;
            if let Some(day) = found.days.get(self.through).copied() {
                let chunks = self.chunks()?;
                let any = self.day(day, chunks, &mut piece)?;
                self.through += 1;
                is_through = self.only_series && any;
            }
            if is_through {
                self.left.pop_front();
                self.through = 0;
            }
        }
        Ok((!piece.builder.is_empty()).then(|| piece.builder.finish().into()))
    }
}
