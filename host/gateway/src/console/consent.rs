//! The two pages on which a user lets a command line act for them.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderValue, StatusCode, header};
use witgate_identity::{CodeRequest, OAuthError, Principal};

use super::{page, page::page as whole, sender, visitor};
use crate::{
    gateway::{Answer, Gateway},
    metrics::Route,
    routes::Shown,
};

/// `GET /oauth/authorize`: asks.
pub(crate) async fn authorize(State(gateway): State<Arc<Gateway>>, mut request: Request) -> Response {
    let visit = gateway.begin(Route::Console, &mut request);
    let wiring = gateway.live.load_full();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let answer = match CodeRequest::parse(&query) {
        Err(error) => refused(None, &error),
        Ok(asked) => {
            let return_to = format!("/oauth/authorize?{query}");
            match visitor(&wiring, Shown::of(&request), &return_to).await {
                Err(answer) => *answer,
                Ok(principal) => {
                    let hidden = [("request", query.as_str())];
                    let content = page::consent(&principal, &asked.name, None, &hidden, "/oauth/authorize");
                    let response = page::page_to_loopback(&principal, "Allow a command line", &content);
                    Answer::new(Some(principal), response)
                }
            }
        }
    };
    gateway.end(visit, answer).await
}

/// `POST /oauth/authorize`: the user has decided, and goes back to the command line.
pub(crate) async fn decide_authorize(State(gateway): State<Arc<Gateway>>, mut request: Request) -> Response {
    let visit = gateway.begin(Route::Console, &mut request);
    let wiring = gateway.live.load_full();
    let answer = match sender(&wiring, request).await {
        Err(answer) => *answer,
        Ok((principal, form)) => {
            let asked = CodeRequest::parse(field(&form, "request"));
            let location = match &asked {
                Err(error) => Err(error.clone()),
                Ok(asked) if field(&form, "decision") == "allow" => {
                    wiring.identity.allow_code(asked, &principal).await
                }
                Ok(asked) => Ok(wiring.identity.deny_code(asked)),
            };
            match location {
                Ok(location) => Answer::new(Some(principal), to(&location)),
                Err(error) => refused(Some(principal), &error),
            }
        }
    };
    gateway.end(visit, answer).await
}

/// `GET /device`: asks for the code, or, when there is one, whether it is the right machine.
pub(crate) async fn device(State(gateway): State<Arc<Gateway>>, mut request: Request) -> Response {
    let visit = gateway.begin(Route::Console, &mut request);
    let wiring = gateway.live.load_full();
    let query = request.uri().query().unwrap_or_default();
    let typed = url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "user_code")
        .map(|(_, code)| code.into_owned());
    let return_to = match &typed {
        Some(code) => {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("user_code", code);
            format!("/device?{}", query.finish())
        }
        None => "/device".to_owned(),
    };
    let answer = match visitor(&wiring, Shown::of(&request), &return_to).await {
        Err(answer) => *answer,
        Ok(principal) => {
            let asked = match &typed {
                None => Ok(None),
                Some(code) => wiring.identity.device(code, &principal).await.map(Some),
            };
            let (status, content) = match &asked {
                Ok(None) => (StatusCode::OK, page::type_code(None)),
                Ok(Some(asked)) => {
                    let hidden = [("user_code", asked.user_code.as_str())];
                    let code = Some(asked.user_code.as_str());
                    let content = page::consent(&principal, &asked.name, code, &hidden, "/device");
                    (StatusCode::OK, content)
                }
                Err(error) => (
                    StatusCode::BAD_REQUEST,
                    page::type_code(Some(&error.error_description)),
                ),
            };
            let response = whole(status, "Log in another machine", Some(&principal), &content);
            match asked {
                Ok(_) => Answer::new(Some(principal), response),
                Err(error) => Answer::refused(Some(principal), error.to_string(), response),
            }
        }
    };
    gateway.end(visit, answer).await
}

/// `POST /device`: the user has decided.
pub(crate) async fn decide_device(State(gateway): State<Arc<Gateway>>, mut request: Request) -> Response {
    let visit = gateway.begin(Route::Console, &mut request);
    let wiring = gateway.live.load_full();
    let answer = match sender(&wiring, request).await {
        Err(answer) => *answer,
        Ok((principal, form)) => {
            let allow = field(&form, "decision") == "allow";
            let code = field(&form, "user_code");
            match wiring.identity.decide_device(code, &principal, allow).await {
                Ok(()) => {
                    let content = page::decided(allow);
                    let response = whole(StatusCode::OK, "Decided", Some(&principal), &content);
                    Answer::new(Some(principal), response)
                }
                Err(error) => refused(Some(principal), &error),
            }
        }
    };
    gateway.end(visit, answer).await
}

fn refused(principal: Option<Arc<Principal>>, error: &OAuthError) -> Answer {
    let content = page::failed("The command line is not logged in", &error.error_description);
    let response = whole(
        StatusCode::BAD_REQUEST,
        "Not logged in",
        principal.as_deref(),
        &content,
    );
    Answer::refused(principal, error.to_string(), response)
}

fn field<'a>(form: &'a [(String, String)], wanted: &str) -> &'a str {
    let found = form.iter().find(|(name, _)| name == wanted);
    found.map_or("", |(_, value)| value)
}

fn to(location: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(location) = HeaderValue::try_from(location) {
        headers.insert(header::LOCATION, location);
    }
    response
}
