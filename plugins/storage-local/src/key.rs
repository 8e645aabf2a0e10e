//! The layout of the space.
//!
//! ```text
//! day tenant 's' series          labels      a series that has samples on this day
//! day tenant 'p' label  series   nothing     that it has this label
//! day tenant 'v' series time     value       a sample
//! day tenant 'w' series time     message     a native histogram
//! ```
//!
//! `day` counts from 1970 in 8 bytes, `time` is the milliseconds in it in 4. `tenant` and `series`
//! are 128-bit hashes of the tenant's name and of the series' labels, `label` is a 64-bit one of a
//! name and a value. All numbers are big-endian, the signed ones with their sign bit flipped, so
//! that keys are in the order of what they stand for.
//!
//! A sample has one key, so writing it again leaves one, and of two values for the same moment the
//! one that was written last remains.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// Milliseconds of a day.
pub const DAY: i64 = 86_400_000;

const SERIES: u8 = b's';
const POSTING: u8 = b'p';
const SAMPLE: u8 = b'v';
const HISTOGRAM: u8 = b'w';

/// Between a label's name and value in what is hashed. Never a byte of UTF-8.
const SEPARATOR: u8 = 0xff;

/// Bytes of a key up to the tenant, and up to the kind.
const DAY_LENGTH: usize = 8;
const PREFIX_LENGTH: usize = DAY_LENGTH + 16;

/// A tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tenant(u128);

/// A series, by the hash of its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub u128);

impl Tenant {
    /// The tenant of this name.
    pub fn named(name: &str) -> Self {
        Tenant(xxh3_128(name.as_bytes()))
    }
}

impl SeriesId {
    /// The series with these labels, as [`labels`](crate::labels) encodes them.
    pub fn of(labels: &[u8]) -> Self {
        SeriesId(xxh3_128(labels))
    }
}

/// The day of a timestamp, and how far in it that is.
pub fn day_of(timestamp: i64) -> (i64, u32) {
    let within = timestamp.rem_euclid(DAY);
    (
        timestamp.div_euclid(DAY),
        u32::try_from(within).unwrap_or_default(),
    )
}

/// The beginning of every key of a day.
pub fn day(day: i64) -> Vec<u8> {
    flipped(day).to_vec()
}

/// The beginning of a tenant's keys of a day.
pub fn prefix(day: i64, tenant: Tenant) -> Vec<u8> {
    let mut key = Vec::with_capacity(PREFIX_LENGTH + 1 + 24);
    key.extend_from_slice(&flipped(day));
    key.extend_from_slice(&tenant.0.to_be_bytes());
    key
}

/// Day and tenant of a key, if it is one.
pub fn day_and_tenant(key: &[u8]) -> Option<(i64, Tenant)> {
    let (day, rest) = key.split_first_chunk::<DAY_LENGTH>()?;
    let tenant = rest.first_chunk::<16>()?;
    let day = u64::from_be_bytes(*day) ^ (1 << 63);
    Some((day.cast_signed(), Tenant(u128::from_be_bytes(*tenant))))
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

/// The beginning of the keys of the series that have a label.
pub fn postings(day: i64, tenant: Tenant, name: &str, value: &str) -> Vec<u8> {
    let mut label = Vec::with_capacity(name.len() + 1 + value.len());
    label.extend_from_slice(name.as_bytes());
    label.push(SEPARATOR);
    label.extend_from_slice(value.as_bytes());
    let mut key = prefix(day, tenant);
    key.push(POSTING);
    key.extend_from_slice(&xxh3_64(&label).to_be_bytes());
    key
}

/// Adds the series to the beginning that [`postings`] made.
pub fn posting(mut postings: Vec<u8>, series: SeriesId) -> Vec<u8> {
    postings.extend_from_slice(&series.0.to_be_bytes());
    postings
}

/// The beginning of the keys of a series' samples.
pub fn samples(day: i64, tenant: Tenant, series: SeriesId) -> Vec<u8> {
    let mut key = prefix(day, tenant);
    key.push(SAMPLE);
    key.extend_from_slice(&series.0.to_be_bytes());
    key
}

/// The beginning of the keys of a series' histograms.
pub fn histograms(day: i64, tenant: Tenant, series: SeriesId) -> Vec<u8> {
    let mut key = prefix(day, tenant);
    key.push(HISTOGRAM);
    key.extend_from_slice(&series.0.to_be_bytes());
    key
}

/// Adds the time to the beginning that [`samples`] or [`histograms`] made.
pub fn at(beginning: &[u8], within: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(beginning.len() + 4);
    key.extend_from_slice(beginning);
    key.extend_from_slice(&within.to_be_bytes());
    key
}

/// The series at the end of a key of a series or a posting.
pub fn series_at_end(key: &[u8]) -> Option<SeriesId> {
    key.last_chunk::<16>()
        .map(|bytes| SeriesId(u128::from_be_bytes(*bytes)))
}

/// Whether what is at a key that begins like this are histograms.
pub fn is_histogram(key: &[u8]) -> bool {
    key.get(PREFIX_LENGTH) == Some(&HISTOGRAM)
}

/// The time at the end of a sample's key.
pub fn time_at_end(key: &[u8]) -> Option<u32> {
    key.last_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))
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

fn flipped(number: i64) -> [u8; 8] {
    (number.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_days_and_times() {
        let tenant = Tenant::named("t");
        let key = |timestamp| {
            let (day, within) = day_of(timestamp);
            at(&samples(day, tenant, SeriesId(7)), within)
        };
        let times = [i64::MIN, -DAY - 1, -DAY, -1, 0, 1, DAY - 1, DAY, i64::MAX];
        assert!(times.map(key).is_sorted());
        for time in times {
            let (day, within) = day_of(time);
            assert_eq!(day_and_tenant(&key(time)), Some((day, tenant)));
            assert_eq!(time_at_end(&key(time)), Some(within));
        }
    }

    #[test]
    fn a_range_ends_after_all_that_begin_alike() {
        assert_eq!(end_of(b"ab"), b"ac");
        assert_eq!(end_of(&[1, 255, 255]), [2]);
        assert!(end_of(&[255, 255]).is_empty(), "which is the end of the space");
    }

    #[test]
    fn labels_do_not_run_into_each_other() {
        let tenant = Tenant::named("t");
        assert_ne!(postings(0, tenant, "a", "bc"), postings(0, tenant, "ab", "c"));
    }
}
