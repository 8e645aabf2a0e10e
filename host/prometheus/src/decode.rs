//! A remote write from its body to checked columns.
//!
//! The protobuf is read where it lies, and each string goes into the batch's symbol table once.
//! Consecutive series of a request mostly have the same label at the same place, so a label is first
//! compared with the one at its place in the series before; only what differs is looked up by hash.

mod labels;
mod symbols;
mod treat;
mod v1;
mod v2;

use std::{collections::BTreeMap, sync::Arc};

use witgate_plugins::{Batch, Datum, Kinds};

use self::{
    labels::{Labels, Pair},
    symbols::Symbols,
    treat::{Fate, Treating},
};
use crate::{
    compression::{Compression, CompressionError},
    config::Limits,
    histogram,
    treatment::Treatment,
    wire::{Damaged, Fields, Value},
};

/// Which message a body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Remote write 1.0: `prometheus.WriteRequest`.
    #[default]
    V1,
    /// Remote write 2.0: `io.prometheus.write.v2.Request`.
    V2,
}

/// What is known of a body from its headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// Which message it is.
    pub protocol: Protocol,
    /// How it is compressed.
    pub compression: Compression,
}

/// What is taken, and how.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Bounds.
    pub limits: &'a Limits,
    /// What the storage holds besides samples.
    pub holds: Kinds,
    /// Name and value of a label that every series gets. One that has it with another value is refused.
    pub label: Option<(&'a str, &'a str)>,
    /// What is done to the series on their way.
    pub treatment: Option<&'a Arc<Treatment>>,
}

/// Why a body is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It can't be decompressed.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// It is no protobuf.
    #[error("{0}")]
    Damaged(String),
    /// It is a remote write 2.0 that says that it is a 1.0.
    #[error(
        "the body is a remote write 2.0, and its content type says 1.0: send proto=io.prometheus.write.v2.Request"
    )]
    Version2,
    /// It is a remote write 1.0 that says that it is a 2.0.
    #[error(
        "the body is a remote write 1.0, and its content type says 2.0: send proto=prometheus.WriteRequest"
    )]
    Version1,
    /// It refers to more strings than are taken.
    #[error("the body has over {0} symbols")]
    Symbols(usize),
}

impl From<Damaged> for DecodeError {
    fn from(damaged: Damaged) -> Self {
        Self::Damaged(damaged.to_string())
    }
}

/// What of a request was not taken into the batch, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// How many, by what it is and by reason.
    pub counts: BTreeMap<(Datum, &'static str), u64>,
    /// What a rule of `relabel` dropped: samples, histograms, exemplars.
    pub dropped: [u64; 3],
    /// What is of replicas that are not the elected ones.
    pub deduplicated: [u64; 3],
    /// Clusters, each with a replica of it, of which it has to be found out who is elected there. What
    /// is theirs counts as deduplicated meanwhile.
    pub unsettled: Vec<(String, String)>,
    /// The labels of the first series that was refused.
    pub first: Option<String>,
}

/// Decodes requests one after the other; its tables are kept, so that it allocates only to grow.
#[derive(Debug, Default)]
pub struct Decoder {
    decompressed: Vec<u8>,
    symbols: Symbols,
    batch: Batch,
    refused: Refused,
    /// What was refused of the series that is being read.
    pending: Vec<(Datum, &'static str, usize)>,
    treating: Treating,
}

/// How long the columns were before a series.
#[derive(Clone, Copy)]
struct Mark {
    samples: usize,
    histograms: usize,
    messages: usize,
    exemplars: usize,
    exemplar_labels: usize,
}

// === impl Decoder ===

impl Decoder {
    /// Decodes and checks one body. The batch and what was refused are the decoder's until the next.
    pub fn decode(
        &mut self,
        body: &[u8],
        form: Form,
        rules: &Rules<'_>,
    ) -> Result<(&Batch, &Refused), DecodeError> {
        self.clear();
        let Rules {
            limits,
            holds,
            label,
            treatment,
        } = *rules;
        self.treating.begin(treatment, (limits.labels, limits.label.0));
        let enforced = label.and_then(|(name, value)| {
            let name = self.symbols.intern(&mut self.batch, name.as_bytes());
            name.zip(self.symbols.intern(&mut self.batch, value.as_bytes()))
        });
        let labels = Labels::enforcing(enforced);
        form.compression
            .decompress(body, limits.decoded.0, &mut self.decompressed)?;
        let bytes = std::mem::take(&mut self.decompressed);
        let result = match form.protocol {
            Protocol::V1 => self.v1(&bytes, labels, limits, holds),
            Protocol::V2 => self.v2(&bytes, labels, limits, holds),
        };
        self.decompressed = bytes;
        result?;
        self.drop_empty_columns();
        Ok((&self.batch, &self.refused))
    }

    /// The batch and what was refused, of the body that was decoded last.
    pub(crate) fn decoded(&self) -> (&Batch, &Refused) {
        (&self.batch, &self.refused)
    }

    fn clear(&mut self) {
        self.symbols.clear();
        self.refused = Refused::default();
        self.pending.clear();
        let batch = &mut self.batch;
        batch.symbol_bytes.clear();
        batch.symbol_ends.clear();
        batch.symbol_ends.push(0);
        batch.labels.clear();
        batch.label_ends.clear();
        batch.timestamps.clear();
        batch.values.clear();
        batch.sample_ends.clear();
        batch.start_timestamps.clear();
        batch.families.clear();
        let histograms = &mut batch.histograms;
        histograms.ends.clear();
        histograms.timestamps.clear();
        histograms.message_ends.clear();
        histograms.messages.clear();
        let exemplars = &mut batch.exemplars;
        exemplars.ends.clear();
        exemplars.timestamps.clear();
        exemplars.values.clear();
        exemplars.labels.clear();
        exemplars.label_ends.clear();
    }

    fn drop_empty_columns(&mut self) {
        let batch = &mut self.batch;
        if batch.start_timestamps.iter().all(|start| *start == 0) {
            batch.start_timestamps.clear();
        }
        if batch.histograms.timestamps.is_empty() {
            batch.histograms.ends.clear();
        }
        if batch.exemplars.timestamps.is_empty() {
            batch.exemplars.ends.clear();
        }
    }

    fn mark(&self) -> Mark {
        let batch = &self.batch;
        Mark {
            samples: batch.timestamps.len(),
            histograms: batch.histograms.timestamps.len(),
            messages: batch.histograms.messages.len(),
            exemplars: batch.exemplars.timestamps.len(),
            exemplar_labels: batch.exemplars.labels.len(),
        }
    }

    /// Ends a series whose data is in the columns since `mark`: with its labels, or, if something is
    /// wrong with them, without any of it.
    fn end_series(&mut self, mark: Mark, labels: &mut Labels<'_>, wrong: Option<&'static str>) {
        let now = self.mark();
        let counts = [
            (Datum::Sample, now.samples - mark.samples),
            (Datum::Histogram, now.histograms - mark.histograms),
            (Datum::Exemplar, now.exemplars - mark.exemplars),
        ];
        let has_data = counts.iter().any(|(_, count)| *count > 0);
        let fate = match wrong {
            Some(reason) => Fate::Refused(reason),
            None => self.settle(labels, has_data),
        };
        if !matches!(fate, Fate::Taken) {
            self.truncate(mark);
        }
        match fate {
            Fate::Taken if has_data => {
                let batch = &mut self.batch;
                batch.label_ends.push(length(batch.labels.len()));
                batch.sample_ends.push(length(batch.timestamps.len()));
                let histograms = &mut batch.histograms;
                histograms.ends.push(length(histograms.timestamps.len()));
                let exemplars = &mut batch.exemplars;
                exemplars.ends.push(length(exemplars.timestamps.len()));
            }
            Fate::Taken => {
                let start = self.batch.label_ends.last().copied().unwrap_or_default();
                self.batch.labels.truncate(start as usize);
            }
            Fate::Refused(reason) => {
                for (datum, count) in counts {
                    // A series without anything counts as the sample that it should have had.
                    let count = count.max(usize::from(!has_data && datum == Datum::Sample));
                    self.refuse(datum, reason, count, &labels.current);
                }
            }
            Fate::Dropped => leave_out(&mut self.refused.dropped, &counts, &mut self.pending),
            Fate::Deduplicated => leave_out(&mut self.refused.deduplicated, &counts, &mut self.pending),
        }
        for (datum, reason, count) in std::mem::take(&mut self.pending) {
            self.refuse(datum, reason, count, &labels.current);
        }
        labels.next();
    }

    /// Takes what was read since `mark` off the columns.
    fn truncate(&mut self, mark: Mark) {
        let batch = &mut self.batch;
        batch.timestamps.truncate(mark.samples);
        batch.values.truncate(mark.samples);
        batch.start_timestamps.truncate(mark.samples);
        let histograms = &mut batch.histograms;
        histograms.timestamps.truncate(mark.histograms);
        histograms.message_ends.truncate(mark.histograms);
        histograms.messages.truncate(mark.messages);
        let exemplars = &mut batch.exemplars;
        exemplars.timestamps.truncate(mark.exemplars);
        exemplars.values.truncate(mark.exemplars);
        exemplars.label_ends.truncate(mark.exemplars);
        exemplars.labels.truncate(mark.exemplar_labels);
    }

    #[inline]
    fn sample(&mut self, bytes: &[u8], holds: Kinds) -> Result<(), Damaged> {
        let (mut value, mut timestamp, mut start) = (0, 0, 0);
        let mut fields = Fields(bytes);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Value::Fixed64(bits)) => value = bits,
                (2, Value::Varint(millis)) => timestamp = millis.cast_signed(),
                // Of 2.0 only.
                (3, Value::Varint(millis)) => start = millis.cast_signed(),
                _ => {}
            }
        }
        self.batch.timestamps.push(timestamp);
        self.batch.values.push(value);
        if holds.start_timestamps {
            self.batch.start_timestamps.push(start);
        }
        Ok(())
    }

    /// Takes a native histogram as it is, if it is one.
    fn histogram(&mut self, message: &[u8], holds: Kinds) -> Result<(), Damaged> {
        if !holds.histograms {
            let reason = "native histograms, which the storage does not hold";
            self.refuse_later(Datum::Histogram, reason);
            return Ok(());
        }
        let parsed = histogram::parse(message)?;
        if let Err(reason) = histogram::validate(&parsed) {
            self.refuse_later(Datum::Histogram, reason);
            return Ok(());
        }
        let histograms = &mut self.batch.histograms;
        histograms.timestamps.push(parsed.time);
        histograms.messages.extend_from_slice(message);
        histograms.message_ends.push(length(histograms.messages.len()));
        Ok(())
    }

    /// Ends an exemplar whose labels, if it has them all, are in their column already.
    fn end_exemplar(&mut self, timestamp: i64, bits: u64, wrong: Option<&'static str>) {
        let exemplars = &mut self.batch.exemplars;
        if let Some(reason) = wrong {
            let end = exemplars.label_ends.last().copied().unwrap_or_default();
            exemplars.labels.truncate(end as usize);
            self.refuse_later(Datum::Exemplar, reason);
            return;
        }
        exemplars.timestamps.push(timestamp);
        exemplars.values.push(bits);
        exemplars.label_ends.push(length(exemplars.labels.len()));
    }

    /// Refuses one of the series that is being read, unless the series is left out as a whole.
    fn refuse_later(&mut self, datum: Datum, reason: &'static str) {
        let is = |known: &&mut (Datum, &str, usize)| (known.0, known.1) == (datum, reason);
        match self.pending.iter_mut().find(is) {
            Some((.., count)) => *count += 1,
            None => self.pending.push((datum, reason, 1)),
        }
    }

    fn refuse(&mut self, datum: Datum, reason: &'static str, count: usize, labels: &[Pair<'_>]) {
        if count == 0 {
            return;
        }
        *self.refused.counts.entry((datum, reason)).or_default() += count as u64;
        if self.refused.first.is_none() {
            self.refused.first = Some(labels::described(labels, &self.batch));
        }
    }
}

/// Counts a series' data as left out, with what would have been refused of it anyway.
fn leave_out(out: &mut [u64; 3], counts: &[(Datum, usize); 3], pending: &mut Vec<(Datum, &str, usize)>) {
    for (out, (datum, count)) in out.iter_mut().zip(counts) {
        let refused = pending.iter().filter(|(refused, ..)| refused == datum);
        let refused: usize = refused.map(|(.., count)| count).sum();
        *out += (count + refused) as u64;
    }
    pending.clear();
}

/// What a storage that holds no exemplars means for one.
const NO_EXEMPLARS: &str = "exemplars, which the storage does not hold";

/// A length as the contract writes it: bodies are far below what does not fit.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
