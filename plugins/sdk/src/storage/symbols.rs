//! The symbols and labels of a batch or of chunks, read and built.

use std::collections::HashMap;

/// A symbol's text.
pub(super) fn symbol<'a>(bytes: &'a [u8], ends: &[u32], index: u32) -> &'a str {
    let index = index as usize;
    let start = index.checked_sub(1).map_or(0, |before| ends[before]);
    let bytes = &bytes[start as usize..ends[index] as usize];
    // The contract says UTF-8, and the gateway has checked it.
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// The part of a column that ends at `ends[index]`; nothing where there are no ends.
pub(super) fn part(ends: &[u32], index: usize) -> std::ops::Range<usize> {
    let end = |index: usize| ends.get(index).map_or(0, |&end| end as usize);
    index.checked_sub(1).map_or(0, end)..end(index)
}

/// A length as the contract writes it. A component has 4 GiB of memory at the most, so no column
/// can be longer.
pub(super) fn length(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The symbols that were interned so far.
#[derive(Debug)]
pub(super) struct Symbols(HashMap<String, u32>);

impl Default for Symbols {
    fn default() -> Self {
        Symbols(HashMap::from([(String::new(), 0)]))
    }
}

impl Symbols {
    /// The symbol of a text, which is appended if it is new.
    pub(super) fn intern(&mut self, text: &str, bytes: &mut Vec<u8>, ends: &mut Vec<u32>) -> u32 {
        if let Some(&known) = self.0.get(text) {
            return known;
        }
        let index = length(ends.len());
        bytes.extend_from_slice(text.as_bytes());
        ends.push(length(bytes.len()));
        self.0.insert(text.to_owned(), index);
        index
    }
}

/// Labels in the contract's order, without those that have no value.
pub(super) fn sorted<'l>(labels: impl IntoIterator<Item = (&'l str, &'l str)>) -> Vec<(&'l str, &'l str)> {
    let mut labels: Vec<_> = labels
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    labels.sort_unstable();
    labels
}
