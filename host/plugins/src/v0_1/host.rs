//! `witgate:host@0.1.0`: what the gateway offers to components of any kind.

use wasmtime::component::Linker;
use witgate_state::{Change, Pair};

use crate::{
    guest::{Guest, HasGuest},
    journal,
    key_value::{KeyValue, KeyValueError},
};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/host-0.1.0",
        inline: "
            package witgate:gateway;
            world host {
                import witgate:host/log@0.1.0;
                import witgate:host/key-value@0.1.0;
            }
        ",
        imports: { "witgate:host/key-value": async },
    });
}

use bindings::witgate::host::{key_value, log};

pub(super) fn offer(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    log::add_to_linker::<_, HasGuest>(linker, |guest| guest)?;
    key_value::add_to_linker::<_, HasGuest>(linker, |guest| guest)
}

impl log::Host for Guest {
    fn write(&mut self, level: log::Level, message: String) {
        let level = match level {
            log::Level::Debug => journal::Level::Debug,
            log::Level::Info => journal::Level::Info,
            log::Level::Warn => journal::Level::Warn,
            log::Level::Error => journal::Level::Error,
        };
        self.journal.write(level, &message);
    }
}

impl Guest {
    /// The space that was granted. A component that imports the interface without a grant is not
    /// loaded, so the error is for what can't happen.
    fn key_value(&self) -> Result<KeyValue, key_value::Error> {
        let missing = || key_value::Error::Unavailable("no key-value space is granted".into());
        self.shared.key_value.clone().ok_or_else(missing)
    }
}

impl key_value::Host for Guest {
    async fn get(&mut self, key: Vec<u8>) -> Result<Option<Vec<u8>>, key_value::Error> {
        Ok(self.key_value()?.get(&key).await?)
    }

    async fn get_many(&mut self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Vec<u8>>>, key_value::Error> {
        Ok(self.key_value()?.get_many(keys).await?)
    }

    async fn scan(
        &mut self,
        start: Vec<u8>,
        end: Vec<u8>,
        limit: u32,
    ) -> Result<Vec<key_value::Entry>, key_value::Error> {
        Ok(entries(self.key_value()?.scan(&start, &end, limit).await?))
    }

    async fn scan_many(
        &mut self,
        ranges: Vec<key_value::KeyRange>,
        limit: u32,
    ) -> Result<Vec<key_value::Entry>, key_value::Error> {
        let ranges = ranges.into_iter().map(|range| (range.start, range.end));
        Ok(entries(
            self.key_value()?.scan_many(ranges.collect(), limit).await?,
        ))
    }

    async fn commit(&mut self, changes: Vec<key_value::Change>) -> Result<(), key_value::Error> {
        let changes = changes.into_iter().map(Change::from).collect();
        Ok(self.key_value()?.commit(changes).await?)
    }

    async fn commit_if(
        &mut self,
        expected: Vec<key_value::Expectation>,
        changes: Vec<key_value::Change>,
    ) -> Result<bool, key_value::Error> {
        let expected = expected
            .into_iter()
            .map(|expected| (expected.key, expected.value));
        let changes = changes.into_iter().map(Change::from).collect();
        Ok(self.key_value()?.commit_if(expected.collect(), changes).await?)
    }
}

fn entries(pairs: Vec<Pair>) -> Vec<key_value::Entry> {
    let pairs = pairs.into_iter();
    pairs
        .map(|(key, value)| key_value::Entry { key, value })
        .collect()
}

impl From<key_value::Change> for Change {
    fn from(change: key_value::Change) -> Self {
        match change {
            key_value::Change::Put(entry) => Self::Put {
                key: entry.key,
                value: entry.value,
                lifetime: None,
            },
            key_value::Change::Delete(key) => Self::Delete(key),
        }
    }
}

impl From<KeyValueError> for key_value::Error {
    fn from(error: KeyValueError) -> Self {
        match error {
            KeyValueError::Unavailable(reason) => Self::Unavailable(reason),
            KeyValueError::QuotaExceeded(reason) => Self::QuotaExceeded(reason),
            KeyValueError::TooLarge(reason) => Self::TooLarge(reason),
        }
    }
}
