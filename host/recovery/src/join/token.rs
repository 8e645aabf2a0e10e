//! Bootstrap tokens (Kubernetes' "Authenticating with Bootstrap Tokens").

use rand::RngExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const ID: usize = 6;
const SECRET: usize = 16;

/// A token: `abcdef.0123456789abcdef`. Its first part is no secret.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "SecretString")]
pub(super) struct Token {
    pub(super) id: String,
    pub(super) secret: SecretString,
}

impl Token {
    /// A new one.
    pub(super) fn random() -> Self {
        Self {
            id: characters(ID),
            secret: characters(SECRET).into(),
        }
    }

    /// Both parts, as kubeadm takes it.
    pub(super) fn whole(&self) -> SecretString {
        format!("{}.{}", self.id, self.secret.expose_secret()).into()
    }
}

impl TryFrom<SecretString> for Token {
    type Error = &'static str;

    fn try_from(whole: SecretString) -> Result<Self, Self::Error> {
        let plain = |text: &str, length| text.len() == length && text.bytes().all(|b| ALPHABET.contains(&b));
        match whole.expose_secret().split_once('.') {
            Some((id, secret)) if plain(id, ID) && plain(secret, SECRET) => Ok(Self {
                id: id.to_owned(),
                secret: secret.into(),
            }),
            _ => Err("a bootstrap token has 6 and 16 lower-case letters or digits, with a dot between"),
        }
    }
}

fn characters(count: usize) -> String {
    let mut rng = rand::rng();
    let one = |_| {
        let place = rng.random_range(0..ALPHABET.len());
        ALPHABET.get(place).map_or('a', |byte| char::from(*byte))
    };
    (0..count).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_kubernetes_form_and_does_not_print_its_secret() {
        let token = Token::random();
        let read = Token::try_from(token.whole()).unwrap();
        assert_eq!(read.whole().expose_secret(), token.whole().expose_secret());
        assert!(!format!("{token:?}").contains(token.secret.expose_secret()));
        assert_ne!(Token::random().id, token.id);
    }

    #[test]
    fn what_is_no_token_is_not_repeated_in_the_error() {
        for wrong in [
            "abcdef",
            "abcdef.0123456789abcde",
            "abcdeF.0123456789abcdef",
            "../../x.0123456789abcdef",
        ] {
            let error = Token::try_from(SecretString::from(wrong)).unwrap_err();
            assert!(!error.contains(wrong));
        }
    }
}
