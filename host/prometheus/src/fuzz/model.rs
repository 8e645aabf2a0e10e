//! What a remote write has to come to, worked out slowly from `prost`'s reading of it.

use std::collections::BTreeMap;

use prost::Message;
use witgate_plugins::{Batch, Datum, Kinds};

use crate::{
    decode::{Protocol, Refused},
    histogram,
    labels::SeriesIter,
    proto::{WriteRequest, v2},
};

/// A series as a batch has it, in a form that can be compared.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Series {
    labels: Vec<(String, String)>,
    samples: Vec<(i64, u64)>,
    histograms: Vec<Vec<u8>>,
}

/// How many of each kind were taken, and how many refused.
pub(super) type Counts = BTreeMap<Datum, (u64, u64)>;

/// What should come of a request.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) series: Vec<Series>,
    pub(super) counts: Counts,
}

/// A series of either version, before it is looked at.
struct Sent {
    /// None if they refer to something that is not there.
    labels: Option<Vec<(String, String)>>,
    samples: Vec<(i64, u64)>,
    histograms: Vec<Vec<u8>>,
    /// Whether each exemplar has labels that are there.
    exemplars: Vec<bool>,
}

impl Series {
    /// What every storage plugin may rely on.
    pub(super) fn is_well_formed(&self, label: Option<(&str, &str)>) {
        let labels = &self.labels;
        assert!(
            labels.is_sorted_by(|(a, _), (b, _)| a < b),
            "sorted, none twice: {labels:?}"
        );
        assert!(
            labels
                .iter()
                .all(|(name, value)| !name.is_empty() && !value.is_empty())
        );
        assert!(labels.iter().any(|(name, _)| name == "__name__"), "{labels:?}");
        if let Some((own, expected)) = label {
            let values: Vec<_> = labels.iter().filter(|(name, _)| name == own).collect();
            assert!(values.len() == 1 && values.iter().all(|(_, value)| value == expected));
        }
    }
}

/// The series of a batch.
pub(super) fn found(batch: &Batch) -> Vec<Series> {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    SeriesIter::new(batch)
        .map(|series| Series {
            labels: series.labels().map(owned).collect(),
            samples: series.samples().collect(),
            histograms: series.histograms().map(|(_, message)| message.to_vec()).collect(),
        })
        .collect()
}

pub(super) fn counts(batch: &Batch, refused: &Refused) -> Counts {
    let mut counts = Counts::new();
    for (datum, taken) in [
        (Datum::Sample, batch.timestamps.len()),
        (Datum::Histogram, batch.histograms.timestamps.len()),
        (Datum::Exemplar, batch.exemplars.timestamps.len()),
    ] {
        counts.entry(datum).or_default().0 += taken as u64;
    }
    for ((datum, _), count) in &refused.counts {
        counts.entry(*datum).or_default().1 += count;
    }
    counts
}

/// None where `prost` does not read it: it refuses more than has to be refused.
pub(super) fn expected(
    message: &[u8],
    protocol: Protocol,
    holds: Kinds,
    label: Option<(&str, &str)>,
) -> Option<Expected> {
    let sent = match protocol {
        Protocol::V1 => sent_v1(message)?,
        Protocol::V2 => sent_v2(message)?,
    };
    let mut expected = Expected::default();
    for datum in [Datum::Sample, Datum::Histogram, Datum::Exemplar] {
        expected.counts.entry(datum).or_default();
    }
    for series in sent {
        expected.add(series, protocol, holds, label);
    }
    Some(expected)
}

impl Expected {
    fn add(&mut self, sent: Sent, protocol: Protocol, holds: Kinds, label: Option<(&str, &str)>) {
        let had_any = !sent.samples.is_empty() || !sent.histograms.is_empty() || !sent.exemplars.is_empty();
        let all = sent.histograms.len();
        let is_valid = |message: &Vec<u8>| {
            let parsed = histogram::parse(message);
            holds.histograms && parsed.is_ok_and(|parsed| histogram::validate(&parsed).is_ok())
        };
        let histograms: Vec<_> = sent.histograms.into_iter().filter(is_valid).collect();
        self.refuse(Datum::Histogram, all - histograms.len());
        let exemplars = sent
            .exemplars
            .iter()
            .filter(|is_right| **is_right && holds.exemplars);
        let exemplars = exemplars.count();
        self.refuse(Datum::Exemplar, sent.exemplars.len() - exemplars);

        let is_mixed = protocol == Protocol::V2 && !sent.samples.is_empty() && !histograms.is_empty();
        let is_bare = protocol == Protocol::V2 && !had_any;
        let labels = sent.labels.filter(|_| !is_mixed && !is_bare);
        let taken = sent.samples.len() + histograms.len() + exemplars;
        let Some(labels) = labels.and_then(|labels| accepted(labels, label)) else {
            self.refuse(Datum::Sample, sent.samples.len().max(usize::from(taken == 0)));
            self.refuse(Datum::Histogram, histograms.len());
            self.refuse(Datum::Exemplar, exemplars);
            return;
        };
        if taken == 0 {
            return;
        }
        for (datum, count) in [
            (Datum::Sample, sent.samples.len()),
            (Datum::Histogram, histograms.len()),
            (Datum::Exemplar, exemplars),
        ] {
            self.counts.entry(datum).or_default().0 += count as u64;
        }
        self.series.push(Series {
            labels,
            samples: sent.samples,
            histograms,
        });
    }

    fn refuse(&mut self, datum: Datum, count: usize) {
        self.counts.entry(datum).or_default().1 += count as u64;
    }
}

/// The labels that a series gets, unless it is refused for them.
fn accepted(labels: Vec<(String, String)>, label: Option<(&str, &str)>) -> Option<Vec<(String, String)>> {
    if labels.iter().any(|(name, _)| name.is_empty()) {
        return None;
    }
    let mut sorted: Vec<_> = labels
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    sorted.sort();
    let is_twice = sorted
        .iter()
        .zip(sorted.iter().skip(1))
        .any(|((a, _), (b, _))| a == b);
    if is_twice || !sorted.iter().any(|(name, _)| name == "__name__") {
        return None;
    }
    if let Some((own, value)) = label {
        match sorted.iter().find(|(name, _)| name == own) {
            Some((_, found)) if found != value => return None,
            Some(_) => {}
            None => sorted.push((own.to_owned(), value.to_owned())),
        }
        sorted.sort();
    }
    Some(sorted)
}

fn sent_v1(message: &[u8]) -> Option<Vec<Sent>> {
    let request = WriteRequest::decode(message).ok()?;
    let series = request.timeseries.into_iter().map(|series| Sent {
        labels: Some(
            { series.labels.into_iter() }
                .map(|label| (label.name, label.value))
                .collect(),
        ),
        samples: { series.samples.iter() }
            .map(|sample| (sample.timestamp, sample.value))
            .collect(),
        histograms: series.histograms,
        exemplars: { series.exemplars.iter() }
            .map(|exemplar| exemplar.labels.iter().all(|label| !label.name.is_empty()))
            .collect(),
    });
    Some(series.collect())
}

fn sent_v2(message: &[u8]) -> Option<Vec<Sent>> {
    let request = v2::Request::decode(message).ok()?;
    let text = |reference: &u32| request.symbols.get(usize::try_from(*reference).ok()?).cloned();
    let pairs = |references: &[u32]| {
        let (pairs, rest) = references.as_chunks::<2>();
        let pairs = pairs
            .iter()
            .map(|[name, value]| Some((text(name)?, text(value)?)));
        pairs.collect::<Option<Vec<_>>>().filter(|_| rest.is_empty())
    };
    let series = request.timeseries.iter().map(|series| Sent {
        labels: pairs(&series.labels_refs),
        samples: { series.samples.iter() }
            .map(|sample| (sample.timestamp, sample.value))
            .collect(),
        histograms: series.histograms.clone(),
        exemplars: { series.exemplars.iter() }
            .map(|exemplar| pairs(&exemplar.labels_refs).is_some())
            .collect(),
    });
    Some(series.collect())
}
