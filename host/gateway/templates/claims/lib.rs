//! Names people by one of their claims, and gives them those of their groups that are meant for
//! Kubernetes.

use serde::Deserialize;
use witgate_sdk::claims::{ClaimSet, Claims, Denial, Identity, VerifiedToken};

/// What the operator writes under `plugins.PLUGIN_NAME.config`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The claim that names the user. Default: `email`.
    #[serde(default = "email")]
    pub claim: String,
    /// How the groups begin that count. What follows is the group's name for RBAC: with `k8s-`, members
    /// of `k8s-dev` are in `dev`.
    pub prefix: String,
}

fn email() -> String {
    "email".to_owned()
}

/// The plugin.
#[derive(Debug)]
pub struct Plugin(Config);

impl Claims for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        if config.prefix.is_empty() {
            return Err("config.prefix: is empty, which would let any group in: write `k8s-`".to_owned());
        }
        Ok(Self(config))
    }

    fn resolve(&self, token: &VerifiedToken) -> Result<Identity, Denial> {
        let Config { claim, prefix } = &self.0;
        let claims = ClaimSet::parse(&token.claims)?;
        // An `email` that the issuer does not call verified is refused by this.
        let user = claims
            .user_name(claim)?
            .ok_or_else(|| Denial::new(format!("your token has no claim `{claim}`: ask for an account with one")))?;
        let claimed = claims.texts("groups")?;
        let groups: Vec<String> = { claimed.iter() }
            .filter_map(|group| group.strip_prefix(prefix.as_str()))
            .filter(|group| !group.is_empty())
            .map(str::to_owned)
            .collect();
        if groups.is_empty() {
            return Err(Denial::new(format!(
                "you are in no group whose name begins with `{prefix}`: ask to be added to one"
            )));
        }
        witgate_sdk::log::info(&format!("{} of its groups count", groups.len()));
        Ok(Identity {
            user: user.to_owned(),
            uid: Some(token.subject.clone()),
            groups,
            extra: Vec::new(),
        })
    }
}

witgate_sdk::export_claims!(Plugin);

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(claims: &str) -> Result<Identity, Denial> {
        let config = serde_json::from_str(r#"{"prefix": "k8s-"}"#).unwrap();
        Plugin::new(config).unwrap().resolve(&VerifiedToken {
            issuer: "https://issuer.example.com".to_owned(),
            subject: "1".to_owned(),
            claims: claims.to_owned(),
        })
    }

    #[test]
    fn groups_with_the_prefix_count_without_it() {
        let identity = resolve(r#"{"email": "jane@example.com", "groups": ["k8s-dev", "staff"]}"#).unwrap();
        assert_eq!(identity.user, "jane@example.com");
        assert_eq!(identity.groups, ["dev"]);
    }

    #[test]
    fn who_is_in_no_such_group_is_told_what_to_do() {
        let denial = resolve(r#"{"email": "joe@example.com", "groups": ["staff"]}"#).unwrap_err();
        assert!(denial.reason.contains("begins with `k8s-`"), "{}", denial.reason);
    }
}
