//! User and groups as the token has them.

use serde::Deserialize;
use witgate_sdk::claims::{ClaimSet, Claims, Denial, Identity, VerifiedToken};

/// The plugin's `config`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// The claim that names the user. Default: `email`.
    pub user: String,
    /// The claim that names the user where that one is absent. Default: none, which is a denial.
    pub fallback: Option<String>,
    /// The claim that lists the groups. Default: `groups`.
    pub groups: String,
    /// What comes before every user name. Default: nothing.
    pub username_prefix: String,
    /// What comes before every group. Default: nothing.
    pub groups_prefix: String,
}

/// The plugin.
#[derive(Debug)]
pub struct Passthrough(Config);

witgate_sdk::export_claims!(Passthrough);

impl Default for Config {
    fn default() -> Self {
        Config {
            user: "email".into(),
            fallback: None,
            groups: "groups".into(),
            username_prefix: String::new(),
            groups_prefix: String::new(),
        }
    }
}

impl Claims for Passthrough {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        let claims = [
            ("user", Some(&config.user)),
            ("fallback", config.fallback.as_ref()),
            ("groups", Some(&config.groups)),
        ];
        for (field, claim) in claims {
            if claim.is_some_and(String::is_empty) {
                return Err(format!(
                    "config.{field}: is empty, and should be the name of a claim"
                ));
            }
        }
        Ok(Passthrough(config))
    }

    fn resolve(&self, token: &VerifiedToken) -> Result<Identity, Denial> {
        let config = &self.0;
        let claims = ClaimSet::parse(&token.claims)?;
        let name = match (claims.user_name(&config.user)?, &config.fallback) {
            (Some(name), _) => Some(name),
            (None, Some(fallback)) => claims.user_name(fallback)?,
            (None, None) => None,
        };
        let Some(name) = name else {
            let fallback = config
                .fallback
                .as_ref()
                .map(|claim| format!(" and no `{claim}`"))
                .unwrap_or_default();
            return Err(Denial::new(format!(
                "your token has no claim `{}`{fallback}",
                config.user
            )));
        };
        let groups = claims.texts(&config.groups)?;
        Ok(Identity {
            user: format!("{}{name}", config.username_prefix),
            uid: Some(token.subject.clone()),
            groups: groups
                .iter()
                .map(|group| format!("{}{group}", config.groups_prefix))
                .collect(),
            extra: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(config: &str, claims: &str) -> Result<Identity, String> {
        let config = serde_json::from_str(config).unwrap();
        let token = VerifiedToken {
            issuer: "https://i".into(),
            subject: "s-1".into(),
            claims: claims.into(),
        };
        Passthrough::new(config)
            .unwrap()
            .resolve(&token)
            .map_err(|denial| denial.reason)
    }

    #[test]
    fn user_groups_and_uid_are_the_tokens() {
        let identity = resolve(
            "{}",
            r#"{"email":"jane@example.com","email_verified":true,"groups":["dev","ops"]}"#,
        );
        let expected = Identity {
            user: "jane@example.com".into(),
            uid: Some("s-1".into()),
            groups: vec!["dev".into(), "ops".into()],
            extra: vec![],
        };
        assert_eq!(identity.unwrap(), expected);
    }

    #[test]
    fn prefixes_come_before_every_name() {
        let config =
            r#"{"user":"sub","usernamePrefix":"oidc:","groupsPrefix":"dex:","groups":"realm.roles"}"#;
        let identity = resolve(config, r#"{"sub":"s-1","realm":{"roles":["dev"]}}"#).unwrap();
        assert_eq!(
            (identity.user.as_str(), identity.groups),
            ("oidc:s-1", vec!["dex:dev".to_owned()])
        );
    }

    #[test]
    fn a_missing_name_is_denied_unless_there_is_a_fallback() {
        assert_eq!(
            resolve("{}", "{}").unwrap_err(),
            "your token has no claim `email`"
        );
        assert_eq!(
            resolve("{}", r#"{"email":""}"#).unwrap_err(),
            "your token has no claim `email`"
        );
        let config = r#"{"fallback":"name"}"#;
        assert_eq!(resolve(config, r#"{"name":"jane"}"#).unwrap().user, "jane");
        assert_eq!(
            resolve(config, "{}").unwrap_err(),
            "your token has no claim `email` and no `name`"
        );
    }

    #[test]
    fn an_unverified_address_is_denied_even_with_a_fallback() {
        for verified in ["false", r#""true""#, "1"] {
            let claims =
                format!(r#"{{"email":"root@example.com","email_verified":{verified},"name":"jane"}}"#);
            let reason = resolve(r#"{"fallback":"name"}"#, &claims).unwrap_err();
            assert!(reason.contains("not verified"), "{reason}");
        }
    }

    #[test]
    fn groups_that_are_not_strings_are_denied() {
        let reason = resolve("{}", r#"{"email":"a@b","groups":["dev",7]}"#).unwrap_err();
        assert_eq!(
            reason,
            "the claim `groups` of your token has a number in it, and should be a list of strings"
        );
        assert!(resolve("{}", r#"{"email":"a@b","groups":"dev"}"#).is_err());
    }

    #[test]
    fn an_empty_claim_name_is_refused_when_the_plugin_is_loaded() {
        let config: Config = serde_json::from_str(r#"{"groups":""}"#).unwrap();
        assert!(
            Passthrough::new(config)
                .unwrap_err()
                .starts_with("config.groups: ")
        );
    }
}
