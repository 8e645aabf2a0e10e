//! A series' way through its tenant's steps, once all of it was read.

use std::sync::Arc;

use witgate_plugins::Batch;

use super::{
    Decoder,
    labels::Labels,
    symbols::{Symbol, Symbols},
};
use crate::{
    relabel::LabelSet,
    replicas::{self, Verdict},
    series,
    treatment::Treatment,
};

/// Clusters of which it is found out at a time who is elected there.
const UNSETTLED: usize = 64;

/// What becomes of a series.
pub(super) enum Fate {
    Taken,
    Refused(&'static str),
    /// By a rule of `relabel`.
    Dropped,
    /// It is of a replica that is not the elected one.
    Deduplicated,
}

/// What one decoding has of its tenant's steps, and buffers that are kept for the next.
#[derive(Debug, Default)]
pub(super) struct Treating {
    treatment: Option<Arc<Treatment>>,
    now: u64,
    part: series::Now,
    /// Labels of one series, and of one label's length.
    most: (usize, u64),
    sorted: Vec<[Symbol; 2]>,
    set: LabelSet,
    /// Of which cluster and replica a series was before, by their symbols.
    last: Option<([u32; 2], Verdict)>,
}

impl Treating {
    pub(super) fn begin(&mut self, treatment: Option<&Arc<Treatment>>, most: (usize, u64)) {
        self.treatment = treatment.cloned();
        self.most = most;
        self.last = None;
        if let Some(treatment) = treatment {
            self.now = replicas::now();
            self.part = treatment
                .series
                .as_ref()
                .map_or_else(Default::default, |series| series.now());
        }
    }
}

impl Decoder {
    /// Puts a series' labels into the batch, if it is taken.
    pub(super) fn settle(&mut self, labels: &mut Labels<'_>, has_data: bool) -> Fate {
        let Some(treatment) = self.treating.treatment.take() else {
            return labels.commit(&mut self.batch).map_or(Fate::Taken, Fate::Refused);
        };
        let fate = self.treat(labels, &treatment, has_data);
        self.treating.treatment = Some(treatment);
        fate
    }

    fn treat(&mut self, labels: &mut Labels<'_>, treatment: &Treatment, has_data: bool) -> Fate {
        let start = self.batch.labels.len();
        if treatment.relabel.is_empty() && treatment.replicas.is_none() {
            if let Some(reason) = labels.commit(&mut self.batch) {
                return Fate::Refused(reason);
            }
        } else {
            let mut sorted = std::mem::take(&mut self.treating.sorted);
            let fate = self.change(labels, treatment, &mut sorted);
            self.treating.sorted = sorted;
            if !matches!(fate, Fate::Taken) {
                return fate;
            }
        }
        if let Some(series) = treatment.series.as_ref().filter(|_| has_data) {
            let batch = &self.batch;
            let symbols = batch.labels.get(start..).unwrap_or_default().iter();
            let texts = symbols.map(|&id| text(batch, Symbol::at(&batch.symbol_ends, id)));
            if !series.admit(texts, self.treating.part) {
                self.batch.labels.truncate(start);
                return Fate::Refused(
                    "a new series, and as many as the tenant's `series` are active already",
                );
            }
        }
        Fate::Taken
    }

    /// Labels that need not be those that came.
    fn change(
        &mut self,
        labels: &mut Labels<'_>,
        treatment: &Treatment,
        sorted: &mut Vec<[Symbol; 2]>,
    ) -> Fate {
        if let Some(reason) = labels.sorted(&self.batch, sorted) {
            return Fate::Refused(reason);
        }
        if let Some(replicas) = &treatment.replicas {
            let position = |name: &str| {
                let is = |[own, _]: &[Symbol; 2]| text(&self.batch, *own) == name.as_bytes();
                sorted.iter().position(is)
            };
            let found = position(&replicas.cluster_label).zip(position(&replicas.replica_label));
            if let Some((cluster, replica)) = found {
                let symbol = |at: usize| sorted.get(at).map_or_else(Symbol::default, |[_, value]| *value);
                match self.verdict(replicas, symbol(cluster), symbol(replica)) {
                    Verdict::Elected => _ = sorted.remove(replica),
                    Verdict::Other | Verdict::Unsettled => return Fate::Deduplicated,
                    Verdict::Full => {
                        return Fate::Refused(
                            "a new cluster, and there are as many as the tenant's `clusters`",
                        );
                    }
                }
            }
        }
        if !treatment.relabel.is_empty() {
            match self
                .treating
                .relabel(treatment, sorted, &mut self.symbols, &mut self.batch)
            {
                Fate::Taken => {}
                fate => return fate,
            }
        }
        labels
            .commit_sorted(sorted, &mut self.batch)
            .map_or(Fate::Taken, Fate::Refused)
    }

    fn verdict(&mut self, replicas: &replicas::Replicas, cluster: Symbol, replica: Symbol) -> Verdict {
        let pair = [cluster.id, replica.id];
        if let Some((_, verdict)) = self.treating.last.filter(|(last, _)| *last == pair) {
            return verdict;
        }
        let [cluster, replica] = [cluster, replica].map(|symbol| as_str(&self.batch, symbol));
        let verdict = replicas.decide(cluster, replica, self.treating.now);
        let unsettled = &mut self.refused.unsettled;
        if verdict == Verdict::Unsettled
            && unsettled.len() < UNSETTLED
            && !unsettled.iter().any(|(known, _)| known == cluster)
        {
            unsettled.push((cluster.to_owned(), replica.to_owned()));
        }
        self.treating.last = Some((pair, verdict));
        verdict
    }
}

impl Treating {
    fn relabel(
        &mut self,
        treatment: &Treatment,
        sorted: &mut Vec<[Symbol; 2]>,
        symbols: &mut Symbols,
        batch: &mut Batch,
    ) -> Fate {
        let set = &mut self.set;
        set.clear();
        for [name, value] in sorted.iter() {
            set.load(as_str(batch, *name), as_str(batch, *value));
        }
        if !treatment.relabel.apply(set) {
            return Fate::Dropped;
        }
        set.sort();
        sorted.clear();
        let (labels, length) = self.most;
        for (name, value) in set.iter() {
            if name.is_empty() {
                return Fate::Refused("a label without a name");
            } else if name.len().max(value.len()) as u64 > length {
                return Fate::Refused("a label longer than `prometheus.limits.label`");
            } else if sorted.len() >= labels {
                return Fate::Refused("more labels than `prometheus.limits.labels`");
            }
            let [name, value] = [name, value].map(|text| symbols.intern(batch, text.as_bytes()));
            sorted.extend(name.zip(value).map(|(name, value)| [name, value]));
        }
        Fate::Taken
    }
}

fn text(batch: &Batch, symbol: Symbol) -> &[u8] {
    batch.symbol_bytes.get(symbol.range()).unwrap_or_default()
}

/// Symbols were checked when they were put there.
fn as_str(batch: &Batch, symbol: Symbol) -> &str {
    std::str::from_utf8(text(batch, symbol)).unwrap_or_default()
}
