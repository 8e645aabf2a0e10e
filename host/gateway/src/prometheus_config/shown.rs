//! How a Prometheus shows the gateway who it is: by files that it reads, or by keys of a Secret. Never
//! by what is in them.

use std::path::Path;

use anyhow::{Context, bail, ensure};

use super::yaml::{Fields, Yaml};
use crate::{cli::PrometheusConfigArgs, remote_client::Credential};

/// What a Prometheus has.
#[derive(Debug)]
pub(super) struct Shown {
    way: Way,
    /// Where the authority of the gateway's certificate is.
    authority: Option<String>,
    /// The Secret that all these are in, for the Prometheus Operator.
    secret: Option<String>,
    /// Whether it is what this command itself was given.
    pub(super) is_own: bool,
}

#[derive(Debug)]
enum Way {
    Bearer {
        file: String,
    },
    Basic {
        user: String,
        file: String,
    },
    OAuth2 {
        token_url: String,
        id: String,
        file: String,
        scopes: Vec<String>,
    },
}

impl Shown {
    /// What the arguments say, or else what this command was given itself.
    pub(super) fn of(args: &PrometheusConfigArgs, own: &Credential) -> anyhow::Result<Self> {
        let shown = &args.shown;
        let named = if let Some(file) = &shown.credentials_file {
            Some(Way::Bearer { file: file.clone() })
        } else if let (Some(user), Some(file)) = (&shown.basic_user, &shown.basic_password_file) {
            let (user, file) = (user.clone(), file.clone());
            Some(Way::Basic { user, file })
        } else if let (Some(url), Some(id), Some(file)) = (
            &shown.oauth2_token_url,
            &shown.oauth2_client_id,
            &shown.oauth2_client_secret_file,
        ) {
            Some(Way::OAuth2 {
                token_url: url.to_string(),
                id: id.clone(),
                file: file.clone(),
                scopes: shown.oauth2_scopes.clone(),
            })
        } else {
            None
        };
        let is_own = named.is_none();
        let way = match (named, own) {
            (Some(way), _) => way,
            (None, _) if args.operator => bail!(
                "say which keys of the Secret hold the credential: --credentials-file for a token, \
                 --basic-user and --basic-password-file, or --oauth2-token-url with --oauth2-client-id and \
                 --oauth2-client-secret-file"
            ),
            (None, Credential::Token(_, file)) => Way::Bearer {
                file: absolute(file)?,
            },
            (None, Credential::Basic(user, _, file)) => Way::Basic {
                user: user.clone(),
                file: absolute(file)?,
            },
            (None, Credential::Login(_)) => bail!(
                "this command shows your login, which a Prometheus does not have: say what it has, with \
                 --credentials-file, with --basic-user and --basic-password-file, or with \
                 --oauth2-token-url, --oauth2-client-id and --oauth2-client-secret-file"
            ),
        };
        let authority = match (&shown.tls_ca_file, &args.gateway.ca_file) {
            (Some(file), _) => Some(file.clone()),
            (None, Some(file)) if !args.operator => Some(absolute(file)?),
            (None, _) => None,
        };
        let shown = Self {
            way,
            authority,
            secret: args.secret.clone(),
            is_own,
        };
        if shown.secret.is_some() {
            for key in shown.keys() {
                let is_key = !key.is_empty()
                    && key.len() <= 253
                    && key
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
                ensure!(
                    is_key,
                    "{key:?} can't be a key of a Secret: with --operator, give keys instead of paths"
                );
            }
        }
        Ok(shown)
    }

    fn keys(&self) -> Vec<&str> {
        let mut keys = match &self.way {
            Way::Bearer { file } => vec![file.as_str()],
            Way::Basic { user, file } => vec![user.as_str(), file],
            Way::OAuth2 { id, file, .. } => vec![id.as_str(), file],
        };
        keys.extend(self.authority.as_deref());
        keys
    }

    /// The fields that say it.
    pub(super) fn fields(&self) -> Fields {
        let mut fields = match &self.secret {
            None => self.in_files(),
            Some(secret) => self.in_secret(secret),
        };
        if let Some(authority) = &self.authority {
            fields.push(match &self.secret {
                None => ("tls_config", Yaml::Map(vec![("ca_file", Yaml::text(authority))])),
                Some(secret) => {
                    let ca = Yaml::Map(vec![("secret", key(secret, authority))]);
                    ("tlsConfig", Yaml::Map(vec![("ca", ca)]))
                }
            });
        }
        fields
    }

    /// `config.HTTPClientConfig` of `prometheus/common`.
    fn in_files(&self) -> Fields {
        match &self.way {
            Way::Bearer { file } => vec![(
                "authorization",
                Yaml::Map(vec![
                    ("type", Yaml::text("Bearer")),
                    ("credentials_file", Yaml::text(file)),
                ]),
            )],
            Way::Basic { user, file } => vec![(
                "basic_auth",
                Yaml::Map(vec![
                    ("username", Yaml::text(user)),
                    ("password_file", Yaml::text(file)),
                ]),
            )],
            Way::OAuth2 {
                token_url,
                id,
                file,
                scopes,
            } => {
                let mut oauth2 = vec![
                    ("client_id", Yaml::text(id)),
                    ("client_secret_file", Yaml::text(file)),
                    ("token_url", Yaml::text(token_url)),
                ];
                oauth2.extend(scopes_field(scopes));
                vec![("oauth2", Yaml::Map(oauth2))]
            }
        }
    }

    /// `RemoteWriteSpec` and `RemoteReadSpec` of `monitoring.coreos.com/v1`.
    fn in_secret(&self, secret: &str) -> Fields {
        match &self.way {
            Way::Bearer { file } => vec![(
                "authorization",
                Yaml::Map(vec![
                    ("type", Yaml::text("Bearer")),
                    ("credentials", key(secret, file)),
                ]),
            )],
            Way::Basic { user, file } => vec![(
                "basicAuth",
                Yaml::Map(vec![
                    ("username", key(secret, user)),
                    ("password", key(secret, file)),
                ]),
            )],
            Way::OAuth2 {
                token_url,
                id,
                file,
                scopes,
            } => {
                let mut oauth2 = vec![
                    ("clientId", Yaml::Map(vec![("secret", key(secret, id))])),
                    ("clientSecret", key(secret, file)),
                    ("tokenUrl", Yaml::text(token_url)),
                ];
                oauth2.extend(scopes_field(scopes));
                vec![("oauth2", Yaml::Map(oauth2))]
            }
        }
    }
}

fn scopes_field(scopes: &[String]) -> Option<(&'static str, Yaml)> {
    let list = Yaml::List(scopes.iter().map(Yaml::text).collect());
    (!scopes.is_empty()).then_some(("scopes", list))
}

/// A `SecretKeySelector`.
fn key(secret: &str, key: &str) -> Yaml {
    Yaml::Map(vec![("name", Yaml::text(secret)), ("key", Yaml::text(key))])
}

fn absolute(file: &Path) -> anyhow::Result<String> {
    let path = std::path::absolute(file).with_context(|| format!("{}: is no path", file.display()))?;
    Ok(path.display().to_string())
}
