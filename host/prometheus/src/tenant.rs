//! Which tenant a caller's request is for.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use witgate_identity::Principal;
use witgate_plugins::{Context, Storage};

use crate::{
    Account, Endpoint,
    config::{Callers, Limits, TenantConfig},
};

/// Seconds' worth of samples that may come at once, where the configuration does not say.
const DEFAULT_BURST: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// A tenant in service.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) write: Callers,
    pub(crate) read: Callers,
    pub(crate) storage: Arc<dyn Storage>,
    /// The storage plugin's name.
    pub(crate) storage_name: String,
    /// The label that its series have and nobody else's, whose value is its name.
    pub(crate) label: Option<String>,
    pub(crate) limits: Limits,
    rate: Option<Rate>,
}

/// How many samples, histograms and exemplars it may write in a time.
#[derive(Debug)]
struct Rate {
    limiter: DefaultDirectRateLimiter,
    burst: NonZeroU32,
}

/// Why no tenant takes a request.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoTenant {
    #[error(
        "user {user:?} in groups {groups:?} may not {action}: no tenant's `{action}` names the user or one of the groups"
    )]
    NotGranted {
        user: String,
        groups: Vec<String>,
        action: &'static str,
    },
    #[error("no tenant that you may {action} has the database {asked:?}: you may {action} {offered:?}")]
    OtherDatabase {
        asked: String,
        offered: Vec<String>,
        action: &'static str,
    },
}

impl Tenant {
    pub(crate) fn new(
        config: &TenantConfig,
        storage: Arc<dyn Storage>,
        label: Option<&str>,
        limits: &Limits,
    ) -> Self {
        let own = &config.limits;
        let rate = own.samples_per_second.map(|per_second| {
            let burst = own.burst.unwrap_or(per_second.saturating_mul(DEFAULT_BURST));
            Rate {
                limiter: RateLimiter::direct(Quota::per_second(per_second).allow_burst(burst)),
                burst,
            }
        });
        Self {
            name: config.name.clone(),
            attributes: config.attributes.clone().into_iter().collect(),
            write: config.write.clone(),
            read: config.read.clone(),
            storage,
            storage_name: config.storage.clone(),
            label: label.map(str::to_owned),
            limits: own.over(limits),
            rate,
        }
    }

    /// What a request comes to, before anything has.
    pub(crate) fn account(&self) -> Account {
        Account {
            tenant: self.name.clone(),
            storage: self.storage_name.clone(),
            ..Account::default()
        }
    }

    /// Name and value of the label that all of its series have.
    pub(crate) fn label(&self) -> Option<(&str, &str)> {
        Some((self.label.as_deref()?, &self.name))
    }

    /// Takes so many samples off what may be written; the error is how long to wait.
    pub(crate) fn admit(&self, samples: u64) -> Result<(), Duration> {
        let Some(rate) = &self.rate else { return Ok(()) };
        // What is more than a burst would wait for ever: it costs a whole one.
        let cost = u32::try_from(samples).unwrap_or(u32::MAX).min(rate.burst.get());
        let Some(cost) = NonZeroU32::new(cost) else {
            return Ok(());
        };
        match rate.limiter.check_n(cost) {
            Ok(Err(until)) => Err(until.wait_time_from(DefaultClock::default().now())),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    fn grants(&self, endpoint: Endpoint, principal: &Principal) -> bool {
        let callers = match endpoint {
            Endpoint::Write => &self.write,
            Endpoint::Read => &self.read,
        };
        callers.users.contains(&principal.user)
            || callers
                .groups
                .iter()
                .any(|group| principal.groups.contains(group))
    }

    fn database(&self) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(name, _)| name == "db")
            .map(|(_, value)| value.as_str())
    }

    /// What its storage plugin is told.
    pub(crate) fn context(&self, request_id: &str) -> Context {
        Context {
            tenant: self.name.clone(),
            attributes: self.attributes.clone(),
            request_id: request_id.to_owned(),
        }
    }
}

/// The first tenant that grants the caller the endpoint and has the database that the URL names, if
/// it names one.
pub(crate) fn choose<'a>(
    tenants: &'a [Tenant],
    endpoint: Endpoint,
    principal: &Principal,
    database: Option<&str>,
) -> Result<&'a Tenant, NoTenant> {
    let action = endpoint.action();
    let granted = || tenants.iter().filter(|tenant| tenant.grants(endpoint, principal));
    let Some(first) = granted().next() else {
        let (user, groups) = (principal.user.clone(), principal.groups.clone());
        return Err(NoTenant::NotGranted { user, groups, action });
    };
    let Some(asked) = database else { return Ok(first) };
    granted()
        .find(|tenant| tenant.database() == Some(asked))
        .ok_or_else(|| NoTenant::OtherDatabase {
            asked: asked.to_owned(),
            offered: granted()
                .filter_map(Tenant::database)
                .map(str::to_owned)
                .collect(),
            action,
        })
}

#[cfg(test)]
mod tests {
    use witgate_identity::Method;

    use super::*;
    use crate::{config::TenantLimits, memory::Memory};

    fn tenant(name: &str, db: Option<&str>, writer: &str, reader: &str) -> Tenant {
        let group = |group: &str| Callers {
            users: Vec::new(),
            groups: vec![group.to_owned()],
        };
        let config = TenantConfig {
            name: name.to_owned(),
            storage: String::new(),
            attributes: db
                .map(|db| ("db".to_owned(), db.to_owned()))
                .into_iter()
                .collect(),
            write: group(writer),
            read: group(reader),
            limits: TenantLimits::default(),
        };
        Tenant::new(&config, Arc::new(Memory::default()), None, &Limits::default())
    }

    fn member(groups: &[&str]) -> Principal {
        Principal {
            user: "p".into(),
            uid: None,
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            extra: Vec::new(),
            method: Method::Basic,
            expires: None,
            proof: witgate_identity::Proof::default(),
        }
    }

    #[test]
    fn a_tenant_is_reached_by_those_it_grants_only() {
        let tenants = [
            tenant("a", Some("one"), "wa", "ra"),
            tenant("b", Some("two"), "wb", "rb"),
        ];
        type Case<'a> = (&'a [&'a str], Endpoint, Option<&'a str>, Option<&'a str>);
        let cases: [Case<'_>; 9] = [
            (&["wa"], Endpoint::Write, None, Some("a")),
            (&["wa"], Endpoint::Read, None, None),
            (&["wb"], Endpoint::Write, None, Some("b")),
            (&["wa", "wb"], Endpoint::Write, None, Some("a")),
            (&["wa", "wb"], Endpoint::Write, Some("two"), Some("b")),
            (&["wa"], Endpoint::Write, Some("two"), None),
            (&["wa"], Endpoint::Write, Some("one"), Some("a")),
            (&["ra"], Endpoint::Read, Some("one"), Some("a")),
            (&[], Endpoint::Read, None, None),
        ];
        for (groups, endpoint, database, expected) in cases {
            let found = choose(&tenants, endpoint, &member(groups), database).ok();
            assert_eq!(
                found.map(|tenant| tenant.name.as_str()),
                expected,
                "{groups:?} {endpoint:?} {database:?}"
            );
        }
    }
}
