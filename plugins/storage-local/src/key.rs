//! The layout of the space.
//!
//! ```text
//! 'v'                                           which layout this is
//! 'h' tenant shard  moment nonce     block      samples as they were written, of many series
//! 'g' tenant shard                   count      how often blocks of this shard were folded
//! 'd' day tenant 's' series          labels     a series that has samples on this day
//! 'd' day tenant 'p' label  series   nothing    that it has this label
//! 'd' day tenant 'c' series start    chunk      some of its samples
//! ```
//!
//! A write adds a block to each shard that its series are in, and no two writes add the same one.
//! Folding moves what is in a shard's blocks into chunks, under the series and the day. The bytes of
//! a chunk are those that remote read streams.
//!
//! `day` counts from 1970 in 8 bytes. `tenant` is a 128-bit hash of the tenant's name, `series` a
//! 64-bit one of the series' labels, and `shard` the first byte of that. `label` is a name and a value
//! with a byte in front of each that is no UTF-8. `start` is the chunk's first time upside down, so
//! that the last chunk of a day comes first. Numbers are big-endian, the signed ones with their sign
//! bit flipped, so that keys are in the order of what they stand for.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// Milliseconds of a day.
pub const DAY: i64 = 86_400_000;

/// Where the number of the layout is.
pub const VERSION: &[u8] = b"v";

/// How many parts the series of a tenant are folded in.
pub const SHARDS: usize = 16;

const HEAD: u8 = b'h';
const GENERATION: u8 = b'g';
const BY_DAY: u8 = b'd';
const SERIES: u8 = b's';
const POSTING: u8 = b'p';
const CHUNK: u8 = b'c';

/// In front of a label's name and value, and behind it. Never a byte of UTF-8.
const SEPARATOR: u8 = 0xff;
/// In front of the hash of a value that is too long for a key. Never a byte of UTF-8.
const HASHED: u8 = 0xfe;

/// The longest names and values that are in a key themselves.
const LONGEST: usize = 1024;

/// Bytes of a day's key up to the day, and up to the kind.
const DAY_LENGTH: usize = 1 + 8;
const PREFIX_LENGTH: usize = DAY_LENGTH + 16;

/// A tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(u128);

/// A series, by the hash of its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub u64);

impl Tenant {
    /// The tenant of this name.
    pub fn named(name: &str) -> Self {
        Tenant(xxh3_128(name.as_bytes()))
    }
}

impl SeriesId {
    /// Which part it is folded with.
    pub fn shard(self) -> usize {
        usize::from(self.0.to_be_bytes()[0]) % SHARDS
    }
}

/// The day of a timestamp.
pub fn day_of(timestamp: i64) -> i64 {
    timestamp.div_euclid(DAY)
}

/// The last millisecond of a day.
pub fn end_of_day(day: i64) -> i64 {
    day.saturating_add(1).saturating_mul(DAY).saturating_sub(1)
}

/// The beginning of the keys of all blocks.
pub fn heads() -> Vec<u8> {
    vec![HEAD]
}

/// Tenant, shard and moment of the key of a block.
pub fn of_block(key: &[u8]) -> Option<(Tenant, usize, u64)> {
    let (tenant, rest) = key.strip_prefix(&[HEAD])?.split_first_chunk()?;
    let (shard, rest) = rest.split_first()?;
    let tenant = Tenant(u128::from_be_bytes(*tenant));
    Some((tenant, (*shard).into(), u64::from_be_bytes(*rest.first_chunk()?)))
}

/// The beginning of the keys of a shard's blocks.
pub fn head(tenant: Tenant, shard: usize) -> Vec<u8> {
    of_shard(HEAD, tenant, shard)
}

/// The key of a block.
pub fn block(tenant: Tenant, shard: usize, moment: u64, nonce: u64) -> Vec<u8> {
    let mut key = head(tenant, shard);
    key.extend_from_slice(&moment.to_be_bytes());
    key.extend_from_slice(&nonce.to_be_bytes());
    key
}

/// The key of a shard's generation.
pub fn generation(tenant: Tenant, shard: usize) -> Vec<u8> {
    of_shard(GENERATION, tenant, shard)
}

fn of_shard(kind: u8, tenant: Tenant, shard: usize) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + 16 + 1 + 16);
    key.push(kind);
    key.extend_from_slice(&tenant.0.to_be_bytes());
    // There are fewer than 256.
    key.extend(u8::try_from(shard));
    key
}

/// The beginning of every key of a day.
pub fn day(day: i64) -> Vec<u8> {
    let mut key = Vec::with_capacity(PREFIX_LENGTH + 1 + 24);
    key.push(BY_DAY);
    key.extend_from_slice(&flipped(day));
    key
}

/// The first key of the first day.
pub fn first_day() -> Vec<u8> {
    vec![BY_DAY]
}

/// The beginning of a tenant's keys of a day.
pub fn prefix(of_day: i64, tenant: Tenant) -> Vec<u8> {
    let mut key = day(of_day);
    key.extend_from_slice(&tenant.0.to_be_bytes());
    key
}

/// Day and tenant of a key, if it is one of a day.
pub fn day_and_tenant(key: &[u8]) -> Option<(i64, Tenant)> {
    let (day, rest) = key.strip_prefix(&[BY_DAY])?.split_first_chunk::<8>()?;
    let tenant = rest.first_chunk::<16>()?;
    Some((unflipped(*day), Tenant(u128::from_be_bytes(*tenant))))
}

/// The beginning of the keys of a day's series.
pub fn all_series(day: i64, tenant: Tenant) -> Vec<u8> {
    let mut key = prefix(day, tenant);
    key.push(SERIES);
    key
}

/// The key of a series.
pub fn series(day: i64, tenant: Tenant, series: SeriesId) -> Vec<u8> {
    let mut key = all_series(day, tenant);
    key.extend_from_slice(&series.0.to_be_bytes());
    key
}

/// The beginning of the keys of the series that have a label of this name.
pub fn postings_of_name(day: i64, tenant: Tenant, name: &str) -> Vec<u8> {
    let mut key = prefix(day, tenant);
    key.push(POSTING);
    text(name, &mut key);
    key
}

/// The beginning of the keys of the series that have a label.
pub fn postings(day: i64, tenant: Tenant, name: &str, value: &str) -> Vec<u8> {
    let mut key = postings_of_name(day, tenant, name);
    text(value, &mut key);
    key.push(SEPARATOR);
    key
}

/// Adds the series to the beginning that [`postings`] made.
pub fn posting(mut postings: Vec<u8>, series: SeriesId) -> Vec<u8> {
    postings.extend_from_slice(&series.0.to_be_bytes());
    postings
}

/// The value in the key of a posting, behind the beginning that [`postings_of_name`] made; none where
/// it was too long.
pub fn value_in<'k>(key: &'k [u8], beginning: &[u8]) -> Option<&'k str> {
    let rest = key.strip_prefix(beginning)?.strip_prefix(&[SEPARATOR])?;
    let value = rest.get(..rest.len().checked_sub(9)?)?;
    std::str::from_utf8(value).ok()
}

/// The beginning of the keys of a series' chunks.
pub fn chunks(day: i64, tenant: Tenant, series: SeriesId) -> Vec<u8> {
    let mut key = prefix(day, tenant);
    key.push(CHUNK);
    key.extend_from_slice(&series.0.to_be_bytes());
    key
}

/// The key of a chunk, behind the beginning that [`chunks`] made.
pub fn chunk(beginning: &[u8], first: i64) -> Vec<u8> {
    let mut key = Vec::with_capacity(beginning.len() + 8);
    key.extend_from_slice(beginning);
    key.extend(flipped(first).map(|byte| !byte));
    key
}

/// The first time of the chunk with this key.
pub fn start_at_end(key: &[u8]) -> Option<i64> {
    let start = key.last_chunk::<8>()?;
    Some(unflipped(start.map(|byte| !byte)))
}

/// The series at the end of a key of a series or a posting.
pub fn series_at_end(key: &[u8]) -> Option<SeriesId> {
    key.last_chunk::<8>()
        .map(|bytes| SeriesId(u64::from_be_bytes(*bytes)))
}

/// The first key after all that begin like this.
pub fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// The first key after this one.
pub fn after(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}

fn text(text: &str, key: &mut Vec<u8>) {
    key.push(SEPARATOR);
    if text.len() <= LONGEST {
        key.extend_from_slice(text.as_bytes());
    } else {
        key.push(HASHED);
        key.extend_from_slice(&xxh3_64(text.as_bytes()).to_be_bytes());
    }
}

fn flipped(number: i64) -> [u8; 8] {
    (number.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

fn unflipped(bytes: [u8; 8]) -> i64 {
    (u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_in_order_and_chunks_in_the_opposite_one() {
        let tenant = Tenant::named("t");
        for pair in [i64::MIN, -1, 0, 1, 20_000, i64::MAX].windows(2) {
            assert!(prefix(pair[0], tenant) < prefix(pair[1], tenant));
            let beginning = chunks(0, tenant, SeriesId(7));
            let [early, late] = [chunk(&beginning, pair[0]), chunk(&beginning, pair[1])];
            assert!(late < early);
            assert_eq!(start_at_end(&early), Some(pair[0]));
        }
        assert_eq!(day_of(-1), -1);
        assert_eq!(
            day_and_tenant(&series(-3, tenant, SeriesId(1))),
            Some((-3, tenant))
        );
    }

    #[test]
    fn labels_that_run_into_each_other_are_apart() {
        let tenant = Tenant::named("t");
        let of = |name, value| postings(0, tenant, name, value);
        assert_ne!(of("ab", "c"), of("a", "bc"));
        let longer = posting(of("a", "bc"), SeriesId(0));
        assert!(!longer.starts_with(&of("a", "b")));
        let beginning = postings_of_name(0, tenant, "a");
        assert_eq!(value_in(&longer, &beginning), Some("bc"));
        let long = "x".repeat(LONGEST + 1);
        let hashed = posting(of("a", &long), SeriesId(0));
        assert_eq!(value_in(&hashed, &beginning), None);
        assert!(hashed.starts_with(&beginning));
    }

    #[test]
    fn the_end_is_behind_everything_that_begins_alike() {
        assert_eq!(end_of(&[1, 2]), [1, 3]);
        assert_eq!(end_of(&[1, 255]), [2]);
        assert_eq!(end_of(&[255, 255]), [0_u8; 0]);
    }
}
