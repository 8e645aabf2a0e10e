//! Samples in InfluxDB 1.x, over its HTTP interface: line protocol in, InfluxQL out.

mod answer;
pub mod lines;
mod native;
mod query;
mod server;
mod write;

use serde::Deserialize;
use witgate_sdk::http::{Client, Granted};
use witgate_sdk::storage::{Batch, Context, Cursor, Failure, Piece, Query, Receipt, Storage};

pub use answer::Rows;
pub use native::Found;
pub use server::Server;

use server::Place;

/// The plugin's `config`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Where InfluxDB is: `http://influxdb:8086`. A path before InfluxDB's own is allowed.
    pub url: String,
    /// The database of tenants whose `attributes` have no `db`. Default: none, and such a tenant's
    /// requests fail.
    pub database: Option<String>,
    /// The retention policy where a tenant's `attributes` have no `rp`. Default: the database's
    /// own default.
    pub retention_policy: Option<String>,
    /// How samples go there and come back. Default: `line`.
    #[serde(default)]
    pub mode: Mode,
    /// The name of the secret to authenticate with: the whole value of the header
    /// `Authorization`. Default: none is sent.
    pub secret: Option<String>,
}

/// How samples go to InfluxDB and come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// As line protocol and InfluxQL: every bit is kept.
    #[default]
    Line,
    /// By InfluxDB's own remote write and remote read, which have no place for a value that is not
    /// finite.
    Native,
}

/// The plugin.
#[derive(Debug)]
pub struct Influx<C = Granted> {
    server: Server<C>,
    database: Option<String>,
    retention_policy: Option<String>,
    mode: Mode,
}

/// The plugin as the component exports it.
pub type Plugin = Influx<Granted>;

witgate_sdk::export_storage!(Plugin);

/// What a query finds.
#[derive(Debug)]
pub enum Answer {
    /// By InfluxQL.
    Line(Rows),
    /// By remote read.
    Native(Found),
}

impl Cursor for Answer {
    fn next(&mut self, samples: u32) -> Result<Option<Piece>, Failure> {
        match self {
            Answer::Line(rows) => rows.next(samples),
            Answer::Native(found) => found.next(samples),
        }
    }
}

impl<C: Client> Influx<C> {
    /// The plugin with a client of one's own.
    pub fn with_client(config: Config, client: C) -> Result<Self, String> {
        for (field, value) in [
            ("database", &config.database),
            ("retentionPolicy", &config.retention_policy),
            ("secret", &config.secret),
        ] {
            if value.as_ref().is_some_and(String::is_empty) {
                return Err(format!("config.{field}: is empty; leave it out or give a name"));
            }
        }
        let server = Server::new(client, &config.url, config.secret)?;
        Ok(Influx {
            server,
            database: config.database,
            retention_policy: config.retention_policy,
            mode: config.mode,
        })
    }

    /// The tenant's own place, or else the configured one.
    fn place(&self, context: &Context) -> Result<Place, Failure> {
        let database = context.attribute("db").or(self.database.as_deref()).ok_or_else(|| {
            Failure::unavailable(format!(
                "tenant {} has no InfluxDB database: set its `attributes.db`, or `config.database` of the plugin",
                context.tenant
            ))
        })?;
        let retention_policy = context.attribute("rp").or(self.retention_policy.as_deref());
        Ok(Place {
            database: database.to_owned(),
            retention_policy: retention_policy.map(str::to_owned),
        })
    }
}

impl<C: Client + Default + 'static> Storage for Influx<C> {
    type Config = Config;
    type Cursor = Answer;

    fn new(config: Config) -> Result<Self, String> {
        Influx::with_client(config, C::default())
    }

    fn check(&mut self) -> Result<(), Failure> {
        match &self.database {
            Some(database) => {
                let place = Place {
                    database: database.clone(),
                    retention_policy: self.retention_policy.clone(),
                };
                self.server.check(&place)?;
                match self.mode {
                    Mode::Line => Ok(()),
                    Mode::Native => native::probe(&self.server, &place),
                }
            }
            None => self.server.ping(),
        }
    }

    fn write(&mut self, context: &Context, batch: &Batch) -> Result<Receipt, Failure> {
        let place = self.place(context)?;
        match self.mode {
            Mode::Line => write::write(&self.server, &place, batch),
            Mode::Native => write::write_native(&self.server, &place, batch),
        }
    }

    fn read(&mut self, context: &Context, query: Query) -> Result<Answer, Failure> {
        let place = self.place(context)?;
        if self.mode == Mode::Native {
            return native::open(&self.server, &place, query).map(Answer::Native);
        }
        let rows = match query::statement(&place, &query) {
            Some(statement) => answer::open(&self.server, &place, &statement)?,
            None => Rows::none(),
        };
        Ok(Answer::Line(rows))
    }
}
