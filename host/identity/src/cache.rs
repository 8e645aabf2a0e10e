//! Principals of credentials that were verified before.

use std::{
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use moka::{Expiry, future::Cache};
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::principal::Principal;

/// How much verified principals may take, in bytes: some ten thousand users with a hundred groups.
const CAPACITY: u64 = 64 << 20;

/// What an entry takes beside its names.
const OVERHEAD: usize = 256;

/// Principals by digest of their credential, until the credential expires or has to be looked at
/// anew.
pub(crate) struct Principals {
    cache: Cache<Digest, Found, BuildHasherDefault<Uniform>>,
    /// As they were found last, for when that can't be done anew.
    last: Cache<Digest, Arc<Principal>, BuildHasherDefault<Uniform>>,
    key: DigestKey,
}

/// What a verification found.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) principal: Arc<Principal>,
    /// Until when that need not be found out again.
    pub(crate) fresh_until: Option<SystemTime>,
}

/// Secret, so that nobody can make two credentials with the same digest.
#[derive(Clone)]
pub(crate) struct DigestKey(SipHasher24);

/// A keyed 128-bit digest of a credential: two credentials have the same one by chance only, and
/// it says nothing about the credential to who reads this process's memory in part.
pub(crate) type Digest = u128;

/// Digests are uniform already.
#[derive(Default)]
pub(crate) struct Uniform(u64);

struct UntilExpiry;

// === impl Principals ===

impl Principals {
    /// A cache that remembers for so long what it can't give as fresh any more.
    pub(crate) fn remembering(time: Duration) -> Self {
        let cache = Cache::builder()
            .max_capacity(CAPACITY)
            .weigher(|_, found: &Found| size(&found.principal))
            .expire_after(UntilExpiry)
            .build_with_hasher(BuildHasherDefault::default());
        let last = Cache::builder()
            .max_capacity(CAPACITY)
            .weigher(|_, principal: &Arc<Principal>| size(principal))
            .time_to_live(time)
            .build_with_hasher(BuildHasherDefault::default());
        Self {
            cache,
            last,
            key: DigestKey::random(),
        }
    }

    /// The principal of a credential as it was found last, if it has not expired since.
    pub(crate) async fn last(&self, kind: &'static str, credential: &str) -> Option<Arc<Principal>> {
        let digest = self.key.digest([kind, credential]);
        let principal = self.last.get(&digest).await?;
        let holds = principal
            .expires
            .is_none_or(|expires| expires > SystemTime::now());
        holds.then_some(principal)
    }

    /// Forgets who the bearer of a credential was.
    pub(crate) async fn forget(&self, kind: &'static str, credential: &str) {
        self.last.invalidate(&self.key.digest([kind, credential])).await;
    }

    /// The principal of a credential, from `verify` if it isn't known. Those who ask for the same
    /// one at the same time wait for one `verify`. Failures are not kept. A credential of one kind
    /// is never found as one of another.
    pub(crate) async fn get_or_verify<E, F>(
        &self,
        kind: &'static str,
        credential: &str,
        verify: impl FnOnce() -> F,
    ) -> Result<Arc<Principal>, E>
    where
        E: Clone + Send + Sync + 'static,
        F: Future<Output = Result<Found, E>>,
    {
        let digest = self.key.digest([kind, credential]);
        if let Some(found) = self.cache.get(&digest).await {
            // Expiry in the cache follows a clock that a correction of the time does not move.
            if found.fresh_until.is_none_or(|until| until > SystemTime::now()) {
                return Ok(found.principal);
            }
            self.cache.invalidate(&digest).await;
        }
        let found = self.cache.try_get_with(digest, verify()).await;
        let principal = found.map_err(|error| E::clone(&error))?.principal;
        self.last.insert(digest, Arc::clone(&principal)).await;
        Ok(principal)
    }
}

// === impl DigestKey ===

impl DigestKey {
    pub(crate) fn random() -> Self {
        Self(SipHasher24::new_with_key(&rand::random()))
    }

    /// The digest of several parts, of which where each ends counts too.
    pub(crate) fn digest<const N: usize>(&self, parts: [&str; N]) -> Digest {
        let mut hasher = self.0;
        for part in parts {
            hasher.write(part.as_bytes());
            hasher.write_usize(part.len());
        }
        hasher.finish128().as_u128()
    }
}

impl Hasher for Uniform {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.0 ^= u64::from_ne_bytes(word);
        }
    }
}

impl Expiry<Digest, Found> for UntilExpiry {
    fn expire_after_create(&self, _: &Digest, found: &Found, _: Instant) -> Option<Duration> {
        let until = found.fresh_until?;
        Some(until.duration_since(SystemTime::now()).unwrap_or_default())
    }
}

fn size(principal: &Principal) -> u32 {
    let text = |list: &[String]| {
        list.iter()
            .map(|text| text.len() + size_of::<String>())
            .sum::<usize>()
    };
    let size = OVERHEAD
        + principal.user.len()
        + principal.uid.as_ref().map_or(0, String::len)
        + text(&principal.groups)
        + principal
            .extra
            .iter()
            .map(|(key, values)| OVERHEAD + key.len() + text(values))
            .sum::<usize>();
    u32::try_from(size).unwrap_or(u32::MAX)
}
