//! The authorization code flow: `GET /oauth/authorize`, the user's consent, and back to a loopback
//! address.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use url::{Host, Url};
use witgate_state::Change;

use super::{Approval, Authorizations, OAuthError, check_client, client_name};
use crate::{
    hash::{random_text, sha256},
    identity::Identity,
    principal::Principal,
    query::Query,
    session::{Session, SessionTokens},
};

const CODE: u8 = b'c';

/// The command line redeems its code at once.
const LIFETIME: Duration = Duration::from_secs(60);

/// A code challenge is 32 bytes in base64url.
const CHALLENGE_LENGTH: usize = 43;

/// What `GET /oauth/authorize` asks for, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeRequest {
    /// What the command line calls itself.
    pub name: String,
    redirect_uri: Url,
    state: String,
    challenge: String,
}

/// What a code stands for.
#[derive(Serialize, Deserialize)]
struct Code {
    approval: Approval,
    name: String,
    redirect_uri: String,
    challenge: String,
}

impl CodeRequest {
    /// Reads a request's query. What is wrong with it is shown to the user: an address that was not
    /// checked is not one to send a browser to.
    pub fn parse(query: &str) -> Result<Self, OAuthError> {
        let invalid = |description: &str| OAuthError::new("invalid_request", description);
        let query = Query::parse(query).map_err(invalid)?;
        check_client(query.get("client_id"))?;
        let redirect_uri = query
            .get("redirect_uri")
            .and_then(loopback)
            .ok_or_else(|| invalid("redirect_uri is not http://127.0.0.1:PORT/callback"))?;
        if query.get("response_type") != Some("code") {
            return Err(OAuthError::new(
                "unsupported_response_type",
                "response_type is not `code`",
            ));
        }
        if query.get("code_challenge_method") != Some("S256") {
            return Err(invalid("code_challenge_method is not S256 (RFC 7636)"));
        }
        let challenge = query
            .get("code_challenge")
            .filter(|challenge| challenge.len() == CHALLENGE_LENGTH && challenge.is_ascii())
            .ok_or_else(|| invalid("code_challenge is not 43 characters of base64url (RFC 7636)"))?;
        let state = query.get("state").filter(|state| state.len() <= 512);
        Ok(Self {
            name: client_name(query.get("name")),
            redirect_uri,
            state: state
                .ok_or_else(|| invalid("state is not there, or over 512 bytes"))?
                .to_owned(),
            challenge: challenge.to_owned(),
        })
    }
}

impl Identity {
    /// The user allows what the command line asks for: where the browser takes the code.
    pub async fn allow_code(
        &self,
        request: &CodeRequest,
        principal: &Principal,
    ) -> Result<String, OAuthError> {
        let code = random_text();
        let record = Code {
            approval: Approval::of(principal)?,
            name: request.name.clone(),
            redirect_uri: request.redirect_uri.to_string(),
            challenge: request.challenge.clone(),
        };
        let put = Change::Put {
            key: key(&code),
            value: serde_json::to_vec(&record)
                .map_err(|error| OAuthError::new("server_error", error.to_string()))?,
            lifetime: Some(LIFETIME),
        };
        let unused = vec![(key(&code), None)];
        let _code_is_new = self.records.authorizations.commit(unused, vec![put]).await?;
        Ok(self.answer(request, [("code", code.as_str())]))
    }

    /// The user says no.
    pub fn deny_code(&self, request: &CodeRequest) -> String {
        self.answer(request, [("error", "access_denied")])
    }

    fn answer<const N: usize>(&self, request: &CodeRequest, parameters: [(&str, &str); N]) -> String {
        let mut url = request.redirect_uri.clone();
        url.query_pairs_mut()
            .extend_pairs(parameters)
            .append_pair("state", &request.state)
            .append_pair("iss", &self.public_url);
        url.into()
    }

    /// Opens the command line's session for a code. A code that comes with a wrong verifier is gone
    /// all the same: whoever has it did not begin the login.
    pub(super) async fn redeem_code(
        &self,
        code: &str,
        verifier: &str,
        redirect_uri: &str,
    ) -> Result<(Session, SessionTokens), OAuthError> {
        let invalid = |description: &str| OAuthError::new("invalid_grant", description);
        let authorizations: &Authorizations = &self.records.authorizations;
        let record: Code = authorizations
            .take(key(code))
            .await?
            .ok_or_else(|| invalid("the code is unknown, was used, or is over a minute old"))?;
        if URL_SAFE_NO_PAD.encode(sha256(verifier)) != record.challenge {
            return Err(invalid("code_verifier does not fit the code_challenge"));
        }
        if redirect_uri != record.redirect_uri {
            return Err(invalid("redirect_uri is not the one of the request"));
        }
        let opening = record.approval.opening(self, record.name);
        Ok(self.records.sessions.open_command_line(opening).await?)
    }
}

/// A loopback address by number, of any port (RFC 8252 section 7.3): `localhost` may be resolved to
/// something else.
fn loopback(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_loopback = match url.host()? {
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
        Host::Domain(_) => false,
    };
    let is_plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    (url.scheme() == "http" && is_loopback && is_plain && url.port().is_some() && url.path() == "/callback")
        .then_some(url)
}

fn key(code: &str) -> Vec<u8> {
    [&[CODE], sha256(code).as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(change: (&str, &str)) -> String {
        let challenge = "a".repeat(CHALLENGE_LENGTH);
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in [
            ("client_id", "witgate-cli"),
            ("response_type", "code"),
            ("redirect_uri", "http://127.0.0.1:4000/callback"),
            ("state", "s"),
            ("code_challenge_method", "S256"),
            ("code_challenge", challenge.as_str()),
        ] {
            query.append_pair(name, if name == change.0 { change.1 } else { value });
        }
        query.finish()
    }

    #[test]
    fn only_loopback_addresses_get_codes() {
        for address in ["http://127.0.0.1:4000/callback", "http://[::1]:1/callback"] {
            assert!(
                CodeRequest::parse(&query(("redirect_uri", address))).is_ok(),
                "{address}"
            );
        }
        for address in [
            "https://127.0.0.1:4000/callback",
            "http://localhost:4000/callback",
            "http://127.0.0.1.evil.example:4000/callback",
            "http://127.0.0.1:4000@evil.example/callback",
            "http://user@127.0.0.1:4000/callback",
            "http://127.0.0.1:4000/other",
            "http://127.0.0.1:4000/callback?a=b",
            "http://127.0.0.1/callback",
            "http://10.0.0.1:4000/callback",
            "witgate://callback",
        ] {
            let error = CodeRequest::parse(&query(("redirect_uri", address))).unwrap_err();
            assert_eq!(error.error, "invalid_request", "{address}");
        }
    }

    #[test]
    fn there_is_no_way_around_the_code_challenge() {
        for change in [
            ("code_challenge_method", "plain"),
            ("code_challenge_method", ""),
            ("code_challenge", ""),
            ("code_challenge", "short"),
            ("state", ""),
        ] {
            assert!(CodeRequest::parse(&query(change)).is_err(), "{change:?}");
        }
        assert_eq!(
            CodeRequest::parse(&query(("client_id", "other")))
                .unwrap_err()
                .error,
            "invalid_client"
        );
        assert_eq!(
            CodeRequest::parse(&query(("response_type", "token")))
                .unwrap_err()
                .error,
            "unsupported_response_type"
        );
    }
}
