//! The symbol table of a batch that is being made.

use std::{hash::BuildHasher, ops::Range};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use witgate_plugins::Batch;

/// Finds symbols by their text.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    hasher: RandomState,
    table: HashTable<u32>,
}

/// A symbol, and where its bytes are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Symbol {
    pub(super) id: u32,
    start: u32,
    end: u32,
}

impl Symbols {
    pub(super) fn clear(&mut self) {
        self.table.clear();
    }

    /// A string's place in the symbol table; none if it is not UTF-8, which is checked when it is
    /// put there.
    #[inline]
    pub(super) fn intern(&mut self, batch: &mut Batch, text: &[u8]) -> Option<Symbol> {
        let (bytes, ends) = (&batch.symbol_bytes, &batch.symbol_ends);
        let hash = self.hasher.hash_one(text);
        let found = self
            .table
            .find(hash, |&id| bytes.get(Symbol::at(ends, id).range()) == Some(text));
        if let Some(&id) = found {
            return Some(Symbol::at(ends, id));
        }
        std::str::from_utf8(text).ok()?;
        if text.is_empty() {
            return Some(Symbol::at(ends, 0));
        }
        let symbol = Symbol {
            id: u32::try_from(ends.len()).ok()?,
            start: u32::try_from(bytes.len()).ok()?,
            end: u32::try_from(bytes.len() + text.len()).ok()?,
        };
        batch.symbol_bytes.extend_from_slice(text);
        batch.symbol_ends.push(symbol.end);
        let (bytes, ends, hasher) = (&batch.symbol_bytes, &batch.symbol_ends, &self.hasher);
        let rehash = |&id: &u32| hasher.hash_one(bytes.get(Symbol::at(ends, id).range()).unwrap_or_default());
        self.table.insert_unique(hash, symbol.id, rehash);
        Some(symbol)
    }
}

impl Symbol {
    /// The symbol of this id.
    #[inline]
    pub(super) fn at(ends: &[u32], id: u32) -> Self {
        let end = |id: u32| ends.get(id as usize).copied().unwrap_or_default();
        Self {
            id,
            start: end(id.saturating_sub(1)),
            end: end(id),
        }
    }

    /// Where it is in the symbols' bytes.
    #[inline]
    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}
