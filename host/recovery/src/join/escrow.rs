//! The authorities' files, put aside before anything breaks, for the operators alone.

use std::{collections::BTreeMap, io::Read as _, io::Write as _, str::FromStr as _, sync::Arc};

use age::x25519::{Identity, Recipient};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use witgate_plugins::recovery::Timestamp;
use witgate_state::{Change, Error, Space, State, Transaction};

use super::{Files, FilesError, is_node_name};
use crate::journal::SPACE;

const KEY: &[u8] = b"escrow";

/// What an opened escrow may have: eight files of a few KiB, in base64.
const MAX_OPENED: u64 = 1 << 20;

/// Sealed files. Everybody who reads the gateway's state may read it: only who has the secret key of one
/// of the recipients opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Escrow {
    /// On which node they were read.
    pub node: String,
    /// When, in milliseconds since 1970.
    pub at: Timestamp,
    /// For whom they are sealed: age's public keys.
    pub recipients: Vec<String>,
    /// The `sha256:` hash of the authority's key, by which it is seen whether it is this cluster's.
    pub authority: String,
    /// An age file in its armor.
    pub sealed: String,
}

/// Why files are not sealed, kept or opened.
#[derive(Debug, thiserror::Error)]
pub enum EscrowError {
    /// A key of nobody.
    #[error("{0:?} is no age public key: it begins with `age1`, as `age-keygen -y` prints it")]
    Recipient(String),
    /// Nobody could open it again.
    #[error("no age public key is given, and so nobody could open the escrow")]
    NoRecipient,
    /// The file that should hold the secret key.
    #[error("that is no age identity: it has no line that begins with `AGE-SECRET-KEY-1`")]
    Identity,
    /// It was sealed for somebody else, or is damaged.
    #[error("the escrow can't be opened with this identity: {0}")]
    Closed(String),
    /// It can't be sealed.
    #[error("the files can't be sealed: {0}")]
    Seal(String),
    /// Files that are not what they should be.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Of another cluster, or of an authority that was replaced.
    #[error("the escrow's authority is {found}, and the gateway trusts {trusted}: it is not this cluster's")]
    Authority {
        /// The escrow's.
        found: String,
        /// The gateway's, from its kubeconfig.
        trusted: String,
    },
    /// What is in it is not what is written on it.
    #[error(
        "the authority in the escrow is {found}, and the escrow says that it is {said}: somebody made it up"
    )]
    Swapped {
        /// What is in it.
        found: String,
        /// What it says.
        said: String,
    },
    /// What stands where a node's name belongs.
    #[error("{0:?} is no name of a node")]
    Node(String),
    /// What is kept is no escrow.
    #[error("the escrow that is kept can't be read: {0}; make another with `witgate recovery escrow`")]
    Damaged(serde_json::Error),
    /// The state.
    #[error(transparent)]
    State(#[from] Error),
}

impl Escrow {
    /// Seals files for the operators.
    pub fn seal(
        files: &Files,
        node: &str,
        at: Timestamp,
        recipients: &[String],
    ) -> Result<Self, EscrowError> {
        let keys = parse(recipients)?;
        let plain: BTreeMap<&str, String> = files
            .iter()
            .map(|(name, content)| (name, STANDARD.encode(content)))
            .collect();
        let wrong = |error: &dyn std::fmt::Display| EscrowError::Seal(error.to_string());
        let plain = serde_json::to_vec(&plain).map_err(|error| wrong(&error))?;
        let escrow = Self {
            node: node.to_owned(),
            at,
            recipients: recipients.to_vec(),
            authority: files.authority()?,
            sealed: encrypt(&keys, &plain).map_err(|error| wrong(&error))?,
        };
        escrow.check()?;
        Ok(escrow)
    }

    /// Opens it with an operator's secret key, on the operator's machine: what `age-keygen` writes.
    pub fn open(&self, identity: &SecretString) -> Result<Files, EscrowError> {
        let mut lines = identity.expose_secret().lines().map(str::trim);
        let line = lines.find(|line| line.starts_with("AGE-SECRET-KEY-1"));
        let identity = line.and_then(|line| Identity::from_str(line).ok());
        let identity = identity.ok_or(EscrowError::Identity)?;
        let closed = |error: &dyn std::fmt::Display| EscrowError::Closed(error.to_string());
        let plain = decrypt(&identity, &self.sealed).map_err(|error| closed(&error))?;
        let parts: BTreeMap<String, String> =
            serde_json::from_slice(&plain).map_err(|error| closed(&error))?;
        let parts = parts.into_iter().map(|(name, text)| match STANDARD.decode(text) {
            Ok(content) => Ok((name, content.into())),
            Err(error) => Err(closed(&error)),
        });
        let files = Files::from_parts(parts.collect::<Result<_, _>>()?)?;
        // Everybody can seal something for a recipient, and write something else on it.
        let found = files.authority()?;
        if found != self.authority {
            return Err(EscrowError::Swapped {
                found,
                said: self.authority.clone(),
            });
        }
        Ok(files)
    }

    /// Whether it is what it says to people, as far as that can be seen from outside.
    pub(crate) fn check(&self) -> Result<(), EscrowError> {
        if !is_node_name(&self.node) {
            return Err(EscrowError::Node(self.node.clone()));
        }
        parse(&self.recipients)?;
        match age::Decryptor::new(age::armor::ArmoredReader::new(self.sealed.as_bytes())) {
            Ok(_) => Ok(()),
            Err(error) => Err(EscrowError::Closed(error.to_string())),
        }
    }

    /// Whether its authority is one of those.
    pub(crate) fn trusted(&self, authorities: &[String]) -> Result<(), EscrowError> {
        if authorities.contains(&self.authority) {
            return Ok(());
        }
        Err(EscrowError::Authority {
            found: self.authority.clone(),
            trusted: authorities.join(", "),
        })
    }
}

/// Where an escrow is kept.
#[derive(Clone, Debug)]
pub(crate) struct Safe {
    space: Arc<dyn Space>,
}

impl Safe {
    pub(crate) fn open(state: &dyn State) -> Result<Self, Error> {
        Ok(Self {
            space: state.space(SPACE)?,
        })
    }

    /// Keeps an escrow in the place of an older one.
    pub(crate) async fn keep(&self, escrow: &Escrow) -> Result<(), EscrowError> {
        let value = serde_json::to_vec(escrow).map_err(|error| EscrowError::Seal(error.to_string()))?;
        let transaction = Transaction {
            expect: Vec::new(),
            changes: vec![Change::Put {
                key: KEY.to_vec(),
                value,
                lifetime: None,
            }],
        };
        Ok(self.space.commit(transaction).await.map(drop)?)
    }

    /// The one that is kept.
    pub(crate) async fn kept(&self) -> Result<Option<Escrow>, EscrowError> {
        let stored = self.space.get(KEY).await?;
        let escrow = stored.map(|stored| serde_json::from_slice(&stored).map_err(EscrowError::Damaged));
        escrow.transpose()
    }
}

fn parse(recipients: &[String]) -> Result<Vec<Recipient>, EscrowError> {
    if recipients.is_empty() {
        return Err(EscrowError::NoRecipient);
    }
    let parse = |text: &String| Recipient::from_str(text).map_err(|_| EscrowError::Recipient(text.clone()));
    recipients.iter().map(parse).collect()
}

fn encrypt(keys: &[Recipient], plain: &[u8]) -> Result<String, Box<dyn std::error::Error>> {
    let encryptor = age::Encryptor::with_recipients(keys.iter().map(|key| key as &dyn age::Recipient))?;
    let mut sealed = Vec::new();
    let armored = age::armor::ArmoredWriter::wrap_output(&mut sealed, age::armor::Format::AsciiArmor)?;
    let mut writer = encryptor.wrap_output(armored)?;
    writer.write_all(plain)?;
    writer.finish()?.finish()?;
    Ok(String::from_utf8(sealed)?)
}

fn decrypt(identity: &Identity, sealed: &str) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let decryptor = age::Decryptor::new(age::armor::ArmoredReader::new(sealed.as_bytes()))?;
    let mut plain = Vec::new();
    let reader = decryptor.decrypt(std::iter::once(identity as &dyn age::Identity))?;
    reader.take(MAX_OPENED).read_to_end(&mut plain)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::{authority::certificate, files::files};

    #[test]
    fn an_operator_opens_what_was_sealed_for_several() {
        let (alice, bob) = (Identity::generate(), Identity::generate());
        let recipients = [&alice, &bob].map(|who| who.to_public().to_string());
        let files = files(&certificate());
        let escrow = Escrow::seal(&files, "cp-1", 7, &recipients).unwrap();
        assert!(escrow.sealed.starts_with("-----BEGIN AGE ENCRYPTED FILE-----"));
        let identity = format!("# created: today\n{}\n", bob.to_string().expose_secret());
        let opened = escrow.open(&identity.into()).unwrap();
        assert!(files.iter().eq(opened.iter()));
        let mallory = Identity::generate();
        let closed = escrow.open(&mallory.to_string());
        assert!(matches!(closed, Err(EscrowError::Closed(_))), "{closed:?}");
        assert!(matches!(
            escrow.open(&"nothing".into()),
            Err(EscrowError::Identity)
        ));
    }

    #[test]
    fn files_of_another_authority_in_a_known_ones_envelope_are_refused() {
        let alice = Identity::generate();
        let recipients = [alice.to_public().to_string()];
        let mut escrow = Escrow::seal(&files(&certificate()), "cp-1", 7, &recipients).unwrap();
        let known = key_of(&certificate());
        assert!(matches!(
            escrow.trusted(std::slice::from_ref(&known)),
            Err(EscrowError::Authority { .. })
        ));
        escrow.authority = known.clone();
        escrow.trusted(&[known]).unwrap();
        assert!(matches!(
            escrow.open(&alice.to_string()),
            Err(EscrowError::Swapped { .. })
        ));
    }

    #[tokio::test]
    async fn a_kept_escrow_that_is_damaged_is_not_taken_for_none() {
        let folder = tempfile::tempdir().unwrap();
        let state = witgate_state::Embedded::open(folder.path()).unwrap();
        let safe = Safe::open(&state).unwrap();
        assert_eq!(safe.kept().await.unwrap(), None);
        let damaged = Change::Put {
            key: KEY.to_vec(),
            value: b"{".to_vec(),
            lifetime: None,
        };
        let transaction = Transaction {
            expect: Vec::new(),
            changes: vec![damaged],
        };
        let written = safe.space.commit(transaction).await.unwrap();
        assert_eq!(written, witgate_state::Outcome::Committed);
        let kept = safe.kept().await;
        assert!(matches!(kept, Err(EscrowError::Damaged(_))), "{kept:?}");
    }

    fn key_of(certificate: &str) -> String {
        files(certificate).authority().unwrap()
    }

    #[test]
    fn an_escrow_that_nobody_could_open_is_not_made_and_not_kept() {
        let files = files(&certificate());
        let sealed = |recipients: &[String]| Escrow::seal(&files, "cp-1", 7, recipients);
        assert!(matches!(sealed(&[]), Err(EscrowError::NoRecipient)));
        let error = sealed(&["ssh-ed25519 A".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("begins with `age1`"), "{error}");
        let good = sealed(&[Identity::generate().to_public().to_string()]).unwrap();
        good.check().unwrap();
        let broken = Escrow {
            sealed: "plain text".to_owned(),
            ..good.clone()
        };
        assert!(matches!(broken.check(), Err(EscrowError::Closed(_))));
        let strange = Escrow {
            node: "\u{1b}[2J".to_owned(),
            ..good
        };
        assert!(matches!(strange.check(), Err(EscrowError::Node(_))));
    }

    #[tokio::test]
    async fn the_newest_is_kept_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let recipients = [Identity::generate().to_public().to_string()];
        let files = files(&certificate());
        for node in ["cp-1", "cp-2"] {
            let state = witgate_state::Embedded::open(folder.path()).unwrap();
            let safe = Safe::open(&state).unwrap();
            let before = safe.kept().await.unwrap().map(|escrow| escrow.node);
            assert_eq!(before.as_deref(), (node == "cp-2").then_some("cp-1"));
            let escrow = Escrow::seal(&files, node, 7, &recipients).unwrap();
            safe.keep(&escrow).await.unwrap();
            assert_eq!(safe.kept().await.unwrap(), Some(escrow));
        }
    }
}
