//! Defines dex's configuration file.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde_json::{Value, json};

use super::{Dex, DexOptions, GroupNames};
use crate::openldap::OpenLdap;

/// bcrypt, of the passwords of [`Dex::LOCAL_USERS`] in their order.
const PASSWORD_HASHES: [&str; 2] = [
    "$2b$10$6K//OiHudUhwjzRObtOwSeXtM71A.VXSjCZmO/y.sKQ598/K1E0Bu",
    "$2b$10$7yDuWewAfw7v6RdF4hYzhOysN3Wc8uYEIgOVSn9YVUGLmgvCjTlYO",
];

/// Renders the configuration, as JSON, which dex's YAML reader reads too.
pub(super) fn render(
    issuer: &str,
    address: SocketAddr,
    tls: Option<&(PathBuf, PathBuf)>,
    options: &DexOptions<'_>,
) -> String {
    let web = match tls {
        None => json!({"http": address.to_string()}),
        Some((certificate, key)) => {
            json!({"https": address.to_string(), "tlsCert": certificate, "tlsKey": key})
        }
    };
    let password_connector = if options.ldap.is_some() { "ldap" } else { "local" };
    let ldap = { options.ldap }.map(|ldap| ldap_connector(ldap, options.group_names));
    let mock = { options.mock }.then(|| json!({"type": "mockCallback", "id": "mock", "name": "Mock"}));
    let connectors: Vec<Value> = ldap.into_iter().chain(mock).collect();
    let config = json!({
        "issuer": issuer,
        "storage": {"type": "memory"},
        "web": web,
        "expiry": {"idTokens": seconds(options.id_tokens), "signingKeys": seconds(options.signing_keys)},
        "oauth2": {"skipApprovalScreen": true, "passwordConnector": password_connector},
        "staticClients": [
            {
                "id": Dex::CLIENT_ID,
                "name": "witgate",
                "secret": Dex::CLIENT_SECRET,
                "redirectURIs": options.redirect_uris,
                "trustedPeers": [Dex::PUBLIC_CLIENT_ID],
            },
            {"id": Dex::PUBLIC_CLIENT_ID, "name": "kubectl", "public": true},
        ],
        "enablePasswordDB": true,
        "staticPasswords": static_passwords(),
        "connectors": connectors,
    });
    format!("{config:#}\n")
}

fn static_passwords() -> Vec<Value> {
    let users = Dex::LOCAL_USERS.iter().zip(PASSWORD_HASHES).enumerate();
    users
        .map(|(index, ((email, _), hash))| {
            let username = email.split('@').next();
            let id = format!("00000000-0000-4000-8000-{index:012}");
            json!({"email": email, "hash": hash, "username": username, "userID": id})
        })
        .collect()
}

fn ldap_connector(ldap: &OpenLdap, group_names: GroupNames) -> Value {
    let name_attribute = match group_names {
        GroupNames::Name => "cn",
        GroupNames::DistinguishedName => "DN",
    };
    json!({
        "type": "ldap",
        "id": "ldap",
        "name": "OpenLDAP",
        "config": {
            "host": ldap.address(),
            "insecureNoSSL": true,
            "bindDN": OpenLdap::ADMIN,
            "bindPW": OpenLdap::ADMIN_PASSWORD,
            "userSearch": {
                "baseDN": format!("ou=people,{}", OpenLdap::BASE),
                "filter": "(objectClass=inetOrgPerson)",
                "username": "uid",
                "idAttr": "uid",
                "emailAttr": "mail",
                "nameAttr": "cn",
                "preferredUsernameAttr": "uid",
            },
            "groupSearch": {
                "baseDN": format!("ou=groups,{}", OpenLdap::BASE),
                "filter": "(objectClass=groupOfNames)",
                "userMatchers": [{"userAttr": "DN", "groupAttr": "member"}],
                "nameAttr": name_attribute,
            },
        },
    })
}

/// A Go duration.
fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}
