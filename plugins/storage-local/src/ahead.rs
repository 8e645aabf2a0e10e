//! Reading the chunks of many series at once.

use std::collections::VecDeque;

use witgate_sdk::key_value::{Entry, KeyValue};
use witgate_sdk::storage::Failure;

use crate::failure;
use crate::key::{self, SeriesId, Tenant};
use crate::pages::{PAGE, is_in, is_last, range};

/// Days of series whose chunks are asked for at once.
const RANGES: usize = 512;

/// A day of a series.
pub(crate) type Place = (SeriesId, i64);

/// Chunks that were read before they are used: a page of them at the most.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// All chunks of some places, in the order in which they are wanted.
    whole: VecDeque<(Place, Vec<Entry>)>,
}

impl Ahead {
    /// The chunks of the first place that is wanted, as the space has them: the last one first. Others
    /// that are wanted after it are read with it. A place that is not asked for in its turn is left out.
    pub(crate) fn take(
        &mut self,
        space: &impl KeyValue,
        tenant: Tenant,
        mut wanted: impl Iterator<Item = Place>,
    ) -> Result<Vec<Entry>, Failure> {
        let Some(first) = wanted.next() else {
            return Ok(Vec::new());
        };
        while self.whole.front().is_some_and(|(place, _)| *place != first) {
            self.whole.pop_front();
        }
        if self.whole.is_empty() {
            let places: Vec<_> = std::iter::once(first).chain(wanted).take(RANGES).collect();
            self.read(space, tenant, &places)?;
        }
        Ok(self
            .whole
            .pop_front()
            .map(|(_, chunks)| chunks)
            .unwrap_or_default())
    }

    /// Reads the chunks of the first of some places, and of as many after it as fit into a page.
    fn read(&mut self, space: &impl KeyValue, tenant: Tenant, places: &[Place]) -> Result<(), Failure> {
        let ranges = places
            .iter()
            .map(|(id, day)| range(key::chunks(*day, tenant, *id)));
        let mut ranges: Vec<_> = ranges.collect();
        let mut before = Vec::new();
        loop {
            let page = { space.scan_many(&ranges, PAGE) }.map_err(failure)?;
            let is_last = is_last(&page, PAGE);
            let mut page = page.into_iter().peekable();
            for (place, range) in places.iter().zip(&mut ranges) {
                let mut chunks = std::mem::take(&mut before);
                chunks.extend(std::iter::from_fn(|| page.next_if(|chunk| is_in(range, chunk))));
                if is_last || page.len() > 0 {
                    self.whole.push_back((*place, chunks));
                    continue;
                }
                // There may be more of it. It is read again later, and as a whole: in between its chunks
                // may be folded into others. One that is larger than a page has to be read in parts.
                if let (true, Some(last)) = (self.whole.is_empty(), chunks.last()) {
                    range.start = key::after(&last.key);
                    before = chunks;
                }
                break;
            }
            if !self.whole.is_empty() {
                return Ok(());
            }
        }
    }
}
