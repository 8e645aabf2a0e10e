//! An issuer whose key the tests have: it vouches for what a real one never would.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};
use witgate_lab::Dex;

/// The name of the one key that it publishes.
pub(crate) const KEY_ID: &str = "published";

/// Discovery and keys over HTTP, until it is dropped.
#[derive(Debug)]
pub(crate) struct Issuer {
    url: String,
    key: EcdsaKeyPair,
    key_fetches: Arc<AtomicUsize>,
    serving: AbortHandle,
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let discovery = json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "jwks_uri": format!("{url}/keys"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        });
        let point = key.public_key().as_ref();
        let keys = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "kid": KEY_ID,
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
        }]});
        let key_fetches = Arc::new(AtomicUsize::new(0));
        let serving = tokio::spawn(serve(
            listener,
            discovery.to_string(),
            keys.to_string(),
            Arc::clone(&key_fetches),
        ));
        Self {
            url,
            key,
            key_fetches,
            serving: serving.abort_handle(),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How often its keys were asked for.
    pub(crate) fn key_fetches(&self) -> usize {
        self.key_fetches.load(Ordering::SeqCst)
    }

    /// A token that holds, but for these changes to its claims.
    pub(crate) fn token(&self, changes: &Value) -> String {
        self.signed(&json!({"alg": "ES256", "typ": "JWT", "kid": KEY_ID}), changes)
    }

    /// The same with another header, signed with the issuer's key whatever that says.
    pub(crate) fn signed(&self, header: &Value, changes: &Value) -> String {
        let message = self.message(header, changes);
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// `alg: none` (RFC 7515 appendix A.5).
    pub(crate) fn unsigned(&self) -> String {
        format!(
            "{}.",
            self.message(&json!({"alg": "none", "typ": "JWT"}), &json!({}))
        )
    }

    /// The public key in place of a shared secret (RFC 8725 section 2.1).
    pub(crate) fn signed_with_public_key(&self) -> String {
        let header = json!({"alg": "HS256", "typ": "JWT", "kid": KEY_ID});
        let message = self.message(&header, &json!({}));
        let secret = hmac::Key::new(hmac::HMAC_SHA256, self.key.public_key().as_ref());
        let tag = hmac::sign(&secret, message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    fn message(&self, header: &Value, changes: &Value) -> String {
        let mut claims = json!({
            "iss": self.url, "aud": Dex::CLIENT_ID, "sub": "subject-of-frank",
            "email": "frank@example.org", "email_verified": true, "groups": ["platform"],
            "iat": now(), "exp": now() + 600,
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        [header, &claims]
            .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()))
            .join(".")
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

async fn serve(listener: TcpListener, discovery: String, keys: String, key_fetches: Arc<AtomicUsize>) {
    while let Ok((mut connection, _)) = listener.accept().await {
        // A client that hangs up is its own affair.
        let Ok(path) = requested_path(&mut connection).await else {
            continue;
        };
        let (status, body) = match path.as_str() {
            "/.well-known/openid-configuration" => ("200 OK", discovery.as_str()),
            "/keys" => {
                key_fetches.fetch_add(1, Ordering::SeqCst);
                ("200 OK", keys.as_str())
            }
            _ => ("404 Not Found", "{}"),
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        );
        let _ = connection.write_all(answer.as_bytes()).await;
    }
}

/// Reads a request without a body to its end.
async fn requested_path(connection: &mut TcpStream) -> std::io::Result<String> {
    let mut lines = BufReader::new(connection).lines();
    let mut path = String::new();
    while let Some(line) = lines.next_line().await?
        && !line.is_empty()
    {
        if path.is_empty() {
            path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        }
    }
    Ok(path)
}
