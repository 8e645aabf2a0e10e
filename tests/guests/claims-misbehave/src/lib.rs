//! A claims plugin that does wrong for the users that its configuration names, and right for others.

use std::{collections::BTreeMap, hint::black_box};

use serde::Deserialize;
use witgate_sdk::{
    claims::{ClaimSet, Claims, Denial, Identity, VerifiedToken},
    http::{Client, Granted, Method, Request},
};

/// The plugin's `config`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// What to do for a user with this e-mail address.
    misbehave: BTreeMap<String, Wrong>,
    /// What `fetch` fetches.
    #[serde(default)]
    url: String,
}

/// Something that a plugin must not do.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wrong {
    /// Never return.
    Spin,
    /// Take more and more memory.
    EatMemory,
    /// Panic.
    Trap,
    /// Call itself until the stack is full.
    Recurse,
    /// Answer with more than anybody could use.
    AnswerMuch,
    /// Call a host, and be someone only if that works.
    Fetch,
}

/// The plugin.
#[derive(Debug)]
pub struct Misbehave(Config);

witgate_sdk::export_claims!(Misbehave);

impl Claims for Misbehave {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Self(config))
    }

    fn resolve(&self, token: &VerifiedToken) -> Result<Identity, Denial> {
        let claims = ClaimSet::parse(&token.claims)?;
        let user = claims
            .user_name("email")?
            .ok_or_else(|| Denial::new("your token has no e-mail address"))?;
        let mut groups = claims.texts("groups")?;
        match self.0.misbehave.get(user) {
            None => {}
            Some(Wrong::Spin) => spin(),
            Some(Wrong::EatMemory) => eat_memory(),
            Some(Wrong::Trap) => trap(),
            Some(Wrong::Recurse) => drop(black_box(recurse(u64::MAX))),
            Some(Wrong::AnswerMuch) => groups = vec!["g"; 50_000_000],
            Some(Wrong::Fetch) => {
                let request = Request::new(Method::Get, &self.0.url);
                Granted
                    .send(&request)
                    .map_err(|error| Denial::new(error.to_string()))?;
            }
        }
        Ok(Identity {
            user: user.to_owned(),
            uid: None,
            groups: groups.iter().map(ToString::to_string).collect(),
            extra: Vec::new(),
        })
    }
}

fn spin() {
    let mut count = 0_u64;
    loop {
        count = black_box(count.wrapping_add(1));
    }
}

fn eat_memory() {
    let mut eaten = Vec::new();
    loop {
        eaten.push(black_box(vec![1_u8; 1 << 20]));
    }
}

#[expect(clippy::panic, reason = "it is what it is for")]
fn trap() {
    panic!("told to");
}

fn recurse(depth: u64) -> u64 {
    let here = black_box([depth; 64]);
    if depth == 0 {
        0
    } else {
        recurse(depth - 1) ^ here[black_box(7)]
    }
}
