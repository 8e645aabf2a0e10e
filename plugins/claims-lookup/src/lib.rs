//! Groups that are not in the token: fetched from where the token says, or from a directory.
//!
//! That a directory does not answer never means that a user has no groups. The call fails then, so
//! that the gateway refuses the user or, for a time that its operator sets, uses the last answer.

mod fetch;
mod template;

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;
use witgate_sdk::{
    claims::{ClaimSet, Claims, Denial, Identity, VerifiedToken, fail},
    http::{Client, Granted},
};

use fetch::{Fetch, origin_of};
use template::Template;

/// The plugin's `config`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// How the user is named.
    pub user: User,
    /// Groups in the token, and what becomes of all groups in the end.
    pub groups: Groups,
    /// Where the token says that its groups are (OpenID Connect Core section 5.6.2).
    pub distributed: Option<Distributed>,
    /// A directory that is asked about every user.
    pub directory: Option<Directory>,
}

/// How the user is named.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct User {
    /// The claim. Default: `email`.
    pub claim: String,
}

/// The groups of a token, and what becomes of all.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Groups {
    /// The claim. Default: `groups`.
    pub claim: String,
    /// Put before each name, those that were fetched included.
    pub prefix: String,
    /// A user with more groups than this is denied. Default: 256.
    pub max: usize,
}

/// Distributed claims.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distributed {
    /// Origins that an endpoint may be of. A token's words alone send this plugin nowhere.
    pub origins: Vec<String>,
    /// The secret for the endpoint's `Authorization`, where a token's own `access_token` is not
    /// there or not enough.
    #[serde(default)]
    pub secret: Option<String>,
    /// Where in the answer the list is.
    #[serde(flatten)]
    pub list: List,
}

/// A directory.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Directory {
    /// Its URL, with claims in braces: `https://directory.example.com/users/{sub}/groups`.
    pub url: String,
    /// The secret for its `Authorization`.
    #[serde(default)]
    pub secret: Option<String>,
    /// What it means that the directory does not know a user (404).
    #[serde(default)]
    pub when_not_found: WhenNotFound,
    /// Where in the answer the list is. Default: `/groups`.
    #[serde(default)]
    pub list: List,
}

/// What an unknown user is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WhenNotFound {
    /// Not let in.
    #[default]
    Deny,
    /// In no group of the directory's.
    NoGroups,
}

/// A list of groups in a JSON answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct List {
    /// A JSON pointer (RFC 6901) to the list.
    pub at: String,
    /// The member that has the name, where the list is of objects.
    pub name: Option<String>,
    /// A JSON pointer to the URL of the next page.
    pub next: Option<String>,
}

/// The plugin.
#[derive(Debug)]
pub struct Lookup {
    config: Config,
    directory: Option<Template>,
}

witgate_sdk::export_claims!(Lookup);

/// What a lookup came to when not to an identity.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// The user may not come in.
    Denied(String),
    /// Nobody knows.
    Failed(String),
}

impl Default for User {
    fn default() -> Self {
        User {
            claim: "email".into(),
        }
    }
}

impl Default for Groups {
    fn default() -> Self {
        Groups {
            claim: "groups".into(),
            prefix: String::new(),
            max: 256,
        }
    }
}

impl Default for List {
    fn default() -> Self {
        List {
            at: "/groups".into(),
            name: None,
            next: None,
        }
    }
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Stop::Denied(denial.reason)
    }
}

impl Claims for Lookup {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        if config.distributed.is_none() && config.directory.is_none() {
            return Err(
                "config: has neither `directory` nor `distributed`: where are groups to be fetched from?"
                    .into(),
            );
        }
        for origin in config
            .distributed
            .iter()
            .flat_map(|distributed| &distributed.origins)
        {
            if origin_of(origin) != Some(origin) {
                return Err(format!(
                    "config.distributed.origins: `{origin}` should be like https://graph.example.com"
                ));
            }
        }
        let directory = config.directory.as_ref();
        let directory = directory
            .map(|directory| Template::parse(&directory.url))
            .transpose()
            .map_err(|why| format!("config.directory.url: {why}"))?;
        Ok(Lookup { config, directory })
    }

    fn resolve(&self, token: &VerifiedToken) -> Result<Identity, Denial> {
        match self.lookup(&Granted, token) {
            Ok(identity) => Ok(identity),
            Err(Stop::Denied(reason)) => Err(Denial::new(reason)),
            // The contract knows an identity, a denial, and a call that does not return: this is none
            // of the first two.
            Err(Stop::Failed(why)) => fail(&why),
        }
    }
}

impl Lookup {
    fn lookup(&self, client: &impl Client, token: &VerifiedToken) -> Result<Identity, Stop> {
        let config = &self.config;
        let claims = ClaimSet::parse(&token.claims)?;
        let user = claims
            .user_name(&config.user.claim)?
            .ok_or_else(|| Denial::new(format!("your token has no claim `{}`", config.user.claim)))?;
        let mut groups: BTreeSet<String> = claims
            .texts(&config.groups.claim)?
            .into_iter()
            .map(str::to_owned)
            .collect();
        let fetch = Fetch {
            client,
            most: config.groups.max,
        };
        if let Some(source) = source(&claims, &config.groups.claim)? {
            groups.extend(self.distributed(&fetch, &source)?);
        }
        if let (Some(directory), Some(template)) = (&config.directory, &self.directory) {
            let url = template.fill(&claims)?;
            let authorization = directory.secret.as_deref().map(secret);
            match fetch.list(&url, authorization.as_deref(), &directory.list)? {
                Some(found) => groups.extend(found),
                None if directory.when_not_found == WhenNotFound::NoGroups => {}
                None => return Err(Stop::Denied("the directory does not know you".into())),
            }
        }
        if groups.len() > config.groups.max {
            let (count, max) = (groups.len(), config.groups.max);
            return Err(Stop::Denied(format!(
                "you are in {count} groups, and {max} are allowed"
            )));
        }
        let prefix = &config.groups.prefix;
        Ok(Identity {
            user: user.to_owned(),
            uid: Some(token.subject.clone()),
            groups: groups.iter().map(|group| format!("{prefix}{group}")).collect(),
            extra: Vec::new(),
        })
    }

    fn distributed(&self, fetch: &Fetch<'_, impl Client>, source: &Source) -> Result<Vec<String>, Stop> {
        let Some(distributed) = &self.config.distributed else {
            let reason = "you are in more groups than fit into your token, and the gateway is not set up to fetch them";
            return Err(Stop::Denied(reason.into()));
        };
        let origin = origin_of(&source.endpoint).unwrap_or_default();
        if !distributed.origins.iter().any(|allowed| allowed == origin) {
            return Err(Stop::Failed(format!(
                "a token says that its groups are at {origin:?}, which is not in config.distributed.origins"
            )));
        }
        let authorization = match (&distributed.secret, &source.access_token) {
            (Some(name), _) => Some(secret(name)),
            (None, Some(token)) => Some(format!("Bearer {token}")),
            (None, None) => None,
        };
        let found = fetch.list(&source.endpoint, authorization.as_deref(), &distributed.list)?;
        found.ok_or_else(|| Stop::Failed(format!("{origin} does not know where the token points to (404)")))
    }
}

/// Where a token says that a claim is.
struct Source {
    endpoint: String,
    access_token: Option<String>,
}

fn source(claims: &ClaimSet, claim: &str) -> Result<Option<Source>, Stop> {
    let Some(name) = claims.get("_claim_names").and_then(|names| names.get(claim)) else {
        return Ok(None);
    };
    let source = name
        .as_str()
        .and_then(|name| claims.get("_claim_sources")?.get(name));
    let text = |key| source.and_then(|source| source.get(key)).and_then(Value::as_str);
    let Some(endpoint) = text("endpoint") else {
        let reason = format!("your token says that its `{claim}` are elsewhere, and not where");
        return Err(Stop::Denied(reason));
    };
    Ok(Some(Source {
        endpoint: endpoint.to_owned(),
        access_token: text("access_token").map(str::to_owned),
    }))
}

/// What the gateway replaces on the way.
fn secret(name: &str) -> String {
    format!("{{{{secret:{name}}}}}")
}

#[cfg(test)]
mod tests;
