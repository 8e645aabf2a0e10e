//! A series' labels as bytes: what is hashed, and what is stored.

use witgate_sdk::storage::Batch;

/// Bytes in front of each name and each value.
pub(crate) const OVERHEAD: usize = 4;

/// Appends the labels of a series: for each, the length of its name and of its value in four bytes
/// each, and then both. `pairs` are symbols, sorted by name, as the contract has it.
pub(crate) fn encode(batch: &Batch, pairs: &[u32], out: &mut Vec<u8>) {
    for pair in pairs.chunks_exact(2) {
        let (name, value) = (symbol(batch, pair[0]), symbol(batch, pair[1]));
        out.extend_from_slice(&length(name).to_le_bytes());
        out.extend_from_slice(&length(value).to_le_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
}

/// The labels of what [`encode`] made. Ends where the bytes are not of that form.
pub(crate) fn decode(mut bytes: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    std::iter::from_fn(move || {
        let (name, rest) = bytes.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_first_chunk::<4>()?;
        let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*name) as usize)?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value) as usize)?;
        bytes = rest;
        Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
    })
}

/// The value of a label, empty where there is none.
pub(crate) fn value_of<'a>(labels: &'a [u8], name: &str) -> &'a str {
    decode(labels)
        .find(|(key, _)| *key == name)
        .map_or("", |(_, value)| value)
}

fn symbol(batch: &Batch, index: u32) -> &[u8] {
    let index = index as usize;
    let start = index.checked_sub(1).map_or(0, |before| batch.symbol_ends[before]);
    &batch.symbol_bytes[start as usize..batch.symbol_ends[index] as usize]
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
