//! A value as every engine stores it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 8 bytes of expiry in milliseconds since 1970, big endian (0: never), and the value itself.
pub(crate) struct Stored {
    pub(crate) expires: u64,
    pub(crate) value: Vec<u8>,
}

impl Stored {
    /// A value that is put there now, for so long.
    pub(crate) fn new(value: Vec<u8>, lifetime: Option<Duration>, now: u64) -> Self {
        let expires = lifetime.map_or(0, |lifetime| now.saturating_add(millis(lifetime)).max(1));
        Self { expires, value }
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + self.value.len());
        bytes.extend_from_slice(&self.expires.to_be_bytes());
        bytes.extend_from_slice(&self.value);
        bytes
    }

    pub(crate) fn expiry(stored: &[u8]) -> u64 {
        stored
            .first_chunk()
            .map_or(0, |expires| u64::from_be_bytes(*expires))
    }

    /// The value, if it has not expired.
    pub(crate) fn live(stored: &[u8], now: u64) -> Option<&[u8]> {
        let expires = Self::expiry(stored);
        (expires == 0 || expires > now).then(|| stored.get(8..).unwrap_or_default())
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
