//! Defines dex, the OpenID provider, with a password database and a connector to OpenLDAP.

mod config;

use std::{fs, time::Duration};

use reqwest::Client;
use serde::Deserialize;
use tempfile::TempDir;

use crate::{
    component::Component,
    error::Error,
    http,
    openldap::OpenLdap,
    pki::Authority,
    port::Port,
    process::Launch,
    service::{Readiness, Service, lifecycle},
};

/// How a dex is set up.
#[derive(Debug, Clone)]
pub struct DexOptions<'a> {
    /// Where the confidential client's logins may return to.
    pub redirect_uris: Vec<String>,
    /// The directory behind the LDAP connector; none leaves only the password database.
    pub ldap: Option<&'a OpenLdap>,
    /// What the LDAP connector puts into the groups claim.
    pub group_names: GroupNames,
    /// Whether there is a connector `mock` besides, which lets in whoever comes as
    /// [`MOCK_USER`](Dex::MOCK_USER), of [`MOCK_GROUP`](Dex::MOCK_GROUP).
    pub mock: bool,
    /// How long an id_token lives.
    pub id_tokens: Duration,
    /// How long a key signs. dex looks at its keys every 30 s, so nothing less makes a difference;
    /// for a new key at once, [`Dex::restart`] it, which forgets the old ones too.
    pub signing_keys: Duration,
    /// Serve HTTPS with a certificate of this authority, as `--oidc-issuer-url` of kube-apiserver
    /// wants it; none serves HTTP.
    pub authority: Option<&'a Authority>,
}

/// What a group of the LDAP connector is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupNames {
    /// By its `cn`: `platform`.
    Name,
    /// By its distinguished name: `cn=platform,ou=groups,dc=example,dc=org`.
    DistinguishedName,
}

/// A request for tokens by the password grant (RFC 6749, 4.3).
#[derive(Debug, Clone, Copy)]
pub struct TokenRequest<'a> {
    /// The client, which becomes the token's audience.
    pub client_id: &'a str,
    /// Its secret; a public client's is empty.
    pub client_secret: &'a str,
    /// A login name of the connector: `alice`, or `dana@example.org` of the password database.
    pub username: &'a str,
    /// The user's password.
    pub password: &'a str,
    /// The scopes, space-separated, `openid` among them.
    pub scope: &'a str,
}

/// What dex answers to a [`TokenRequest`].
#[derive(Debug, Clone, Deserialize)]
pub struct Tokens {
    /// Who the user is, as a signed JWT.
    pub id_token: String,
    /// What the userinfo endpoint takes.
    pub access_token: String,
    /// Present if the scope had `offline_access`.
    pub refresh_token: Option<String>,
}

/// A running dex.
///
/// The password database has [`LOCAL_USERS`](Self::LOCAL_USERS), without groups; the LDAP
/// connector, of the id `ldap`, has the people of [`OpenLdap`]. The password grant asks the LDAP
/// connector if there is one, else the password database.
#[derive(Debug)]
pub struct Dex {
    service: Service,
    issuer: String,
    client: Client,
    _port: Port,
    _dir: TempDir,
}

impl Default for DexOptions<'_> {
    fn default() -> Self {
        Self {
            redirect_uris: Vec::new(),
            ldap: None,
            group_names: GroupNames::Name,
            mock: false,
            id_tokens: Duration::from_secs(60 * 60),
            signing_keys: Duration::from_secs(6 * 60 * 60),
            authority: None,
        }
    }
}

impl Dex {
    /// The confidential client, whose redirect URIs the options give.
    pub const CLIENT_ID: &str = "witgate";
    /// The secret of [`CLIENT_ID`](Self::CLIENT_ID).
    pub const CLIENT_SECRET: &str = "witgate-client-secret";
    /// A public client that may return to any port of localhost, and may ask for tokens whose
    /// audience is the confidential client (scope `audience:server:client_id:witgate`).
    pub const PUBLIC_CLIENT_ID: &str = "kubectl";
    /// The address of the mock connector's one user.
    pub const MOCK_USER: &str = "kilgore@kilgore.trout";
    /// The user's one group.
    pub const MOCK_GROUP: &str = "authors";
    /// The users of the password database, as (address, password).
    pub const LOCAL_USERS: [(&str, &str); 2] = [
        ("dana@example.org", "dana-password"),
        ("erin@example.org", "erin-password"),
    ];
    /// All that dex can say about a user, and a refresh token.
    pub const SCOPE: &str = "openid profile email groups offline_access";

    /// Starts dex.
    ///
    /// # Errors
    /// If dex is missing, or its discovery document is not served.
    pub async fn start(options: DexOptions<'_>) -> Result<Self, Error> {
        let program = Component::Dex.find("dex")?;
        let dir = tempfile::tempdir().map_err(Error::io("a directory for dex"))?;
        let port = Port::free()?;
        let (scheme, client, tls) = match options.authority {
            None => ("http", http::client(), None),
            Some(authority) => {
                let certified = authority.server(&["127.0.0.1", "localhost"])?;
                let files = certified.write(dir.path(), "dex")?;
                (
                    "https",
                    http::client_trusting(authority.certificate())?,
                    Some(files),
                )
            }
        };
        let issuer = format!("{scheme}://{}/dex", port.address());
        let config = dir.path().join("dex.json");
        let text = config::render(&issuer, port.address(), tls.as_ref(), &options);
        fs::write(&config, text).map_err(Error::io(config.display().to_string()))?;
        let launch = Launch::new("dex", program, dir.path()).arg("serve").arg(config);
        let url = format!("{issuer}/.well-known/openid-configuration");
        let service = Service::start(
            launch,
            Readiness::Http {
                client: client.clone(),
                url,
            },
        )
        .await?;
        Ok(Self {
            service,
            issuer,
            client,
            _port: port,
            _dir: dir,
        })
    }

    /// The issuer, as in the tokens: `http://127.0.0.1:PORT/dex`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// An id_token for the confidential client, by the password grant.
    ///
    /// # Errors
    /// If dex refuses the user.
    pub async fn id_token(&self, username: &str, password: &str) -> Result<String, Error> {
        let (client_id, client_secret) = (Self::CLIENT_ID, Self::CLIENT_SECRET);
        let request = TokenRequest {
            client_id,
            client_secret,
            username,
            password,
            scope: Self::SCOPE,
        };
        Ok(self.tokens(request).await?.id_token)
    }

    /// Tokens for any client and scope, by the password grant.
    ///
    /// # Errors
    /// If dex refuses the client or the user.
    pub async fn tokens(&self, request: TokenRequest<'_>) -> Result<Tokens, Error> {
        let form = [
            ("grant_type", "password"),
            ("username", request.username),
            ("password", request.password),
            ("scope", request.scope),
        ];
        let url = format!("{}/token", self.issuer);
        let secret = Some(request.client_secret);
        let asked = self
            .client
            .post(&url)
            .basic_auth(request.client_id, secret)
            .form(&form);
        let body = http::text(asked).await?;
        serde_json::from_str(&body).map_err(|error| {
            let what = format!("reading the tokens of {url} ({error})");
            Error::Refused {
                what,
                status: 200,
                body,
            }
        })
    }
}

lifecycle!(Dex);
