//! etcd's leases, by which what has expired is cleared away. One lease is for all keys that are put
//! within a while for equally long: a lease a session would be as many keepers of time in etcd.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use etcd_client::{Client, Error};

/// etcd itself gives no lease for less than its election takes, and none for longer than 9,000,000,000 s.
const MAX_SECONDS: u64 = 9_000_000_000;

/// Leases that are remembered. More lifetimes than that are not in use at a time.
const MAX_REMEMBERED: usize = 256;

/// The leases that keys of a lifetime, in seconds, get at the moment.
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_seconds: Mutex<HashMap<u64, Lease>>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    id: i64,
    /// Until when a key that is put may have it: it outlives the key then.
    usable: Instant,
}

impl Leases {
    /// A lease that outlives a key which is put now for so long.
    pub(super) async fn outliving(&self, client: &Client, lifetime: Duration) -> Result<i64, Error> {
        let seconds = lifetime.as_secs().saturating_add(1).min(MAX_SECONDS);
        if let Some(lease) = self.usable(seconds) {
            return Ok(lease);
        }
        let shared = (seconds / 8).clamp(10, 600);
        let usable = Instant::now() + Duration::from_secs(shared);
        let time = i64::try_from(seconds + shared + 1).unwrap_or(i64::MAX);
        let id = client.lease_client().grant(time, None).await?.id();
        let mut by_seconds = self.lock();
        if by_seconds.len() >= MAX_REMEMBERED {
            by_seconds.clear();
        }
        by_seconds.insert(seconds, Lease { id, usable });
        Ok(id)
    }

    /// Forgets them all: etcd does not know one of them.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn usable(&self, seconds: u64) -> Option<i64> {
        let by_seconds = self.lock();
        let lease = by_seconds.get(&seconds)?;
        (lease.usable > Instant::now()).then_some(lease.id)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Lease>> {
        self.by_seconds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
