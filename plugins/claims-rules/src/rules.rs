//! The rules for names and for lists of groups.

use std::collections::BTreeMap;

use serde::Deserialize;
use witgate_sdk::claims::Denial;

use crate::dn;
use crate::glob::Glob;

/// Changes one name.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NameRule {
    /// Makes it lower case.
    Lowercase,
    /// Exact names and what they become; others stay.
    Rename(BTreeMap<String, String>),
    /// Takes `@` and this domain off. A name of another domain stays whole, and a name without any
    /// is denied: it would be the same as that of somebody in the domain.
    StripDomain(String),
    /// A distinguished name becomes its first CN (RFC 4514); anything else stays.
    DnToCn,
    /// Comes before the name.
    Prefix(String),
}

/// Changes a list of groups.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GroupRule {
    /// Makes them lower case.
    Lowercase,
    /// Exact names and what they become; others stay.
    Rename(BTreeMap<String, String>),
    /// Keeps the groups that one of these matches.
    Keep(Vec<Glob>),
    /// Drops the groups that one of these matches.
    Drop(Vec<Glob>),
    /// Distinguished names become their first CN (RFC 4514); others stay.
    DnToCn,
    /// Comes before each.
    Prefix(String),
    /// Denies a user who is in such a group.
    Deny(DenyGroup),
}

/// A group whose members are not let in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenyGroup {
    /// The group, as the rules before this one have left it.
    pub group: Glob,
    /// What the user is told.
    pub reason: String,
}

impl NameRule {
    pub(crate) fn apply(&self, name: String) -> Result<String, Denial> {
        Ok(match self {
            NameRule::Lowercase => name.to_lowercase(),
            NameRule::Rename(names) => rename(names, name),
            NameRule::StripDomain(domain) => match name.rsplit_once('@') {
                Some((local, found)) if found.eq_ignore_ascii_case(domain) => local.to_owned(),
                Some(_) => name,
                None => {
                    return Err(Denial::new(format!(
                        "your name has no domain, and `@{domain}` is expected"
                    )));
                }
            },
            NameRule::DnToCn => to_cn(name),
            NameRule::Prefix(prefix) => format!("{prefix}{name}"),
        })
    }
}

impl GroupRule {
    pub(crate) fn apply(&self, mut groups: Vec<String>) -> Result<Vec<String>, Denial> {
        let each =
            |change: &dyn Fn(String) -> String, groups: Vec<String>| groups.into_iter().map(change).collect();
        Ok(match self {
            GroupRule::Lowercase => each(&|group| group.to_lowercase(), groups),
            GroupRule::Rename(names) => each(&|group| rename(names, group), groups),
            GroupRule::Keep(globs) => {
                groups.retain(|group| globs.iter().any(|glob| glob.matches(group)));
                groups
            }
            GroupRule::Drop(globs) => {
                groups.retain(|group| !globs.iter().any(|glob| glob.matches(group)));
                groups
            }
            GroupRule::DnToCn => each(&to_cn, groups),
            GroupRule::Prefix(prefix) => each(&|group| format!("{prefix}{group}"), groups),
            GroupRule::Deny(deny) if groups.iter().any(|group| deny.group.matches(group)) => {
                return Err(Denial::new(&deny.reason));
            }
            GroupRule::Deny(_) => groups,
        })
    }
}

fn rename(names: &BTreeMap<String, String>, name: String) -> String {
    names.get(&name).cloned().unwrap_or(name)
}

fn to_cn(name: String) -> String {
    dn::first_cn(&name).unwrap_or(name)
}
