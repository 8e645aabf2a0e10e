//! Encryption of what is secret and has to be kept: the issuers' refresh tokens.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

const KEY_LENGTH: usize = 32;

/// A key for AES-256-GCM. Each seal has a nonce of its own, by chance, which holds for far more
/// seals (NIST SP 800-38D: 2^32) than there will be refreshes.
pub struct SealingKey(LessSafeKey);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {reason}")]
pub struct KeyError {
    file: String,
    reason: String,
}

/// What was sealed with another key, or for another place, or was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was sealed with another key, or changed since")]
pub(crate) struct Unsealable;

// === impl SealingKey ===

impl SealingKey {
    /// Reads the key from a file of 32 bytes, which is made, readable by its owner alone, if it is
    /// not there.
    pub fn read_or_create(file: &Path) -> Result<Self, KeyError> {
        if !file.exists() {
            let key: [u8; KEY_LENGTH] = rand::random();
            create(file, &key).map_err(|error| refused(file, format!("can't be made: {error}")))?;
        }
        // Another process may have been faster; what is in the file counts.
        Self::read(file)
    }

    /// Reads the key from a file of 32 bytes.
    pub fn read(file: &Path) -> Result<Self, KeyError> {
        let bytes = fs::read(file).map_err(|error| refused(file, format!("can't be read: {error}")))?;
        Self::new(&bytes).ok_or_else(|| {
            refused(
                file,
                format!(
                    "has {} bytes, and a key for sealing has {KEY_LENGTH}",
                    bytes.len()
                ),
            )
        })
    }

    /// A key that is kept nowhere: for a check, and for tests.
    pub fn random() -> Option<Self> {
        Self::new(&rand::random::<[u8; KEY_LENGTH]>())
    }

    fn new(bytes: &[u8]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).ok()?;
        Some(Self(LessSafeKey::new(key)))
    }

    /// Seals `text` for one place: it can't be opened at another.
    pub(crate) fn seal(&self, place: &[u8], text: &str) -> Result<Vec<u8>, Unsealable> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = text.as_bytes().to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut sealed)
            .map_err(|_| Unsealable)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    pub(crate) fn open(&self, place: &[u8], sealed: &[u8]) -> Result<secrecy::SecretString, Unsealable> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Unsealable)?;
        let mut sealed = sealed.to_vec();
        let opened = self
            .0
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(place),
                &mut sealed,
            )
            .map_err(|_| Unsealable)?;
        let text = std::str::from_utf8(opened).map_err(|_| Unsealable)?;
        Ok(text.into())
    }
}

fn refused(file: &Path, reason: String) -> KeyError {
    KeyError {
        file: file.display().to_string(),
        reason,
    }
}

/// Puts the whole key in place at once: a process that dies here leaves no half of one.
fn create(file: &Path, key: &[u8]) -> std::io::Result<()> {
    let name = format!("{}.new-{:08x}", file.display(), rand::random::<u32>());
    let temporary = Path::new(&name);
    let mut opened = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)?;
    opened.write_all(key)?;
    opened.sync_all()?;
    let linked = fs::hard_link(temporary, file);
    fs::remove_file(temporary)?;
    match linked {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealingKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn what_is_sealed_opens_at_its_place_only_and_with_its_key_only() {
        let directory = std::env::temp_dir().join(format!("witgate-seal-{:08x}", rand::random::<u32>()));
        fs::create_dir(&directory).unwrap();
        let file = directory.join("key");
        let key = SealingKey::read_or_create(&file).unwrap();
        let sealed = key.seal(b"here", "a refresh token").unwrap();
        assert!(!sealed.windows(7).any(|bytes| bytes == b"refresh"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

        let again = SealingKey::read_or_create(&file).unwrap();
        assert_eq!(
            again.open(b"here", &sealed).unwrap().expose_secret(),
            "a refresh token"
        );
        assert!(again.open(b"there", &sealed).is_err());
        let mut changed = sealed.clone();
        changed[20] ^= 1;
        assert!(again.open(b"here", &changed).is_err());
        let other = SealingKey::read_or_create(&directory.join("other")).unwrap();
        assert!(other.open(b"here", &sealed).is_err());

        fs::write(&file, b"short").unwrap();
        let error = SealingKey::read_or_create(&file).unwrap_err().to_string();
        assert!(error.contains("has 5 bytes"), "{error}");
        fs::remove_dir_all(directory).unwrap();
    }
}
