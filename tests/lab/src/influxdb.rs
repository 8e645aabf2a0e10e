//! Defines InfluxDB 1.x.

use std::{fs, net::SocketAddr, path::Path};

use reqwest::RequestBuilder;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    component::Component,
    error::Error,
    http,
    port::Port,
    process::Launch,
    service::{Readiness, Service, lifecycle},
};

/// A running influxd, empty at its start.
#[derive(Debug)]
pub struct InfluxDb {
    service: Service,
    http: Port,
    _rpc: Port,
    authenticated: bool,
    _dir: TempDir,
}

impl InfluxDb {
    /// The administrator of an InfluxDB that authenticates.
    pub const ADMIN: &str = "admin";
    /// The password of [`ADMIN`](Self::ADMIN).
    pub const ADMIN_PASSWORD: &str = "admin-password";

    /// Starts an InfluxDB that asks nobody who they are.
    ///
    /// # Errors
    /// If influxd is missing or does not answer.
    pub async fn start() -> Result<Self, Error> {
        Self::start_authenticated_if(false).await
    }

    /// Starts an InfluxDB with authentication on, and its administrator.
    ///
    /// # Errors
    /// If influxd is missing, does not answer, or refuses the administrator.
    pub async fn start_authenticated() -> Result<Self, Error> {
        let influxdb = Self::start_authenticated_if(true).await?;
        let (name, password) = (Self::ADMIN, Self::ADMIN_PASSWORD);
        // The first user may be created by anyone, if it is an administrator.
        let statement = format!(r#"CREATE USER "{name}" WITH PASSWORD '{password}' WITH ALL PRIVILEGES"#);
        http::text(influxdb.post("query").form(&[("q", statement)])).await?;
        Ok(influxdb)
    }

    async fn start_authenticated_if(authenticated: bool) -> Result<Self, Error> {
        let program = Component::InfluxDb.find("influxd")?;
        let dir = tempfile::tempdir().map_err(Error::io("a directory for influxd"))?;
        let (http, rpc) = (Port::free()?, Port::free()?);
        let config = dir.path().join("influxdb.conf");
        let text = configuration(dir.path(), http.address(), rpc.address(), authenticated);
        fs::write(&config, text).map_err(Error::io(config.display().to_string()))?;
        let launch = Launch::new("influxd", program, dir.path())
            .arg("run")
            .arg("-config")
            .arg(config);
        let readiness = Readiness::http(format!("http://{}/ping", http.address()));
        let service = Service::start(launch, readiness).await?;
        Ok(Self {
            service,
            http,
            _rpc: rpc,
            authenticated,
            _dir: dir,
        })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.http.address())
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.http.address()
    }

    /// Creates a database.
    ///
    /// # Errors
    /// If InfluxDB refuses the name.
    pub async fn create_database(&self, name: &str) -> Result<(), Error> {
        self.query("", &format!(r#"CREATE DATABASE "{name}""#))
            .await
            .map(drop)
    }

    /// Creates a user who may read and write one database.
    ///
    /// # Errors
    /// If InfluxDB refuses the user.
    pub async fn create_user(&self, name: &str, password: &str, database: &str) -> Result<(), Error> {
        self.query("", &format!(r#"CREATE USER "{name}" WITH PASSWORD '{password}'"#))
            .await?;
        self.query("", &format!(r#"GRANT ALL ON "{database}" TO "{name}""#))
            .await
            .map(drop)
    }

    /// The `results` of InfluxQL statements, with times in nanoseconds.
    ///
    /// # Errors
    /// If InfluxDB refuses a statement.
    pub async fn query(&self, database: &str, statements: &str) -> Result<Value, Error> {
        let request = self.as_admin(self.post("query"));
        let form = [("db", database), ("epoch", "ns"), ("q", statements)];
        let mut answer = http::json(request.form(&form)).await?;
        let mut results = answer.get_mut("results").map(Value::take).unwrap_or_default();
        // A failed statement is a 200 with an error in its result.
        let refused = results
            .as_array_mut()
            .into_iter()
            .flatten()
            .find_map(|result| result.get("error"));
        match refused {
            Some(error) => {
                let (what, body) = (format!("InfluxQL {statements}"), error.to_string());
                Err(Error::Refused {
                    what,
                    status: 200,
                    body,
                })
            }
            None => Ok(results),
        }
    }

    /// Writes lines of the line protocol, with times in nanoseconds.
    ///
    /// # Errors
    /// If InfluxDB refuses a line.
    pub async fn write(&self, database: &str, lines: &str) -> Result<(), Error> {
        let request = self.as_admin(self.post("write").query(&[("db", database)]));
        http::text(request.body(lines.to_owned())).await.map(drop)
    }

    fn post(&self, path: &str) -> RequestBuilder {
        http::client().post(format!("{}/{path}", self.url()))
    }

    fn as_admin(&self, request: RequestBuilder) -> RequestBuilder {
        if self.authenticated {
            request.basic_auth(Self::ADMIN, Some(Self::ADMIN_PASSWORD))
        } else {
            request
        }
    }
}

lifecycle!(InfluxDb);

fn configuration(dir: &Path, http: SocketAddr, rpc: SocketAddr, authenticated: bool) -> String {
    let dir = dir.display();
    format!(
        r#"reporting-disabled = true
bind-address = "{rpc}"
[meta]
dir = "{dir}/meta"
[data]
dir = "{dir}/data"
wal-dir = "{dir}/wal"
[http]
bind-address = "{http}"
auth-enabled = {authenticated}
log-enabled = false
[monitor]
store-enabled = false
[continuous_queries]
enabled = false
"#
    )
}
