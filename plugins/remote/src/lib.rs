#![doc = include_str!("../README.md")]

pub mod frames;
pub mod piece;
pub mod read;
pub mod template;
pub mod v1;
pub mod v2;
pub mod wire;

/// A snappy block, as all of these protocols compress.
#[must_use]
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    // It fails only for more than 4 GiB, which a component can't have.
    snap::raw::Encoder::new().compress_vec(bytes).unwrap_or_default()
}

/// A symbol's bytes.
pub(crate) fn symbol(batch: &witgate_sdk::storage::Batch, index: u32) -> &[u8] {
    let end = |index: usize| batch.symbol_ends.get(index).map_or(0, |&end| end as usize);
    let index = index as usize;
    let range = index.checked_sub(1).map_or(0, end)..end(index);
    batch.symbol_bytes.get(range).unwrap_or_default()
}
