//! One VictoriaMetrics: its endpoints, and what its answers mean.

use witgate_remote::piece::{Piece, requests};
use witgate_remote::{compress, v1};
use witgate_sdk::http::{Client, Method, Request, Response};
use witgate_sdk::storage::{Batch, Context, Failure, Trouble};

use crate::Config;

/// About how many bytes go into one request. VictoriaMetrics takes 32 MiB (`-maxInsertRequestSize`).
const BODY: usize = 8 << 20;

/// How much of an error's body is read.
const ERROR_LIMIT: usize = 4 << 10;

/// How much of VictoriaMetrics' own words goes into a message.
const MESSAGE_LIMIT: usize = 300;

/// The most of its flags that are read.
const FLAGS_LIMIT: usize = 64 << 10;

/// What stands in a URL for a tenant's account.
const ACCOUNT: &str = "{account}";

/// A VictoriaMetrics.
#[derive(Debug)]
pub(crate) struct Server<C> {
    client: C,
    insert: String,
    select: String,
    /// Whether both are one program.
    single: bool,
    account: Option<String>,
    secret: Option<String>,
}

impl<C: Client> Server<C> {
    pub(crate) fn new(client: C, config: Config) -> Result<Self, String> {
        let (insert, select, single) = match (config.url, config.insert_url, config.select_url) {
            (Some(url), None, None) => (check_url("url", &url)?, check_url("url", &url)?, true),
            (None, Some(insert), Some(select)) => {
                let (insert, select) = (check_url("insertUrl", &insert)?, check_url("selectUrl", &select)?);
                (insert, select, false)
            }
            _ => return Err("config: should have either `url`, or `insertUrl` and `selectUrl`".to_owned()),
        };
        if single && insert.contains(ACCOUNT) {
            return Err(format!(
                "config.url: only a cluster has accounts; use `insertUrl` and `selectUrl` for `{ACCOUNT}`"
            ));
        }
        if insert.contains(ACCOUNT) != select.contains(ACCOUNT) {
            return Err(format!(
                "config: either both of `insertUrl` and `selectUrl` should have `{ACCOUNT}`, or none"
            ));
        }
        if let Some(account) = config.account.as_ref().filter(|account| !is_account(account)) {
            return Err(format!(
                "config.account: `{account}` should be `accountID` or `accountID:projectID`, in digits"
            ));
        }
        if config.secret.as_ref().is_some_and(String::is_empty) {
            return Err("config.secret: is empty; leave it out or give a name".to_owned());
        }
        Ok(Server {
            client,
            insert,
            select,
            single,
            account: config.account,
            secret: config.secret,
        })
    }

    /// Whose data a tenant's is: nothing where there are no accounts.
    pub(crate) fn account<'a>(&'a self, context: &'a Context) -> Result<&'a str, Failure> {
        if !self.insert.contains(ACCOUNT) {
            return Ok("");
        }
        let account = context.attribute("account").or(self.account.as_deref()).ok_or_else(|| {
            Failure::unavailable(format!(
                "tenant {} has no account in VictoriaMetrics: set its `attributes.account`, or `config.account` of \
                 the plugin",
                context.tenant
            ))
        })?;
        match is_account(account) {
            true => Ok(account),
            false => Err(Failure::unavailable(format!(
                "tenant {}: its account `{account}` should be `accountID` or `accountID:projectID`, in digits",
                context.tenant
            ))),
        }
    }

    /// Writes pieces of a batch, and what it says of families.
    pub(crate) fn write(&self, account: &str, batch: &Batch, pieces: &[Piece]) -> Result<(), Failure> {
        let mut families = batch.families.as_slice();
        for request in requests(batch, pieces, BODY) {
            self.post_samples(account, &v1::encode(batch, request, families))?;
            families = &[];
        }
        match families.is_empty() {
            true => Ok(()),
            false => self.post_samples(account, &v1::encode(batch, &[], families)),
        }
    }

    /// Asks for series with their samples.
    pub(crate) fn export(&self, account: &str, form: &str) -> Result<Response, Failure> {
        let url = format!("{}/api/v1/export", self.select.replace(ACCOUNT, account));
        let request = Request::new(Method::Post, &url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.as_bytes());
        let response = self.send(request)?;
        match response.status {
            200 => Ok(response),
            _ => Err(failure(&url, response)),
        }
    }

    /// Whether one may write and read: a request with nothing in it, and a query that finds nothing.
    pub(crate) fn probe(&self) -> Result<(), Failure> {
        let account = self.account.as_deref().unwrap_or("0");
        self.post_samples(account, b"")?;
        self.export(account, "match[]=witgate_check&start=0.000&end=0.001")
            .map(drop)
    }

    /// What it was started with; none where it does not say.
    pub(crate) fn flags(&self) -> Result<Option<String>, Failure> {
        if !self.single {
            return Ok(None);
        }
        let mut response = self.send(Request::new(Method::Get, format!("{}/flags", self.insert)))?;
        Ok((response.status == 200).then(|| response.body.text(FLAGS_LIMIT)))
    }

    fn post_samples(&self, account: &str, body: &[u8]) -> Result<(), Failure> {
        let url = format!("{}/api/v1/write", self.insert.replace(ACCOUNT, account));
        let body = compress(body);
        let mut request = Request::new(Method::Post, &url).body(&body);
        for (name, value) in v1::HEADERS {
            request = request.header(name, value);
        }
        let response = self.send(request)?;
        match response.status {
            200..300 => Ok(()),
            _ => Err(failure(&url, response)),
        }
    }

    fn send(&self, request: Request<'_>) -> Result<Response, Failure> {
        let request = match &self.secret {
            Some(secret) => request.secret("authorization", secret),
            None => request,
        };
        self.client
            .send(&request)
            .map_err(|error| Failure::unavailable(format!("VictoriaMetrics: {error}")))
    }
}

/// VictoriaMetrics refuses no sample by an error: whatever it says is about something else, and the
/// sender keeps its data.
fn failure(url: &str, mut response: Response) -> Failure {
    let text = response.body.text(ERROR_LIMIT);
    let said = match text.char_indices().nth(MESSAGE_LIMIT) {
        _ if text.is_empty() => "without a message".to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    };
    let advice = match response.status {
        300..=399 => "; redirects are not followed: put the final URL into the configuration",
        401 | 403 => "; check the plugin's `secret` and its binding in `grants.secrets`",
        404 => {
            "; check the URL: a cluster's has `/insert/{account}/prometheus` or `/select/{account}/prometheus`"
        }
        _ => "",
    };
    let retry_after = response.retry_after();
    let message = format!(
        "VictoriaMetrics at {url} answered {}: {said}{advice}",
        response.status
    );
    match response.status {
        429 => Failure::overloaded(message, retry_after),
        _ => Failure::Unavailable(Trouble { message, retry_after }),
    }
}

/// Whether it can't be anything else in a path, the account of everybody least of all.
fn is_account(text: &str) -> bool {
    let is_number =
        |part: &str| part.parse::<u32>().is_ok() && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once(':') {
        Some((account, project)) => is_number(account) && is_number(project),
        None => is_number(text),
    }
}

fn check_url(field: &str, url: &str) -> Result<String, String> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest.filter(|rest| !rest.is_empty() && !rest.starts_with('/')) else {
        return Err(format!(
            "config.{field}: `{url}` should be like http://victoriametrics:8428"
        ));
    };
    if rest.contains('@') {
        return Err(format!(
            "config.{field}: should have no credentials; put them into a secret and name it in `secret`"
        ));
    }
    if rest.contains(['?', '#']) || rest.replace(ACCOUNT, "").contains(['{', '}']) {
        return Err(format!(
            "config.{field}: `{url}` should end before `?`, and have no place but `{ACCOUNT}`"
        ));
    }
    Ok(url.trim_end_matches('/').to_owned())
}
