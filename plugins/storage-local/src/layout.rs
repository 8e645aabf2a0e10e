//! Which layout a space has: this one, or something that must not be taken for it.

use witgate_sdk::key_value::{Change, Entry, KeyValue};
use witgate_sdk::storage::Failure;

use crate::{failure, key};

/// The layout that [`key`] describes.
const CURRENT: &[u8] = b"2";

/// What an instance knows of its space.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    is_ours: bool,
}

impl Layout {
    /// Looks whether the space is in this layout, or empty.
    pub(crate) fn check(&mut self, space: &impl KeyValue) -> Result<(), Failure> {
        if self.is_ours {
            return Ok(());
        }
        let found = space.get_many(&[key::VERSION.to_vec()]).map_err(failure)?;
        let other = match found.into_iter().next().flatten() {
            Some(version) if version == CURRENT => {
                self.is_ours = true;
                return Ok(());
            }
            Some(version) => format!("layout {}", String::from_utf8_lossy(&version)),
            None if space.scan(&[], &[], 1).map_err(failure)?.is_empty() => return Ok(()),
            None => "one that has no number".to_owned(),
        };
        Err(Failure::unavailable(format!(
            "the space of this plugin is in another layout ({other}) than this version of storage-local \
             reads (layout {}): load the version that wrote it, or give the plugin another name in the \
             configuration, which begins with an empty space",
            String::from_utf8_lossy(CURRENT)
        )))
    }

    /// The same, and an empty space is in this layout from then on.
    pub(crate) fn claim(&mut self, space: &impl KeyValue) -> Result<(), Failure> {
        self.check(space)?;
        if !self.is_ours {
            let version = Change::Put(Entry {
                key: key::VERSION.to_vec(),
                value: CURRENT.to_vec(),
            });
            space.commit(&[version]).map_err(failure)?;
            self.is_ours = true;
        }
        Ok(())
    }
}
