//! The two requests of the code flow: the one that the browser takes to the issuer, and the one for
//! the tokens.

use std::{
    fmt,
    pin::Pin,
    sync::{Mutex, PoisonError},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{StatusCode, header};
use oauth2::{
    AuthType, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    ExtraTokenFields, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError,
    Scope, StandardRevocableToken, StandardTokenResponse, TokenResponse, TokenUrl,
    basic::{
        BasicErrorResponse, BasicErrorResponseType, BasicRevocationErrorResponse,
        BasicTokenIntrospectionResponse, BasicTokenType,
    },
};
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha384, Sha512};
use url::form_urlencoded;

use super::LoginError;
use crate::{
    error::{Invalid, plain},
    issuer::{FetchError, Fetcher, Issuer, Known},
    token::Unverified,
};

/// An authorization request to be.
pub(super) struct AuthorizationRequest {
    client: Client,
    scopes: Vec<Scope>,
    prompt: Option<String>,
    challenge: PkceCodeChallenge,
    pub(super) verifier: PkceCodeVerifier,
}

/// What the issuer gave for the code. The access token is not used for anything but its hash.
pub(super) struct Tokens {
    pub(super) id_token: String,
    pub(super) access_token: SecretString,
    pub(super) refresh_token: Option<SecretString>,
}

/// What the issuer gave for a refresh token.
pub(crate) struct Refreshed {
    pub(crate) id_token: Option<String>,
    pub(crate) refresh_token: Option<SecretString>,
}

/// Why there is nothing new.
#[derive(Debug)]
pub(crate) enum RefreshError {
    /// The issuer says that the user may not go on.
    Refused(String),
    /// It did not say.
    Unavailable(String),
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
        let request = request.add_extra_param("nonce", nonce);
        let request = match self.prompt {
            Some(prompt) => request.add_extra_param("prompt", prompt),
            None => request,
        };
        request.url().0.into()
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
        client: client(issuer, known)?.set_redirect_uri(redirect.clone()),
        prompt: issuer.settings.prompt.clone(),
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
    let client = client(issuer, known)?.set_redirect_uri(redirect.clone());
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
        refresh_token: answer.refresh_token().map(|token| token.secret().as_str().into()),
    })
}

/// Asks the issuer for new tokens (OpenID Connect Core 12).
pub(crate) async fn refresh(
    issuer: &Issuer,
    known: &Known,
    token: &SecretString,
) -> Result<Refreshed, RefreshError> {
    let client = client(issuer, known).map_err(|error| RefreshError::Unavailable(error.to_string()))?;
    let token = RefreshToken::new(token.expose_secret().to_owned());
    let noting = Noting {
        fetcher: issuer.provider.fetcher(),
        status: Mutex::default(),
    };
    let answer = client.exchange_refresh_token(&token).request_async(&noting).await;
    let answer = answer.map_err(|error| match &error {
        RequestTokenError::ServerResponse(answer) if is_refusal(answer.error(), noting.status()) => {
            let description = { answer.error_description() }.map_or(answer.error().as_ref(), String::as_str);
            RefreshError::Refused(plain(description))
        }
        RequestTokenError::ServerResponse(answer) => {
            RefreshError::Unavailable(plain(answer.error().as_ref()))
        }
        RequestTokenError::Request(error) => RefreshError::Unavailable(error.to_string()),
        RequestTokenError::Parse(..) => RefreshError::Unavailable("its answer can't be read".to_owned()),
        RequestTokenError::Other(error) => RefreshError::Unavailable(plain(error)),
    })?;
    Ok(Refreshed {
        id_token: answer.extra_fields().id_token.clone(),
        refresh_token: answer.refresh_token().map(|token| token.secret().as_str().into()),
    })
}

/// Whether an answer is about the user. Other codes are about the gateway's client.
///
/// RFC 6749 section 5.2 has `invalid_grant` for a refresh token that does not hold. dex says
/// `invalid_request`, with status 400; with status 500 it is dex's own trouble
/// (`server/refreshhandlers.go`).
fn is_refusal(error: &BasicErrorResponseType, status: Option<StatusCode>) -> bool {
    match error {
        BasicErrorResponseType::InvalidGrant => true,
        BasicErrorResponseType::InvalidRequest => status == Some(StatusCode::BAD_REQUEST),
        _ => false,
    }
}

/// Takes down the status of an answer, which the crate does not tell with an error.
struct Noting<'a> {
    fetcher: &'a Fetcher,
    status: Mutex<Option<StatusCode>>,
}

impl Noting<'_> {
    fn status(&self) -> Option<StatusCode> {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'c> AsyncHttpClient<'c> for Noting<'_> {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let answer = self.fetcher.call(request).await?;
            *self.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer.status());
            Ok(answer)
        })
    }
}

/// Tells the issuer that a refresh token is of no use any more (RFC 7009), if it takes that.
pub(crate) async fn revoke(issuer: &Issuer, known: &Known, token: &SecretString) -> Result<(), String> {
    let Some(endpoint) = &known.revocation_endpoint else {
        return Ok(());
    };
    let request = revocation(issuer, known, endpoint, token).map_err(|error| error.to_string())?;
    let answer = issuer.provider.fetcher().call(request).await;
    match answer.map_err(|error| error.to_string())?.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("it answered {status}")),
    }
}

/// A revocation request (RFC 7009 section 2.1).
fn revocation(
    issuer: &Issuer,
    known: &Known,
    endpoint: &str,
    token: &SecretString,
) -> Result<HttpRequest, http::Error> {
    let settings = &issuer.settings;
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("token", token.expose_secret())
        .append_pair("token_type_hint", "refresh_token");
    let mut request =
        http::Request::post(endpoint).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    match &settings.client_secret {
        Some(secret) if !known.secret_in_body => {
            let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = format!(
                "{}:{}",
                encoded(&settings.client_id),
                encoded(secret.expose_secret())
            );
            request = request.header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)));
        }
        secret => {
            form.append_pair("client_id", &settings.client_id);
            if let Some(secret) = secret {
                form.append_pair("client_secret", secret.expose_secret());
            }
        }
    }
    request.body(form.finish().into_bytes())
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

fn client(issuer: &Issuer, known: &Known) -> Result<Client, LoginError> {
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
        .set_auth_type(method);
    Ok(match &settings.client_secret {
        Some(secret) => client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned())),
        None => client,
    })
}
