//! Defines the text of a kubeconfig for one cluster and one user, with everything inlined.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::pki::Certified;

/// How a user shows who it is.
pub(super) enum Credentials {
    /// A client certificate.
    Certificate(Certified),
    /// A bearer token.
    Token(String),
}

/// Renders the kubeconfig, as JSON, which YAML readers read too.
pub(super) fn render(server: &str, authority: &str, user: &str, credentials: &Credentials) -> String {
    let credentials = match credentials {
        Credentials::Certificate(certified) => json!({
            "client-certificate-data": STANDARD.encode(&certified.certificate),
            "client-key-data": STANDARD.encode(&certified.key),
        }),
        Credentials::Token(token) => json!({ "token": token }),
    };
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "lab",
            "cluster": {"server": server, "certificate-authority-data": STANDARD.encode(authority)},
        }],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user}}],
        "current-context": "lab",
    });
    format!("{config:#}\n")
}
