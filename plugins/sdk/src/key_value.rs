//! The plugin's own ordered key-value space, granted by `grants.keyValue`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound;

use crate::bindings::host::witgate::host::key_value as host;

pub use host::{Change, Entry, Error, Expectation, KeyRange};

/// The most bytes that a key may have.
pub const MAX_KEY: usize = 4 << 10;
/// The most bytes that a value may have.
pub const MAX_VALUE: usize = 1 << 20;
/// The most bytes of keys and values that one commit may have.
pub const MAX_COMMIT: usize = 16 << 20;
/// The most bytes of keys and values that one scan returns, unless it is one pair.
pub const MAX_SCAN: usize = 4 << 20;
/// The most ranges of one scan.
pub const MAX_RANGES: usize = 4096;

/// An ordered key-value space: what the gateway grants, or one in memory for tests.
pub trait KeyValue {
    /// The values of many keys at once, in the order of the keys.
    fn get_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error>;

    /// The pairs with `start <= key < end`, at most `limit` of them, and fewer when they would be
    /// over 4 MiB together. An empty `end` means to the end of the space. Go on with the last key
    /// followed by a zero byte; an empty list means that there is nothing left.
    fn scan(&self, start: &[u8], end: &[u8], limit: u32) -> Result<Vec<Entry>, Error>;

    /// The pairs of many ranges, at most [`MAX_RANGES`], in the order of the ranges: what a scan of each
    /// of them in turn would return. The limits are for all of them together. Go on with the range that
    /// the last key is in, from behind that, and the ranges after it; an empty list means that there is
    /// nothing left in any of them.
    fn scan_many(&self, ranges: &[KeyRange], limit: u32) -> Result<Vec<Entry>, Error>;

    /// Carries out all changes, or none. They are on disk when this returns. A key should be in only
    /// one of them.
    fn commit(&self, changes: &[Change]) -> Result<(), Error>;

    /// The same, if all keys are as expected. Says whether they were: if not, nothing was written.
    fn commit_if(&self, expected: &[Expectation], changes: &[Change]) -> Result<bool, Error>;
}

/// The space that the gateway grants to this plugin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Granted;

/// A space in memory with the limits of the real one, for tests and trials.
#[derive(Debug, Default)]
pub struct Memory {
    pairs: RefCell<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl KeyValue for Granted {
    fn get_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        host::get_many(keys)
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: u32) -> Result<Vec<Entry>, Error> {
        host::scan(start, end, limit)
    }

    fn scan_many(&self, ranges: &[KeyRange], limit: u32) -> Result<Vec<Entry>, Error> {
        host::scan_many(ranges, limit)
    }

    fn commit(&self, changes: &[Change]) -> Result<(), Error> {
        host::commit(changes)
    }

    fn commit_if(&self, expected: &[Expectation], changes: &[Change]) -> Result<bool, Error> {
        host::commit_if(expected, changes)
    }
}

impl Memory {
    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.pairs.borrow().len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: KeyValue> KeyValue for std::rc::Rc<K> {
    fn get_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        (**self).get_many(keys)
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: u32) -> Result<Vec<Entry>, Error> {
        (**self).scan(start, end, limit)
    }

    fn scan_many(&self, ranges: &[KeyRange], limit: u32) -> Result<Vec<Entry>, Error> {
        (**self).scan_many(ranges, limit)
    }

    fn commit(&self, changes: &[Change]) -> Result<(), Error> {
        (**self).commit(changes)
    }

    fn commit_if(&self, expected: &[Expectation], changes: &[Change]) -> Result<bool, Error> {
        (**self).commit_if(expected, changes)
    }
}

impl KeyValue for Memory {
    fn get_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let pairs = self.pairs.borrow();
        Ok(keys.iter().map(|key| pairs.get(key).cloned()).collect())
    }

    fn scan(&self, start: &[u8], end: &[u8], limit: u32) -> Result<Vec<Entry>, Error> {
        let range = KeyRange {
            start: start.to_vec(),
            end: end.to_vec(),
        };
        self.scan_many(&[range], limit)
    }

    fn scan_many(&self, ranges: &[KeyRange], limit: u32) -> Result<Vec<Entry>, Error> {
        if ranges.len() > MAX_RANGES {
            return Err(Error::TooLarge(format!("{} ranges", ranges.len())));
        }
        let pairs = self.pairs.borrow();
        let sound = { ranges.iter() }.filter(|range| range.end.is_empty() || range.start < range.end);
        let entries = sound.flat_map(|range| {
            let end = match range.end.is_empty() {
                true => Bound::Unbounded,
                false => Bound::Excluded(range.end.as_slice()),
            };
            let found = pairs.range::<[u8], _>((Bound::Included(range.start.as_slice()), end));
            found.map(|(key, value)| Entry {
                key: key.clone(),
                value: value.clone(),
            })
        });
        let mut bytes = 0;
        Ok(entries
            .take(limit as usize)
            .take_while(|entry| {
                let first = bytes == 0;
                bytes += entry.key.len() + entry.value.len();
                first || bytes <= MAX_SCAN
            })
            .collect())
    }

    fn commit(&self, changes: &[Change]) -> Result<(), Error> {
        let mut bytes = 0;
        for change in changes {
            let (key, value) = match change {
                Change::Put(entry) => (&entry.key, entry.value.len()),
                Change::Delete(key) => (key, 0),
            };
            if key.is_empty() || key.len() > MAX_KEY || value > MAX_VALUE {
                return Err(Error::TooLarge(format!(
                    "a key of {} and a value of {value} bytes",
                    key.len()
                )));
            }
            bytes += key.len() + value;
        }
        if bytes > MAX_COMMIT {
            return Err(Error::TooLarge(format!("a commit of {bytes} bytes")));
        }
        let mut pairs = self.pairs.borrow_mut();
        for change in changes {
            match change {
                Change::Put(entry) => pairs.insert(entry.key.clone(), entry.value.clone()),
                Change::Delete(key) => pairs.remove(key),
            };
        }
        Ok(())
    }

    fn commit_if(&self, expected: &[Expectation], changes: &[Change]) -> Result<bool, Error> {
        let holds = {
            let pairs = self.pairs.borrow();
            expected
                .iter()
                .all(|expected| pairs.get(&expected.key) == expected.value.as_ref())
        };
        if holds {
            self.commit(changes)?;
        }
        Ok(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &[u8], value: &[u8]) -> Change {
        Change::Put(Entry {
            key: key.to_vec(),
            value: value.to_vec(),
        })
    }

    #[test]
    fn the_space_in_memory_scans_half_open_ranges_in_order() {
        let space = Memory::default();
        space
            .commit(&[
                put(b"b", b"2"),
                put(b"a", b"1"),
                put(b"c", b"3"),
                Change::Delete(b"x".to_vec()),
            ])
            .unwrap();
        let keys = |start: &[u8], end: &[u8], limit| {
            let entries = space.scan(start, end, limit).unwrap();
            entries.into_iter().map(|entry| entry.key[0]).collect::<Vec<_>>()
        };
        assert_eq!(keys(b"a", b"c", 9), b"ab");
        assert_eq!(keys(b"b", b"", 9), b"bc");
        assert_eq!(keys(b"", b"", 1), b"a");
        assert_eq!(keys(b"c\0", b"", 9), b"");
        assert_eq!(keys(b"c", b"a", 9), b"");
        let range = |start: &[u8], end: &[u8]| KeyRange {
            start: start.to_vec(),
            end: end.to_vec(),
        };
        let ranges = [range(b"b", b""), range(b"c", b"a"), range(b"a", b"c")];
        for limit in 0..6 {
            let found = space.scan_many(&ranges, limit).unwrap();
            let found: Vec<_> = found.into_iter().map(|entry| entry.key[0]).collect();
            assert_eq!(found, b"bcab"[..4.min(limit as usize)]);
        }
    }

    #[test]
    fn the_space_in_memory_commits_only_what_is_as_expected() {
        let space = Memory::default();
        let expected = |key: &[u8], value: Option<&[u8]>| Expectation {
            key: key.to_vec(),
            value: value.map(<[u8]>::to_vec),
        };
        let absent = [expected(b"a", None)];
        assert_eq!(space.commit_if(&absent, &[put(b"a", b"1")]), Ok(true));
        assert_eq!(space.commit_if(&absent, &[put(b"a", b"2")]), Ok(false));
        let both = [expected(b"a", Some(b"1")), expected(b"b", Some(b""))];
        assert_eq!(space.commit_if(&both, &[put(b"b", b"2")]), Ok(false));
        assert_eq!(space.len(), 1);
        assert_eq!(space.commit_if(&both[..1], &[put(b"b", b"2")]), Ok(true));
    }

    #[test]
    fn the_space_in_memory_refuses_what_the_gateway_refuses() {
        let space = Memory::default();
        let wrong = [
            put(b"", b"1"),
            put(&[0; MAX_KEY + 1], b""),
            put(b"k", &vec![0; MAX_VALUE + 1]),
        ];
        for change in wrong {
            let both = [put(b"good", b"1"), change];
            assert!(matches!(space.commit(&both), Err(Error::TooLarge(_))));
        }
        assert!(space.is_empty(), "a commit is all or nothing");
    }
}
