//! Samples at another endpoint of remote write and remote read: Prometheus, Mimir, Thanos and others.

mod endpoint;
mod names;
mod read;
mod write;

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::Deserialize;
use witgate_remote::template::{Template, header};
use witgate_sdk::http::{Client, Granted};
use witgate_sdk::storage::{Batch, Context, Failure, Kinds, Query, Receipt, Storage};

pub use read::Answer;

use endpoint::Endpoint;
use read::Habits;

/// The plugin's `config`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Where to write: `http://prometheus:9090/api/v1/write`. Default: nowhere, and writes fail.
    pub write_url: Option<String>,
    /// Where to read: `http://prometheus:9090/api/v1/read`. Default: nowhere, and reads fail.
    pub read_url: Option<String>,
    /// The version of Remote Write that the endpoint takes. Default: `2.0`, which says exactly what
    /// was stored.
    #[serde(default)]
    pub version: Version,
    /// What the endpoint holds besides samples. Default: all that the version can carry, but of 1.0
    /// no exemplars, because a receiver may drop them without a word.
    pub holds: Option<Vec<Kind>>,
    /// Whether the endpoint takes names of any letters. Default: with 2.0 it does, and with 1.0 not,
    /// because an older receiver drops the series without a word.
    pub utf8_names: Option<bool>,
    /// More headers, such as `X-Scope-OrgID: "{attributes.org}"`. Default: none.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The name of the secret to authenticate with: the whole value of the header `Authorization`.
    /// Default: none is sent.
    pub secret: Option<String>,
}

/// A version of Remote Write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Version {
    /// `prometheus.WriteRequest`.
    #[serde(rename = "1.0")]
    V1,
    /// `io.prometheus.write.v2.Request`.
    #[default]
    #[serde(rename = "2.0")]
    V2,
}

/// What there is besides samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Native histograms.
    Histograms,
    /// Exemplars.
    Exemplars,
    /// Type, help and unit of metrics.
    Metadata,
    /// When counters began.
    StartTimestamps,
}

/// The plugin.
#[derive(Debug)]
pub struct Remote<C = Granted> {
    endpoint: Endpoint<C>,
    write_url: Option<String>,
    read_url: Option<String>,
    version: Version,
    holds: Kinds,
    utf8_names: bool,
    habits: Rc<Habits>,
}

/// The plugin as the component exports it.
pub type Plugin = Remote<Granted>;

witgate_sdk::export_storage!(Plugin);

impl<C: Client> Remote<C> {
    /// The plugin with a client of one's own.
    pub fn with_client(config: Config, client: C) -> Result<Self, String> {
        for (field, url) in [("writeUrl", &config.write_url), ("readUrl", &config.read_url)] {
            if let Some(url) = url {
                endpoint::check_url(field, url)?;
            }
        }
        if config.write_url.is_none() && config.read_url.is_none() {
            return Err("config: should have a `writeUrl`, a `readUrl` or both".to_owned());
        }
        if config.secret.as_ref().is_some_and(String::is_empty) {
            return Err("config.secret: is empty; leave it out or give a name".to_owned());
        }
        let mut headers = Vec::new();
        for (name, value) in config.headers {
            let template =
                Template::parse(&value).map_err(|error| format!("config.headers.{name}: {error}"))?;
            headers.push((endpoint::check_header(&name)?, template));
        }
        let version = config.version;
        let holds = match config.holds {
            Some(kinds) => kinds.into_iter().try_fold(Kinds::empty(), |all, kind| match (kind, version) {
                (Kind::StartTimestamps, Version::V1) => Err(
                    "config.holds: Remote Write 1.0 has no `startTimestamps`; leave it out, or set `version` to \"2.0\""
                        .to_owned(),
                ),
                (Kind::StartTimestamps, Version::V2) => Ok(all | Kinds::START_TIMESTAMPS),
                (Kind::Histograms, _) => Ok(all | Kinds::HISTOGRAMS),
                (Kind::Exemplars, _) => Ok(all | Kinds::EXEMPLARS),
                (Kind::Metadata, _) => Ok(all | Kinds::FAMILIES),
            })?,
            None => match version {
                Version::V1 => Kinds::HISTOGRAMS | Kinds::FAMILIES,
                Version::V2 => {
                    Kinds::HISTOGRAMS | Kinds::EXEMPLARS | Kinds::FAMILIES | Kinds::START_TIMESTAMPS
                },
            },
        };
        Ok(Remote {
            endpoint: Endpoint::new(client, headers, config.secret),
            write_url: config.write_url,
            read_url: config.read_url,
            version,
            holds,
            utf8_names: config.utf8_names.unwrap_or(version == Version::V2),
            habits: Rc::default(),
        })
    }

    /// The headers of a tenant's requests.
    fn headers(&self, context: &Context) -> Result<Vec<(String, String)>, Failure> {
        let fill =
            |(name, template): &(String, Template)| Ok((name.clone(), template.fill(context, header)?));
        self.endpoint.headers.iter().map(fill).collect()
    }
}

impl<C: Client + Default + 'static> Storage for Remote<C> {
    type Config = Config;
    type Cursor = Answer;

    fn new(config: Config) -> Result<Self, String> {
        Remote::with_client(config, C::default())
    }

    fn holds(&self) -> Kinds {
        self.holds
    }

    fn check(&mut self) -> Result<(), Failure> {
        let Some(headers) = self.endpoint.constant_headers() else {
            // Whether a tenant may do something takes a tenant to ask.
            return [&self.write_url, &self.read_url]
                .into_iter()
                .flatten()
                .try_for_each(|url| self.endpoint.reach(url));
        };
        if let Some(url) = &self.write_url {
            write::probe(&self.endpoint, url, &headers, self.version)?;
        }
        self.read_url
            .iter()
            .try_for_each(|url| read::probe(&self.endpoint, url, &headers, &self.habits))
    }

    fn write(&mut self, context: &Context, batch: &Batch) -> Result<Receipt, Failure> {
        let url = self.write_url.as_ref().ok_or_else(|| {
            Failure::unavailable("this storage can only be read: its `config` has no `writeUrl`")
        })?;
        let headers = self.headers(context)?;
        write::write(self, url, &headers, batch)
    }

    fn read(&mut self, context: &Context, query: Query) -> Result<Answer, Failure> {
        let url = self.read_url.as_ref().ok_or_else(|| {
            Failure::unavailable("this storage can only be written: its `config` has no `readUrl`")
        })?;
        let headers = self.headers(context)?;
        read::open(&self.endpoint, url, &headers, &query, &self.habits)
    }
}

#[cfg(test)]
mod tests;
