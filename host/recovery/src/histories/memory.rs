//! State in memory, whose every call is a place to be interrupted at.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex},
};

use witgate_state::{Change, Error, Outcome, Pair, ScanLimit, Space, State, Transaction};

use super::schedule::pause;

/// One space. It survives its process.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>);

impl Memory {
    /// What is there, for the judge.
    pub(super) fn peek(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(key).cloned()
    }

    /// The last pair whose key begins so.
    pub(super) fn last(&self, prefix: &[u8]) -> Option<Pair> {
        let map = self.0.lock().unwrap();
        let mut end = prefix.to_vec();
        *end.last_mut().unwrap() += 1;
        let found = map.range(prefix.to_vec()..end).next_back();
        found.map(|(key, value)| (key.clone(), value.clone()))
    }

    /// The pairs whose keys begin so.
    pub(super) fn all(&self, prefix: &[u8]) -> Vec<Pair> {
        let map = self.0.lock().unwrap();
        let pairs = map.range(prefix.to_vec()..);
        let pairs = pairs.take_while(|(key, _)| key.starts_with(prefix));
        pairs.map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

impl State for Memory {
    fn space(&self, _: &str) -> Result<Arc<dyn Space>, Error> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait::async_trait]
impl Space for Memory {
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.peek(key))
    }

    async fn get_many(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Vec<u8>>>, Error> {
        Ok(keys.iter().map(|key| self.peek(key)).collect())
    }

    async fn scan(&self, start: &[u8], end: &[u8], limit: ScanLimit) -> Result<Vec<Pair>, Error> {
        let map = self.0.lock().unwrap();
        let range = map.range((Bound::Included(start.to_vec()), Bound::Excluded(end.to_vec())));
        let pairs = range.take(limit.pairs);
        Ok(pairs.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    async fn commit(&self, transaction: Transaction) -> Result<Outcome, Error> {
        pause().await;
        {
            let mut map = self.0.lock().unwrap();
            for (key, expected) in &transaction.expect {
                if map.get(key) != expected.as_ref() {
                    return Ok(Outcome::Conflict);
                }
            }
            for change in transaction.changes {
                match change {
                    Change::Put { key, value, .. } => drop(map.insert(key, value)),
                    Change::Delete(key) => drop(map.remove(&key)),
                }
            }
        }
        pause().await;
        Ok(Outcome::Committed)
    }

    async fn size(&self) -> Result<u64, Error> {
        Ok(0)
    }
}
