//! The keys of an issuer (JWKS, RFC 7517), and signatures.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use openidconnect::{
    JsonWebKey, JsonWebKeySet,
    core::{CoreJsonWebKey, CoreJsonWebKeyType, CoreJwsSigningAlgorithm},
};

/// Issuers have a handful. A token without `kid` is tried with all of them.
const MAX_KEYS: usize = 64;

/// NIST SP 800-131A, RFC 7518 section 3.3.
const MIN_RSA_BITS: usize = 2048;

/// Keys that signatures can be verified with.
#[derive(Debug)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    key: CoreJsonWebKey,
    /// The length of an RSA key's modulus.
    rsa_bits: Option<usize>,
}

/// What a signature is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Valid,
    /// No key has the token's `kid`, or none without one fits.
    UnknownKey,
    /// The key has too few bits to trust.
    Weak {
        bits: usize,
    },
    Wrong,
}

// === impl KeySet ===

impl KeySet {
    pub(crate) fn new(keys: &JsonWebKeySet<CoreJsonWebKey>) -> Result<Self, String> {
        let keys = keys.keys();
        if keys.len() > MAX_KEYS {
            return Err(format!("it has {} keys, more than {MAX_KEYS}", keys.len()));
        }
        let keys: Vec<Key> = keys
            .iter()
            // A shared secret has no place in a published set, and would be a key to forge with.
            .filter(|key| *key.key_type() != CoreJsonWebKeyType::Symmetric)
            .map(|key| Key {
                id: key.key_id().map(|id| id.to_string()),
                key: key.clone(),
                rsa_bits: rsa_bits(key),
            })
            .collect();
        if keys.is_empty() {
            return Err("it has no key that can be used".to_owned());
        }
        Ok(Self { keys })
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn verify(
        &self,
        key_id: Option<&str>,
        algorithm: &CoreJwsSigningAlgorithm,
        signed: &str,
        signature: &[u8],
    ) -> Verdict {
        let mut verdict = Verdict::UnknownKey;
        for key in &self.keys {
            if key_id.is_some() && key.id.as_deref() != key_id {
                continue;
            }
            if let Some(bits) = key.rsa_bits
                && bits < MIN_RSA_BITS
            {
                verdict = Verdict::Weak { bits };
                continue;
            }
            if key
                .key
                .verify_signature(algorithm, signed.as_bytes(), signature)
                .is_ok()
            {
                return Verdict::Valid;
            }
            if key_id.is_some() {
                verdict = Verdict::Wrong;
            }
        }
        verdict
    }
}

fn rsa_bits(key: &CoreJsonWebKey) -> Option<usize> {
    if *key.key_type() != CoreJsonWebKeyType::RSA {
        return None;
    }
    // The crate shows a key's parts in its JSON form only.
    let json = serde_json::to_value(key).ok()?;
    let modulus = URL_SAFE_NO_PAD
        .decode(json.get("n")?.as_str()?.trim_end_matches('='))
        .ok()?;
    let significant = modulus.iter().position(|byte| *byte != 0)?;
    let first = modulus.get(significant)?;
    Some((modulus.len() - significant) * 8 - usize::try_from(first.leading_zeros()).ok()?)
}
