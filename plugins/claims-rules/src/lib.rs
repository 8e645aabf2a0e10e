//! Rules in the configuration say which user and groups a token means.

mod dn;
mod glob;
mod rules;

use std::collections::BTreeMap;

use serde::Deserialize;
use witgate_sdk::claims::{ClaimSet, Claims, Denial, Extra, Identity, VerifiedToken};

pub use glob::Glob;
pub use rules::{GroupRule, NameRule};

/// The plugin's `config`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Who may not come in, whatever else is true. Looked at first.
    pub deny: Vec<DenyClaim>,
    /// How the user is named.
    pub user: User,
    /// Which groups the user is in.
    pub groups: Groups,
    /// Additional facts: the key that Kubernetes gets, and the claim that has the value or values.
    pub extra: BTreeMap<String, String>,
}

/// A claim whose value keeps a user out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenyClaim {
    /// The claim: a string or a list of strings.
    pub claim: String,
    /// The value, `*` and `?` standing for any characters. Of a list, any element.
    pub equals: Glob,
    /// What the user is told.
    pub reason: String,
}

/// How the user is named.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct User {
    /// The claim to start from. Default: `email`.
    pub claim: String,
    /// Applied one after the other.
    pub rules: Vec<NameRule>,
}

/// Which groups the user is in.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Groups {
    /// The claim to start from. Default: `groups`.
    pub claim: String,
    /// Applied one after the other, each to all groups.
    pub rules: Vec<GroupRule>,
    /// A user with more groups than this in the end is denied. Default: 256.
    pub max: usize,
}

/// The plugin.
#[derive(Debug)]
pub struct Rules(Config);

witgate_sdk::export_claims!(Rules);

impl Default for User {
    fn default() -> Self {
        User {
            claim: "email".into(),
            rules: Vec::new(),
        }
    }
}

impl Default for Groups {
    fn default() -> Self {
        // Each group becomes a header of its own towards kube-apiserver, and Go's HTTP server takes
        // 1 MiB of headers; 256 names of any sane length are far below that.
        Groups {
            claim: "groups".into(),
            rules: Vec::new(),
            max: 256,
        }
    }
}

impl Claims for Rules {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        for (path, claim) in [
            ("user.claim", &config.user.claim),
            ("groups.claim", &config.groups.claim),
        ] {
            if claim.is_empty() {
                return Err(format!(
                    "config.{path}: is empty, and should be the name of a claim"
                ));
            }
        }
        for key in config.extra.keys() {
            if key.is_empty() || key.chars().any(|c| c.is_ascii_uppercase() || c.is_whitespace()) {
                return Err(format!(
                    "config.extra: `{key}` should be a lower-case key such as `example.com/department`"
                ));
            }
        }
        Ok(Rules(config))
    }

    fn resolve(&self, token: &VerifiedToken) -> Result<Identity, Denial> {
        let config = &self.0;
        let claims = ClaimSet::parse(&token.claims)?;
        for deny in &config.deny {
            if strings(&claims, &deny.claim)?
                .iter()
                .any(|value| deny.equals.matches(value))
            {
                return Err(Denial::new(&deny.reason));
            }
        }
        let name = claims
            .user_name(&config.user.claim)?
            .ok_or_else(|| Denial::new(format!("your token has no claim `{}`", config.user.claim)))?;
        let user = config
            .user
            .rules
            .iter()
            .try_fold(name.to_owned(), |name, rule| rule.apply(name))?;
        let groups = claims
            .texts(&config.groups.claim)?
            .into_iter()
            .map(str::to_owned)
            .collect();
        let groups = config
            .groups
            .rules
            .iter()
            .try_fold(groups, |groups, rule| rule.apply(groups))?;
        let groups = distinct(groups);
        if groups.len() > config.groups.max {
            let reason = format!(
                "you are in {} groups, and {} are allowed",
                groups.len(),
                config.groups.max
            );
            return Err(Denial::new(reason));
        }
        let extra = config
            .extra
            .iter()
            .filter_map(|(key, claim)| match strings(&claims, claim) {
                Ok(values) if values.is_empty() => None,
                Ok(values) => {
                    let values = values.into_iter().map(str::to_owned).collect();
                    Some(Ok(Extra {
                        key: key.clone(),
                        values,
                    }))
                }
                Err(denial) => Some(Err(denial)),
            });
        let extra = extra.collect::<Result<_, _>>()?;
        Ok(Identity {
            user,
            uid: Some(token.subject.clone()),
            groups,
            extra,
        })
    }
}

/// A claim that is a string or a list of strings.
fn strings<'a>(claims: &'a ClaimSet, claim: &str) -> Result<Vec<&'a str>, Denial> {
    if claims.get(claim).is_some_and(|value| value.is_string()) {
        return Ok(claims.text(claim)?.into_iter().collect());
    }
    claims.texts(claim)
}

/// Each group once, in the order of its first place.
fn distinct(groups: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    groups
        .into_iter()
        .filter(|group| seen.insert(group.clone()))
        .collect()
}

#[cfg(test)]
mod tests;
