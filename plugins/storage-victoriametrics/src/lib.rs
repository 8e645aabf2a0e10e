//! Samples in VictoriaMetrics: written by remote write, and read from its export API, because it has
//! no remote read.

mod export;
mod flags;
mod holds;
mod json;
mod query;
mod server;
mod time;

use serde::Deserialize;
use witgate_sdk::http::{Client, Granted};
use witgate_sdk::storage::{Batch, Context, Failure, Kinds, Query, Receipt, Storage};

pub use export::Lines;

use holds::Bounds;
use server::Server;
use time::Span;

/// The plugin's `config`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Where a single-node VictoriaMetrics is: `http://victoriametrics:8428`. Either this, or
    /// `insertUrl` and `selectUrl`.
    pub url: Option<String>,
    /// Where a cluster takes samples: `http://vminsert:8480/insert/{account}/prometheus`.
    pub insert_url: Option<String>,
    /// Where a cluster is asked for them: `http://vmselect:8481/select/{account}/prometheus`.
    pub select_url: Option<String>,
    /// The `{account}` of tenants whose `attributes` have no `account`: `accountID` or
    /// `accountID:projectID`. Default: none, and such a tenant's requests fail.
    pub account: Option<String>,
    /// The name of the secret to authenticate with: the whole value of the header `Authorization`.
    /// Default: none is sent.
    pub secret: Option<String>,
    /// VictoriaMetrics' `-retentionPeriod`, or its `-maxBackfillAge` if that is less: it drops older
    /// samples without a word. Default: `31d`, which is VictoriaMetrics' own.
    #[serde(default = "month")]
    pub retention: Span,
    /// VictoriaMetrics' `-futureRetention`. Default: `2d`, which is VictoriaMetrics' own.
    #[serde(default = "two_days")]
    pub future_retention: Span,
    /// VictoriaMetrics' `-maxLabelsPerTimeseries`, counting the metric name. Default: 40, its own.
    #[serde(default = "forty")]
    pub max_labels: usize,
    /// VictoriaMetrics' `-maxLabelNameLen` in bytes. Default: 256, its own.
    #[serde(default = "quarter_kib")]
    pub max_label_name: usize,
    /// VictoriaMetrics' `-maxLabelValueLen` in bytes. Default: 4096, its own.
    #[serde(default = "four_kib")]
    pub max_label_value: usize,
}

fn month() -> Span {
    Span::days(31)
}

fn two_days() -> Span {
    Span::days(2)
}

fn forty() -> usize {
    40
}

fn quarter_kib() -> usize {
    256
}

fn four_kib() -> usize {
    4096
}

/// The plugin.
#[derive(Debug)]
pub struct Victoria<C = Granted> {
    server: Server<C>,
    bounds: Bounds,
}

/// The plugin as the component exports it.
pub type Plugin = Victoria<Granted>;

witgate_sdk::export_storage!(Plugin);

impl<C: Client> Victoria<C> {
    /// The plugin with a client of one's own.
    pub fn with_client(config: Config, client: C) -> Result<Self, String> {
        let bounds = Bounds {
            retention: config.retention,
            future_retention: config.future_retention,
            labels: config.max_labels,
            label_name: config.max_label_name,
            label_value: config.max_label_value,
        };
        Ok(Victoria {
            server: Server::new(client, config)?,
            bounds,
        })
    }
}

impl<C: Client + Default + 'static> Storage for Victoria<C> {
    type Config = Config;
    type Cursor = Lines;

    fn new(config: Config) -> Result<Self, String> {
        Victoria::with_client(config, C::default())
    }

    /// VictoriaMetrics keeps decimal numbers of some 15 digits.
    fn holds_exactly(&self) -> bool {
        false
    }

    fn holds(&self) -> Kinds {
        // It would turn native histograms into classic ones of its own, and drops exemplars.
        Kinds::FAMILIES
    }

    fn check(&mut self) -> Result<(), Failure> {
        self.server.probe()?;
        match self.server.flags()? {
            Some(text) => flags::compare(&text, &self.bounds),
            None => Ok(()),
        }
    }

    fn write(&mut self, context: &Context, batch: &Batch) -> Result<Receipt, Failure> {
        let account = self.server.account(context)?;
        let (pieces, rejected) = self.bounds.split(batch, time::now());
        self.server.write(account, batch, &pieces)?;
        Ok(Receipt { rejected })
    }

    fn read(&mut self, context: &Context, query: Query) -> Result<Lines, Failure> {
        let account = self.server.account(context)?;
        match query::form(&query) {
            Some(form) => {
                let response = self.server.export(account, &form)?;
                Ok(Lines::new(response.body, query.only_series))
            }
            None => Ok(Lines::none()),
        }
    }
}
