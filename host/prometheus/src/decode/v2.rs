//! Remote write 2.0: `io.prometheus.write.v2.Request` (`prompb/io/prometheus/write/v2/types.proto`).

use witgate_plugins::{Kinds, MetricFamily};

use super::{
    DecodeError, Decoder, NO_EXEMPLARS,
    labels::{Labels, Pair},
    symbols::Symbol,
};
use crate::{
    config::Limits,
    proto,
    wire::{Damaged, Fields, Value, varints},
};

/// Symbols of one body. Prometheus sends some thousand.
const SYMBOLS: usize = 1 << 20;

/// The symbols of a body, each with its place in the batch's table once somebody needed it.
#[derive(Default)]
struct Table<'b> {
    texts: Vec<&'b [u8]>,
    known: Vec<Option<Symbol>>,
}

/// What something in a series refers to that is not there, or can't be used.
const NO_SYMBOL: &str = "a reference to a symbol that is not there";
const NOT_UTF8: &str = "a label that is not UTF-8";
const TOO_LONG: &str = "a label longer than `prometheus.limits.label`";

impl Decoder {
    pub(super) fn v2<'b>(
        &mut self,
        bytes: &'b [u8],
        mut labels: Labels<'b>,
        limits: &Limits,
        holds: Kinds,
    ) -> Result<(), DecodeError> {
        let mut table = Table::default();
        // Symbols may come after the series that refer to them.
        let mut fields = Fields(bytes);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (4, Value::Bytes(text)) if table.texts.len() < SYMBOLS => table.texts.push(text),
                (4, Value::Bytes(_)) => return Err(DecodeError::Symbols(SYMBOLS)),
                // `timeseries` and `metadata` of 1.0, which 2.0 reserves.
                (1 | 3, Value::Bytes(_)) => return Err(DecodeError::Version1),
                _ => {}
            }
        }
        if table.texts.first().is_some_and(|first| !first.is_empty()) {
            return Err(DecodeError::Damaged(
                "the first symbol is not the empty one".to_owned(),
            ));
        }
        table.known.resize(table.texts.len(), None);
        let mut fields = Fields(bytes);
        while let Some((number, value)) = fields.next()? {
            if let (5, Value::Bytes(series)) = (number, value) {
                self.v2_series(series, &mut labels, &mut table, limits, holds)?;
            }
        }
        Ok(())
    }

    fn v2_series<'b>(
        &mut self,
        bytes: &'b [u8],
        labels: &mut Labels<'b>,
        table: &mut Table<'b>,
        limits: &Limits,
        holds: Kinds,
    ) -> Result<(), DecodeError> {
        let mut wrong = None;
        let mut metadata = None;
        let mark = self.mark();
        let mut has_data = false;
        labels.begin();
        let mut name = None;
        let mut fields = Fields(bytes);
        while let Some((number, value)) = fields.next()? {
            has_data |= matches!(number, 2..=4);
            match (number, value) {
                // Packed, or one by one: a reader has to take both.
                (1, value) => {
                    varints(value, |reference| {
                        let Some(left) = name.take() else {
                            name = Some(reference);
                            return;
                        };
                        if let Err(reason) = self.v2_label([left, reference], labels, table, limits) {
                            wrong = Some(reason);
                        }
                    })?;
                }
                (2, Value::Bytes(sample)) => self.sample(sample, holds)?,
                (3, Value::Bytes(histogram)) => self.histogram(histogram, holds)?,
                (4, Value::Bytes(exemplar)) => self.v2_exemplar(exemplar, table, limits, holds)?,
                (5, Value::Bytes(message)) if holds.families => metadata = Some(message),
                _ => {}
            }
        }
        if name.is_some() {
            wrong = Some("a label without a value: its references are not pairs");
        }
        let now = self.mark();
        let (samples, histograms) = (now.samples - mark.samples, now.histograms - mark.histograms);
        if samples > 0 && histograms > 0 {
            wrong = wrong.or(Some("samples and histograms in one series"));
        } else if !has_data {
            wrong = wrong.or(Some("neither a sample nor a histogram"));
        }
        let taken = self.batch.label_ends.len();
        self.end_series(mark, labels, wrong);
        if let Some(message) = metadata
            && self.batch.label_ends.len() > taken
        {
            self.v2_family(message, table, limits)?;
        }
        Ok(())
    }

    #[inline]
    fn v2_label(
        &mut self,
        [name, value]: [u64; 2],
        labels: &mut Labels<'_>,
        table: &mut Table<'_>,
        limits: &Limits,
    ) -> Result<(), &'static str> {
        if labels.current.len() >= limits.labels {
            return Err("more labels than `prometheus.limits.labels`");
        }
        let name = self.resolve(name, table, limits)?;
        let value = self.resolve(value, table, limits)?;
        if name.id == 0 {
            return Err("a label without a name");
        }
        // An empty value is the same as no label.
        if value.id != 0 {
            labels.current.push(Pair {
                raw: &[],
                name,
                value,
            });
        }
        Ok(())
    }

    #[inline]
    fn resolve(
        &mut self,
        reference: u64,
        table: &mut Table<'_>,
        limits: &Limits,
    ) -> Result<Symbol, &'static str> {
        // Of a number that is too long its last 32 bits count, as everywhere in protobuf.
        let index = usize::try_from(reference & u64::from(u32::MAX)).map_err(|_| NO_SYMBOL)?;
        let (Some(text), Some(known)) = (table.texts.get(index), table.known.get_mut(index)) else {
            return Err(NO_SYMBOL);
        };
        if let Some(symbol) = known {
            return Ok(*symbol);
        }
        if text.len() as u64 > limits.label.0 {
            return Err(TOO_LONG);
        }
        let symbol = self.symbols.intern(&mut self.batch, text).ok_or(NOT_UTF8)?;
        *known = Some(symbol);
        Ok(symbol)
    }

    fn v2_exemplar(
        &mut self,
        bytes: &[u8],
        table: &mut Table<'_>,
        limits: &Limits,
        holds: Kinds,
    ) -> Result<(), Damaged> {
        let (mut value, mut timestamp) = (0, 0);
        let mut wrong = (!holds.exemplars).then_some(NO_EXEMPLARS);
        let mut fields = Fields(bytes);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (2, Value::Fixed64(bits)) => value = bits,
                (3, Value::Varint(millis)) => timestamp = millis.cast_signed(),
                (1, field) if wrong.is_none() => {
                    varints(field, |reference| match self.resolve(reference, table, limits) {
                        Ok(symbol) => self.batch.exemplars.labels.push(symbol.id),
                        Err(reason) => wrong = Some(reason),
                    })?;
                }
                _ => {}
            }
        }
        // Those before it have pairs only.
        if self.batch.exemplars.labels.len() % 2 == 1 {
            wrong = wrong.or(Some("a label without a value: its references are not pairs"));
        }
        self.end_exemplar(timestamp, value, wrong);
        Ok(())
    }

    /// Of the series that was ended last.
    fn v2_family(&mut self, bytes: &[u8], table: &mut Table<'_>, limits: &Limits) -> Result<(), Damaged> {
        let (mut kind, mut help, mut unit) = (0, 0, 0);
        let mut fields = Fields(bytes);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Value::Varint(number)) => kind = number,
                (3, Value::Varint(reference)) => help = reference,
                (4, Value::Varint(reference)) => unit = reference,
                _ => {}
            }
        }
        if (kind, help, unit) == (0, 0, 0) {
            return Ok(());
        }
        let Some(name) = self.name_of_last() else {
            return Ok(());
        };
        if self
            .batch
            .families
            .last()
            .is_some_and(|family| family.name == name)
        {
            return Ok(());
        }
        // Help that can't be kept is no reason to lose samples.
        let help = self.resolve(help, table, limits).map_or(0, |symbol| symbol.id);
        let unit = self.resolve(unit, table, limits).map_or(0, |symbol| symbol.id);
        self.batch.families.push(MetricFamily {
            name,
            kind: proto::metric_kind(kind),
            help,
            unit,
        });
        Ok(())
    }

    fn name_of_last(&self) -> Option<u32> {
        let batch = &self.batch;
        let start = batch
            .label_ends
            .len()
            .checked_sub(2)
            .and_then(|before| batch.label_ends.get(before));
        let labels = batch.labels.get(start.map_or(0, |start| *start as usize)..)?;
        let is_name =
            |id: u32| batch.symbol_bytes.get(Symbol::at(&batch.symbol_ends, id).range()) == Some(b"__name__");
        let pairs = labels.as_chunks::<2>().0;
        pairs
            .iter()
            .find(|[name, _]| is_name(*name))
            .map(|[_, value]| *value)
    }
}
