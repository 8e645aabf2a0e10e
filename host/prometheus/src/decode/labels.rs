//! The labels of one series after the other.

use witgate_plugins::Batch;

use super::symbols::Symbol;

/// The labels of two series. Most labels of a series are those of the one before, at the same
/// place, and are taken over without being looked at again.
#[derive(Debug, Default)]
pub(super) struct Labels<'b> {
    pub(super) before: Vec<Pair<'b>>,
    pub(super) current: Vec<Pair<'b>>,
    /// Whether they came sorted, no name is there twice, and `__name__` is one of them.
    before_is_good: bool,
    current_is_good: bool,
}

/// A label with where its strings are in the symbol table, and, of a 1.0, as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'b> {
    pub(super) raw: &'b [u8],
    pub(super) name: Symbol,
    pub(super) value: Symbol,
}

impl Labels<'_> {
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

    /// Puts the series' labels into the batch, sorted, unless something is wrong with them.
    pub(super) fn commit(&mut self, batch: &mut Batch) -> Option<&'static str> {
        let Self { before, current, .. } = &*self;
        let ids = |pairs: &[Pair<'_>], ids: &mut Vec<u32>| {
            ids.extend(pairs.iter().flat_map(|pair| [pair.name.id, pair.value.id]));
        };
        let same_name = |(a, b): (&Pair<'_>, &Pair<'_>)| a.name.id == b.name.id;
        if self.before_is_good && before.len() == current.len() && before.iter().zip(current).all(same_name) {
            ids(current, &mut batch.labels);
            self.current_is_good = true;
            return None;
        }
        let symbols = &batch.symbol_bytes;
        let name = |pair: &Pair<'_>| symbols.get(pair.name.range()).unwrap_or_default();
        if !current.iter().any(|pair| name(pair) == b"__name__") {
            return Some("no label `__name__`");
        }
        // `current` keeps its order: the next series is compared with it.
        let mut sorted = current.clone();
        sorted.sort_by_key(|pair| name(pair));
        if sorted.iter().zip(sorted.iter().skip(1)).any(same_name) {
            return Some("a label that is there twice");
        }
        let is_sorted = current.is_sorted_by_key(name);
        ids(&sorted, &mut batch.labels);
        self.current_is_good = is_sorted;
        None
    }
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
