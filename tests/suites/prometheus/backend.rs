//! The backends that there are, each with a real server where it has one: what is shown of one of them
//! is shown of all.

use std::net::SocketAddr;

use witgate_lab::{Component, FaultProxy, InfluxDb, Prometheus, PrometheusOptions, VictoriaMetrics, require};

use crate::world::Setup;

/// A kind of storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// The gateway's own.
    Local,
    /// InfluxDB 1.x.
    InfluxDb,
    /// The current Prometheus, over Remote Write 2.0.
    Prometheus,
    /// VictoriaMetrics.
    VictoriaMetrics,
}

/// A backend that runs, behind a proxy that can fail.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) backend: Backend,
    server: Option<Server>,
    proxy: Option<FaultProxy>,
}

#[derive(Debug)]
enum Server {
    InfluxDb(InfluxDb),
    Prometheus(Prometheus),
    VictoriaMetrics(VictoriaMetrics),
}

impl Backend {
    /// Starts it; nothing if this machine does not have its server.
    pub(crate) async fn start(self) -> Option<Running> {
        let server = match self {
            Self::Local => None,
            Self::InfluxDb => {
                require(Component::InfluxDb).ok()?;
                let influx = InfluxDb::start().await.unwrap();
                influx.create_database("prometheus").await.unwrap();
                Some(Server::InfluxDb(influx))
            }
            Self::Prometheus => {
                require(Component::CurrentPrometheus).ok()?;
                let options = PrometheusOptions {
                    current: true,
                    args: vec!["--web.enable-remote-write-receiver".to_owned()],
                };
                // What is sent again may be older than what came in between.
                let config = "storage: {tsdb: {out_of_order_time_window: 12h}}";
                let started = Prometheus::start_with(options, |_| config.to_owned()).await;
                Some(Server::Prometheus(started.unwrap()))
            }
            Self::VictoriaMetrics => {
                require(Component::VictoriaMetrics).ok()?;
                let victoria = VictoriaMetrics::start(&[]).await.unwrap();
                Some(Server::VictoriaMetrics(victoria))
            }
        };
        let proxy = match &server {
            None => None,
            Some(server) => Some(FaultProxy::start(server.address()).await.unwrap()),
        };
        Some(Running {
            backend: self,
            server,
            proxy,
        })
    }

    /// Its plugin, as the suite's configurations name it.
    pub(crate) fn plugin(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::InfluxDb => "influx",
            Self::Prometheus | Self::VictoriaMetrics => "remote",
        }
    }

    /// Whether it holds a label with this value. InfluxDB has no place for a line break beside a value
    /// that is not finite, and none for a backslash at the end.
    pub(crate) fn holds_label(self, value: &str) -> bool {
        self != Self::InfluxDb || !value.contains('\n') && !value.ends_with('\\')
    }

    /// Whether it gives a value back with all of its bits. VictoriaMetrics keeps decimal numbers, and
    /// those of a series with one exponent.
    pub(crate) fn holds_value(self, bits: u64) -> bool {
        let value = f64::from_bits(bits);
        self != Self::VictoriaMetrics
            || bits == crate::samples::STALE
            || value.is_infinite()
            || value.abs() < 1e6 && (value * 8.0).fract() == 0.0
    }
}

impl Server {
    fn address(&self) -> SocketAddr {
        match self {
            Self::InfluxDb(influx) => influx.address(),
            Self::Prometheus(prometheus) => prometheus.url()["http://".len()..].parse().unwrap(),
            Self::VictoriaMetrics(victoria) => victoria.address(),
        }
    }
}

impl Running {
    /// A configuration that stores in it.
    pub(crate) fn setup(&self) -> Setup {
        self.setup_with("")
    }

    /// The same, with more in the section of its plugin.
    pub(crate) fn setup_with(&self, plugin: &'static str) -> Setup {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let proxy = self.proxy.as_ref().map_or(nowhere, FaultProxy::address);
        let url = format!("http://{proxy}");
        let remote = match self.backend {
            Backend::Local | Backend::InfluxDb => None,
            Backend::Prometheus => Some((
                "prometheus",
                format!("{{writeUrl: '{url}/api/v1/write', readUrl: '{url}/api/v1/read'}}"),
            )),
            Backend::VictoriaMetrics => Some(("victoriametrics", format!("{{url: '{url}'}}"))),
        };
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/dist");
        let remote = remote.map(|(name, config)| {
            format!(
                "  remote:\n    kind: storage\n    file: '{directory}/storage-{name}.wasm'\n    config: {config}\n    \
                 grants: {{http: [{{origin: '{url}', addresses: private}}]}}\n    {plugin}\n"
            )
        });
        Setup {
            influx: proxy,
            storage: self.backend.plugin(),
            // Configurations live as long as a test, which is not long.
            plugins: remote.unwrap_or_default().leak(),
            plugin,
            ..Setup::default()
        }
    }

    /// What stands between the gateway and its server, if it has one.
    pub(crate) fn proxy(&self) -> Option<&FaultProxy> {
        self.proxy.as_ref()
    }

    /// Ends its server and starts it again: as a crash would, where what it has acknowledged is on
    /// disk. VictoriaMetrics says that it may lose the last five seconds, so it is asked to end.
    pub(crate) async fn restart(&mut self) {
        match &mut self.server {
            None => {}
            Some(Server::InfluxDb(influx)) => {
                influx.kill();
                influx.restart().await.unwrap();
            }
            Some(Server::Prometheus(prometheus)) => {
                prometheus.kill();
                prometheus.restart().await.unwrap();
            }
            Some(Server::VictoriaMetrics(victoria)) => {
                victoria.stop().await.unwrap();
                victoria.restart().await.unwrap();
            }
        }
    }

    /// Makes what was written visible, where that takes a while.
    pub(crate) async fn settle(&self) {
        if let Some(Server::VictoriaMetrics(victoria)) = &self.server {
            victoria.flush().await.unwrap();
        }
    }
}
