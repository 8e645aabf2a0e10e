//! The authorities' files, and their encryption as kubeadm's `upload-certs` does it.

use std::{collections::BTreeMap, io::Read as _, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use serde::{Deserialize, Serialize};

use super::key_hashes;

/// What kubeadm uploads of a control plane with stacked etcd: the path below `/etc/kubernetes/pki`,
/// and the name in the Secret, in which a slash is a hyphen (kubeadm's phases/copycerts).
const FILES: [(&str, &str); 8] = [
    ("ca.crt", "ca.crt"),
    ("ca.key", "ca.key"),
    ("front-proxy-ca.crt", "front-proxy-ca.crt"),
    ("front-proxy-ca.key", "front-proxy-ca.key"),
    ("sa.pub", "sa.pub"),
    ("sa.key", "sa.key"),
    ("etcd/ca.crt", "etcd-ca.crt"),
    ("etcd/ca.key", "etcd-ca.key"),
];

/// What one of them may have. A certificate or a key has a few KiB.
const MAX_FILE: u64 = 32 << 10;

/// The authorities' files, by their names in the Secret.
pub struct Files(BTreeMap<String, SecretSlice<u8>>);

/// The key that kubeadm calls the certificate key: 32 bytes, 64 hexadecimal digits.
pub(super) struct CertificateKey {
    key: LessSafeKey,
    digits: SecretString,
}

/// The files, encrypted: what the Secret `kubeadm-certs` holds, in base64.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Upload(BTreeMap<String, String>);

/// Why there are no files, or no upload of them.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file of the node's.
    #[error("{file} {reason}")]
    File {
        /// Which.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What encrypts.
    #[error("the files can't be encrypted")]
    Cipher,
    /// Not all of them.
    #[error("{found} of {} files are there; {missing} is not", FILES.len())]
    Incomplete {
        /// How many there are.
        found: usize,
        /// The first that isn't.
        missing: String,
    },
    /// Something else that somebody sent.
    #[error("{name} is none of the {} files", FILES.len())]
    Stranger {
        /// What it is called.
        name: String,
    },
}

impl Files {
    /// Reads them on a control-plane node: below `/etc/kubernetes/pki`.
    pub fn read(pki: &Path) -> Result<Self, FilesError> {
        let mut files = BTreeMap::new();
        for (path, name) in FILES {
            let path = pki.join(path);
            let wrong = |reason: String| FilesError::File {
                file: path.display().to_string(),
                reason,
            };
            let mut content = Vec::new();
            let read =
                std::fs::File::open(&path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut content));
            let size = read.map_err(|error| wrong(format!("can't be read: {error}")))?;
            if size as u64 > MAX_FILE {
                return Err(wrong(format!(
                    "has more than {MAX_FILE} bytes, and is no key or certificate"
                )));
            }
            files.insert(name.to_owned(), content.into());
        }
        Self::from_parts(files)
    }

    /// All of them, and nothing else.
    pub(super) fn from_parts(parts: BTreeMap<String, SecretSlice<u8>>) -> Result<Self, FilesError> {
        all(&parts)?;
        Ok(Self(parts))
    }

    /// What they are, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let files = self.0.iter();
        files.map(|(name, content)| (name.as_str(), content.expose_secret()))
    }

    /// The hash of the authority's key, `sha256:...`, as `kubeadm join` pins it.
    pub fn authority(&self) -> Result<String, FilesError> {
        let wrong = |reason| FilesError::File {
            file: "ca.crt".to_owned(),
            reason,
        };
        let pem = self.0.get("ca.crt").map(|content| content.expose_secret());
        let hashes =
            key_hashes(pem.unwrap_or_default()).map_err(|error| wrong(format!("is wrong: {error}")))?;
        // kubeadm signs with the first.
        hashes
            .into_iter()
            .next()
            .ok_or_else(|| wrong("has no certificate".to_owned()))
    }

    /// Encrypts them as kubeadm does: AES-256-GCM without additional data, the 12 bytes of the nonce
    /// before the ciphertext and its tag.
    pub(super) fn seal(&self, key: &CertificateKey) -> Result<Upload, FilesError> {
        let sealed = self.iter().map(|(name, content)| {
            let nonce: [u8; NONCE_LEN] = rand::random();
            let mut body = content.to_vec();
            key.key
                .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut body)
                .map_err(|_| FilesError::Cipher)?;
            let mut blob = nonce.to_vec();
            blob.append(&mut body);
            Ok((name.to_owned(), STANDARD.encode(blob)))
        });
        Ok(Upload(sealed.collect::<Result<_, FilesError>>()?))
    }
}

impl CertificateKey {
    /// A new one.
    pub(super) fn random() -> Result<Self, FilesError> {
        let bytes: [u8; 32] = rand::random();
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| FilesError::Cipher)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            digits: hex::encode(bytes).into(),
        })
    }

    /// As `kubeadm join --certificate-key` takes it.
    pub(super) fn digits(&self) -> &SecretString {
        &self.digits
    }
}

impl Upload {
    /// The Secret's `data`. All files have to be there: kubeadm's join would fail on the node.
    pub(super) fn data(&self) -> Result<&BTreeMap<String, String>, FilesError> {
        all(&self.0)?;
        Ok(&self.0)
    }
}

fn all<T>(files: &BTreeMap<String, T>) -> Result<(), FilesError> {
    if let Some((_, missing)) = FILES.iter().find(|(_, name)| !files.contains_key(*name)) {
        return Err(FilesError::Incomplete {
            found: files.len(),
            missing: (*missing).to_owned(),
        });
    }
    let stranger = files
        .keys()
        .find(|name| FILES.iter().all(|(_, known)| known != name));
    stranger.map_or(Ok(()), |name| Err(FilesError::Stranger { name: name.clone() }))
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl std::fmt::Debug for CertificateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CertificateKey")
    }
}

/// Files of an authority.
#[cfg(test)]
pub(super) fn files(authority: &str) -> Files {
    let content = |name: &str| match name {
        "ca.crt" => authority.as_bytes().to_vec(),
        other => format!("content of {other}").into_bytes(),
    };
    let parts = FILES.map(|(_, name)| (name.to_owned(), content(name).into()));
    Files::from_parts(parts.into()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_sealed_as_kubeadm_opens_it() {
        let key = CertificateKey::random().unwrap();
        let upload = files("").seal(&key).unwrap();
        assert_eq!(key.digits().expose_secret().len(), 64);
        let blob = STANDARD.decode(&upload.data().unwrap()["etcd-ca.key"]).unwrap();
        assert_eq!(blob.len(), NONCE_LEN + "content of etcd-ca.key".len() + 16);
        // util/crypto.DecryptBytes: the nonce is cut off the front, no additional data.
        let bytes = hex::decode(key.digits().expose_secret()).unwrap();
        let opening = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &bytes).unwrap());
        let (nonce, sealed) = blob.split_first_chunk().unwrap();
        let mut sealed = sealed.to_vec();
        let opened = opening.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut sealed);
        assert_eq!(opened.unwrap(), b"content of etcd-ca.key");
    }

    #[test]
    fn an_upload_of_other_files_is_refused_before_a_node_finds_out() {
        let upload = files("").seal(&CertificateKey::random().unwrap()).unwrap();
        let mut less = upload.clone();
        less.0.remove("sa.key");
        let error = less.data().unwrap_err().to_string();
        assert_eq!(error, "7 of 8 files are there; sa.key is not");
        let mut more = upload;
        more.0.insert("kubeconfig".to_owned(), String::new());
        let error = more.data().unwrap_err().to_string();
        assert_eq!(error, "kubeconfig is none of the 8 files");
    }

    #[test]
    fn files_are_read_whole_or_not_at_all() {
        let pki = tempfile::tempdir().unwrap();
        std::fs::create_dir(pki.path().join("etcd")).unwrap();
        for (path, _) in FILES.iter().skip(1) {
            std::fs::write(pki.path().join(path), path).unwrap();
        }
        let missing = Files::read(pki.path()).unwrap_err().to_string();
        assert!(
            missing.contains("ca.crt can't be read: No such file"),
            "{missing}"
        );
        std::fs::write(pki.path().join("ca.crt"), vec![0; 40 << 10]).unwrap();
        let large = Files::read(pki.path()).unwrap_err().to_string();
        assert!(
            large.ends_with("ca.crt has more than 32768 bytes, and is no key or certificate"),
            "{large}"
        );
        std::fs::write(pki.path().join("ca.crt"), super::super::authority::certificate()).unwrap();
        let read = Files::read(pki.path()).unwrap();
        assert!(read.authority().unwrap().starts_with("sha256:"));
        let shown = format!("{read:?}");
        assert!(
            shown.contains("etcd-ca.key") && !shown.contains("etcd/ca.key"),
            "{shown}"
        );
    }
}
