//! One InfluxDB: its endpoints, and what its refusals mean.

use form_urlencoded::Serializer;
use serde::Deserialize;
use witgate_remote::{read, v1};
use witgate_sdk::http::{Client, Method, Request, Response};
use witgate_sdk::storage::{Failure, Trouble};

/// How much of an error's body is read. InfluxDB repeats each line that it did not understand, and
/// the count of dropped points stands at the end.
const ERROR_LIMIT: usize = 1 << 20;

/// How much of InfluxDB's own words goes into a message.
const MESSAGE_LIMIT: usize = 300;

/// An InfluxDB.
#[derive(Debug)]
pub struct Server<C> {
    client: C,
    url: String,
    secret: Option<String>,
}

/// Where in it a tenant's samples are.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) database: String,
    pub(crate) retention_policy: Option<String>,
}

/// What InfluxDB said of a write.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It has all of it.
    Taken,
    /// It does not take that much at once.
    TooLarge,
    /// It has all of it but some points, and why.
    Refused(Refusal),
}

/// Points that InfluxDB did not take.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// InfluxDB's words.
    pub(crate) message: String,
    /// How many points.
    pub(crate) points: usize,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: String,
}

impl<C: Client> Server<C> {
    /// An InfluxDB at this URL, asked with this secret.
    pub fn new(client: C, url: &str, secret: Option<String>) -> Result<Self, String> {
        let rest = url
            .strip_prefix("http://")
            .or_else(|| url.strip_prefix("https://"));
        let Some(rest) = rest.filter(|rest| !rest.is_empty() && !rest.starts_with('/')) else {
            return Err(format!("config.url: `{url}` should be like http://influxdb:8086"));
        };
        if rest.contains('@') {
            return Err(
                "config.url: should have no credentials; put them into a secret and name it in `secret`"
                    .into(),
            );
        }
        if rest.contains(['?', '#']) {
            return Err(format!(
                "config.url: `{url}` should end before `?`; `database` is a field of its own"
            ));
        }
        Ok(Server {
            client,
            url: url.trim_end_matches('/').to_owned(),
            secret,
        })
    }

    /// Whether anybody answers.
    pub(crate) fn ping(&self) -> Result<(), Failure> {
        let response = self.send(Request::new(Method::Get, format!("{}/ping", self.url)))?;
        match response.status {
            200..300 => Ok(()),
            _ => Err(self.failure(response, None)),
        }
    }

    /// Whether samples can be written to and read from a place. Writes nothing: InfluxDB checks
    /// the database and the user's rights before it looks at the empty body.
    pub(crate) fn check(&self, place: &Place) -> Result<(), Failure> {
        match self.write(place, b"")? {
            Answer::Taken | Answer::TooLarge => {}
            Answer::Refused(refusal) => {
                return Err(Failure::unavailable(format!(
                    "InfluxDB at {}: {}",
                    self.url, refusal.message
                )));
            }
        }
        let mut response = self.query(
            place,
            &format!("SHOW RETENTION POLICIES ON {}", identifier(&place.database)),
            0,
        )?;
        let policies = response.body.text(ERROR_LIMIT);
        if let Some(policy) = &place.retention_policy {
            let quoted = serde_json::to_string(policy).unwrap_or_default();
            if !policies.contains(&quoted) {
                let message = format!(
                    "database {} at {} has no retention policy {policy}",
                    place.database, self.url
                );
                return Err(Failure::unavailable(message));
            }
        }
        Ok(())
    }

    /// Writes lines, which have their timestamps in milliseconds.
    pub(crate) fn write(&self, place: &Place, lines: &[u8]) -> Result<Answer, Failure> {
        let url = self.endpoint("write", place, &[("precision", "ms")]);
        let request = Request::new(Method::Post, url).header("content-type", "text/plain; charset=utf-8");
        self.answer(self.send(request.body(lines))?, place)
    }

    /// Writes by Prometheus's own protocol.
    pub(crate) fn write_native(&self, place: &Place, body: &[u8]) -> Result<Answer, Failure> {
        let url = self.endpoint("api/v1/prom/write", place, &[]);
        let request = { v1::HEADERS.iter() }
            .fold(Request::new(Method::Post, url), |request, (name, value)| {
                request.header(name, value)
            });
        self.answer(self.send(request.body(body))?, place)
    }

    /// Reads by Prometheus' own protocol.
    pub(crate) fn read_native(&self, place: &Place, body: &[u8]) -> Result<Response, Failure> {
        let url = self.endpoint("api/v1/prom/read", place, &[]);
        let request = { read::HEADERS.iter() }
            .fold(Request::new(Method::Post, url), |request, (name, value)| {
                request.header(name, value)
            });
        let response = self.send(request.body(body))?;
        match response.status {
            200 => Ok(response),
            _ => Err(self.failure(response, Some(place))),
        }
    }

    /// Sends a statement; the answer comes in chunks of so many rows, or at once for 0.
    pub(crate) fn query(&self, place: &Place, statement: &str, chunk: usize) -> Result<Response, Failure> {
        let chunk_size = chunk.to_string();
        let mut parameters = vec![("epoch", "ms")];
        if chunk > 0 {
            parameters.extend([("chunked", "true"), ("chunk_size", chunk_size.as_str())]);
        }
        let url = self.endpoint("query", place, &parameters);
        let form = Serializer::new(String::new())
            .append_pair("q", statement)
            .finish();
        let request = Request::new(Method::Post, url)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json");
        let response = self.send(request.body(form.as_bytes()))?;
        match response.status {
            200 => Ok(response),
            // A statement that InfluxDB can't parse is one that this plugin has made of the query.
            400 => {
                let message = self.failure(response, Some(place));
                Err(match message {
                    Failure::Unavailable(trouble) if trouble.message.contains("error parsing query") => {
                        Failure::Invalid(trouble.message)
                    }
                    other => other,
                })
            }
            _ => Err(self.failure(response, Some(place))),
        }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn endpoint(&self, path: &str, place: &Place, more: &[(&str, &str)]) -> String {
        let mut query = Serializer::new(String::new());
        query.append_pair("db", &place.database);
        if let Some(policy) = &place.retention_policy {
            query.append_pair("rp", policy);
        }
        query.extend_pairs(more);
        format!("{}/{path}?{}", self.url, query.finish())
    }

    fn send(&self, request: Request<'_>) -> Result<Response, Failure> {
        let request = match &self.secret {
            Some(secret) => request.secret("authorization", secret),
            None => request,
        };
        self.client
            .send(&request)
            .map_err(|error| Failure::unavailable(format!("InfluxDB: {error}")))
    }

    fn answer(&self, mut response: Response, place: &Place) -> Result<Answer, Failure> {
        match response.status {
            200..300 => Ok(Answer::Taken),
            413 => Ok(Answer::TooLarge),
            400 => {
                let message = error_message(&mut response);
                match refusal(&message) {
                    Some(points) => Ok(Answer::Refused(Refusal {
                        message: shorten(&message),
                        points,
                    })),
                    None => Err(self.failure_of(400, &message, None, Some(place))),
                }
            }
            _ => Err(self.failure(response, Some(place))),
        }
    }

    fn failure(&self, mut response: Response, place: Option<&Place>) -> Failure {
        let retry_after = response.retry_after();
        let message = error_message(&mut response);
        self.failure_of(response.status, &message, retry_after, place)
    }

    fn failure_of(
        &self,
        status: u16,
        message: &str,
        retry_after: Option<u32>,
        place: Option<&Place>,
    ) -> Failure {
        let message = format!(
            "InfluxDB at {} answered {status}: {}",
            self.url,
            advise(message, status, place)
        );
        match status {
            429 => Failure::overloaded(message, retry_after),
            _ => Failure::Unavailable(Trouble { message, retry_after }),
        }
    }
}

/// What an error inside an answer to a query means. Such an answer has the status 200.
pub(crate) fn query_error(url: &str, place: &Place, message: &str) -> Failure {
    Failure::unavailable(format!(
        "InfluxDB at {url} did not answer: {}",
        advise(message, 200, Some(place))
    ))
}

/// A name as InfluxQL writes it.
pub(crate) fn identifier(name: &str) -> String {
    quoted(name, '"')
}

/// Text as InfluxQL writes it.
pub(crate) fn literal(text: &str) -> String {
    quoted(text, '\'')
}

fn quoted(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// InfluxDB's words, with what to do about them.
fn advise(message: &str, status: u16, place: Option<&Place>) -> String {
    let database = place.map_or("", |place| place.database.as_str());
    let advice = if message.contains("database not found") || (status == 404 && place.is_some()) {
        format!("create it with `CREATE DATABASE {}`", identifier(database))
    } else if message.contains("retention policy not found") {
        format!("create it, or correct `retentionPolicy` or the tenant's `rp`, for database {database}")
    } else if status == 401 {
        "check the plugin's `secret`, its binding in `grants.secrets`, and the user in InfluxDB".to_owned()
    } else if status == 403 {
        format!("grant the user ALL on database {database}")
    } else {
        return shorten(message);
    };
    format!("{}; {advice}", shorten(message))
}

fn error_message(response: &mut Response) -> String {
    let text = response.body.text(ERROR_LIMIT);
    match serde_json::from_str::<ErrorBody>(&text) {
        Ok(body) => body.error,
        Err(_) if text.is_empty() => "without a message".to_owned(),
        Err(_) => text,
    }
}

fn shorten(message: &str) -> String {
    match message.char_indices().nth(MESSAGE_LIMIT) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

/// How many points a 400 is about. None where it is not about points: then nothing says that the
/// data is wrong, and the sender must keep it.
fn refusal(message: &str) -> Option<usize> {
    let unparsed = message.matches("unable to parse").count();
    let partial = message.starts_with("partial write") || message.contains("field type conflict");
    if !partial && unparsed == 0 {
        return None;
    }
    let dropped = message
        .rsplit_once("dropped=")
        .and_then(|(_, count)| count.trim().parse().ok())
        .unwrap_or(0);
    Some(unparsed.saturating_add(dropped).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_of_points_is_about_points() {
        let cases = [
            ("partial write: points beyond retention policy dropped=3", Some(3)),
            (
                "partial write: max-values-per-tag limit exceeded (1/1): measurement=\"m\" tag=\"t\" value=\"v\" dropped=2",
                Some(2),
            ),
            (
                "unable to parse 'm,a= value=1 1': missing tag value\nunable to parse 'x': y",
                Some(2),
            ),
            ("partial write: unable to parse 'x': y dropped=0", Some(1)),
            ("database is required", None),
            ("timeout", None),
            ("retention policy not found: x", None),
        ];
        for (message, points) in cases {
            assert_eq!(refusal(message), points, "{message}");
        }
    }

    #[test]
    fn names_and_text_are_quoted_for_influxql() {
        assert_eq!(identifier(r#"a"b\c"#), r#""a\"b\\c""#);
        assert_eq!(literal("it's\n"), r"'it\'s\n'");
    }

    #[test]
    fn a_wrong_url_is_refused_with_the_right_form() {
        for url in [
            "influxdb:8086",
            "http://",
            "http:///x",
            "http://a:b@c:8086",
            "http://c:8086?db=x",
            "ftp://c",
        ] {
            let client = witgate_sdk::http::Granted;
            assert!(
                Server::new(client, url, None).is_err_and(|e| e.starts_with("config.url: ")),
                "{url}"
            );
        }
    }
}
