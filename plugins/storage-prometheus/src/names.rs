//! Names as receivers before Prometheus 3 have them.

use witgate_sdk::storage::Batch;

/// Looks at the names in a batch, at each once.
#[derive(Debug)]
pub(crate) struct Names<'b> {
    batch: &'b Batch,
    /// What each symbol is as a label's name.
    labels: Vec<Option<Name>>,
    /// The symbol of the metric that was looked at last, and whether its name is one.
    metric: Option<(u32, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    /// `__name__`.
    Metric,
    Label,
    /// It has other characters.
    Other,
}

impl<'b> Names<'b> {
    pub(crate) fn new(batch: &'b Batch) -> Self {
        Names {
            batch,
            labels: vec![None; batch.symbol_ends.len()],
            metric: None,
        }
    }

    /// What is wrong with a series' names, where not any letters are allowed.
    pub(crate) fn fault(&mut self, labels: &[u32]) -> Option<&'static str> {
        for pair in labels.chunks_exact(2) {
            let name = self.label(pair[0]);
            if name == Name::Other {
                return Some(
                    "a label's name has other characters than letters, digits and `_` (`utf8Names` is off)",
                );
            }
            if name == Name::Metric && !self.is_metric(pair[1]) {
                return Some(
                    "its metric name has other characters than letters, digits, `_` and `:` (`utf8Names` is off)",
                );
            }
        }
        None
    }

    fn label(&mut self, symbol: u32) -> Name {
        let batch = self.batch;
        let look = || match batch.symbol(symbol) {
            "__name__" => Name::Metric,
            text if is_name(text, false) => Name::Label,
            _ => Name::Other,
        };
        let known = self.labels.get_mut(symbol as usize);
        known.map_or(Name::Other, |known| *known.get_or_insert_with(look))
    }

    fn is_metric(&mut self, symbol: u32) -> bool {
        match self.metric {
            Some((last, is_name)) if last == symbol => is_name,
            _ => {
                let is_name = is_name(self.batch.symbol(symbol), true);
                self.metric = Some((symbol, is_name));
                is_name
            }
        }
    }
}

fn is_name(text: &str, colon: bool) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || (colon && byte == b':');
    let mut bytes = text.bytes();
    bytes.next().is_some_and(fits) && bytes.all(|byte| fits(byte) || byte.is_ascii_digit())
}
