//! What a control-plane node needs to join, without a shell on one that survived: a bootstrap token,
//! the hash of the authority's key, and the authorities' files, which kubeadm keeps on nodes' disks and
//! in no API.
//!
//! The authorities' keys are never in the gateway. An [`Escrow`] is what a control-plane node's files
//! become, sealed for the operators, before anything breaks. When they are needed, the operator's own
//! command line opens it, and seals the files again with a [`CertificateKey`] that it chooses, as
//! kubeadm's `upload-certs` would. Only that comes to the gateway, with a [`Token`] that was chosen in
//! the same place: so nothing that is secret has to be given back, and what the gateway writes down of
//! the command has placeholders in it ([`Invitation::write_into`]).

mod authority;
mod cluster_info;
mod escrow;
mod files;
mod mint;
mod token;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use authority::key_hash;
use authority::key_hashes;
pub(crate) use escrow::Safe;
pub use escrow::{Escrow, EscrowError};
use files::{CertificateKey, Upload};
pub use files::{Files, FilesError};
pub(crate) use mint::Joining;
use token::Token;

/// On everything that a plan makes for joining: the beginning of the plan's id.
pub(crate) const LABEL: &str = "witgate.dev/recovery-plan";
pub(crate) const LABEL_POINTER: &str = "/metadata/labels/witgate.dev~1recovery-plan";

/// Until when it is good for.
pub(crate) const EXPIRES: &str = "witgate.dev/expires";
pub(crate) const EXPIRES_POINTER: &str = "/metadata/annotations/witgate.dev~1expires";

/// kubeadm's Secret.
pub(crate) const CERTIFICATES: &str = "kubeadm-certs";

/// Whether a Node can have that name (RFC 1123, as Kubernetes reads it).
pub(crate) fn is_node_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let (first, last) = (name.bytes().next(), name.bytes().next_back());
    name.len() <= 253 && name.bytes().all(plain) && ends(first) && ends(last)
}

/// Stand for what is secret in the command that is written down.
const TOKEN: &str = "BOOTSTRAP_TOKEN";
const KEY: &str = "CERTIFICATE_KEY";

/// What whoever applies a plan gives for a node to join with. Only its ciphertext outlives the plan.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Admission {
    token: Token,
    certificates: Upload,
}

/// The same in the hands of the one who applies: what the gateway gets, and what it does not.
#[derive(Debug)]
pub struct Invitation {
    token: Token,
    key: CertificateKey,
    certificates: Upload,
}

impl Invitation {
    /// Invites one node: files sealed with a new key, and a new token.
    pub fn new(files: &Files) -> Result<Self, FilesError> {
        let key = CertificateKey::random()?;
        Ok(Self {
            token: Token::random(),
            certificates: files.seal(&key)?,
            key,
        })
    }

    /// What the gateway gets: an [`Admission`], as JSON.
    pub fn admission(&self) -> Value {
        json!({"token": self.token.whole().expose_secret(), "certificates": self.certificates})
    }

    /// The command that the gateway has written down, with its secrets; none if that is none.
    pub fn write_into(&self, command: &str) -> Option<SecretString> {
        let whole = self.token.whole();
        let secret = |text: &str, placeholder, secret: &SecretString| {
            let (before, after) = text.split_once(placeholder)?;
            Some(format!("{before}{}{after}", secret.expose_secret()))
        };
        let command = secret(command, TOKEN, &whole)?;
        Some(secret(&command, KEY, self.key.digits())?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_written_down_without_what_the_inviting_one_puts_in() {
        let files = files::files(&authority::certificate());
        let invitation = Invitation::new(&files).unwrap();
        let admission: Admission = serde_json::from_value(invitation.admission()).unwrap();
        let (token, key) = (admission.token.whole(), invitation.key.digits());
        assert_eq!(admission.certificates.data().unwrap().len(), 8);
        let sent = invitation.admission().to_string();
        assert!(
            !sent.contains(key.expose_secret()),
            "the gateway gets no certificate key"
        );

        let written =
            format!("kubeadm join cp:6443 --token {TOKEN} --certificate-key {KEY} --node-name cp-4");
        let told = invitation.write_into(&written).unwrap();
        let (token, key) = (token.expose_secret(), key.expose_secret());
        let expected =
            format!("kubeadm join cp:6443 --token {token} --certificate-key {key} --node-name cp-4");
        assert_eq!(told.expose_secret(), expected);
        assert!(invitation.write_into("done step 1").is_none());
        let shown = format!("{invitation:?}{admission:?}");
        assert!(!shown.contains(key) && !shown.contains(token));
    }

    #[test]
    fn a_nodes_name_is_nothing_else() {
        for good in ["cp-4", "cp-4.example.com", "4"] {
            assert!(is_node_name(good), "{good}");
        }
        for wrong in [
            "",
            "-cp",
            "cp.",
            "CP",
            "cp 4",
            "cp;reboot",
            "$(x)",
            "cp\n",
            "cp/4",
        ] {
            assert!(!is_node_name(wrong), "{wrong}");
        }
    }
}
