//! A storage without a plugin, for the tests of this crate: it keeps what it is given, or fails as it
//! is told.

use std::sync::{Arc, Mutex};

use witgate_plugins::{Batch, Context, Cursor, Kinds, Piece, Query, Receipt, Storage, StorageError};
use witgate_state::{Embedded, State};

use crate::blueprint::Foundations;

#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) batches: Mutex<Vec<Batch>>,
    pub(crate) fail: Mutex<Option<StorageError>>,
    pub(crate) receipt: Receipt,
    pub(crate) holds: Kinds,
}

struct Pieces(std::vec::IntoIter<Batch>);

#[async_trait::async_trait]
impl Storage for Memory {
    async fn check(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn holds(&self) -> Kinds {
        self.holds
    }

    fn is_exact(&self) -> bool {
        true
    }

    async fn write(&self, _: &Context, batch: &Batch) -> Result<Receipt, StorageError> {
        if let Some(error) = self.fail.lock().unwrap().take() {
            return Err(error);
        }
        self.batches.lock().unwrap().push(batch.clone());
        Ok(self.receipt.clone())
    }

    async fn read(&self, _: &Context, _: &Query) -> Result<Box<dyn Cursor>, StorageError> {
        Ok(Box::new(Pieces(self.batches.lock().unwrap().clone().into_iter())))
    }
}

#[async_trait::async_trait]
impl Cursor for Pieces {
    fn is_sorted(&self) -> bool {
        false
    }

    async fn next(&mut self, _: u32) -> Result<Option<Piece>, StorageError> {
        Ok(self.0.next().map(Piece::Samples))
    }
}

/// Calls `build` with storages of these names, and a state of its own.
pub(crate) fn founded<T>(storages: &[(&str, &Arc<Memory>)], build: impl FnOnce(Foundations<'_>) -> T) -> T {
    let storage = |name: &str| {
        let found = storages.iter().find(|(own, _)| *own == name);
        found.map(|(_, memory)| Arc::clone(memory) as Arc<dyn Storage>)
    };
    founded_on(&storage, build)
}

/// The same with any storages.
pub(crate) fn founded_on<T>(
    storage: &dyn Fn(&str) -> Option<Arc<dyn Storage>>,
    build: impl FnOnce(Foundations<'_>) -> T,
) -> T {
    let directory = tempfile::tempdir().unwrap();
    let state = Embedded::open(directory.path()).unwrap();
    let replicas = &state.space("replicas").unwrap();
    build(Foundations { storage, replicas })
}
