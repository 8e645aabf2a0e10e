//! Bearer tokens of the configuration.

use std::{collections::HashMap, sync::Arc};

use subtle::ConstantTimeEq;

use crate::{hash::sha256, principal::Principal};

/// Principals by the SHA-256 digest of their token.
#[derive(Default)]
pub(crate) struct StaticTokens {
    /// By the digest's first half; the other is compared in constant time. A sender can't choose
    /// digests, so how long the lookup takes says nothing about the tokens.
    by_prefix: HashMap<[u8; 16], Vec<Token>>,
}

/// A token's digest, and whom it stands for.
type Token = ([u8; 32], Arc<Principal>);

impl StaticTokens {
    pub(crate) fn new(tokens: impl IntoIterator<Item = Token>) -> Self {
        let mut by_prefix: HashMap<_, Vec<_>> = HashMap::new();
        for (digest, principal) in tokens {
            by_prefix
                .entry(prefix(&digest))
                .or_default()
                .push((digest, principal));
        }
        Self { by_prefix }
    }

    pub(crate) fn find(&self, token: &str) -> Option<Arc<Principal>> {
        if self.by_prefix.is_empty() {
            return None;
        }
        let presented = sha256(token);
        let candidates = self.by_prefix.get(&prefix(&presented))?;
        let found = candidates
            .iter()
            .find(|(digest, _)| digest.ct_eq(&presented).into())?;
        Some(Arc::clone(&found.1))
    }
}

fn prefix(digest: &[u8; 32]) -> [u8; 16] {
    digest.first_chunk().copied().unwrap_or_default()
}
