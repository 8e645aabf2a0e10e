//! Remote write 1.0: `prometheus.WriteRequest` (`prompb/remote.proto`, `prompb/types.proto`).

use witgate_plugins::{Kinds, MetricFamily};

use super::{
    DecodeError, Decoder, NO_EXEMPLARS,
    labels::{Labels, Pair},
};
use crate::{
    config::Limits,
    proto,
    wire::{Damaged, Fields, Value},
};

impl Decoder {
    pub(super) fn v1<'b>(
        &mut self,
        bytes: &'b [u8],
        mut labels: Labels<'b>,
        limits: &Limits,
        holds: Kinds,
    ) -> Result<(), DecodeError> {
        let mut fields = Fields(bytes);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Bytes(series)) => self.v1_series(series, &mut labels, limits, holds)?,
                (3, Value::Bytes(metadata)) if holds.families => self.v1_family(metadata, limits)?,
                // `symbols` and `timeseries` of 2.0, which 1.0 reserves.
                (4 | 5, Value::Bytes(_)) => return Err(DecodeError::Version2),
                // Anything else is of a later time.
                _ => {}
            }
        }
        Ok(())
    }

    fn v1_series<'b>(
        &mut self,
        bytes: &'b [u8],
        labels: &mut Labels<'b>,
        limits: &Limits,
        holds: Kinds,
    ) -> Result<(), DecodeError> {
        let mut wrong = None;
        let mark = self.mark();
        labels.begin();
        let mut fields = Fields(bytes);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Bytes(label)) => {
                    if labels.current.len() >= limits.labels {
                        wrong = Some("more labels than `prometheus.limits.labels`");
                    } else if let Some(same) = labels
                        .before
                        .get(labels.current.len())
                        .filter(|pair| pair.raw == label)
                    {
                        labels.current.push(*same);
                    } else if let Err(reason) = self.v1_label(label, labels, limits)? {
                        wrong = Some(reason);
                    }
                }
                (2, Value::Bytes(sample)) => self.sample(
                    sample,
                    Kinds {
                        // What 1.0 has no field for is nothing to be read.
                        start_timestamps: false,
                        ..holds
                    },
                )?,
                (3, Value::Bytes(exemplar)) => self.v1_exemplar(exemplar, limits, holds)?,
                (4, Value::Bytes(histogram)) => self.histogram(histogram, holds)?,
                _ => {}
            }
        }
        self.end_series(mark, labels, wrong);
        Ok(())
    }

    #[inline]
    fn v1_label<'b>(
        &mut self,
        raw: &'b [u8],
        labels: &mut Labels<'b>,
        limits: &Limits,
    ) -> Result<Result<(), &'static str>, Damaged> {
        let (name, value) = match label(raw, limits)? {
            Ok(label) => label,
            Err(reason) => return Ok(Err(reason)),
        };
        // An empty value is the same as no label.
        if value.is_empty() {
            return Ok(Ok(()));
        }
        let name_before = labels.before.get(labels.current.len()).map(|pair| pair.name);
        let name = match name_before {
            Some(same) if self.batch.symbol_bytes.get(same.range()) == Some(name) => Some(same),
            _ => self.symbols.intern(&mut self.batch, name),
        };
        match (name, self.symbols.intern(&mut self.batch, value)) {
            (Some(name), Some(value)) => {
                labels.current.push(Pair { raw, name, value });
                Ok(Ok(()))
            }
            _ => Ok(Err("a label that is not UTF-8")),
        }
    }

    fn v1_exemplar(&mut self, bytes: &[u8], limits: &Limits, holds: Kinds) -> Result<(), Damaged> {
        let (mut value, mut timestamp) = (0, 0);
        let mut wrong = (!holds.exemplars).then_some(NO_EXEMPLARS);
        let mut fields = Fields(bytes);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Value::Bytes(raw)) if wrong.is_none() => match label(raw, limits)? {
                    Err(reason) => wrong = Some(reason),
                    Ok((name, text)) => {
                        let name = self.symbols.intern(&mut self.batch, name);
                        let text = self.symbols.intern(&mut self.batch, text);
                        match (name, text) {
                            (Some(name), Some(text)) => {
                                self.batch.exemplars.labels.extend([name.id, text.id])
                            }
                            _ => wrong = Some("a label that is not UTF-8"),
                        }
                    }
                },
                (2, Value::Fixed64(bits)) => value = bits,
                (3, Value::Varint(millis)) => timestamp = millis.cast_signed(),
                _ => {}
            }
        }
        self.end_exemplar(timestamp, value, wrong);
        Ok(())
    }

    fn v1_family(&mut self, bytes: &[u8], limits: &Limits) -> Result<(), Damaged> {
        let (mut kind, mut name, mut help, mut unit): (u64, &[u8], &[u8], &[u8]) = (0, &[], &[], &[]);
        let mut fields = Fields(bytes);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Value::Varint(number)) => kind = number,
                (2, Value::Bytes(text)) => name = text,
                (4, Value::Bytes(text)) => help = text,
                (5, Value::Bytes(text)) => unit = text,
                _ => {}
            }
        }
        let limit = usize::try_from(limits.label.0).unwrap_or(usize::MAX);
        if name.is_empty() || [name, help, unit].iter().any(|text| text.len() > limit) {
            return Ok(());
        }
        let [name, help, unit] = [name, help, unit].map(|text| self.symbols.intern(&mut self.batch, text));
        if let (Some(name), Some(help), Some(unit)) = (name, help, unit) {
            self.batch.families.push(MetricFamily {
                name: name.id,
                kind: proto::metric_kind(kind),
                help: help.id,
                unit: unit.id,
            });
        }
        Ok(())
    }
}

/// Name and value of a label, or what is wrong with them.
type Checked<'b> = Result<(&'b [u8], &'b [u8]), &'static str>;

/// Name and value of a label, unless something is wrong with them.
#[inline]
fn label<'b>(raw: &'b [u8], limits: &Limits) -> Result<Checked<'b>, Damaged> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut fields = Fields(raw);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Value::Bytes(bytes)) => name = bytes,
            (2, Value::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    if name.is_empty() {
        return Ok(Err("a label without a name"));
    }
    let limit = usize::try_from(limits.label.0).unwrap_or(usize::MAX);
    if name.len() > limit || value.len() > limit {
        return Ok(Err("a label longer than `prometheus.limits.label`"));
    }
    Ok(Ok((name, value)))
}
