//! What a plugin may reach outside its own memory, as the operator writes it.

use std::{borrow::Cow, collections::BTreeMap, fmt, path::PathBuf};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::Size;
use crate::origin::OriginPattern;

/// What a plugin may reach. Nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Grants {
    /// The origins that it may send HTTP requests to.
    pub http: Vec<HttpGrant>,
    /// Secrets that the gateway puts into its requests, by the name that the plugin uses in
    /// `{{secret:NAME}}`. The plugin never sees them.
    pub secrets: BTreeMap<String, SecretGrant>,
    /// A key-value space of its own in the gateway's state.
    pub key_value: Option<KeyValueGrant>,
    /// Kinds of Kubernetes objects that a recovery plugin may read. Never the values of a Secret.
    pub kubernetes: Vec<KubernetesGrant>,
    /// Whether a recovery plugin may see etcd's members, their health, alarms and hashes. Never keys,
    /// values or certificates.
    pub etcd: bool,
}

/// An origin that a plugin may send HTTP requests to: `http://influxdb:8086`, or with
/// `addresses` as a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpGrant {
    /// Scheme, host and port. A host that begins with `*.` stands for all names below it.
    pub origin: OriginPattern,
    /// Which addresses the host's name may resolve to.
    pub addresses: Addresses,
}

/// Which addresses a granted name may resolve to. An origin that is written with an address
/// reaches exactly that address, and one with `localhost` reaches the gateway's own machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Addresses {
    /// Addresses of the public internet.
    #[default]
    Public,
    /// Also private networks (RFC 1918, RFC 6598, RFC 4193): services of the same cluster. Never
    /// loopback, link-local and metadata addresses.
    Private,
}

/// A secret and where it may be sent. Exactly one of `basic`, `bearerFile` and `valueFile`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SecretGrant {
    /// The only origin that receives it. It must be granted in `http` as well.
    pub origin: String,
    /// The header becomes `Basic` with this name and password (RFC 7617).
    #[serde(default)]
    pub basic: Option<Basic>,
    /// The header becomes `Bearer` with this file's content (RFC 6750).
    #[serde(default)]
    pub bearer_file: Option<PathBuf>,
    /// The header becomes this file's content.
    #[serde(default)]
    pub value_file: Option<PathBuf>,
}

/// A name and a password.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Basic {
    /// The name.
    pub username: String,
    /// A file with the password, relative to the configuration's folder.
    pub password_file: PathBuf,
}

/// A key-value space of the plugin's own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct KeyValueGrant {
    /// How much the space may take on its medium before the plugin can only delete.
    pub max_bytes: Size,
}

/// A kind of Kubernetes objects, and which of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct KubernetesGrant {
    /// The API group; left out for the core group.
    #[serde(default)]
    pub group: String,
    /// The version of the group. Default: `v1`.
    #[serde(default = "first_version")]
    pub version: String,
    /// The kind as in its URL: `nodes`, `configmaps`.
    pub resource: String,
    /// The only namespace. Left out, all of them.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The only objects, by name. Left out, all of them; with names nothing can be listed.
    #[serde(default)]
    pub names: Vec<String>,
}

fn first_version() -> String {
    "v1".to_owned()
}

/// [`HttpGrant`] as a mapping.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Mapping {
    /// Scheme, host and port. A host that begins with `*.` stands for all names below it.
    origin: String,
    /// Which addresses the host's name may resolve to.
    #[serde(default)]
    addresses: Addresses,
}

impl HttpGrant {
    fn new<E: Error>(origin: &str, addresses: Addresses) -> Result<Self, E> {
        Ok(Self {
            origin: origin.parse().map_err(E::custom)?,
            addresses,
        })
    }
}

impl<'de> Deserialize<'de> for HttpGrant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = HttpGrant;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an origin such as `http://influxdb:8086`, or a mapping with `origin`")
            }

            fn visit_str<E: Error>(self, origin: &str) -> Result<HttpGrant, E> {
                HttpGrant::new(origin, Addresses::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HttpGrant, A::Error> {
                let Mapping { origin, addresses } = Mapping::deserialize(MapAccessDeserializer::new(map))?;
                HttpGrant::new(&origin, addresses)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for HttpGrant {
    fn schema_name() -> Cow<'static, str> {
        "HttpGrant".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mapping = generator.subschema_for::<Mapping>();
        schemars::json_schema!({
            "description": "An origin that a plugin may send HTTP requests to.",
            "anyOf": [{ "type": "string", "pattern": "^https?://[^/@ ]+/?$" }, mapping],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_string_or_a_mapping() {
        let grants: Grants = serde_json::from_str(
            r#"{"http": ["http://127.0.0.1:8086", {"origin": "http://influxdb:8086", "addresses": "private"}],
                "secrets": {"db": {"origin": "http://127.0.0.1:8086", "bearerFile": "token"}},
                "keyValue": {"maxBytes": "1GiB"}}"#,
        )
        .unwrap();
        let shown: Vec<_> = grants
            .http
            .iter()
            .map(|g| (g.origin.to_string(), g.addresses))
            .collect();
        assert_eq!(
            shown,
            [
                ("http://127.0.0.1:8086".to_owned(), Addresses::Public),
                ("http://influxdb:8086".to_owned(), Addresses::Private)
            ]
        );
        assert_eq!(grants.key_value.unwrap().max_bytes, Size(1 << 30));
    }

    #[test]
    fn a_wrong_grant_says_what_it_should_be() {
        for (text, says) in [
            (r#"{"http": ["influxdb:8086"]}"#, "`influxdb:8086`"),
            (
                r#"{"http": [{"origin": "http://a", "adresses": "private"}]}"#,
                "adresses",
            ),
            (r#"{"http": [7]}"#, "an origin such as"),
            (r#"{"keyvalue": {}}"#, "keyvalue"),
        ] {
            let error = serde_json::from_str::<Grants>(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
