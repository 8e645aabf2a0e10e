//! Defines an OpenID provider of another make than dex: npm's `oidc-provider`, so that nothing depends
//! on dex's habits.

use std::{fs, path::Path};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    component::Component,
    error::Error,
    pki::Authority,
    port::Port,
    process::Launch,
    service::{Readiness, Service, lifecycle},
};

/// A running provider with the users `alice` (of `platform`) and `bob`, who log in with any password.
#[derive(Debug)]
pub struct OidcProvider {
    service: Service,
    port: Port,
    _dir: TempDir,
}

/// Whom the provider serves.
#[derive(Debug, Clone, Copy)]
pub struct OidcProviderOptions<'a> {
    /// The client's origin: it is sent back to `/callback` there, and told of logouts at
    /// `/backchannel-logout`.
    pub client: &'a str,
    /// Of the client's certificate.
    pub authority: &'a Authority,
}

impl OidcProvider {
    /// The client that may log users in.
    pub const CLIENT_ID: &str = "witgate";
    /// That client's secret.
    pub const CLIENT_SECRET: &str = "witgate-client-secret";

    /// Starts a provider.
    ///
    /// # Errors
    /// If it is not installed, or does not become ready.
    pub async fn start(options: OidcProviderOptions<'_>) -> Result<Self, Error> {
        let program = Component::OidcProvider.find("lab-oidc-provider")?;
        let dir = tempfile::tempdir().map_err(Error::io("a directory for oidc-provider"))?;
        let port = Port::free()?;
        let client = options.client;
        let config = json!({
            "port": port.number(),
            "users": {"alice": {"groups": ["platform"]}, "bob": {"groups": []}},
            "clients": [{
                "client_id": Self::CLIENT_ID,
                "client_secret": Self::CLIENT_SECRET,
                "redirect_uris": [format!("{client}/callback")],
                "post_logout_redirect_uris": [format!("{client}/")],
                "backchannel_logout_uri": format!("{client}/backchannel-logout"),
                "backchannel_logout_session_required": true,
                "grant_types": ["authorization_code", "refresh_token"],
                "id_token_signed_response_alg": "ES256",
            }],
        });
        let config_file = write(dir.path(), "config.json", &config.to_string())?;
        let authority = write(dir.path(), "authority.pem", options.authority.certificate())?;
        let mut launch = Launch::new("oidc-provider", program, dir.path()).arg(config_file);
        launch.envs = vec![("NODE_EXTRA_CA_CERTS".into(), authority.into())];
        let service = Service::start(launch, Readiness::Prints("ready at")).await?;
        Ok(Self {
            service,
            port,
            _dir: dir,
        })
    }

    /// The issuer's URL.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("http://{}", self.port.address())
    }
}

lifecycle!(OidcProvider);

fn write(dir: &Path, name: &str, text: &str) -> Result<std::path::PathBuf, Error> {
    let path = dir.join(name);
    fs::write(&path, text).map_err(Error::io(path.display().to_string()))?;
    Ok(path)
}
