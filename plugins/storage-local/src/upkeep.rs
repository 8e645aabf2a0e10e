//! What is done after a write besides writing: folding, and removing what is too old. A plugin runs only
//! when it is called, so a gateway that is not written to keeps what it has.

use std::collections::HashMap;

use witgate_sdk::key_value::KeyValue;
use witgate_sdk::log;
use witgate_sdk::storage::Failure;

use crate::failure;
use crate::fold::{Bounds, fold};
use crate::key::{self, SHARDS, Tenant};
use crate::retention::{Sweep, first_kept};
use crate::write::Added;

/// Bytes of a sample in a block: its series, its time and its value.
const SAMPLE: usize = 19;

/// Samples of a series that are folded together, if there is room for them: a chunk.
const SAMPLES: usize = witgate_chunk::SAMPLES;

/// Bytes of blocks that are folded at once. The more, the fuller are the chunks that are written; the
/// most is what fits into the memory and the time of a call.
const LEAST: usize = 16 << 10;
const MOST: usize = 2 << 20;

/// Bytes of chunks that are committed at once.
const COMMIT: usize = 4 << 20;

/// Every so many writes a shard is looked at that this instance may not have written to.
const LOOK: u64 = 16;

/// As many blocks are folded, however small they are.
const BLOCKS: u32 = 256;

/// Blocks that have waited for so long are folded, in nanoseconds: a day.
const AGE: u64 = key::DAY.unsigned_abs() * 1_000_000;

/// What an instance remembers of what is to be done.
#[derive(Debug)]
pub(crate) struct Upkeep {
    /// Bytes that were added to shards since they were folded.
    added: HashMap<Tenant, Added>,
    /// Where the next look begins.
    reached: Vec<u8>,
    writes: u64,
    sweep: Sweep,
    /// Bytes that a shard has to have at the least before it is folded.
    pub(crate) least: usize,
    pub(crate) bounds: Bounds,
}

impl Default for Upkeep {
    fn default() -> Self {
        Upkeep {
            added: HashMap::new(),
            reached: Vec::new(),
            writes: 0,
            sweep: Sweep::default(),
            least: LEAST,
            bounds: Bounds {
                blocks: 2 * MOST,
                commit: COMMIT,
            },
        }
    }
}

impl Upkeep {
    /// Does some of what is to be done. What fails is tried again after another write.
    pub(crate) fn after(
        &mut self,
        space: &impl KeyValue,
        tenant: Tenant,
        series: usize,
        added: &Added,
        (now, oldest): (i64, i64),
    ) {
        let now = now.unsigned_abs().saturating_mul(1_000_000);
        let done = self
            .fold(space, tenant, series, added, oldest)
            .and_then(|()| self.look(space, now, oldest))
            .and_then(|()| self.sweep.step(space, oldest));
        if let Err(Failure::Unavailable(trouble) | Failure::Overloaded(trouble)) = done {
            log::warn(&format!("folding or removing waits: {}", trouble.message));
        } else if let Err(Failure::Invalid(reason)) = done {
            log::error(&format!("folding or removing failed: {reason}"));
        }
    }

    /// Folds the shard with the most of what was added, if that is enough.
    fn fold(
        &mut self,
        space: &impl KeyValue,
        tenant: Tenant,
        series: usize,
        added: &Added,
        oldest: i64,
    ) -> Result<(), Failure> {
        let enough = (series * SAMPLE * SAMPLES).clamp(self.least, MOST);
        let waiting = self.added.entry(tenant).or_insert([0; SHARDS]);
        for (waiting, added) in waiting.iter_mut().zip(added) {
            *waiting += added;
        }
        let largest = waiting.iter_mut().enumerate().max_by_key(|(_, bytes)| **bytes);
        if let Some((shard, bytes)) = largest.filter(|(_, bytes)| **bytes >= enough) {
            // Whatever others have added is there too.
            *bytes = 0;
            fold(space, tenant, shard, first_kept(oldest), self.bounds)?;
        }
        Ok(())
    }

    /// Looks at the next shard that anybody has written to.
    fn look(&mut self, space: &impl KeyValue, now: u64, oldest: i64) -> Result<(), Failure> {
        self.writes += 1;
        if !self.writes.is_multiple_of(LOOK) {
            return Ok(());
        }
        let end = key::end_of(&key::heads());
        let from = self.reached.clone().max(key::heads());
        let found = space.scan(&from, &end, BLOCKS).map_err(failure)?;
        let Some((tenant, shard, moment)) = found.first().and_then(|block| key::of_block(&block.key)) else {
            self.reached.clear();
            return Ok(());
        };
        let beginning = key::head(tenant, shard);
        self.reached = key::end_of(&beginning);
        let of_shard = found.iter().take_while(|block| block.key.starts_with(&beginning));
        let (blocks, bytes) = of_shard.fold((0, 0), |(blocks, bytes), block| {
            (blocks + 1, bytes + block.value.len())
        });
        let is_old = now.saturating_sub(moment) > AGE;
        if blocks >= BLOCKS || bytes >= MOST || is_old {
            fold(space, tenant, shard, first_kept(oldest), self.bounds)?;
        }
        Ok(())
    }
}
