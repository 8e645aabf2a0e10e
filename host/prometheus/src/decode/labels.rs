//! The labels of one series after the other.

use witgate_plugins::Batch;

use super::symbols::Symbol;

const NAMELESS: &str = "no label `__name__`";
const TWICE: &str = "a label that is there twice";
const FORGED: &str = "another tenant's value of `prometheus.tenantLabel`";

/// The labels of two series. Most labels of a series are those of the one before, at the same
/// place, and are taken over without being looked at again.
#[derive(Debug, Default)]
pub(super) struct Labels<'b> {
    pub(super) before: Vec<Pair<'b>>,
    pub(super) current: Vec<Pair<'b>>,
    /// Whether they came sorted, no name is there twice, and `__name__` is one of them.
    before_is_good: bool,
    current_is_good: bool,
    enforced: Option<Enforced>,
}

/// A label that every series has, whatever it came with.
#[derive(Debug)]
struct Enforced {
    name: Symbol,
    value: Symbol,
    /// How many labels of the series before are in front of it.
    at: usize,
}

/// A label with where its strings are in the symbol table, and, of a 1.0, as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'b> {
    pub(super) raw: &'b [u8],
    pub(super) name: Symbol,
    pub(super) value: Symbol,
}

impl Labels<'_> {
    /// Labels of series that all get this one.
    pub(super) fn enforcing(label: Option<(Symbol, Symbol)>) -> Self {
        Self {
            enforced: label.map(|(name, value)| Enforced { name, value, at: 0 }),
            ..Self::default()
        }
    }

    /// Begins a series.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.current.clear();
        self.current_is_good = false;
    }

    /// Makes the current series the one before.
    #[inline]
    pub(super) fn next(&mut self) {
        self.before_is_good = self.current_is_good;
        std::mem::swap(&mut self.before, &mut self.current);
    }

    /// Copies the series' labels, sorted, unless one is there twice.
    pub(super) fn sorted(&self, batch: &Batch, sorted: &mut Vec<[Symbol; 2]>) -> Option<&'static str> {
        let text = |symbol: Symbol| batch.symbol_bytes.get(symbol.range()).unwrap_or_default();
        sorted.clear();
        sorted.extend(self.current.iter().map(|pair| [pair.name, pair.value]));
        sorted.sort_by_key(|[name, _]| text(*name));
        let mut pairs = sorted.iter().zip(sorted.iter().skip(1));
        pairs.any(|([a, _], [b, _])| a.id == b.id).then_some(TWICE)
    }

    /// Puts other labels than those that came into the batch. They are sorted, and none is there twice.
    pub(super) fn commit_sorted(
        &mut self,
        sorted: &mut Vec<[Symbol; 2]>,
        batch: &mut Batch,
    ) -> Option<&'static str> {
        let symbols = &batch.symbol_bytes;
        let text = |symbol: Symbol| symbols.get(symbol.range()).unwrap_or_default();
        if !sorted.iter().any(|[name, _]| text(*name) == b"__name__") {
            return Some(NAMELESS);
        }
        if let Some(enforced) = &self.enforced {
            if let Some(own) = sorted.iter().position(|[name, _]| name.id == enforced.name.id)
                && { sorted.remove(own) }
                    .get(1)
                    .is_some_and(|value| value.id != enforced.value.id)
            {
                return Some(FORGED);
            }
            let at = sorted.partition_point(|[name, _]| text(*name) < text(enforced.name));
            sorted.insert(at, [enforced.name, enforced.value]);
        }
        let ids = sorted.iter().flat_map(|[name, value]| [name.id, value.id]);
        batch.labels.extend(ids);
        None
    }

    /// Puts the series' labels into the batch, sorted, unless something is wrong with them.
    pub(super) fn commit(&mut self, batch: &mut Batch) -> Option<&'static str> {
        let Self {
            before,
            current,
            before_is_good,
            current_is_good,
            enforced,
        } = self;
        let same_name = |(a, b): (&Pair<'_>, &Pair<'_>)| a.name.id == b.name.id;
        let is_like_before =
            *before_is_good && before.len() == current.len() && before.iter().zip(&*current).all(same_name);
        if is_like_before {
            emit(current, enforced.as_ref(), &mut batch.labels);
            *current_is_good = true;
            return None;
        }
        let symbols = &batch.symbol_bytes;
        let text = |symbol: Symbol| symbols.get(symbol.range()).unwrap_or_default();
        if !current.iter().any(|pair| text(pair.name) == b"__name__") {
            return Some(NAMELESS);
        }
        // `current` keeps its order: the next series is compared with it.
        let mut sorted = current.clone();
        sorted.sort_by_key(|pair| text(pair.name));
        if sorted.iter().zip(sorted.iter().skip(1)).any(same_name) {
            return Some(TWICE);
        }
        let mut is_good = current.is_sorted_by_key(|pair| text(pair.name));
        if let Some(enforced) = enforced {
            if let Some(own) = sorted.iter().position(|pair| pair.name.id == enforced.name.id) {
                if sorted.remove(own).value.id != enforced.value.id {
                    return Some(FORGED);
                }
                is_good = false;
            }
            enforced.at = sorted.partition_point(|pair| text(pair.name) < text(enforced.name));
        }
        emit(&sorted, enforced.as_ref(), &mut batch.labels);
        *current_is_good = is_good;
        None
    }
}

/// Adds the symbols of sorted labels, with the one that every series gets in its place.
#[inline]
fn emit(sorted: &[Pair<'_>], enforced: Option<&Enforced>, labels: &mut Vec<u32>) {
    let ids = |pairs: &[Pair<'_>], labels: &mut Vec<u32>| {
        labels.extend(pairs.iter().flat_map(|pair| [pair.name.id, pair.value.id]));
    };
    let Some(enforced) = enforced else {
        return ids(sorted, labels);
    };
    let (front, rest) = sorted.split_at_checked(enforced.at).unwrap_or((sorted, &[]));
    ids(front, labels);
    labels.extend([enforced.name.id, enforced.value.id]);
    ids(rest, labels);
}

/// Labels for people: the first few, and of each the beginning.
pub(super) fn described(labels: &[Pair<'_>], batch: &Batch) -> String {
    let text = |symbol: &Symbol| {
        let bytes = batch.symbol_bytes.get(symbol.range()).unwrap_or_default();
        let text = String::from_utf8_lossy(bytes);
        text.chars().take(64).collect::<String>()
    };
    let pairs = labels
        .iter()
        .take(8)
        .map(|pair| format!("{}={:?}", text(&pair.name), text(&pair.value)));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
}
