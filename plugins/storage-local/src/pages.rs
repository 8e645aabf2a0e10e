//! Reading what keys begin alike, a page at a time.

use std::collections::VecDeque;

use witgate_sdk::key_value::{Entry, KeyRange, KeyValue, MAX_KEY, MAX_SCAN, MAX_VALUE};
use witgate_sdk::storage::Failure;

use crate::{failure, key};

/// Pairs that are asked of the space at once. They come in fewer when they are large: a page has 4 MiB
/// at the most.
pub(crate) const PAGE: u32 = 8192;

/// Calls `each` with all pairs whose keys begin like this.
pub(crate) fn pages(
    space: &impl KeyValue,
    beginning: &[u8],
    each: impl FnMut(Vec<Entry>),
) -> Result<(), Failure> {
    pages_of(space, [beginning.to_vec()], each)
}

/// The same for one beginning after the other. None of them begins like another.
pub(crate) fn pages_of(
    space: &impl KeyValue,
    beginnings: impl IntoIterator<Item = Vec<u8>>,
    mut each: impl FnMut(Vec<Entry>),
) -> Result<(), Failure> {
    let mut ranges: VecDeque<_> = beginnings.into_iter().map(range).collect();
    while !ranges.is_empty() {
        let page = { space.scan_many(ranges.make_contiguous(), PAGE) }.map_err(failure)?;
        if is_last(&page, PAGE) {
            each(page);
            break;
        }
        if let Some(last) = page.last() {
            while ranges.pop_front_if(|range| !is_in(range, last)).is_some() {}
            if let Some(range) = ranges.front_mut() {
                range.start = key::after(&last.key);
            }
        }
        each(page);
    }
    Ok(())
}

/// The keys that begin like this.
pub(crate) fn range(start: Vec<u8>) -> KeyRange {
    let end = key::end_of(&start);
    KeyRange { start, end }
}

/// Whether a pair is of a range.
pub(crate) fn is_in(range: &KeyRange, entry: &Entry) -> bool {
    range.start <= entry.key && entry.key < range.end
}

/// Whether there is nothing behind a page: another pair, however large, would have been in it.
pub(crate) fn is_last(page: &[Entry], limit: u32) -> bool {
    let bytes: usize = { page.iter() }
        .map(|entry| entry.key.len() + entry.value.len())
        .sum();
    page.len() < limit as usize && bytes + MAX_KEY + MAX_VALUE <= MAX_SCAN
}
