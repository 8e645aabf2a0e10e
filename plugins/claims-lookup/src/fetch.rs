//! Lists over HTTP, page by page, within bounds.

use serde_json::Value;
use witgate_sdk::http::{Client, Method, Request};

use crate::{List, Stop};

/// A page of a thousand groups is some 100 KiB.
const MAX_PAGE: usize = 1 << 20;

/// More pages than any sensible answer has: a directory that always has one more is stopped.
const MAX_PAGES: usize = 32;

/// Fetches lists.
pub(crate) struct Fetch<'a, C> {
    pub(crate) client: &'a C,
    /// Names beyond which nothing more need be fetched, because the user is denied anyway.
    pub(crate) most: usize,
}

impl<C: Client> Fetch<'_, C> {
    /// The names of a list. `None`: what the URL names is not there (404).
    pub(crate) fn list(
        &self,
        url: &str,
        authorization: Option<&str>,
        list: &List,
    ) -> Result<Option<Vec<String>>, Stop> {
        let origin = origin_of(url).unwrap_or_default();
        let mut names = Vec::new();
        let mut url = url.to_owned();
        for page in 0..MAX_PAGES {
            let Some(answer) = self.page(&url, origin, authorization)? else {
                return match page {
                    0 => Ok(None),
                    _ => Err(Stop::Failed(format!("{origin}: page {page} is not there"))),
                };
            };
            let found = answer.pointer(&list.at).and_then(Value::as_array);
            let found = found
                .ok_or_else(|| Stop::Failed(format!("{origin}: its answer has no list at {:?}", list.at)))?;
            for entry in found {
                let name = match &list.name {
                    Some(member) => entry.get(member).and_then(Value::as_str),
                    None => entry.as_str(),
                };
                let name = name.filter(|name| !name.is_empty());
                let name = name.ok_or_else(|| {
                    Stop::Failed(format!("{origin}: its list has something without a name in it"))
                })?;
                names.push(name.to_owned());
            }
            let next = list.next.as_ref().and_then(|next| answer.pointer(next)?.as_str());
            match next {
                Some(next) if names.len() <= self.most => {
                    // The credential is for this origin only.
                    if origin_of(next) != Some(origin) {
                        return Err(Stop::Failed(format!(
                            "{origin}: its next page is of another origin"
                        )));
                    }
                    next.clone_into(&mut url);
                }
                _ => return Ok(Some(names)),
            }
        }
        Err(Stop::Failed(format!(
            "{origin}: its answer has over {MAX_PAGES} pages"
        )))
    }

    fn page(&self, url: &str, origin: &str, authorization: Option<&str>) -> Result<Option<Value>, Stop> {
        let mut request = Request::new(Method::Get, url).header("accept", "application/json");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let failed = |error: &dyn std::fmt::Display| Stop::Failed(format!("{origin}: {error}"));
        let mut response = self.client.send(&request).map_err(|error| failed(&error))?;
        match response.status {
            200 => {}
            404 => return Ok(None),
            status => return Err(failed(&format!("it answered {status}"))),
        }
        let mut body = Vec::new();
        while let Some(piece) = response.body.next_piece().map_err(|error| failed(&error))? {
            body.extend_from_slice(&piece);
            if body.len() > MAX_PAGE {
                return Err(failed(&"its answer is over 1 MiB"));
            }
        }
        let answer = serde_json::from_slice(&body);
        answer.map(Some).map_err(|_| failed(&"its answer is not JSON"))
    }
}

/// Scheme, host and port of an absolute URL without a user in it.
pub(crate) fn origin_of(url: &str) -> Option<&str> {
    let host = ["https://", "http://"]
        .iter()
        .find_map(|scheme| url.starts_with(scheme).then_some(scheme.len()))?;
    let rest = url.get(host..)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = rest.get(..end)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    if authority.is_empty() || !authority.chars().all(is_plain) {
        return None;
    }
    url.get(..host + end)
}
