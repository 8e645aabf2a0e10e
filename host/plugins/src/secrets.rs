//! Secrets that the gateway puts into a plugin's requests, so that the plugin never holds them.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncReadExt;

use crate::{
    config::{Grants, SecretGrant},
    origin::{Origin, OriginPattern},
};

/// What a plugin writes around a secret's name.
const OPEN: &str = "{{secret:";
const CLOSE: &str = "}}";

/// The most that is read of a secret's file: no header that a server takes is longer.
const MAX_FILE: u64 = 16 << 10;

/// The secrets of one plugin, by name.
#[derive(Debug, Default)]
pub(crate) struct Secrets(BTreeMap<String, Secret>);

/// A header's value and the only origin that receives it.
struct Secret {
    origin: Origin,
    value: SecretString,
}

/// A secret that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("grants.secrets.{name}: {reason}")]
pub struct SecretError {
    name: String,
    reason: String,
}

/// Why a header was not filled in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Withheld {
    /// No secret of this name is granted.
    Unknown(String),
    /// The secret is bound to another origin.
    Bound { name: String, origin: Origin },
    /// The placeholder is not the whole value of the header.
    NotAlone,
}

impl Secrets {
    /// Reads the files of all granted secrets; paths are relative to `base`.
    pub(crate) async fn read(grants: &Grants, base: &Path) -> Result<Self, SecretError> {
        let mut secrets = BTreeMap::new();
        for (name, grant) in &grants.secrets {
            let secret = Secret::read(grants, grant, base)
                .await
                .map_err(|reason| SecretError {
                    name: name.clone(),
                    reason,
                })?;
            secrets.insert(name.clone(), secret);
        }
        Ok(Self(secrets))
    }

    /// The files that `grants` name, relative to `base`.
    pub(crate) fn files(grants: &Grants, base: &Path) -> Vec<PathBuf> {
        let file = |grant: &SecretGrant| {
            let basic = grant.basic.as_ref().map(|basic| &basic.password_file);
            basic
                .or(grant.bearer_file.as_ref())
                .or(grant.value_file.as_ref())
                .map(|file| base.join(file))
        };
        grants.secrets.values().filter_map(file).collect()
    }

    /// Replaces placeholders in the headers of a request to `origin`.
    pub(crate) fn fill(&self, origin: &Origin, headers: &mut HeaderMap) -> Result<(), Withheld> {
        for value in headers.values_mut() {
            if !contains(value.as_bytes(), OPEN.as_bytes()) {
                continue;
            }
            let text = value.to_str().map_err(|_| Withheld::NotAlone)?;
            let name = text.strip_prefix(OPEN).and_then(|rest| rest.strip_suffix(CLOSE));
            let name = name
                .filter(|name| !name.contains(['{', '}']))
                .ok_or(Withheld::NotAlone)?;
            let secret = self
                .0
                .get(name)
                .ok_or_else(|| Withheld::Unknown(name.to_owned()))?;
            if secret.origin != *origin {
                return Err(Withheld::Bound {
                    name: name.to_owned(),
                    origin: secret.origin.clone(),
                });
            }
            let mut filled = HeaderValue::from_str(secret.value.expose_secret())
                .map_err(|_| Withheld::Unknown(name.to_owned()))?;
            filled.set_sensitive(true);
            *value = filled;
        }
        Ok(())
    }
}

/// Whether `needle` is somewhere in `haystack`.
fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

impl Secret {
    async fn read(grants: &Grants, grant: &SecretGrant, base: &Path) -> Result<Self, String> {
        let pattern: OriginPattern = grant.origin.parse().map_err(|error| format!("{error}"))?;
        let origin = pattern
            .exact()
            .cloned()
            .ok_or("it has to be bound to one origin, without `*`")?;
        if !grants.http.iter().any(|http| http.origin.matches(&origin)) {
            return Err(format!(
                "it is bound to {origin}, which is not granted: add it to grants.http"
            ));
        }
        let value = match (&grant.basic, &grant.bearer_file, &grant.value_file) {
            (Some(basic), None, None) => {
                if basic.username.contains(':') {
                    return Err("a user name with `:` can't be sent (RFC 7617 section 2)".into());
                }
                let password = read(&base.join(&basic.password_file)).await?;
                let pair = SecretString::from(format!("{}:{}", basic.username, password.expose_secret()));
                SecretString::from(format!("Basic {}", STANDARD.encode(pair.expose_secret())))
            }
            (None, Some(file), None) => {
                let token = read(&base.join(file)).await?;
                SecretString::from(format!("Bearer {}", token.expose_secret()))
            }
            (None, None, Some(file)) => read(&base.join(file)).await?,
            _ => return Err("give exactly one of `basic`, `bearerFile` and `valueFile`".into()),
        };
        if HeaderValue::from_str(value.expose_secret()).is_err() {
            return Err("the file holds characters that no header can carry (a line break inside?)".into());
        }
        Ok(Self { origin, value })
    }
}

/// The content of a file without the line break that editors leave at its end.
async fn read(file: &Path) -> Result<SecretString, String> {
    let failed = |error: std::io::Error| format!("can't read {}: {error}", file.display());
    let mut content = String::new();
    let mut reader = tokio::fs::File::open(file)
        .await
        .map_err(failed)?
        .take(MAX_FILE + 1);
    reader.read_to_string(&mut content).await.map_err(failed)?;
    let content = SecretString::from(content);
    let length = content.expose_secret().len() as u64;
    let secret = SecretString::from(content.expose_secret().trim_end_matches(['\r', '\n']));
    match length {
        _ if secret.expose_secret().is_empty() => Err(format!("{} is empty", file.display())),
        length if length > MAX_FILE => Err(format!("{} is over {MAX_FILE} bytes", file.display())),
        _ => Ok(secret),
    }
}

impl PartialEq for Secrets {
    fn eq(&self, other: &Self) -> bool {
        let same = |(name, secret): (&String, &Secret)| {
            other.0.get(name).is_some_and(|there| {
                there.origin == secret.origin && there.value.expose_secret() == secret.value.expose_secret()
            })
        };
        self.0.len() == other.0.len() && self.0.iter().all(same)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse::<OriginPattern>().unwrap().exact().unwrap().clone()
    }

    async fn secrets(grants: &str, files: &[(&str, &str)]) -> Result<Secrets, SecretError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        Secrets::read(&serde_json::from_str(grants).unwrap(), folder.path()).await
    }

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
    }

    const GRANTS: &str = r#"{"http": ["http://db:8086", "http://other:8086"], "secrets": {
        "basic": {"origin": "http://db:8086", "basic": {"username": "prom", "passwordFile": "password"}},
        "bearer": {"origin": "http://db:8086", "bearerFile": "token"},
        "value": {"origin": "http://db:8086", "valueFile": "token"}}}"#;

    #[tokio::test]
    async fn a_placeholder_becomes_the_secret_at_its_origin_only() {
        let secrets = secrets(GRANTS, &[("password", "pw\n"), ("token", "t0k3n\n")])
            .await
            .unwrap();
        for (placeholder, value) in [
            ("{{secret:basic}}", "Basic cHJvbTpwdw=="),
            ("{{secret:bearer}}", "Bearer t0k3n"),
            ("{{secret:value}}", "t0k3n"),
            ("Bearer public", "Bearer public"),
        ] {
            let mut headers = headers(placeholder);
            secrets.fill(&origin("http://db:8086"), &mut headers).unwrap();
            assert_eq!(headers[http::header::AUTHORIZATION], value);
        }
        for (placeholder, withheld) in [
            ("{{secret:nobody}}", Withheld::Unknown("nobody".into())),
            ("Bearer {{secret:value}}", Withheld::NotAlone),
            ("{{secret:value}}{{secret:value}}", Withheld::NotAlone),
            ("{{secret:value", Withheld::NotAlone),
        ] {
            let refused = secrets.fill(&origin("http://db:8086"), &mut headers(placeholder));
            assert_eq!(refused, Err(withheld), "{placeholder}");
        }
        for elsewhere in ["http://other:8086", "https://db:8086", "http://db:80"] {
            let refused = secrets.fill(&origin(elsewhere), &mut headers("{{secret:value}}"));
            assert!(
                matches!(refused, Err(Withheld::Bound { .. })),
                "{elsewhere}: {refused:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_secret_is_not_printed() {
        let secrets = secrets(GRANTS, &[("password", "pw"), ("token", "t0k3n")])
            .await
            .unwrap();
        let shown = format!("{secrets:?}");
        assert!(
            !shown.contains("t0k3n") && !shown.contains("cHJvbTpwdw"),
            "{shown}"
        );
        let mut headers = headers("{{secret:value}}");
        secrets.fill(&origin("http://db:8086"), &mut headers).unwrap();
        assert!(!format!("{headers:?}").contains("t0k3n"));
    }

    #[tokio::test]
    async fn a_secret_that_cannot_be_used_is_refused_by_name() {
        let with = |secret: &str| format!(r#"{{"http": ["http://db"], "secrets": {{"s": {secret}}}}}"#);
        for (secret, says) in [
            (r#"{"origin": "http://db", "valueFile": "missing"}"#, "can't read"),
            (r#"{"origin": "http://db", "valueFile": "empty"}"#, "is empty"),
            (r#"{"origin": "http://db", "valueFile": "lines"}"#, "line break"),
            (r#"{"origin": "http://evil", "valueFile": "ok"}"#, "not granted"),
            (
                r#"{"origin": "https://*.example.com", "valueFile": "ok"}"#,
                "without `*`",
            ),
            (r#"{"origin": "http://db"}"#, "exactly one of"),
            (
                r#"{"origin": "http://db", "valueFile": "ok", "bearerFile": "ok"}"#,
                "exactly one of",
            ),
            (
                r#"{"origin": "http://db", "basic": {"username": "a:b", "passwordFile": "ok"}}"#,
                "RFC 7617",
            ),
        ] {
            let files = [("empty", "\n"), ("lines", "a\nb"), ("ok", "ok")];
            let error = secrets(&with(secret), &files).await.unwrap_err().to_string();
            assert!(
                error.starts_with("grants.secrets.s: ") && error.contains(says),
                "{secret}: {error}"
            );
        }
    }
}
