//! Credentials, and what the configuration holds of them.

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, SaltString},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// Why a password has no hash.
#[derive(Debug, thiserror::Error)]
#[error("the password can't be hashed: {0}")]
pub struct HashError(argon2::password_hash::Error);

/// What `identity.basic[].passwordHash` takes: Argon2id with the parameters that OWASP's Password
/// Storage Cheat Sheet asks for at least (19 MiB, 2 passes), and a salt of its own.
pub fn hash_password(password: &SecretString) -> Result<String, HashError> {
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).map_err(HashError)?;
    let hash = Argon2::default()
        .hash_password(password.expose_secret().as_bytes(), &salt)
        .map_err(HashError)?;
    Ok(hash.to_string())
}

/// What `identity.tokens[].sha256` takes. A plain digest is enough for what [`generate_token`] made:
/// there is nothing to guess in 256 random bits.
pub fn hash_token(token: &SecretString) -> String {
    let digest = Sha256::digest(token.expose_secret());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A new bearer token: 256 random bits.
pub fn generate_token() -> SecretString {
    SecretString::from(random_text())
}

/// 256 random bits, as 43 characters that need no escaping anywhere.
pub(crate) fn random_text() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

pub(crate) fn sha256(data: impl AsRef<[u8]>) -> [u8; 32] {
    Sha256::digest(data).into()
}

/// In seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
