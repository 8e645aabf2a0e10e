//! Which user and group names may be given to somebody, whatever a claims plugin says.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashSet},
    time::SystemTime,
};

use unicode_normalization::UnicodeNormalization;

use crate::{
    error::quoted,
    principal::{Method, Principal, Proof},
};

pub(crate) use witgate_plugins::Identity as Proposal;

/// Names that Kubernetes gives a meaning of its own begin with these.
const RESERVED: [&str; 2] = ["system:", "kubeadm:"];

/// Everybody who is authenticated is in it; [`Principal::groups`] leaves it out.
const AUTHENTICATED: &str = "system:authenticated";

/// More groups than anybody's RBAC needs, and few enough to fit in the request headers that the
/// proxies in front of an apiserver accept.
const MAX_GROUPS: usize = 1000;

/// All names together, in bytes. They become request headers.
const MAX_SIZE: usize = 64 << 10;

/// One name, in bytes.
const MAX_NAME: usize = 1024;

/// The policy on names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    allowed: HashSet<String>,
}

/// An identity that the policy has let pass.
#[derive(Clone, Debug)]
pub(crate) struct Approved(Proposal);

/// What is wrong with an identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    #[error("the {what} is empty")]
    Empty { what: &'static str },
    #[error("the {what} {name} has {length} bytes, more than {MAX_NAME}")]
    Long {
        what: &'static str,
        name: String,
        length: usize,
    },
    #[error("the {what} {name} has control or invisible characters")]
    Control { what: &'static str, name: String },
    #[error("the {what} {name} begins or ends with whitespace")]
    Padded { what: &'static str, name: String },
    #[error(
        "the {what} {name} is reserved, or looks as if it were: `identity.allowReservedNames` would have to list it"
    )]
    Reserved { what: &'static str, name: String },
    #[error("the user has {0} groups, more than {MAX_GROUPS}: let the claims plugin filter them")]
    TooManyGroups(usize),
    #[error(
        "the user's names and {groups} groups take {size} bytes, more than {MAX_SIZE}: let the claims plugin filter them"
    )]
    TooLarge { groups: usize, size: usize },
    #[error("the extra key {0} is not of printable ASCII characters")]
    ExtraKey(String),
    #[error("the extra key {0} is Kubernetes' own")]
    ExtraReserved(String),
    #[error("the extra key {0} is there twice (case does not count)")]
    ExtraTwice(String),
}

/// What becomes of an identity that a claims plugin gives, where the configuration allows no reserved name;
/// or in words what is wrong with it. For trying a plugin without a gateway.
pub fn examine(proposal: Proposal) -> Result<Proposal, String> {
    let approved = Names::default().approve(proposal);
    approved
        .map(|Approved(proposal)| proposal)
        .map_err(|error| error.to_string())
}

// === impl Names ===

impl Names {
    /// A policy that lets exactly these reserved names pass.
    pub(crate) fn new(allowed: impl IntoIterator<Item = String>) -> Self {
        Self {
            allowed: allowed.into_iter().collect(),
        }
    }

    /// Checks an identity, and puts it into its normal form.
    pub(crate) fn approve(&self, proposal: Proposal) -> Result<Approved, NameError> {
        let Proposal {
            user,
            uid,
            groups,
            extra,
        } = proposal;
        if groups.len() > MAX_GROUPS {
            return Err(NameError::TooManyGroups(groups.len()));
        }
        let size = user.len()
            + uid.as_ref().map_or(0, String::len)
            + groups.iter().map(String::len).sum::<usize>()
            + extra
                .iter()
                .map(|(key, values)| key.len() + values.iter().map(String::len).sum::<usize>())
                .sum::<usize>();
        if size > MAX_SIZE {
            return Err(NameError::TooLarge {
                groups: groups.len(),
                size,
            });
        }
        self.check_name("user name", &user)?;
        if let Some(uid) = &uid {
            check_text("uid", uid)?;
        }
        let mut seen = HashSet::new();
        let mut kept = Vec::with_capacity(groups.len());
        for group in groups {
            self.check_name("group name", &group)?;
            if group != AUTHENTICATED && seen.insert(group.clone()) {
                kept.push(group);
            }
        }
        Ok(Approved(Proposal {
            user,
            uid,
            groups: kept,
            extra: approve_extra(extra)?,
        }))
    }

    fn check_name(&self, what: &'static str, name: &str) -> Result<(), NameError> {
        check_text(what, name)?;
        if is_reserved(name) && !self.allowed.contains(name) {
            return Err(NameError::Reserved {
                what,
                name: quoted(name),
            });
        }
        Ok(())
    }
}

// === impl Approved ===

impl Approved {
    pub(crate) fn into_principal(
        self,
        method: Method,
        expires: Option<SystemTime>,
        proof: Proof,
    ) -> Principal {
        let Self(Proposal {
            user,
            uid,
            groups,
            extra,
        }) = self;
        Principal {
            user,
            uid,
            groups,
            extra,
            method,
            expires,
            proof,
        }
    }
}

/// Keys in lower case, which is how the apiserver reads them from header names.
fn approve_extra(extra: Vec<(String, Vec<String>)>) -> Result<Vec<(String, Vec<String>)>, NameError> {
    let mut approved = BTreeMap::new();
    for (key, values) in extra {
        if key.is_empty() || key.len() > MAX_NAME || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(NameError::ExtraKey(quoted(&key)));
        }
        let key = key.to_ascii_lowercase();
        let domain = key.split('/').next().unwrap_or_default();
        let is_own = |own: &str| {
            domain
                .strip_suffix(own)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        if is_own("kubernetes.io") || is_own("k8s.io") {
            return Err(NameError::ExtraReserved(quoted(&key)));
        }
        for value in &values {
            if value.chars().any(is_hidden) {
                return Err(NameError::Control {
                    what: "extra value",
                    name: quoted(value),
                });
            }
        }
        if approved.insert(key.clone(), values).is_some() {
            return Err(NameError::ExtraTwice(quoted(&key)));
        }
    }
    Ok(approved.into_iter().collect())
}

fn check_text(what: &'static str, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { what });
    }
    if name.len() > MAX_NAME {
        return Err(NameError::Long {
            what,
            name: quoted(name),
            length: name.len(),
        });
    }
    if name.chars().any(is_hidden) {
        return Err(NameError::Control {
            what,
            name: quoted(name),
        });
    }
    if name.starts_with(char::is_whitespace) || name.ends_with(char::is_whitespace) {
        return Err(NameError::Padded {
            what,
            name: quoted(name),
        });
    }
    Ok(())
}

/// Control characters, line separators, and what Unicode calls default ignorable or bidirectional
/// controls: a name that has them is not the name that one sees.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Whether a name begins with a reserved prefix, or with what could be taken for one: in another
/// case, in compatibility forms (fullwidth letters), with look-alikes of another script (UTS 39).
fn is_reserved(name: &str) -> bool {
    let folded: String = name.nfkc().flat_map(char::to_lowercase).nfkc().collect();
    RESERVED
        .iter()
        .any(|prefix| folded.starts_with(prefix) || looks_like(&folded, prefix))
}

fn looks_like(folded: &str, prefix: &str) -> bool {
    if folded.is_ascii() {
        return false;
    }
    let mut skeleton = unicode_security::skeleton(folded);
    unicode_security::skeleton(prefix).all(|expected| skeleton.next() == Some(expected))
}
