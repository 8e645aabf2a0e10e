//! What VictoriaMetrics holds. It answers 204 whether it keeps a sample or drops it, so that what it
//! would drop has to be known before.

use std::ops::Range;

use witgate_remote::piece::{Piece, pieces, rejections};
use witgate_sdk::storage::{Batch, Rejection, Series};

use crate::time::Span;

/// The end of a series, the one NaN that VictoriaMetrics keeps.
pub(crate) const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Values that are closer to zero come back as zero: their decimal exponent is beyond what
/// VictoriaMetrics can turn back (`lib/decimal`, ToFloat).
const TINY: f64 = 1e-290;

/// How much earlier samples are refused than VictoriaMetrics drops them: its clock is another one,
/// and what is about to go needs no keeping.
const MARGIN: i64 = 5_000;

/// VictoriaMetrics' limits, as its flags set them.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) retention: Span,
    pub(crate) future_retention: Span,
    pub(crate) labels: usize,
    pub(crate) label_name: usize,
    pub(crate) label_value: usize,
}

impl Bounds {
    /// What VictoriaMetrics keeps of a batch at this time, and what not.
    pub(crate) fn split(&self, batch: &Batch, now: i64) -> (Vec<Piece>, Vec<Rejection>) {
        let faults: Vec<_> = batch.series().map(|series| self.fault(series)).collect();
        let (mut kept, mut rejected) = (Vec::new(), Vec::new());
        for piece in pieces(batch) {
            if let Some(Some(fault)) = faults.get(piece.series) {
                rejected.extend(piece.reject(fault));
                continue;
            }
            let samples = piece.samples.clone();
            let mut part = |range: Range<usize>| {
                if !range.is_empty() {
                    kept.push(Piece {
                        samples: range,
                        ..piece.clone()
                    });
                }
            };
            let mut start = samples.start;
            let mut refused: Vec<(&str, usize)> = Vec::new();
            for at in samples.clone() {
                let Some(reason) = self.refusal(batch.timestamps[at], batch.values[at], now) else {
                    continue;
                };
                part(start..at);
                start = at + 1;
                match refused.iter_mut().find(|(known, _)| *known == reason) {
                    Some((_, count)) => *count += 1,
                    None => refused.push((reason, 1)),
                }
            }
            part(start..samples.end);
            for (reason, count) in refused {
                rejected.extend(rejections(piece.series, [count, 0, 0], reason));
            }
        }
        (kept, rejected)
    }

    /// Why a sample is not kept.
    fn refusal(&self, timestamp: i64, bits: u64, now: i64) -> Option<&'static str> {
        let value = f64::from_bits(bits);
        if value.is_nan() && bits != STALE {
            return Some("VictoriaMetrics drops a NaN that is no stale marker");
        }
        if value != 0.0 && value.abs() < TINY {
            return Some("VictoriaMetrics makes zero of a value that is closer to zero than 1e-290");
        }
        if timestamp < 0 {
            return Some("VictoriaMetrics has no time before 1970");
        }
        if timestamp < now.saturating_sub(self.retention.0).saturating_add(MARGIN) {
            return Some("the sample is older than VictoriaMetrics keeps samples (`retention`)");
        }
        if timestamp > now.saturating_add(self.future_retention.0).saturating_sub(MARGIN) {
            return Some(
                "the sample is further ahead than VictoriaMetrics takes samples (`futureRetention`)",
            );
        }
        None
    }

    /// Why a series is not kept.
    fn fault(&self, series: Series<'_>) -> Option<&'static str> {
        let is_beyond = |limit: usize, length: usize| limit > 0 && length > limit;
        if is_beyond(self.labels, series.labels().count()) {
            return Some("the series has more labels than VictoriaMetrics takes (`maxLabels`)");
        }
        for (name, value) in series.labels() {
            if is_beyond(self.label_name, name.len()) {
                return Some("a label's name is longer than VictoriaMetrics takes (`maxLabelName`)");
            }
            if is_beyond(self.label_value, value.len()) {
                return Some("a label's value is longer than VictoriaMetrics takes (`maxLabelValue`)");
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use witgate_sdk::storage::{BatchBuilder, Sample};

    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn bounds() -> Bounds {
        Bounds {
            retention: Span::days(31),
            future_retention: Span::days(2),
            labels: 3,
            label_name: 10,
            label_value: 20,
        }
    }

    #[test]
    fn what_would_be_dropped_is_rejected_and_the_rest_kept() {
        let mut builder = BatchBuilder::default();
        builder.series([("__name__", "a")]);
        let day = 86_400_000;
        let samples = [
            (NOW, 1f64.to_bits()),
            (NOW + 1, f64::NAN.to_bits()),
            (NOW + 2, STALE),
            (NOW + 3, f64::NEG_INFINITY.to_bits()),
            (NOW + 4, 1),
            (NOW + 5, (-0.0f64).to_bits()),
            (NOW - 32 * day, 0),
            (-1, 0),
            (NOW + 3 * day, 0),
            (NOW + 6, 0x7ff8_0000_0000_0001),
        ];
        for (timestamp, bits) in samples {
            builder.sample(Sample { timestamp, bits });
        }
        let (kept, rejected) = bounds().split(&builder.finish(), NOW);
        let kept: Vec<_> = kept.into_iter().map(|piece| piece.samples).collect();
        assert_eq!(kept, [0..1, 2..4, 5..6]);
        let rejected: Vec<_> = rejected
            .iter()
            .map(|one| (one.count, one.reason.split_once(' ').unwrap().1))
            .map(|(count, reason)| (count, reason.split(' ').take(3).collect::<Vec<_>>().join(" ")))
            .collect();
        let expected = [
            (2, "drops a NaN"),
            (1, "makes zero of"),
            (1, "sample is older"),
            (1, "has no time"),
            (1, "sample is further"),
        ];
        assert_eq!(
            rejected,
            expected.map(|(count, reason)| (count, reason.to_owned()))
        );
    }

    #[test]
    fn series_beyond_the_limits_are_rejected_as_a_whole() {
        let long = "x".repeat(21);
        let mut builder = BatchBuilder::default();
        for labels in [
            &[("__name__", "a"), ("b", "c"), ("d", "e")][..],
            &[("__name__", "a"), ("b", "c"), ("d", "e"), ("f", "g")],
            &[("__name__", "a"), ("b12345678901", "c")],
            &[("__name__", &long)],
        ] {
            builder.series(labels.iter().copied());
            for timestamp in [NOW, NOW + 1] {
                builder.sample(Sample { timestamp, bits: 0 });
            }
        }
        let batch = builder.finish();
        let (kept, rejected) = bounds().split(&batch, NOW);
        assert_eq!(kept.len(), 1);
        let rejected: Vec<_> = rejected.iter().map(|one| (one.series, one.count)).collect();
        assert_eq!(rejected, [(1, 2), (2, 2), (3, 2)]);
        // Zero is VictoriaMetrics' way to say that there is no limit.
        let unlimited = Bounds {
            labels: 0,
            label_name: 0,
            label_value: 0,
            ..bounds()
        };
        assert_eq!(unlimited.split(&batch, NOW).0.len(), 4);
    }
}
