//! Requests to the endpoint, and what its refusals mean.

use witgate_remote::template::Template;
use witgate_sdk::http::{Client, Method, Request, Response};
use witgate_sdk::storage::{Failure, Trouble};

/// How much of an error's body is read.
const ERROR_LIMIT: usize = 4 << 10;

/// How much of the endpoint's own words goes into a message.
const MESSAGE_LIMIT: usize = 300;

/// Headers that say what a request is, and so are not the operator's to set.
const OWN: [&str; 8] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
];

/// Whom to ask, and as whom.
#[derive(Debug)]
pub(crate) struct Endpoint<C> {
    client: C,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, Template)>,
    secret: Option<String>,
}

impl<C: Client> Endpoint<C> {
    pub(crate) fn new(client: C, headers: Vec<(String, Template)>, secret: Option<String>) -> Self {
        Endpoint {
            client,
            headers,
            secret,
        }
    }

    /// The headers, if they are the same for all tenants.
    pub(crate) fn constant_headers(&self) -> Option<Vec<(String, String)>> {
        let nobody = witgate_sdk::storage::Context {
            tenant: String::new(),
            attributes: Vec::new(),
            request_id: String::new(),
        };
        let fill = |(name, template): &(String, Template)| {
            let value = template.fill(&nobody, |value| Ok(value.to_owned()));
            let value = value.ok().filter(|_| template.is_constant());
            value.map(|value| (name.clone(), value))
        };
        self.headers.iter().map(fill).collect()
    }

    /// Whether anybody answers there, whatever they say.
    pub(crate) fn reach(&self, url: &str) -> Result<(), Failure> {
        let response = self.send(Request::new(Method::Get, url))?;
        match response.status {
            500.. => Err(failure(url, response)),
            _ => Ok(()),
        }
    }

    /// Posts a body, with the headers of the protocol and those of the tenant.
    pub(crate) fn post(
        &self,
        url: &str,
        protocol: &[(&str, &str)],
        headers: &[(String, String)],
        body: &[u8],
    ) -> Result<Response, Failure> {
        let mut request = Request::new(Method::Post, url).body(body);
        for (name, value) in protocol {
            request = request.header(name, value);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        self.send(request)
    }

    fn send(&self, request: Request<'_>) -> Result<Response, Failure> {
        let request = match &self.secret {
            Some(secret) => request.secret("authorization", secret),
            None => request,
        };
        self.client
            .send(&request)
            .map_err(|error| Failure::unavailable(error.to_string()))
    }
}

/// What an answer means that is no success, and not about the data: whoever runs the endpoint or the
/// gateway can put that right, and the sender keeps its data until then.
pub(crate) fn failure(url: &str, mut response: Response) -> Failure {
    let said = said(&mut response);
    failure_saying(url, &response, &said)
}

/// The same where its words are read already.
pub(crate) fn failure_saying(url: &str, response: &Response, said: &str) -> Failure {
    let advice = match response.status {
        300..=399 => {
            let location = response.header("location").unwrap_or("what it says");
            format!("; redirects are not followed: use {location} in the configuration")
        }
        401 => "; check the plugin's `secret` and its binding in `grants.secrets`".to_owned(),
        403 => "; the credentials are right and may not do this: grant it there".to_owned(),
        404 | 405 => "; check the path of the URL, and that the endpoint is turned on there (Prometheus: \
                      --web.enable-remote-write-receiver)"
            .to_owned(),
        415 => "; it does not take this version of Remote Write: set the plugin's `version`".to_owned(),
        500 if said.contains("histograms are disabled") => {
            "; turn them on there, or leave `histograms` out of the plugin's `holds`".to_owned()
        }
        _ => String::new(),
    };
    let retry_after = response.retry_after();
    let message = format!("{url} answered {}: {said}{advice}", response.status);
    match response.status {
        429 => Failure::overloaded(message, retry_after),
        _ => Failure::Unavailable(Trouble { message, retry_after }),
    }
}

/// The endpoint's own words.
pub(crate) fn said(response: &mut Response) -> String {
    let text = response.body.text(ERROR_LIMIT);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(MESSAGE_LIMIT) {
        _ if text.is_empty() => "without a message".to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

pub(crate) fn check_url(field: &str, url: &str) -> Result<(), String> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest.filter(|rest| !rest.is_empty() && !rest.starts_with('/')) else {
        return Err(format!(
            "config.{field}: `{url}` should be like http://prometheus:9090/api/v1/write"
        ));
    };
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    if host.contains('@') {
        return Err(format!(
            "config.{field}: should have no credentials; put them into a secret and name it in `secret`"
        ));
    }
    match rest.contains(|c: char| c == '#' || c.is_whitespace() || c.is_control()) {
        true => Err(format!(
            "config.{field}: `{url}` has a character that no URL has there"
        )),
        false => Ok(()),
    }
}

/// The name in lower case, if it may be set.
pub(crate) fn check_header(name: &str) -> Result<String, String> {
    let lower = name.to_ascii_lowercase();
    let is_token = !lower.is_empty() && { lower.bytes() }
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !is_token {
        return Err(format!("config.headers: `{name}` is no name of a header"));
    }
    if OWN.contains(&lower.as_str()) || lower.starts_with("x-prometheus-remote-") {
        return Err(format!(
            "config.headers: `{name}` is not to be set here; credentials go into `secret`"
        ));
    }
    Ok(lower)
}
