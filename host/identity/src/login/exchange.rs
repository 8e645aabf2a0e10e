//! The two requests of the code flow: the one that the browser takes to the issuer, and the one for
//! the tokens.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth2::{
    AuthType, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    ExtraTokenFields, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope,
    StandardRevocableToken, StandardTokenResponse, TokenResponse, TokenUrl,
    basic::{
        BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
    },
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::LoginError;
use crate::{
    error::{Invalid, plain},
    issuer::{Issuer, Known},
    token::Unverified,
};

/// An authorization request to be.
pub(super) struct AuthorizationRequest {
    client: Client,
    scopes: Vec<Scope>,
    challenge: PkceCodeChallenge,
    pub(super) verifier: PkceCodeVerifier,
}

/// What the issuer gave for the code. The access token is not used for anything but its hash.
pub(super) struct Tokens {
    pub(super) id_token: String,
    pub(super) access_token: SecretString,
}

/// The id_token is taken as it is: it is verified where bearer tokens are.
#[derive(Serialize, Deserialize)]
struct IdTokenField {
    #[serde(default, skip_serializing)]
    id_token: Option<String>,
}

type Client = oauth2::Client<
    BasicErrorResponse,
    StandardTokenResponse<IdTokenField, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

impl ExtraTokenFields for IdTokenField {}

impl fmt::Debug for IdTokenField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdTokenField").finish_non_exhaustive()
    }
}

// === impl AuthorizationRequest ===

impl AuthorizationRequest {
    /// The URL that the browser is sent to.
    pub(super) fn url(self, state: String, nonce: String) -> String {
        let request = self.client.authorize_url(|| CsrfToken::new(state));
        let request = request.add_scopes(self.scopes).set_pkce_challenge(self.challenge);
        request.add_extra_param("nonce", nonce).url().0.into()
    }
}

/// Prepares an authorization request (OpenID Connect Core 3.1.2.1), with PKCE by S256.
pub(super) fn request(
    issuer: &Issuer,
    known: &Known,
    redirect: &RedirectUrl,
) -> Result<AuthorizationRequest, LoginError> {
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let scopes = std::iter::once("openid").chain(issuer.settings.scopes.iter().map(String::as_str));
    Ok(AuthorizationRequest {
        client: client(issuer, known, redirect)?,
        scopes: scopes.map(|scope| Scope::new(scope.to_owned())).collect(),
        challenge,
        verifier,
    })
}

/// Fetches the tokens for a code (OpenID Connect Core 3.1.3).
pub(super) async fn redeem(
    issuer: &Issuer,
    known: &Known,
    redirect: &RedirectUrl,
    code: &str,
    verifier: &str,
) -> Result<Tokens, LoginError> {
    let client = client(issuer, known, redirect)?;
    let answer = client
        .exchange_code(AuthorizationCode::new(code.to_owned()))
        .set_pkce_verifier(PkceCodeVerifier::new(verifier.to_owned()))
        .request_async(issuer.provider.fetcher())
        .await
        .map_err(|error| {
            let reason = match &error {
                RequestTokenError::ServerResponse(answer) => plain(answer.error().as_ref()),
                RequestTokenError::Request(_) => "its token endpoint did not answer".to_owned(),
                RequestTokenError::Parse(..) => "its answer can't be read".to_owned(),
                RequestTokenError::Other(_) => "its answer is not what was expected".to_owned(),
            };
            let detail = match &error {
                RequestTokenError::Request(error) => error.to_string(),
                RequestTokenError::Other(error) => plain(error),
                _ => reason.clone(),
            };
            tracing::warn!(
                issuer = issuer.settings.name,
                reason = detail,
                "a code was not redeemed"
            );
            LoginError::NoToken(reason)
        })?;
    let id_token = answer.extra_fields().id_token.clone();
    Ok(Tokens {
        id_token: id_token.ok_or_else(|| LoginError::NoToken("there is none in its answer".to_owned()))?,
        access_token: answer.access_token().secret().as_str().into(),
    })
}

/// Checks `at_hash`, if it is there (OpenID Connect Core 3.1.3.8).
pub(super) fn check_access_token(token: &Unverified<'_>, access_token: &SecretString) -> Result<(), Invalid> {
    let Some(expected) = token.text("at_hash")? else {
        return Ok(());
    };
    let access_token = access_token.expose_secret();
    // The hash of the signature's algorithm; Ed25519's is SHA-512 (RFC 8032 section 5.1).
    let hash = match token.algorithm.as_str() {
        "RS384" | "PS384" | "ES384" => Sha384::digest(access_token).to_vec(),
        "RS512" | "PS512" | "EdDSA" => Sha512::digest(access_token).to_vec(),
        _ => Sha256::digest(access_token).to_vec(),
    };
    let half = hash.get(..hash.len() / 2).unwrap_or_default();
    if URL_SAFE_NO_PAD.encode(half) == expected {
        Ok(())
    } else {
        Err(Invalid::AccessTokenHash)
    }
}

fn client(issuer: &Issuer, known: &Known, redirect: &RedirectUrl) -> Result<Client, LoginError> {
    let token_endpoint: TokenUrl = known
        .token_endpoint
        .clone()
        .ok_or_else(|| LoginError::NoToken("it has no token endpoint".to_owned()))?;
    let settings = &issuer.settings;
    let method = if known.secret_in_body {
        AuthType::RequestBody
    } else {
        AuthType::BasicAuth
    };
    let client = oauth2::Client::new(ClientId::new(settings.client_id.clone()))
        .set_auth_uri(known.authorization_endpoint.clone())
        .set_token_uri(token_endpoint)
        .set_auth_type(method)
        .set_redirect_uri(redirect.clone());
    Ok(match &settings.client_secret {
        Some(secret) => client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned())),
        None => client,
    })
}
