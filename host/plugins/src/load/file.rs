//! A component's file: read whole, and told apart from others by its digest.

use std::{fmt, path::PathBuf};

use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt;

use super::Problem;
use crate::config::Size;

/// The largest file that is read. Components of a few MiB are large; compiling one of this size
/// would take a minute and several GiB.
const MAX_FILE: Size = Size(64 << 20);

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) digest: Digest,
}

/// A SHA-256 digest, printed in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest([u8; 32]);

impl File {
    /// Reads a file, which must have the digest `expected` if there is one.
    pub(crate) async fn read(path: PathBuf, expected: Option<&str>) -> Result<(Self, Vec<u8>), Problem> {
        let failed = |error: std::io::Error| Problem::File(format!("it can't be read: {error}"));
        let mut content = Vec::new();
        let file = tokio::fs::File::open(&path).await.map_err(failed)?;
        file.take(MAX_FILE.0 + 1)
            .read_to_end(&mut content)
            .await
            .map_err(failed)?;
        if content.len() as u64 > MAX_FILE.0 {
            return Err(Problem::File(format!("it is over {MAX_FILE}")));
        }
        let hash = move || (Digest(Sha256::digest(&content).into()), content);
        let hashed = tokio::task::spawn_blocking(hash).await;
        let (digest, content) = hashed.map_err(|error| Problem::File(error.to_string()))?;
        if let Some(expected) = expected {
            let expected = expected.trim().trim_start_matches("sha256:");
            if !expected.eq_ignore_ascii_case(&digest.to_string()) {
                return Err(Problem::File(format!(
                    "its SHA-256 digest is {digest}, and the configuration wants {expected}: \
                     it is another file than was meant, or `sha256` has to be brought up to date"
                )));
            }
        }
        Ok((Self { path, digest }, content))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pinned_file_must_be_the_one_that_was_meant() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wasm");
        std::fs::write(&path, "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for expected in [
            None,
            Some(abc),
            Some(&*abc.to_uppercase()),
            Some(&*format!("sha256:{abc}")),
        ] {
            let (file, content) = File::read(path.clone(), expected).await.unwrap();
            assert_eq!(
                (file.digest.to_string().as_str(), content.as_slice()),
                (abc, b"abc".as_slice())
            );
        }
        let error = File::read(path, Some("00ff")).await.unwrap_err().to_string();
        assert!(error.contains(abc) && error.contains("wants 00ff"), "{error}");
        let error = File::read(folder.path().join("b.wasm"), None)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("can't be read"), "{error}");
    }
}
