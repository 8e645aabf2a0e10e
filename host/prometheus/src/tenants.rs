//! Which tenant a caller's request is for.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use witgate_identity::Principal;

use crate::{
    Endpoint,
    blueprint::Foundations,
    caller::{Fact, Granted, Pattern},
    config::{Callers, ConfigError, PrometheusConfig},
    name::{self, NameError},
    tenant::{Blueprint, Counted, Tenant},
};

/// Seconds after which a tenant that nobody asks for makes room for another one.
const IDLE: u64 = 3600;

/// All tenants of a configuration, in its order.
#[derive(Debug)]
pub(crate) struct Tenants {
    entries: Vec<Entry>,
    began: Instant,
    /// Tenants in service that one entry may have.
    most: usize,
    /// What tenants of the configuration before had counted.
    counted: HashMap<String, Counted>,
}

/// One entry of the configuration.
#[derive(Debug)]
struct Entry {
    name: Pattern,
    write: Granted,
    read: Granted,
    blueprint: Blueprint,
    /// Those in service, by name. One, from the beginning, where the name is fixed.
    tenants: RwLock<HashMap<String, Arc<Tenant>>>,
}

/// Which of the tenants that somebody may use is meant.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked<'a> {
    /// The one of this name: the header `X-Scope-OrgID`.
    pub(crate) name: Option<&'a str>,
    /// One that has this database: `?db=` on InfluxDB's paths.
    pub(crate) database: Option<&'a str>,
}

/// A tenant that somebody may use, and by what.
#[derive(Debug)]
pub(crate) struct Usable {
    pub(crate) tenant: Arc<Tenant>,
    /// By what they may write: `the group metrics`.
    pub(crate) write: Option<String>,
    /// By what they may read.
    pub(crate) read: Option<String>,
}

/// Why no tenant takes a request.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoTenant {
    #[error(
        "user {user:?} in groups {groups:?} may not {action}: no tenant's `{action}` names the user, one of \
         the groups, or anything else that is known of them"
    )]
    NotGranted {
        user: String,
        groups: Vec<String>,
        action: &'static str,
    },
    #[error("{fact} is for {action} of a tenant {name:?}, which can't be: {reason}")]
    Unnameable {
        fact: String,
        name: String,
        action: &'static str,
        reason: String,
    },
    #[error("you may not {action} for the tenant {asked:?}: you may for {offered:?}")]
    OtherName {
        asked: String,
        offered: Vec<String>,
        action: &'static str,
    },
    #[error("no tenant that you may {action} has the database {asked:?}: you may {action} {offered:?}")]
    OtherDatabase {
        asked: String,
        offered: Vec<String>,
        action: &'static str,
    },
    #[error("you may {action} for {offered:?}: say which in the header X-Scope-OrgID")]
    Several {
        offered: Vec<String>,
        action: &'static str,
    },
    #[error("{0} tenants are in service already (prometheus.limits.tenants), and none of them is idle")]
    TooMany(usize),
}

/// A tenant that somebody may use, in service or not yet.
struct Candidate<'a> {
    entry: &'a Entry,
    name: Cow<'a, str>,
    fact: Fact<'a>,
}

// === impl Tenants ===

impl Tenants {
    /// Checks the section. Tenants that were in service before go on counting where they were.
    pub(crate) fn new(
        config: &PrometheusConfig,
        foundations: Foundations<'_>,
        before: Option<&Self>,
    ) -> Result<Self, ConfigError> {
        let counted = before.map(Self::counted).unwrap_or_default();
        let mut entries: Vec<Entry> = Vec::new();
        for (index, tenant) in config.tenants.iter().enumerate() {
            let wrong = |error| ConfigError::Name(index, tenant.name.clone(), error);
            let name = Pattern::parse(&tenant.name).map_err(|_| wrong(NameError::Twice))?;
            // What it comes to with the shortest name must do, so that not all of them are refused.
            name::check(&name.with("a")).map_err(wrong)?;
            for (other, before) in entries.iter().zip(&config.tenants) {
                let is_fixed = !name.has_name() || !other.name.has_name();
                if name == other.name {
                    return Err(ConfigError::SameName(index, tenant.name.clone()));
                } else if !is_fixed && name.meets(&other.name) {
                    return Err(ConfigError::NamesMeet(
                        index,
                        tenant.name.clone(),
                        before.name.clone(),
                    ));
                }
            }
            let at = |(place, error)| ConfigError::Callers(index, place, error);
            let callers = |field: &str, callers: &Callers| {
                let parsed = Granted::parse(callers, name.has_name());
                parsed.map_err(|(place, error)| at((format!("{field}.{place}"), error)))
            };
            let blueprint = Blueprint::new(config, (index, tenant), name.has_name(), foundations)?;
            let tenants = match &name {
                Pattern::Around(..) => HashMap::new(),
                Pattern::Exact(name) => {
                    let counted = counted.get(name).cloned().unwrap_or_default();
                    HashMap::from([(name.clone(), Arc::new(blueprint.build(name, "", &counted)))])
                }
            };
            entries.push(Entry {
                write: callers("write", &tenant.write)?,
                read: callers("read", &tenant.read)?,
                name,
                blueprint,
                tenants: RwLock::new(tenants),
            });
        }
        Ok(Self {
            entries,
            began: Instant::now(),
            most: config.limits.tenants,
            counted,
        })
    }

    /// What all tenants have counted: those in service, and those that were before and may be again.
    fn counted(&self) -> HashMap<String, Counted> {
        let mut all: HashMap<_, _> = { self.counted.iter() }
            .take(self.most)
            .map(|(name, counted)| (name.clone(), counted.clone()))
            .collect();
        for entry in &self.entries {
            let tenants = entry.tenants.read().unwrap_or_else(PoisonError::into_inner);
            all.extend(
                tenants
                    .iter()
                    .map(|(name, tenant)| (name.clone(), tenant.counted())),
            );
        }
        all
    }

    /// The tenant that a caller's request is for: the first that grants it to them, or the one of
    /// those that they asked for.
    pub(crate) fn choose(
        &self,
        endpoint: Endpoint,
        principal: &Principal,
        asked: Asked<'_>,
    ) -> Result<Arc<Tenant>, NoTenant> {
        let is_asked = |candidate: &Candidate<'_>| {
            let name = asked.name.is_none_or(|name| candidate.name == name);
            name && asked.database.is_none_or(|database| {
                let own = candidate.entry.database(&candidate.name);
                own.as_deref() == Some(database)
            })
        };
        let candidates = || self.candidates(endpoint, principal).filter_map(Result::ok);
        let Some(found) = candidates().find(is_asked) else {
            return Err(self.why_none(endpoint, principal, asked));
        };
        // Of names that came out of one entry none is the first.
        let is_rival = |other: &Candidate<'_>| {
            std::ptr::eq(other.entry, found.entry) && other.name != found.name && is_asked(other)
        };
        if candidates().any(|other| is_rival(&other)) {
            return Err(NoTenant::Several {
                offered: self.offered(endpoint, principal),
                action: endpoint.action(),
            });
        }
        self.in_service(&found)
    }

    /// All tenants that a caller may use, in the order in which they are chosen from.
    pub(crate) fn usable(&self, principal: &Principal) -> Vec<Usable> {
        let mut all: Vec<Usable> = Vec::new();
        for endpoint in [Endpoint::Write, Endpoint::Read] {
            for candidate in self.candidates(endpoint, principal).filter_map(Result::ok) {
                let Ok(tenant) = self.in_service(&candidate) else {
                    continue;
                };
                let at = all.iter().position(|other| Arc::ptr_eq(&other.tenant, &tenant));
                let at = at.unwrap_or_else(|| {
                    let (write, read) = (None, None);
                    all.push(Usable { tenant, write, read });
                    all.len() - 1
                });
                if let Some(usable) = all.get_mut(at) {
                    let by = match endpoint {
                        Endpoint::Write => &mut usable.write,
                        Endpoint::Read => &mut usable.read,
                    };
                    by.get_or_insert_with(|| candidate.fact.to_string());
                }
            }
        }
        all
    }

    /// The error is a name that something says, and that can't be one.
    fn candidates<'a>(
        &'a self,
        endpoint: Endpoint,
        principal: &'a Principal,
    ) -> impl Iterator<Item = Result<Candidate<'a>, (Fact<'a>, String, String)>> {
        self.entries.iter().flat_map(move |entry| {
            let granted = match endpoint {
                Endpoint::Write => &entry.write,
                Endpoint::Read => &entry.read,
            };
            granted.matches(principal).map(move |(fact, part)| {
                let name = match (&entry.name, part) {
                    (Pattern::Exact(name), _) => Cow::Borrowed(name.as_str()),
                    (Pattern::Around(before, after), Some(part)) if before.is_empty() && after.is_empty() => {
                        Cow::Borrowed(part)
                    }
                    (pattern, part) => Cow::Owned(pattern.with(part.unwrap_or_default())),
                };
                if entry.name.has_name() {
                    if let Err(error) = name::check(&name) {
                        return Err((fact, name.into_owned(), error.to_string()));
                    }
                    if self.entries.iter().any(|other| other.is_called(&name)) {
                        let reason = "another tenant of the configuration has this name".to_owned();
                        return Err((fact, name.into_owned(), reason));
                    }
                }
                Ok(Candidate { entry, name, fact })
            })
        })
    }

    fn in_service(&self, candidate: &Candidate<'_>) -> Result<Arc<Tenant>, NoTenant> {
        let (entry, name) = (candidate.entry, candidate.name.as_ref());
        let now = self.began.elapsed().as_secs();
        {
            let tenants = entry.tenants.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(tenant) = tenants.get(name) {
                tenant.is_used(now);
                return Ok(Arc::clone(tenant));
            }
        }
        let mut tenants = entry.tenants.write().unwrap_or_else(PoisonError::into_inner);
        if tenants.len() >= self.most && !tenants.contains_key(name) {
            tenants.retain(|_, tenant| Arc::strong_count(tenant) > 1 || now < tenant.last_used() + IDLE);
            if tenants.len() >= self.most {
                return Err(NoTenant::TooMany(self.most));
            }
        }
        let counted = self.counted.get(name).cloned().unwrap_or_default();
        let tenant = tenants
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(entry.blueprint.build(name, entry.part(name), &counted)));
        tenant.is_used(now);
        Ok(Arc::clone(tenant))
    }

    fn offered(&self, endpoint: Endpoint, principal: &Principal) -> Vec<String> {
        let candidates = self.candidates(endpoint, principal).filter_map(Result::ok);
        let mut names: Vec<_> = candidates.map(|candidate| candidate.name.into_owned()).collect();
        names.dedup();
        names
    }

    fn why_none(&self, endpoint: Endpoint, principal: &Principal, asked: Asked<'_>) -> NoTenant {
        let action = endpoint.action();
        let offered = self.offered(endpoint, principal);
        if let Some(Err((fact, name, reason))) = self
            .candidates(endpoint, principal)
            .find(Result::is_err)
            .filter(|_| offered.is_empty())
        {
            let fact = fact.to_string();
            return NoTenant::Unnameable {
                fact,
                name,
                action,
                reason,
            };
        }
        match asked {
            _ if offered.is_empty() => NoTenant::NotGranted {
                user: principal.user.clone(),
                groups: principal.groups.clone(),
                action,
            },
            Asked { name: Some(name), .. } if !offered.iter().any(|offered| offered == name) => {
                let asked = name.to_owned();
                NoTenant::OtherName {
                    asked,
                    offered,
                    action,
                }
            }
            Asked { database, .. } => {
                let candidates = self.candidates(endpoint, principal).filter_map(Result::ok);
                let databases = candidates.filter_map(|found| found.entry.database(&found.name));
                NoTenant::OtherDatabase {
                    asked: database.unwrap_or_default().to_owned(),
                    offered: databases.collect(),
                    action,
                }
            }
        }
    }
}

// === impl Entry ===

impl Entry {
    /// What `{tenant}` stands for in a name of its form.
    fn part<'n>(&self, name: &'n str) -> &'n str {
        self.name.find(name).flatten().unwrap_or_default()
    }

    fn database(&self, name: &str) -> Option<String> {
        self.blueprint.database(self.part(name))
    }

    fn is_called(&self, name: &str) -> bool {
        matches!(&self.name, Pattern::Exact(own) if own == name)
    }
}

#[cfg(test)]
mod tests;
