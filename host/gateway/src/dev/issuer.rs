//! An OpenID Connect issuer with two users and no passwords, on loopback. Just enough of OpenID
//! Connect Core for `witgate dev`: it is no example of how to build one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow};
use axum::{
    Form, Json, Router,
    extract::{Query, State},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use http::StatusCode;
use maud::{DOCTYPE, html};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use super::Layout;

/// The client that the gateway is.
pub(super) const CLIENT: &str = "witgate-dev";

/// How long an id_token is valid.
const TOKEN_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// How long a code may take from the login page to the gateway.
const CODE_LIFETIME: Duration = Duration::from_secs(60);

/// Codes that may be on their way at a time.
const CODES: usize = 1000;

/// A user's name and groups.
const USERS: [(&str, &[&str]); 2] = [("alice", &["platform", "developers"]), ("bob", &["developers"])];

/// The issuer.
pub(super) struct Issuer {
    port: u16,
    key: EcdsaKeyPair,
    codes: Mutex<HashMap<String, Code>>,
}

/// A login that the gateway may fetch the token of.
struct Code {
    user: String,
    nonce: Option<String>,
    challenge: String,
    redirect_uri: String,
    since: Instant,
}

/// An authorization request (OpenID Connect Core 3.1.2.1), on the page and coming back from it.
#[derive(Clone, Deserialize)]
struct Authorize {
    client_id: String,
    redirect_uri: String,
    response_type: String,
    state: String,
    nonce: Option<String>,
    code_challenge: String,
    code_challenge_method: String,
    user: Option<String>,
}

/// A token request (OpenID Connect Core 3.1.3.1, RFC 6749 section 4.3).
#[derive(Deserialize)]
struct TokenRequest {
    grant_type: String,
    username: Option<String>,
    code: Option<String>,
    redirect_uri: Option<String>,
    code_verifier: Option<String>,
}

// === impl Issuer ===

impl Issuer {
    /// Opens the issuer with the key that is kept in the directory, so that tokens outlive a restart.
    pub(super) fn open(layout: &Layout, port: u16) -> anyhow::Result<Self> {
        let pem = layout.keep("issuer-key.pem", || {
            Ok(rcgen::KeyPair::generate()?.serialize_pem())
        })?;
        let pair = rcgen::KeyPair::from_pem(&pem).context("issuer-key.pem is damaged: remove it")?;
        let der = pair.serialize_der();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &SystemRandom::new())
            .map_err(|error| anyhow!("issuer-key.pem is no P-256 key ({error}): remove it"))?;
        Ok(Self {
            port,
            key,
            codes: Mutex::default(),
        })
    }

    /// Starts to serve, and returns when the port is open.
    pub(super) async fn serve(self) -> anyhow::Result<()> {
        let address = ("127.0.0.1", self.port);
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("the issuer's port {} is taken: choose another --port", self.port))?;
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .with_state(Arc::new(self));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(())
    }

    /// An id_token for one of the users.
    pub(super) fn id_token(&self, user: &str, nonce: Option<&str>) -> anyhow::Result<String> {
        let Some((_, groups)) = USERS.iter().find(|(name, _)| *name == user) else {
            let names: Vec<_> = USERS.iter().map(|(name, _)| *name).collect();
            return Err(anyhow!(
                "there is no user {user:?}: there are {}",
                names.join(" and ")
            ));
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.key_id()});
        let mut claims = json!({
            "iss": self.url(), "aud": CLIENT, "sub": format!("dev-{user}"),
            "iat": now.as_secs(), "exp": (now + TOKEN_LIFETIME).as_secs(),
            "email": format!("{user}@example.com"), "email_verified": true, "name": user, "groups": groups,
        });
        if let (Some(nonce), Some(claims)) = (nonce, claims.as_object_mut()) {
            claims.insert("nonce".to_owned(), nonce.into());
        }
        let signed = format!(
            "{}.{}",
            BASE64URL.encode(header.to_string()),
            BASE64URL.encode(claims.to_string())
        );
        let signature = self
            .key
            .sign(&SystemRandom::new(), signed.as_bytes())
            .map_err(|error| anyhow!("signing failed: {error}"))?;
        Ok(format!("{signed}.{}", BASE64URL.encode(signature)))
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn key_id(&self) -> String {
        BASE64URL.encode(Sha256::digest(self.key.public_key()))
    }

    fn new_code(&self, user: String, request: Authorize) -> String {
        let code = format!("{:032x}", rand::random::<u128>());
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        codes.retain(|_, code| code.since.elapsed() < CODE_LIFETIME);
        if codes.len() < CODES {
            let Authorize {
                nonce,
                code_challenge: challenge,
                redirect_uri,
                ..
            } = request;
            codes.insert(
                code.clone(),
                Code {
                    user,
                    nonce,
                    challenge,
                    redirect_uri,
                    since: Instant::now(),
                },
            );
        }
        code
    }

    /// The token for a code, if everything that was said with it fits.
    fn redeem(&self, request: &TokenRequest) -> Option<String> {
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        let code = codes.remove(request.code.as_deref()?)?;
        let verifier = request.code_verifier.as_deref()?;
        let fits = code.since.elapsed() < CODE_LIFETIME
            && request.redirect_uri.as_deref() == Some(&code.redirect_uri)
            && BASE64URL.encode(Sha256::digest(verifier)) == code.challenge;
        if fits {
            self.id_token(&code.user, code.nonce.as_deref()).ok()
        } else {
            None
        }
    }
}

async fn discovery(State(issuer): State<Arc<Issuer>>) -> Json<Value> {
    let url = issuer.url();
    Json(json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/keys"),
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "password"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
    }))
}

async fn keys(State(issuer): State<Arc<Issuer>>) -> Json<Value> {
    // An uncompressed point: 0x04, then 32 bytes each of x and y (SEC 1, section 2.3.3).
    let point = issuer.key.public_key().as_ref();
    let coordinate = |from: usize| BASE64URL.encode(point.get(from..from + 32).unwrap_or_default());
    Json(json!({"keys": [{
        "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": issuer.key_id(),
        "x": coordinate(1), "y": coordinate(33),
    }]}))
}

/// Shows who one can be; with `user`, goes back to the gateway as that one.
async fn authorize(State(issuer): State<Arc<Issuer>>, Query(request): Query<Authorize>) -> Response {
    if request.client_id != CLIENT
        || request.response_type != "code"
        || request.code_challenge_method != "S256"
        || !request.redirect_uri.starts_with("https://localhost:")
    {
        return (
            StatusCode::BAD_REQUEST,
            "this is not a request of the gateway's\n",
        )
            .into_response();
    }
    if let Some(user) = request.user.clone() {
        let (redirect, state) = (request.redirect_uri.clone(), request.state.clone());
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("code", &issuer.new_code(user, request))
            .append_pair("state", &state);
        return Redirect::to(&format!("{redirect}?{}", query.finish())).into_response();
    }
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { "Development issuer" } meta name="color-scheme" content="light dark"; }
            body {
                h1 { "Who are you today?" }
                form method="get" action="/authorize" {
                    input type="hidden" name="client_id" value=(request.client_id);
                    input type="hidden" name="redirect_uri" value=(request.redirect_uri);
                    input type="hidden" name="response_type" value=(request.response_type);
                    input type="hidden" name="state" value=(request.state);
                    input type="hidden" name="code_challenge" value=(request.code_challenge);
                    input type="hidden" name="code_challenge_method" value=(request.code_challenge_method);
                    @if let Some(nonce) = &request.nonce { input type="hidden" name="nonce" value=(nonce); }
                    @for (user, groups) in USERS {
                        p { button name="user" value=(user) { (user) } " in " (groups.join(", ")) }
                    }
                }
            }
        }
    };
    page.into_response()
}

async fn token(State(issuer): State<Arc<Issuer>>, Form(request): Form<TokenRequest>) -> Response {
    let token = match request.grant_type.as_str() {
        "authorization_code" => issuer
            .redeem(&request)
            .ok_or_else(|| "the code does not fit".to_owned()),
        "password" => issuer
            .id_token(request.username.as_deref().unwrap_or_default(), None)
            .map_err(|error| error.to_string()),
        other => Err(format!("there is no grant type {other:?} here")),
    };
    match token {
        Ok(id_token) => {
            let access_token = format!("{:032x}", rand::random::<u128>());
            Json(json!({
                "id_token": id_token, "access_token": access_token, "token_type": "Bearer",
                "expires_in": TOKEN_LIFETIME.as_secs(),
            }))
            .into_response()
        }
        Err(reason) => {
            let body = json!({"error": "invalid_grant", "error_description": reason});
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
    }
}
