//! How often one user, and one address, may ask.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};
use schemars::JsonSchema;
use serde::Deserialize;

/// Requests between two times that counts of those who are gone are cleared away.
const SWEEP: u32 = 10_000;

/// How often requests may come. Without a limit here there is none.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct LimitsConfig {
    /// For each user.
    #[serde(default)]
    pub(crate) per_user: Option<RateConfig>,
    /// For each address that requests come from, before it is known who asks. IPv6 addresses count
    /// by their first 64 bits. Leave it away behind a load balancer: all requests come from that.
    #[serde(default)]
    pub(crate) per_address: Option<RateConfig>,
}

/// A rate.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RateConfig {
    /// Requests in a second, in the long run.
    pub(crate) requests_per_second: NonZeroU32,
    /// Requests that may come at once. Default: as many as in a second.
    #[serde(default)]
    pub(crate) burst: Option<NonZeroU32>,
}

/// The counts of one configuration.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    users: Option<DefaultKeyedRateLimiter<String>>,
    addresses: Option<DefaultKeyedRateLimiter<IpAddr>>,
    checks: AtomicU32,
}

/// Too many requests; when to come again.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("too many requests: wait {} s", .retry_after.as_secs())]
pub(crate) struct TooMany {
    pub(crate) retry_after: Duration,
}

// === impl Limits ===

impl Limits {
    pub(crate) fn new(config: &LimitsConfig) -> Self {
        Self {
            users: config.per_user.map(|rate| RateLimiter::keyed(rate.quota())),
            addresses: config.per_address.map(|rate| RateLimiter::keyed(rate.quota())),
            checks: AtomicU32::new(0),
        }
    }

    pub(crate) fn user(&self, user: &str) -> Result<(), TooMany> {
        let Some(users) = &self.users else { return Ok(()) };
        self.sweep();
        check(users, &user.to_owned())
    }

    pub(crate) fn address(&self, address: IpAddr) -> Result<(), TooMany> {
        let Some(addresses) = &self.addresses else {
            return Ok(());
        };
        self.sweep();
        check(addresses, &network(address))
    }

    fn sweep(&self) {
        if self.checks.fetch_add(1, Ordering::Relaxed) % SWEEP != SWEEP - 1 {
            return;
        }
        if let Some(users) = &self.users {
            users.retain_recent();
        }
        if let Some(addresses) = &self.addresses {
            addresses.retain_recent();
        }
    }
}

// === impl RateConfig ===

impl RateConfig {
    fn quota(self) -> Quota {
        let quota = Quota::per_second(self.requests_per_second);
        self.burst.map_or(quota, |burst| quota.allow_burst(burst))
    }
}

fn check<K: std::hash::Hash + Eq + Clone>(
    limiter: &DefaultKeyedRateLimiter<K>,
    key: &K,
) -> Result<(), TooMany> {
    limiter.check_key(key).map_err(|until| {
        let wait = until.wait_time_from(limiter.clock().now());
        // Whole seconds (RFC 9110 section 10.2.3), and never none.
        let retry_after = Duration::from_secs(wait.as_secs() + 1);
        TooMany { retry_after }
    })
}

/// Whoever has one IPv6 address mostly has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(text: &str) -> Limits {
        Limits::new(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn one_users_requests_don_t_count_for_another() {
        let limits = limits(r#"{"perUser": {"requestsPerSecond": 1, "burst": 2}}"#);
        limits.user("alice").unwrap();
        limits.user("alice").unwrap();
        let refused = limits.user("alice").unwrap_err();
        assert!((1..=2).contains(&refused.retry_after.as_secs()), "{refused}");
        limits.user("bob").unwrap();
        limits.address([127, 0, 0, 1].into()).unwrap();
    }

    #[test]
    fn addresses_of_one_network_count_together() {
        let limits = limits(r#"{"perAddress": {"requestsPerSecond": 1}}"#);
        limits.address("2001:db8::1".parse().unwrap()).unwrap();
        assert!(limits.address("2001:db8::2".parse().unwrap()).is_err());
        limits.address("2001:db8:0:1::1".parse().unwrap()).unwrap();
        limits.address("192.0.2.1".parse().unwrap()).unwrap();
        limits.address("192.0.2.2".parse().unwrap()).unwrap();
        assert!(limits.address("::ffff:192.0.2.2".parse().unwrap()).is_err());
    }
}
